# 100,000 transactions that end in an error, at each stage of a value's and of a key's
# way, in one session: it, the agent and the keeper have no more memory and no more
# descriptors than after the first tenth of them.  (Not hardened: so that we can count.)
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::Wire;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($transactions, $batch) = (100_000, 1000);
my $node = PgEnvelope::Cluster->new('errors', test_build => 1, 'pg_envelope.harden_backends' => 'off', log_min_messages => 'fatal', autovacuum => 'off', 'pg_envelope.kms_timeout' => '60s');
$node->let_agent_be_read;
my $wire = PgEnvelope::Wire->new($node, 'SET client_min_messages = error');

sub ask
{
	my $deadline = clock_gettime(CLOCK_MONOTONIC) + $PostgreSQL::Test::Utils::timeout_default;
	$wire->send(@_) if @_;
	until ($wire->idle)
	{
		die 'the session is gone' if $wire->gone;
		die 'timed out' if clock_gettime(CLOCK_MONOTONIC) > $deadline;
		PgEnvelope::Wire::pump(1, $wire);
	}
	return $wire->value;
}

ask();
ask($_) for q{SELECT envelope_create_kek('main')}, map { "SELECT envelope_create_key('$_', 'main')" } 1 .. 3;
my $sealed = ask(q{SELECT envelope_encrypt('value', '1')});
my $damaged = $sealed =~ s/(.)\z/$1 eq '0' ? '1' : '0'/er;

# [ how many of a thousand, the SQLSTATE, the statement ]
my @errors = (
	[ 300, 'KE001', "SELECT envelope_decrypt('$damaged', '1')" ],
	[ 200, 'KE001', "SELECT envelope_decrypt('$sealed', '2')" ],
	[ 150, '22012', q{SELECT 1 / (length(envelope_encrypt('value', '1')) * 0)} ],
	[ 150, '22012', "SELECT 1 / (length(envelope_decrypt('$sealed', '1')) * 0)" ],
	[ 100, '42704', q{SELECT envelope_encrypt('value', 'none')} ],
	[ 50, 'KE002', q{SELECT envelope_decrypt('\x01', '1')} ],
	# a miss, an unwrap, and then an error
	[ 20, '22012', "SELECT envelope_cache_flush(); SELECT 1 / (length(envelope_decrypt('$sealed', '1')) * 0)" ],
	[ 10, '22012', q{SELECT envelope_create_key('new', 'main'); SELECT 1 / (length(envelope_encrypt('value', 'new')) * 0)} ],
	[ 10, '22012', q{SELECT envelope_rotate_key('3'); SELECT 1 / (length(envelope_encrypt('value', '3')) * 0)} ],
	[ 8, 'KE004', q{SELECT envelope_disable_key('3'); SELECT envelope_encrypt('value', '3')} ],
	[ 2, '42710', q{SELECT envelope_create_kek('main')} ]);
my @statements = map { my ($n, undef, $statement) = @$_; ($statement) x $n } @errors;
is(scalar @statements, $batch, 'a batch is a thousand transactions');

sub held
{
	my %held = (contexts => ask(q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts}));
	my %pid = (session => $wire->pid, agent => $node->agent_pid, keeper => $node->keeper_pid);
	for my $who (sort keys %pid)
	{
		($held{"$who memory"}) = PgEnvelope::Cluster::read_proc("$pid{$who}/status") =~ /^RssAnon:\s+(\d+)/m;
		$held{"$who descriptors"} = PgEnvelope::Cluster::descriptors($pid{$who});
	}
	return %held;
}

my (%codes, %before);
for my $done (0 .. $transactions / $batch - 1)
{
	%before = held() if $done == $transactions / $batch / 10;
	ask(@statements);
	$codes{$_} += $wire->codes->{$_} for keys %{ $wire->codes };
}
my %after = held();
my %expected;
$expected{ $_->[1] } += $_->[0] * $transactions / $batch for @errors;
is_deeply(\%codes, \%expected, "$transactions transactions, each with its error");
diag(join ', ', map { "$_ $before{$_} -> $after{$_}" } sort keys %before);
is($after{"$_ descriptors"}, $before{"$_ descriptors"}, "the $_ has no descriptor more") for qw(session keeper);
cmp_ok($after{'agent descriptors'}, '<=', $before{'agent descriptors'} + 1, 'nor has the agent, but for one that it is about to close');
cmp_ok($after{contexts}, '<=', $before{contexts} + 64 * 1024, 'the memory contexts of the session have not grown');
# (of a leak of 16 bytes each there would be 1400 kB)
SKIP:
{
	skip 'hardened-asan: the sanitizer keeps what is freed for a while', 3 if PgEnvelope::Cluster::hardened_run() eq 'asan';
	cmp_ok($after{'session memory'}, '<=', $before{'session memory'} + 512, 'nor its heap');
	cmp_ok($after{'keeper memory'}, '<=', $before{'keeper memory'} + 512, 'nor that of the keeper');
	cmp_ok($after{'agent memory'}, '<=', $before{'agent memory'} + 1024, 'nor that of the agent');
}
is(ask(qq{SELECT envelope_decrypt('$sealed', '1')}), 'value', 'and values open');
$node->stop;
done_testing();
