# A restore over a database that has keys loses none of them, and says what is in its way;
# --disable-triggers leaves the guards of the key tables on.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::Estate;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('over', extension => 0);
$node->safe_psql('postgres', $_) for 'CREATE ROLE goes', 'CREATE ROLE stays', 'CREATE DATABASE app';
$node->create_extension('app');
PgEnvelope::Estate::make($node, 'app');
my $keys = PgEnvelope::Estate::keys($node, 'app');
my $values = PgEnvelope::Estate::values($node, 'app');
my $folder = $node->basedir;
run_ok('pg_dump', '-Fc', '-f', "$folder/dump", '-d', $node->connstr('app'));

# --- pg_restore --clean, onto the same keys and one that came later ---
$node->safe_psql('app', q{SELECT envelope_create_key('newer', 'main');
	INSERT INTO app.customers (key_id, version, associated_data, sealed) SELECT 'newer', 1, 'x', envelope_encrypt('newer', 'newer', 'x');
	CREATE TABLE elsewhere AS SELECT sealed FROM app.customers WHERE key_id = 'newer'});
my $later = PgEnvelope::Estate::keys($node, 'app');
my $later_values = PgEnvelope::Estate::values($node, 'app');
my @restore = ('pg_restore', '-d', $node->connstr('app'), '--clean', '--if-exists');
my $refused = qr/ERROR: +cannot drop extension "pg_envelope": 11 data keys would be lost/;
like(fails(@restore, '--single-transaction', "$folder/dump"), $refused, '--clean is refused');
is(PgEnvelope::Estate::keys($node, 'app'), $later, 'all keys are as they were');
is(PgEnvelope::Estate::values($node, 'app'), $later_values, 'and, by --single-transaction, the tables');

my $said = fails(@restore, "$folder/dump");
like($said, $refused, 'without, the same is said');
like($said, qr/duplicate key value violates unique constraint "keyring_pkey"/, 'and that its keys are there already');
is(PgEnvelope::Estate::keys($node, 'app'), $later, 'the keys are as they were');
is(PgEnvelope::Estate::values($node, 'app'), $values, 'and the rows of the dump open');
is($node->safe_psql('app', q{SELECT envelope_decrypt(sealed, 'newer', 'x') FROM elsewhere}), 'newer', 'as do newer ones');
always('app');

# The whole database goes and comes again.
run_ok('pg_restore', '-d', $node->connstr('postgres'), '--clean', '--if-exists', '--create', '--exit-on-error', "$folder/dump");
is(PgEnvelope::Estate::keys($node, 'app'), $keys, '--clean --create: the keys of the dump');
is(PgEnvelope::Estate::values($node, 'app'), $values, 'and its values');

# --- the rows alone, with triggers off ---
$node->safe_psql('postgres', 'CREATE DATABASE rows TEMPLATE template0');
run_ok('pg_restore', '-d', $node->connstr('rows'), '--exit-on-error', '--schema-only', "$folder/dump");
always('rows');
run_ok('pg_restore', '-d', $node->connstr('rows'), '--exit-on-error', '--data-only', '--disable-triggers', "$folder/dump");
is(PgEnvelope::Estate::keys($node, 'rows'), $keys, '--data-only --disable-triggers: the same keys');
is(PgEnvelope::Estate::values($node, 'rows'), $values, 'and every value opens');
always('rows');
$node->stop;
done_testing();

sub run_ok
{
	my ($program, @arguments) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err) = run_command([ $node->installed_command($program), @arguments ]);
	ok($? == 0, "$program @{[ grep { /^-/ } @arguments ]}") or diag($err);
	return;
}

# What it says.
sub fails
{
	my ($program, @arguments) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err) = run_command([ $node->installed_command($program), @arguments ]);
	ok($? != 0, "$program @{[ grep { /^-/ } @arguments ]} fails");
	return $err;
}

# Each trigger of ours fires for everybody.
sub always
{
	my ($dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($dbname, q{SELECT string_agg(DISTINCT tgenabled::text, ' ') || ' ' || count(*) FILTER (WHERE tgname = 'envelope_guard')
		FROM pg_trigger WHERE tgname LIKE 'envelope\_guard%'}), 'A 7', "$dbname: the guards are ALWAYS triggers");
	return;
}
