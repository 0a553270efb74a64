# What the extension costs a backend in memory of its own: idle, with 16 keys in
# use, with many; and that a rewrap of many takes no more than one of few.
#
# Counted are the private mappings' Private_Dirty.  The server's shared memory
# is left out: a page of it that only one process has touched so far counts as
# that process's own, which is chance.  Each figure is the median of some new
# backends; what is compared ran the same kind of statement.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

plan skip_all => 'hardened-asan: the sanitizer has memory of its own for every allocation'
  if PgEnvelope::Cluster::hardened_run() eq 'asan';

my $backends = 5;
my %keys = (XAES_256_GCM => 1000, AES256_GCM => 1000);    # in use at once at the end
my $few = 16;

# Whose memory nobody may read cannot be measured either.  And a vacuum of the
# catalogs takes the file away from which backends load theirs: who finds none is
# 1.5 MB larger.
my $node = PgEnvelope::Cluster->new('footprint', 'pg_envelope.harden_backends' => 'off',
	'pg_envelope.cache_size' => 2048, autovacuum => 'off');
$node->safe_psql('postgres', q{CREATE EXTENSION pgcrypto});
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  map { qq{SELECT count(envelope_create_key('$_ ' || n, 'main', '$_')) FROM generate_series(1, $keys{$_}) n} } sort keys %keys;
$admin->close;

# In KiB.
sub own_memory
{
	my ($pid) = @_;
	open(my $smaps, '<', "/proc/$pid/smaps") or die "smaps of $pid: $!";
	my ($own, $sum) = (0, 0);
	while (my $line = <$smaps>)
	{
		$own = $1 eq 'p' if $line =~ /^[0-9a-f]+-[0-9a-f]+ ...([ps]) /;
		$sum += $1 if $own && $line =~ /^Private_Dirty:\s+(\d+) kB/;
	}
	return $sum;
}

# The median of new backends, each measured after these statements.
sub footprint
{
	my @sizes;
	for (1 .. $backends)
	{
		my $s = $node->session;
		$s->query($_) for @_;
		push @sizes, own_memory($s->pid);
		$s->close;
	}
	return (sort { $a <=> $b } @sizes)[ $backends / 2 ];
}

# A transaction that goes on, with an expression of k over so many keys.
sub with_keys
{
	my ($expression, $algorithm, $count) = @_;
	return ('BEGIN', qq{SELECT count($expression) FROM (SELECT '$algorithm ' || n AS k FROM generate_series(1, $count) n) t});
}

my %use = ('sealing' => q{envelope_encrypt('v', k)}, 'sealing and opening' => q{envelope_decrypt(envelope_encrypt('v', k), k)});
my (%with_few, %with_many);
my $idle = footprint('SELECT 1');
for my $algorithm (sort keys %keys)
{
	for my $how (sort keys %use)
	{
		$with_few{"$algorithm, $how"} = footprint(with_keys($use{$how}, $algorithm, $few));
		$with_many{"$algorithm, $how"} = footprint(with_keys($use{$how}, $algorithm, $keys{$algorithm}));
	}
}

# What the server keeps of a transaction until its end: invalidation messages.
my $s = $node->session;
my $kept = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name = 'TopTransactionContext'};
my @kept;
$s->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('few'), envelope_create_kek('next')},
  q{SELECT envelope_create_key('few', 'few')};
for my $kek ('few', 'main')
{
	$s->query('BEGIN');
	is($s->query(qq{SELECT outcome, count(*) FROM rewrap_all('$kek', 'next') GROUP BY 1}),
		'rewrapped|' . ($kek eq 'few' ? 1 : $keys{XAES_256_GCM} + $keys{AES256_GCM}), "rewrap_all from $kek");
	push @kept, $s->query($kept);
	$s->query('COMMIT');
}
is($kept[1], $kept[0], 'a rewrap of thousands keeps no more until its commit than one of a single key');
$s->close;

$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->restart;
my $idle_without = footprint('SELECT 1');
my $pgcrypto = footprint(with_keys(
	q{decrypt(encrypt('v', convert_to(k, 'UTF8'), 'aes'), convert_to(k, 'UTF8'), 'aes')}, 'key of pgcrypto', $few));

# Where pages begin and end costs up to 20 KiB by chance, and OpenSSL from 3.5 on takes 12 more than 3.0.
my $most = `openssl version` =~ /^OpenSSL (\d+)\.(\d+)/ && ($1 > 3 || $2 >= 5) ? 160 : 128;
note("idle: $idle KiB, without the extension $idle_without");
cmp_ok($idle - $idle_without, '<=', 64, 'an idle backend: at most 64 KiB more than without the extension');
for my $case (sort keys %with_few)
{
	my ($algorithm) = split /,/, $case;
	my $each = ($with_many{$case} - $with_few{$case}) / ($keys{$algorithm} - $few);
	note(sprintf '%s: %d keys %d KiB (pgcrypto %d), %d keys %d KiB, so %.2f KiB for each further key',
		$case, $few, $with_few{$case}, $pgcrypto, $keys{$algorithm}, $with_many{$case}, $each);
	cmp_ok($with_few{$case} - $pgcrypto, '<=', $most, "$case: with $few keys at most $most KiB more than a backend that uses pgcrypto");
	cmp_ok($each, '<=', 2, "$case: at most 2 KiB for each further key");
}
done_testing();
