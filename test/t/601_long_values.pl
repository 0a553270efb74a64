# Values at the server's limit of 1 GB and around it, and other arguments as long:
# they work to the last byte, or say what the limit is.
#
# A value that is opened stands three times in memory (plain, sealed, opened), so
# this needs 5 GB.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Another test may have some of it for a while.
my $needed = 5 * 1024 * 1024;
sub memory { return (PgEnvelope::Cluster::read_proc('meminfo') =~ /^$_[0]:\s+(\d+) kB/m)[0]; }
eval { PgEnvelope::Cluster::wait_until(sub { memory('MemAvailable') >= $needed }, 'memory') } if memory('MemTotal') >= $needed;
my $free = memory('MemAvailable');
plan skip_all => "5 GB of free memory are needed, not $free kB" if $free < $needed;

my $node = PgEnvelope::Cluster->new('long');
my $s = $node->session(timeout => 5 * $PostgreSQL::Test::Utils::timeout_default);
$s->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  q{SELECT envelope_create_key('x', 'main'), envelope_create_key('g', 'main', 'AES256_GCM')};

# What a value of the server may have at most, header included, is 2^30 - 1 bytes.
my %most = (x => 2**30 - 1 - 4 - 45, g => 2**30 - 1 - 4 - 33);

# A text of that many letters: in pieces, because repeat() copies what it repeats
# one by one, and from a series, so that the planner does not make it already.
my $long = sub {
	my ($n, $letter) = @_;
	my ($piece) = grep { $n % $_ == 0 } reverse 1 .. 1000;
	my $times = $n / $piece;
	return sprintf '(SELECT repeat(repeat(%s, %d), n) FROM generate_series(%d, %d) n) v(v)', $letter // q{'x'}, $piece, $times, $times;
};
my $refused = sub {
	my ($sql, $sqlstate, $name) = @_;
	my (undef, $err) = $s->try($sql);
	like($err, qr/^(?:psql:\S+ )?ERROR:  $sqlstate: /, $name);
	like($err, qr/^HINT:  /m, '... and says what to do');
	cmp_ok(length $err, '<', 2000, '... in few words');
	return $err;
};
for my $key (sort keys %most)
{
	my $n = $most{$key};
	is($s->query("SELECT octet_length(envelope_encrypt(v, '$key')) FROM " . $long->($n)), 2**30 - 5, "key $key: the longest value is sealed");
	my $err = $refused->("SELECT octet_length(envelope_encrypt(v, '$key')) FROM " . $long->($n + 1), '54000', 'one byte more is refused');
	like($err, qr/^DETAIL:  A value has at most $n bytes\.$/m, '... with the number');
}
is($s->query("SELECT envelope_decrypt(envelope_encrypt(v, 'x'), 'x') = v FROM " . $long->($most{x})), 't', 'the longest value opens to what it was');
is($s->query("SELECT envelope_decrypt_bytea(envelope_encrypt_bytea(b, 'g', 'row'), 'g', 'row') = b FROM (SELECT convert_to(v, 'UTF8') FROM " . $long->(600_000_000) . ') w(b)'),
	't', 'bytes beyond 512 MB too');
$refused->("SELECT octet_length(envelope_decrypt(set_byte(s, 599999999, get_byte(s, 599999999) # 1), 'x')) FROM (SELECT envelope_encrypt(v, 'x') FROM "
	  . $long->(600_000_000) . ' OFFSET 0) w(s)', 'KE001', 'unless one of them is another');

# Arguments that nobody means to be so long.
my $name = $long->(1_000_000_000);
for my $call (q{envelope_encrypt('v', v)}, 'envelope_rotate_key(v)')
{
	my $err = $refused->("SELECT $call FROM $name", '42704', "$call: no key has such a name");
	like($err, qr/key "x{255}\.\.\." does not exist/, '... of which the beginning is shown');
}
$refused->("SELECT envelope_create_key(v, 'main') FROM " . $long->(100_000_000), '22023', 'nor can one have it');
is($s->query("SELECT envelope_decrypt(envelope_encrypt('v', 'x', v), 'x', v) FROM " . $long->(600_000_000)), 'v', 'associated data of 600 MB binds');

# In another encoding the text is longer as UTF-8 than it is here.
$s->query(q{CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
$s->close;
$s = $node->session(dbname => 'latin1', timeout => 5 * $PostgreSQL::Test::Utils::timeout_default);
$s->query($_) for q{SET client_min_messages = error}, q{CREATE EXTENSION pg_envelope}, q{SELECT envelope_create_kek('main'), envelope_create_key('x', 'main')};
my $letters = $long->(540_000_000, 'chr(233)');
$refused->("SELECT octet_length(envelope_encrypt(v, 'x')) FROM $letters", '54000', '540 MB of LATIN1 are too long as UTF-8');
is($s->query(q{SELECT envelope_decrypt(envelope_encrypt('v', 'x'), 'x')}), 'v', 'the session goes on');
$s->close;
$node->stop;
unlike(PgEnvelope::Cluster::slurp_binary($node->logfile), qr/XX000|out of memory|terminated by signal/, 'nothing ran out, and nothing crashed');
done_testing();
