# The keeper keeps one agent running, whatever happens to it, and the memory of
# the keys is wiped when the server starts over.
use strict;
use warnings FATAL => 'all';
use Cwd;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IO::Socket::UNIX;
use PgEnvelope::Cluster;
use PgEnvelope::Versions;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

sub alive { return kill(0, $_[0]) || $!{EPERM} }

# Runs it and returns its seconds.
sub seconds(&)
{
	my $from = clock_gettime(CLOCK_MONOTONIC);
	$_[0]->();
	return clock_gettime(CLOCK_MONOTONIC) - $from;
}

sub wait_for_ready
{
	my ($node, $other) = @_;
	my $pid = $node->wait_for_agent($other);
	ok($node->poll_query_until('postgres',
		q{SELECT value = 'ready' FROM envelope_status() WHERE name = 'agent_state'}),
		'an agent is ready');
	return $pid;
}

my $node = PgEnvelope::Cluster->new('main', 'pg_envelope.kms_timeout' => 3000);
my $log = sub { slurp_file($node->logfile) };

# What the status says is so.
my $agent = wait_for_ready($node);
my $keeper = $node->status('keeper_pid');
is($keeper, $node->keeper_pid, 'the status names the keeper');
is($node->status('agent_pid'), $agent, 'and the agent');
is($node->status('agent_starts'), 1, 'which was started once');
is($node->status('version'), PgEnvelope::Versions::default_version(), 'and the version');
like($node->status('secret_memory'), qr/^(memfd_secret|fallback, (not )?locked)$/,
	'and the kind of memory');
is($node->status('cache_used'), 0, 'no key is cached yet');
is($node->status('agent_kms_concurrency'), 16, 'the agent answers for itself');

my $socket = $node->data_dir . '/pg_stat_tmp/pg_envelope.sock';
ok(-S $socket, 'the socket is in pg_stat_tmp');
is((stat $socket)[2] & 0777, 0600, 'and for nobody else');

# A reload reaches the agent.
$node->append_conf('postgresql.conf', 'pg_envelope.kms_concurrency = 7');
$node->reload;
ok($node->poll_query_until('postgres',
	q{SELECT value = '7' FROM envelope_status() WHERE name = 'agent_kms_concurrency'}),
	'a changed setting reaches the agent');
is($node->agent_pid, $agent, 'which is the same');

# An agent that is killed is replaced, the server does not notice.
my $session = $node->session;
my $postmaster = $node->postmaster_pid;
for my $round (1 .. 3)
{
	$node->kill_agent;
	my $new = wait_for_ready($node, $agent);
	isnt($new, $agent, "another agent after kill $round");
	$agent = $new;
	$node->reload;    # an administrator's "try again now": ends a back-off
}
is($session->query('SELECT 1'), 1, 'sessions live on');
is($node->keeper_pid, $keeper, 'the keeper too');
like($log->(), qr/pg_envelope agent \(PID \d+\) ended: child process was terminated by signal 9/,
	'the log says how each ended');
cmp_ok($node->status('agent_starts'), '>=', 4, 'starts are counted');

# A hung agent costs an answer, not a session, and does not hold up the stop.
$node->stop_agent_process;
my $hung = $node->agent_pid;
like($node->status('agent_answer'), qr/^The agent did not answer within 1000 ms/,
	'of a hung agent the status says so');
is($node->status('agent_pid'), $hung, 'with its pid');
my ($out, $err) = $session->try(q{SET statement_timeout = 200; SELECT count(*) FROM envelope_status()});
like($err, qr/57014/, 'who waits for it can be cancelled');
$session->query('RESET statement_timeout');
is($session->query('SELECT 2'), 2, 'and goes on');
$session->close;
delete $node->{pge_stopped};    # it stays stopped
# (It takes 0.6 s, and 60 where the keeper waits; pg_ctl gives up then.)
cmp_ok(seconds { $node->stop('fast') }, '<', 20, 'a hung agent does not hold up a fast stop');
wait_until(sub { !alive($hung) }, 'the end of the hung agent');
pass('and does not outlive the server');
ok(!-e $socket, 'nor does the socket');

# Every other kind of stop takes the agent along, and at an immediate one the postmaster need not
# resort to SIGKILL, as it does after five seconds.
for my $mode (qw(smart fast immediate))
{
	$node->start;
	$agent = wait_for_ready($node);
	my $at = -s $node->logfile;
	my $took = seconds { $node->stop($mode) };
	is(($took < 20 ? 'quick' : "$took s") . (slurp_file($node->logfile, $at) =~ /issuing SIG\w+ to recalcitrant children/ ? ', by force' : ''), 'quick', "a $mode stop is quick");
	wait_until(sub { !alive($agent) }, "the end of the agent after a $mode stop");
}
$node->start;
$agent = wait_for_ready($node);
$keeper = $node->keeper_pid;
$node->kill9_and_wait;
wait_until(sub { !alive($agent) && !alive($keeper) }, 'keeper and agent to follow the postmaster');
pass('a postmaster that is killed takes keeper and agent along');

# What a server that was killed whole leaves behind does not stop the next.
my $here = Cwd::getcwd();
chdir $node->data_dir or die "chdir: $!";    # an address has 107 bytes, this path more
IO::Socket::UNIX->new(Local => 'pg_stat_tmp/pg_envelope.sock', Listen => 1)
  or die "no socket: $!";
chdir $here or die "chdir: $!";
ok(-S $socket, 'a stale socket lies there');
$node->start;
wait_for_ready($node);
pass('and is replaced');

# Terminated by hand the keeper comes back.
$keeper = $node->keeper_pid;
kill('TERM', $keeper);
wait_until(sub { ($node->keeper_pid // $keeper) != $keeper }, 'another keeper');
wait_for_ready($node);
is($node->status('keeper_pid'), $node->keeper_pid, 'a keeper that ends is started again');
$node->stop;

# Who kills a backend, or the keeper, restarts the server, with a clean region.
# Only in the fallback can anybody look, or leave a mark, from outside.
$node->append_conf('postgresql.conf',
	"pg_envelope.secret_memory = fallback\nrestart_after_crash = on");
$node->start;
wait_for_ready($node);
like($node->status('secret_memory'), qr/^fallback, (not )?locked$/, 'the fallback is named');
SKIP:
{
	my ($from, $to) = region_of($node->postmaster_pid);
	my $mark = sprintf('mark-%08x%08x', map { int rand 2**32 } 1, 2);
	skip 'the memory of the postmaster cannot be written', 3
	  unless poke($node->postmaster_pid, $to - length $mark, $mark);
	is(peek($node->postmaster_pid, $to - length $mark, length $mark), $mark,
		'a mark is in the region');
	my $secret = peek($node->postmaster_pid, $from, 32);
	crash($node);
	is(peek($node->postmaster_pid, $to - length $mark, length $mark), "\0" x length $mark,
		'and gone after a crash restart');
	isnt(peek($node->postmaster_pid, $from, 32), $secret, 'the socket has another secret');
}
$node->stop;

# require: either it is kept or the server does not start.
$node->append_conf('postgresql.conf', 'pg_envelope.secret_memory = require');
if ($node->start(fail_ok => 1))
{
	is($node->status('secret_memory'), 'memfd_secret', 'require is kept');
	$node->stop;
}
else
{
	like($log->(), qr/FATAL:  pg_envelope could not get secret memory.*\n.*HINT:  .*secretmem\.enable=1/,
		'require is refused with the way out');
}

# More than the limit of locked memory.
$node->append_conf('postgresql.conf', 'pg_envelope.cache_size = 1000000');
SKIP:
{
	my $limit = (split ' ', (grep { /^Max locked memory/ }
				split /\n/, slurp_file('/proc/self/limits'))[0])[3];
	skip 'locked memory is not limited here', 2 if $limit eq 'unlimited' || $limit > 64e6;
	ok(!$node->start(fail_ok => 1), 'a region that cannot be locked is no secret memory');
	$node->append_conf('postgresql.conf', 'pg_envelope.secret_memory = prefer');
	skip 'hardened-asan: the sanitizer makes mlock succeed and do nothing', 1 if PgEnvelope::Cluster::hardened_run() eq 'asan';
	$node->start;
	is($node->status('secret_memory'), 'fallback, not locked', 'prefer takes what there is');
	$node->stop;
}
done_testing();

# The mapping of the region in the fallback: the smaller of the two that are
# shared and anonymous (the other is the server's shared memory).
sub region_of
{
	my ($pid) = @_;
	no warnings 'portable';    # 64-bit addresses
	my @found = sort { $a->[1] - $a->[0] <=> $b->[1] - $b->[0] }
	  map { m{^([0-9a-f]+)-([0-9a-f]+) rw-s .*/dev/zero} ? [ hex $1, hex $2 ] : () }
	  split /\n/, slurp_file("/proc/$pid/maps");
	return @{ $found[0] };
}

sub peek
{
	my ($pid, $at, $len) = @_;
	open(my $mem, '<:raw', "/proc/$pid/mem") or return;
	sysseek($mem, $at, 0);
	sysread($mem, my $bytes, $len);
	return $bytes;
}

sub poke
{
	my ($pid, $at, $bytes) = @_;
	open(my $mem, '+<:raw', "/proc/$pid/mem") or return 0;
	sysseek($mem, $at, 0);
	return (syswrite($mem, $bytes) // 0) == length $bytes;
}

sub crash
{
	my ($node) = @_;
	my $victim = $node->session;
	my $old = $node->keeper_pid;
	kill('KILL', $victim->pid);
	wait_until(sub { ($node->keeper_pid // $old) != $old }, 'the restart');
	wait_for_ready($node);
	return;
}
