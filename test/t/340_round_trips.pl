# What is sealed opens to what it was, in databases of three encodings, from
# nothing to a megabyte; a gigabyte is refused; and a process that has held a key
# is closed to its own user.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Errno qw(EACCES EPERM);
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('trips', extension => 0);
my $admin = $node->session;

# In SQL_ASCII the server knows of bytes only.
my %words = (UTF8 => 'Zoë Łuksza 🔑', LATIN1 => 'Zoë Ærøskøbing', SQL_ASCII => 'Zoë Łuksza 🔑');
for my $encoding (sort keys %words)
{
	my $db = lc $encoding;
	$admin->query("CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	my $s = $node->session(dbname => $db);
	$s->query($_) for q{SET client_min_messages = error}, q{CREATE EXTENSION pg_envelope},
	  q{SELECT envelope_create_kek('main')};
	$s->query(q{SET client_encoding = 'UTF8'}) unless $encoding eq 'SQL_ASCII';
	for my $algorithm ('XAES_256_GCM', 'AES256_GCM')
	{
		my $key = $encoding eq 'SQL_ASCII' ? lc $algorithm : "clé $algorithm";
		$s->query("SELECT envelope_create_key('$key', 'main', '$algorithm')");
		my $trip = "envelope_decrypt(envelope_encrypt(x, '$key'), '$key')";
		is($s->query("SELECT $trip = '' AND $trip IS NOT NULL FROM (VALUES ('')) v(x)"), 't', "$encoding, $algorithm: '' stays ''");
		is($s->query("SELECT $trip IS NULL AND envelope_encrypt(x, '$key') IS NULL FROM (VALUES (NULL::text)) v(x)"), 't', 'NULL stays NULL');
		is($s->query("SELECT $trip FROM (VALUES ('$words{$encoding}')) v(x)"), $words{$encoding}, 'letters beyond ASCII stay');
		is($s->query("SELECT $trip = x AND octet_length(x) >= 1048576 FROM (SELECT repeat('$words{$encoding}', 100000)) v(x)"), 't', 'a megabyte of them too');
		is($s->query("SELECT envelope_decrypt(envelope_encrypt(x, '$key', '$words{$encoding}'), '$key', '$words{$encoding}') = x FROM (VALUES ('v')) v(x)"),
			't', 'and they bind a value');
	}
	$s->close;
}

# One over the limit: the plaintext itself still fits in a value of the server,
# sealed it would not.
my $s = $node->session(dbname => 'sql_ascii');
my (undef, $err) = $s->try(q{SELECT octet_length(envelope_encrypt(repeat(repeat('x', 200), 5368709), 'xaes_256_gcm'))});
like($err, qr/ERROR:  54000: the value is too long to be sealed$/m, 'a gigabyte is an error');
like($err, qr/^DETAIL:  A value has at most 10737417\d\d bytes\.$/m, 'which names the limit');
is($s->query(q{SELECT envelope_decrypt(envelope_encrypt('x', 'xaes_256_gcm'), 'xaes_256_gcm')}), 'x', 'the session goes on');
$s->close;

#
# harden_backends, which is on: the memory of a session that has held a key opens
# for no process of the same user; before, it does (the control).
#
sub opens_memory
{
	my ($pid) = @_;
	return 'yes' if open(my $mem, '<:raw', "/proc/$pid/mem");
	return $! == EACCES || $! == EPERM ? 'refused' : "$!";
}
SKIP:
{
	skip 'root may open any memory', 5 if $> == 0;
	$s = $node->session(dbname => 'utf8');
	is($s->query('SHOW pg_envelope.harden_backends'), 'on', 'backends are hardened');
	$s->query('SELECT count(*) FROM envelope.key');
	is(opens_memory($s->pid), 'yes', 'the memory of a session without a key opens');
	$s->query('BEGIN');
	$s->query(q{SELECT envelope_decrypt(envelope_encrypt('x', 'clé XAES_256_GCM'), 'clé XAES_256_GCM')});
	is(opens_memory($s->pid), 'refused', 'with a key it does not');
	$s->query('COMMIT');
	is(opens_memory($s->pid), 'refused', 'nor later');
	is(opens_memory($node->keeper_pid), 'refused', 'nor does that of the keeper');
	$s->close;
}
$admin->close;
$node->stop;
done_testing();
