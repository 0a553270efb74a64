# A thousand waits for the agent are ended at random instants, by a cancel, the
# session's end, statement_timeout or a client that is gone: nothing leaks, and no
# answer that comes late reaches another waiter.
#
# PGE_SEED repeats a run, as far as the machine does.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::KeyBytes;
use PgEnvelope::ProcMem;
use PgEnvelope::Wire;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $seed = $ENV{PGE_SEED} // ($$ << 16 ^ time) & 0x7fffffff;
diag("PGE_SEED=$seed");
srand $seed;

my ($keys, $victims, $witnesses, $wanted, $delay) = (8, 16, 4, 1000, 0.03);
my @kinds = qw(cancel terminate timeout vanish);

# Not hardened, and in memory that can be read: so that we can count and look.
my $node = PgEnvelope::Cluster->new('waits', test_build => 1, shared_buffers => '16MB',
	'pg_envelope.harden_backends' => 'off', 'pg_envelope.secret_memory' => 'fallback',
	'pg_envelope.kms_timeout' => '60s', client_connection_check_interval => '10ms');
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  qq{SELECT count(envelope_create_key('k' || i, 'main')) FROM generate_series(1, $keys) i},
  qq{CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'k' || i) AS sealed FROM generate_series(1, $keys) i},
  # An interruption that is caught keeps the transaction, and its next wait begins at once.
  q{CREATE FUNCTION open_one(k int) RETURNS text LANGUAGE sql AS
	$$ SELECT envelope_decrypt(sealed, 'k' || i) FROM t WHERE i = k $$},
  q{CREATE FUNCTION open_in_turn(a int, b int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			IF open_one(a) <> 'value ' || a THEN RETURN 'wrong value'; END IF;
		EXCEPTION WHEN query_canceled THEN
		END;
		RETURN open_one(b);
	END $$};

sub now  { return clock_gettime(CLOCK_MONOTONIC); }
sub any  { return 1 + int rand $_[0]; }

sub told { return $admin->told(@_); }

# What anybody may read of a process that is not dumpable.
sub process_status
{
	my ($pid) = @_;
	my %status = PgEnvelope::Cluster::read_proc("$pid/status") =~ /^(\w+):\s+(\d+)/mg;
	return \%status;
}

sub sockets_of
{
	return scalar grep { (readlink($_) // '') =~ /^socket/ } glob("/proc/$_[0]/fd/*");
}

# Until all have their answer or are gone.
sub await
{
	my ($what, @wires) = @_;
	my $deadline = now() + $PostgreSQL::Test::Utils::timeout_default;
	while (my @open = grep { !$_->idle && !$_->gone } @wires)
	{
		die "timed out waiting for $what" if now() > $deadline;
		PgEnvelope::Wire::pump(1, @open);
	}
	return;
}

sub connect_missing
{
	my ($wires, $count) = @_;
	@$wires = grep { !$_->gone } @$wires;
	my @new = map { PgEnvelope::Wire->new($node, 'SELECT 1') } @$wires + 1 .. $count;
	await('new sessions', @new);
	push @$wires, @new;
	return;
}

my (%done, @wrong);

# Sends what this victim waits for; returns when it is to be interrupted.
sub begin_wait
{
	my ($wire, $kind) = @_;
	my $after = rand(1.2 * $delay);
	my ($a, $b) = (any($keys), any($keys));
	my $timeout = $kind eq 'timeout' ? 1 + int($after * 1000) : 0;
	$wire->{expected} = "value $b";
	$wire->send("SET statement_timeout = $timeout; SELECT " . (rand() < 0.3 ? "open_in_turn($a, $b)" : "open_one($b)"));
	return $kind eq 'timeout' ? () : [ now() + $after, $wire, $kind ];
}

# What came of it: the right value, or the interruption and nothing else.
sub judge
{
	my ($wire, $kind) = @_;
	my $error = $wire->error;
	my $state = $error ? $error->{C} : '';
	if ($error ? $state =~ /^(?:57014|57P01)$/ : $wire->gone || ($wire->value // '') eq $wire->{expected})
	{
		$done{ $state eq '' && !$wire->gone ? 'value' : $kind }++;
		return;
	}
	push @wrong, "$kind: " . ($error ? "$state $error->{M} " . ($error->{D} // q{}) : "\"" . ($wire->value // 'NULL') . "\" for \"$wire->{expected}\"");
	return;
}

# Every session misses at once; each victim is interrupted at an instant of its own.
# Who survives asks for another value at once, while its old call is still under way.
sub round
{
	my ($wires, $watching) = @_;
	connect_missing($wires, $victims);
	$admin->query('SELECT envelope_cache_flush()');
	for my $wire (@$watching)
	{
		my $i = any($keys);
		$wire->{expected} = "value $i";
		$wire->send("SELECT open_one($i)");
	}
	my %kind = map { ($_ => $kinds[ $_ % @kinds ]) } 0 .. $#$wires;
	my @events = sort { $a->[0] <=> $b->[0] } map { begin_wait($wires->[$_], $kind{$_}) } 0 .. $#$wires;
	for my $event (@events)
	{
		my ($at, $wire, $kind) = @$event;
		PgEnvelope::Wire::pump($at - now(), @$wires, @$watching) while now() < $at;
		$wire->$kind unless $wire->gone;
	}
	await('the victims', @$wires);
	judge($wires->[$_], $kind{$_}) for 0 .. $#$wires;

	my @again = grep { !$_->gone } @$wires;
	for my $wire (@again)
	{
		my $i = any($keys);
		$wire->{expected} = "value $i";
		$wire->send("SET statement_timeout = 0; SELECT open_one($i)");
	}
	await('who survived, and the witnesses', @again, @$watching);
	# a cancel may arrive late and hit this one
	judge($_, 'late') for @again;
	for my $wire (@$watching)
	{
		push @wrong, 'witness: ' . ($wire->error ? "$wire->{error}{C} $wire->{error}{M}" : $wire->value // 'NULL')
		  unless ($wire->value // '') eq $wire->{expected};
	}
	return;
}

my (@wires, @watching);
connect_missing(\@watching, $witnesses);
$node->set_provider_delay(1000 * $delay);
my $agent = $node->agent_pid;

# A table of descriptors doubles when it is full.  A crowd has it done so once, so that
# sessions that are slow to go do not, but only what is never closed.
my @crowd = map { PgEnvelope::Wire->new($node, 'BEGIN; SELECT count(*) FROM envelope_status()') } 1 .. 70;
await('a crowd', @crowd);
$_->vanish for @crowd;

my $cancelled = told('agent_requests_cancelled');
my ($rounds, $from, $before, $sockets) = (0, now());
sub enough
{
	return told('agent_requests_cancelled') - $cancelled >= $wanted && ($done{value} // 0) >= 100 &&
	  !grep { ($done{$_} // 0) < 50 } @kinds;
}
until (enough() || now() > $from + 4 * $PostgreSQL::Test::Utils::timeout_default)
{
	round(\@wires, \@watching);
	next unless ++$rounds == 20;
	# warm by now
	$before = process_status($agent);
	$sockets = sockets_of($watching[0]->pid);
}
$cancelled = told('agent_requests_cancelled') - $cancelled;
my $after = process_status($agent);
diag(sprintf '%d rounds, %.1f s: %d waits were ended under the agent (%s); agent RssAnon %d -> %d kB, FDSize %d -> %d, %d threads',
	$rounds, now() - $from, $cancelled, join(', ', map { "$_ $done{$_}" } sort keys %done), $before->{RssAnon}, $after->{RssAnon}, $before->{FDSize}, $after->{FDSize}, $after->{Threads});

is_deeply(\@wrong, [], 'every session got its own value, or its interruption');
cmp_ok($cancelled, '>=', $wanted, "$wanted waits ended while the agent worked for them");
cmp_ok($done{$_} // 0, '>=', 50, "many by $_") for @kinds;
cmp_ok($done{value} // 0, '>=', 100, 'and many others were not disturbed');

#
# Nothing is left of it, when those who were to go are gone.
#
my @survivors = (@watching, grep { !$_->gone } @wires);
my $backends = 1 + @survivors;
$node->poll_query_until('postgres', qq{SELECT count(*) = $backends FROM pg_stat_activity
	WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()}) or die 'somebody does not go';
for my $counter (qw(requests_waiting calls_queued calls_in_flight))
{
	ok($node->poll_query_until('postgres', qq{SELECT value = '0' FROM envelope_status() WHERE name = 'agent_$counter'}),
		"the agent's $counter goes back to 0");
}
ok($node->poll_query_until('postgres', q{SELECT value = '1' FROM envelope_status() WHERE name = 'agent_clients'}),
	'and of the clients only the one that asks is left');
is($node->agent_pid, $agent, 'the agent is the same');
cmp_ok($after->{FDSize}, '<=', $before->{FDSize}, 'its table of descriptors has not grown');
cmp_ok($after->{Threads}, '<=', 16 + 4, 'its threads are those that it may have');
SKIP:
{
	skip 'hardened-asan: the sanitizer keeps what is freed for a while', 1 if PgEnvelope::Cluster::hardened_run() eq 'asan';
	cmp_ok($after->{RssAnon}, '<', $before->{RssAnon} + 3072, 'its memory is flat');
}
is(told('context_holders'), '0', 'no session says that it holds a key');

# The sessions that lived through it.
cmp_ok(scalar @survivors, '>', $witnesses, 'sessions were cancelled and live');
is_deeply([ grep { $_ != $sockets } map { sockets_of($_->pid) } @survivors ], [], 'none has a descriptor more');
$node->set_provider_delay(0);
$admin->query('SELECT envelope_prewarm()');
my @deks = map { (PgEnvelope::KeyBytes::dek($node, "k$_", pid => $admin->pid))[0] // () } 1 .. $keys;
is(scalar @deks, $keys, 'the keys are known');
my $last = $survivors[-1]->pid;
is(PgEnvelope::ProcMem::contains($last, $deks[0]), 1, 'control: cached, they are seen in a survivor');
$admin->query('SELECT envelope_cache_flush()');
is(told('cache_used'), '0', 'flushed, no slot is taken');
my @held = grep { my $pid = $_->pid; grep { PgEnvelope::ProcMem::contains($pid, $_) // die "memory of $pid: $!" } @deks } @survivors[ -4 .. -1 ];
is(scalar @held, 0, 'no survivor holds any key anywhere');

$admin->close;
$node->stop;
done_testing();
