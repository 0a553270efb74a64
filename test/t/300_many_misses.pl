# Many sessions miss at once: one unwrap serves all who miss one DEK, unwraps of
# many DEKs go on side by side, and who is cancelled leaves at once, alone.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $sessions = 100;
my $concurrency = 16;
my $gate = 4711;

my $node = PgEnvelope::Cluster->new('misses', test_build => 1, max_connections => $sessions + 20,
	'pg_envelope.kms_concurrency' => $concurrency, 'pg_envelope.kms_timeout' => '60s');
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  qq{SELECT count(envelope_create_key('k' || i, 'main')) FROM generate_series(1, $sessions) i},
  qq{CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'k' || i) AS sealed FROM generate_series(1, $sessions) i},
  q{CREATE TABLE opened (i int, plain text, at timestamptz)};

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

sub told { return $admin->told(@_); }

sub wait_for_waiting
{
	my ($count) = @_;
	wait_until(sub { told('agent_requests_waiting') == $count }, "$count requests to wait");
	return;
}

# A hundred clients, one open each, all let go at one moment; pgbench is their
# one process.  $which: the row that a client opens.
sub gather
{
	my ($which) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/open.sql';
	open(my $out, '>', $script) or die "$script: $!";
	print $out "SELECT pg_advisory_xact_lock_shared($gate);\n",
	  "INSERT INTO opened SELECT i, envelope_decrypt(sealed, 'k' || i), clock_timestamp() FROM t WHERE i = $which;\n";
	close $out;
	$admin->query('TRUNCATE opened');
	$admin->query('SELECT envelope_cache_flush()');
	$admin->query("SELECT pg_advisory_lock($gate)");
	local %ENV = $node->_get_env();
	my $crowd = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', $sessions, '-t', 1,
			'-f', $script, 'postgres' ], '<', \undef, '>', '/dev/null', '2>', '/dev/null',
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	wait_until(sub {
		$admin->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) == $sessions },
		'the crowd');
	return $crowd;
}

# The time of it: the clock is looked at first.
sub let_go { return (split /\|/, $admin->query("SELECT clock_timestamp(), pg_advisory_unlock($gate)"))[0]; }

sub opened { return $admin->query("SELECT count(*) FROM opened WHERE plain = 'value ' || i"); }

#
# One DEK.  The call for the first is held up until all of them are there.
#
$node->hold_calls;
my $crowd = gather(7);
my $before = told('agent_unwraps');
my $joined = told('agent_requests_joined');
let_go();
wait_for_waiting($sessions);
wait_until(sub { told('agent_calls_queued') == 0 }, 'what was asked to be a call');
is(told('agent_calls_in_flight'), 1, "$sessions sessions wait for one call");
$node->let_calls_through;
$crowd->finish;
is(opened(), $sessions, 'all of them open their value');
is(told('agent_unwraps') - $before, 1, 'by one unwrap');
is(told('agent_requests_joined') - $joined, $sessions - 1, 'which the others have joined');

#
# Cancelled waiters: the one whose request is the call, and one that has joined it.
#
sub cancelled_waiter
{
	my ($victim) = @_;
	$admin->query('SELECT envelope_cache_flush()');
	my @waiters = map { $node->session } 1 .. 4;
	my $calls = told('agent_unwraps');
	$node->hold_calls;
	for my $i (0 .. 3)
	{
		$waiters[$i]->send(q{SELECT envelope_decrypt(sealed, 'k1') FROM t WHERE i = 1});
		wait_for_waiting($i + 1);
	}
	my $from = clock_gettime(CLOCK_MONOTONIC);
	kill('INT', $waiters[$victim]->pid);
	my (undef, $err) = $waiters[$victim]->wait;
	my $seconds = clock_gettime(CLOCK_MONOTONIC) - $from;
	my %seen = (error => $err, still => 0, opened => 0);
	$seen{still} += $waiters[$_]->busy for grep { $_ != $victim } 0 .. 3;
	wait_for_waiting(3) if $seen{still} == 3;
	$node->let_calls_through;
	$seen{opened} += ($waiters[$_]->wait)[0] eq 'value 1' for grep { $_ != $victim } 0 .. 3;
	$seen{unwraps} = told('agent_unwraps') - $calls;
	$_->close for @waiters;
	return ($seconds, \%seen);
}

# The 0.2 s are the requirement; a loaded machine may need a few tries.
for my $victim (0, 2)
{
	my $name = $victim ? 'one that joined' : 'the first';
	my ($seconds, $seen);
	for my $try (1 .. 5)
	{
		($seconds, $seen) = cancelled_waiter($victim);
		last if $seconds < 0.2;
	}
	like($seen->{error}, qr/ERROR:  57014:/, "cancelled, $name of four waiters ends");
	cmp_ok($seconds, '<', 0.2, 'within 0.2 s');
	is($seen->{still}, 3, 'while the others wait on');
	is($seen->{opened}, 3, 'and open their value');
	is($seen->{unwraps}, 1, 'by one unwrap');
}

#
# As many DEKs as sessions: rounds of as many calls as kms_concurrency allows.  On
# a loaded machine its own share counts less if the provider is slower.
#
my ($opened, $unwraps, $ideal, $seconds);
for my $ms (200, 400, 800)
{
	$node->set_provider_delay($ms);
	$ideal = int(($sessions + $concurrency - 1) / $concurrency) * $ms / 1000;
	$crowd = gather(':client_id + 1');
	$before = told('agent_unwraps');
	my $from = let_go();
	$crowd->finish;
	($opened, $unwraps) = (opened(), told('agent_unwraps') - $before);
	$seconds = $admin->query("SELECT extract(epoch FROM max(at) - '$from') FROM opened");
	last if $seconds < 1.5 * $ideal || $opened != $sessions || $unwraps != $sessions;
}
is($opened, $sessions, "$sessions sessions miss a DEK each and open its value");
is($unwraps, $sessions, 'by an unwrap each');
cmp_ok($seconds, '<', 1.5 * $ideal, "within 1.5 times the provider's time");
cmp_ok($seconds, '>', $ideal - 0.1, 'and not faster than kms_concurrency allows');

# One session that prewarms does not wait for them one by one either.
my $warmed;
for my $ms (200, 400, 800)
{
	$node->set_provider_delay($ms);
	$ideal = int(($sessions + $concurrency - 1) / $concurrency) * $ms / 1000;
	$admin->query('SELECT envelope_cache_flush()');
	my $from = clock_gettime(CLOCK_MONOTONIC);
	$warmed = $admin->query('SELECT envelope_prewarm()');
	$seconds = clock_gettime(CLOCK_MONOTONIC) - $from;
	last if $seconds < 1.5 * $ideal || $warmed != $sessions;
}
is($warmed, $sessions, 'a session prewarms all keys');
cmp_ok($seconds, '<', 1.5 * $ideal, 'within the same time');
$node->set_provider_delay(0);

$admin->close;
$node->stop;
done_testing();
