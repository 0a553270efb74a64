# Whatever a keyring can hold travels in every format of pg_dump and in pg_dumpall, dumped by
# a superuser or by the database's owner: into a new cluster with a copy of the keyring file,
# other encodings, another database of the same cluster, and by CREATE DATABASE ... TEMPLATE.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::Estate;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = PgEnvelope::Cluster->new('source', extension => 0);
$source->safe_psql('postgres', $_) for 'CREATE ROLE app_owner LOGIN', 'CREATE ROLE goes', 'CREATE ROLE stays', 'CREATE DATABASE app OWNER app_owner';
$source->create_extension('app');
PgEnvelope::Estate::make($source, 'app');
my $keys = PgEnvelope::Estate::keys($source, 'app');
my $values = PgEnvelope::Estate::values($source, 'app');
my %rows;
$rows{$_}++ for $keys =~ /^(\w+)\|/mg;
is_deeply(\%rows, { keyring => 1, kek => 3, key => 7, dek => 11, wrapping => 34, key_grant => 9 }, 'the rows that must travel');
is(join(' ', map { /\|(\w+)\z/ } grep { /\|KE00/ } split /\n/, $values), 'KE004 KE004 KE005 KE005', 'all values open but those of the disabled and the destroyed key');
my $folder = $source->basedir;
my $copy = "$folder/keyring.copy";
ran('the keyring is backed up', $source->agent_command, 'keyring', 'backup', '--keyring', $source->keyring_file, $copy);

# --- dump ---
my %owner = (superuser => $source->superuser, owner => 'app_owner');
for my $who (sort keys %owner)
{
	my @dump = ($source->installed_command('pg_dump'), '-h', $source->host, '-p', $source->port, '-U', $owner{$who});
	quiet("$who: plain", @dump, '-f', "$folder/$who.plain", 'app');
	quiet("$who: custom", @dump, '-Fc', '-f', "$folder/$who.custom", 'app');
	quiet("$who: directory, by two jobs", @dump, '-Fd', '-j2', '-f', "$folder/$who.directory", 'app');
}
quiet('pg_dumpall', $source->installed_command('pg_dumpall'), '-d', $source->connstr('postgres'), '-f', "$folder/all");

# --- a new cluster, first without the keyring ---
my $target = PgEnvelope::Cluster->new('target', extension => 0);
# (so that roles have other numbers than at the source)
$target->safe_psql('postgres', 'CREATE ROLE here');
my ($out, $said) = run_command([ $target->installed_command('psql'), '-X', '-q', '-d', $target->connstr('postgres'), '-f', "$folder/all" ]);
is(join("\n", grep { /(ERROR|FATAL|WARNING):/ && !/role "\w+" already exists/ } split /\n/, $said), '', 'pg_dumpall: restored');
is(PgEnvelope::Estate::keys($target, 'app'), $keys, 'pg_dumpall: the same rows');
my $err = $target->fails_with('SELECT envelope_decrypt(sealed, key_id, associated_data) FROM app.customers WHERE id = 1', 'KE012', 'without the keyring nothing opens', dbname => 'app');
my ($needed) = $keys =~ /^kek\|main\|local:(\S+?)\|/m;
like($err, qr/\Q$needed\E/, 'and the message names the KEK that is missing');
ran('the keyring is restored under the running server', $target->agent_command, 'keyring', 'restore', '--keyring', $target->keyring_file, $copy);
# (What the agent was refused it remembers for three seconds.)
PgEnvelope::Cluster::wait_until(sub { PgEnvelope::Estate::values($target, 'app') !~ /KE012/ }, 'the agent to have its KEKs');
is(PgEnvelope::Estate::values($target, 'app'), $values, 'pg_dumpall: and everything opens');
is($target->safe_psql('app', q{SELECT role_name, role_oid = role_name::regrole FROM envelope.key_grant WHERE role_name IN ('goes', 'stays') ORDER BY 1}),
	"goes|t\nstays|t", 'its roles have their rights');
is($target->safe_psql('app', q{SET ROLE goes; SELECT envelope_decrypt(envelope_encrypt('granted', 'acme'), 'acme')}), 'granted', 'and may use them');
PgEnvelope::Estate::use_all($target, 'app');

# --- each format, by either; a warm cache of one database is none of another ---
for my $who (sort keys %owner)
{
	restored($target, "${who}_plain", "$folder/$who.plain");
	restored($target, "${who}_custom", "$folder/$who.custom", $who eq 'owner' ? '--single-transaction' : '--jobs=2');
	restored($target, "${who}_directory", "$folder/$who.directory", '--jobs=2');
}
PgEnvelope::Estate::use_all($target, 'owner_directory');

# --- other encodings ---
for my $encoding (qw(LATIN1 SQL_ASCII))
{
	restored($target, lc $encoding, "$folder/owner.custom", '--jobs=2', $encoding);
	restored($target, lc "plain_$encoding", "$folder/superuser.plain", undef, $encoding);
	PgEnvelope::Estate::use_all($target, lc $encoding);
}

# --- the owner alone cannot ---
$target->safe_psql('postgres', 'CREATE DATABASE of_owner OWNER app_owner');
($out, $said) = run_command([ $target->installed_command('pg_restore'), '--exit-on-error', '-U', 'app_owner', '-d', $target->connstr('of_owner'), "$folder/owner.custom" ]);
like($said, qr/ERROR: +permission denied to create extension "pg_envelope"/, 'only a superuser restores');

# --- a target that had a KEK of its own keeps its one uuid, and is told ---
$target->safe_psql('postgres', 'CREATE DATABASE taken');
$target->create_extension('taken');
$target->safe_psql('taken', q{SET client_min_messages = error; SELECT envelope_create_kek('mine'); SELECT envelope_create_key('mine', 'mine');
	CREATE TABLE mine AS SELECT envelope_encrypt('mine', 'mine') AS sealed});
my $own = PgEnvelope::Estate::keys($target, 'taken');
($out, $said) = run_command([ $target->installed_command('pg_restore'), '--single-transaction', '-d', $target->connstr('taken'), "$folder/owner.custom" ]);
like($said, qr/ERROR: .*"keyring_one_row"/, 'a restore over other keys says what is in its way');
is(PgEnvelope::Estate::keys($target, 'taken'), $own, 'and changes none of them');
is($target->safe_psql('taken', q{SELECT envelope_decrypt(sealed, 'mine') FROM mine}), 'mine', 'which open');
$target->stop;

# --- the same cluster ---
restored($source, 'beside', "$folder/owner.custom", '--jobs=2');
PgEnvelope::Estate::use_all($source, 'beside');
$source->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE app');
comes_over($source, 'copied');
PgEnvelope::Estate::use_all($source, 'copied');
is(PgEnvelope::Estate::keys($source, 'app'), $keys, 'what copies do with their keys the original does not see');
is(PgEnvelope::Estate::values($source, 'app'), $values, 'and opens as before');
$source->stop;
done_testing();

sub ran
{
	my ($name, @command) = @_;
	my ($out, $err) = run_command(\@command);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($? == 0, $name) or diag($err);
	return $err;
}

sub quiet
{
	my ($name, @command) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(ran("$name: dumped", @command), '', 'without a warning');
	return;
}

sub restored
{
	my ($node, $dbname, $file, $how, $encoding) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $dbname OWNER app_owner TEMPLATE template0" . ($encoding ? " ENCODING '$encoding' LOCALE 'C'" : ''));
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $said = ran("$dbname: restored", $file =~ /plain\z/
		? ($node->installed_command('psql'), '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($dbname), '-f', $file)
		: ($node->installed_command('pg_restore'), '--exit-on-error', $how, '-d', $node->connstr($dbname), $file));
	is($said, '', 'without a warning');
	comes_over($node, $dbname);
	return;
}

sub comes_over
{
	my ($node, $dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(PgEnvelope::Estate::keys($node, $dbname), $keys, 'the same keyring, KEKs, keys, wrapped keys and grants');
	my $before = unwraps($node, $dbname);
	is(PgEnvelope::Estate::values($node, $dbname), $values, 'and every value opens');
	cmp_ok(unwraps($node, $dbname), '>=', $before + 9, 'by what the KEKs unwrapped, not from a cache');
	return;
}

sub unwraps
{
	my ($node, $dbname) = @_;
	return $node->safe_psql($dbname, q{SELECT value FROM envelope_status() WHERE name = 'unwraps'});
}
