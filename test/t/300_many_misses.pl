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

sub told { return $admin->query("SELECT value FROM envelope_status() WHERE name = '$_[0]'"); }

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

sub let_go { return $admin->query("SELECT clock_timestamp() FROM pg_advisory_unlock($gate)"); }

sub opened { return $admin->query("SELECT count(*) FROM opened WHERE plain = 'value ' || i"); }

#
# One DEK.  The provider is slow enough that all of them are there before it has
# answered the first: that is waited for, so it is no guess.
#
$node->set_provider_delay(3000);
my $crowd = gather(7);
my $before = told('agent_unwraps');
my $joined = told('agent_requests_joined');
let_go();
wait_for_waiting($sessions);
is(told('agent_calls_in_flight'), 1, "$sessions sessions wait for one call");
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
	$seen{opened} += ($waiters[$_]->wait)[0] eq 'value 1' for grep { $_ != $victim } 0 .. 3;
	$seen{unwraps} = told('agent_unwraps') - $calls;
	$_->close for @waiters;
	return ($seconds, \%seen);
}

# The 0.2 s are the requirement; a loaded machine may need a second or third try.
$node->set_provider_delay(1200);
for my $victim (0, 2)
{
	my $name = $victim ? 'one that joined' : 'the first';
	my ($seconds, $seen);
	for my $round (1 .. 3)
	{
		($seconds, $seen) = cancelled_waiter($victim);
		last if $seconds < 0.2 && $seen->{still} == 3;
	}
	like($seen->{error}, qr/ERROR:  57014:/, "cancelled, $name of four waiters ends");
	cmp_ok($seconds, '<', 0.2, 'within 0.2 s');
	is($seen->{still}, 3, 'while the others wait on');
	is($seen->{opened}, 3, 'and open their value');
	is($seen->{unwraps}, 1, 'by one unwrap');
}

#
# As many DEKs as sessions: rounds of as many calls as kms_concurrency allows.
# Best of three, since the machine may be loaded.
#
$node->set_provider_delay(200);
my $bound = 1.5 * int(($sessions + $concurrency - 1) / $concurrency) * 0.2;
my $seconds;
for my $round (1 .. 3)
{
	$crowd = gather(':client_id + 1');
	$before = told('agent_unwraps');
	my $from = let_go();
	$crowd->finish;
	is(opened(), $sessions, "$sessions sessions miss a DEK each and open its value");
	is(told('agent_unwraps') - $before, $sessions, 'by an unwrap each');
	$seconds = $admin->query("SELECT extract(epoch FROM max(at) - '$from') FROM opened");
	last if $seconds < $bound;
}
cmp_ok($seconds, '<', $bound, "within 1.5 times the provider's time ($bound s)");
cmp_ok($seconds, '>', $bound / 1.5 - 0.1, "and not faster than kms_concurrency allows");

# One session that prewarms does not wait for them one by one either.
for my $round (1 .. 3)
{
	$admin->query('SELECT envelope_cache_flush()');
	my $from = clock_gettime(CLOCK_MONOTONIC);
	is($admin->query('SELECT envelope_prewarm()'), $sessions, 'a session prewarms all keys');
	$seconds = clock_gettime(CLOCK_MONOTONIC) - $from;
	last if $seconds < $bound;
}
cmp_ok($seconds, '<', $bound, 'within the same time');
$node->set_provider_delay(0);

$admin->close;
$node->stop;
done_testing();
