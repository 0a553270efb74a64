# The agent is killed twenty times, hangs, and is replaced by one that speaks
# another version: the server never restarts, cached keys open, who waits gets a
# clear error at its deadline, and all works soon after the agent's return.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

plan skip_all => 'SKIP: needs a private server (PGE_BINDIR)' unless $ENV{PGE_BINDIR};

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }
sub now { return clock_gettime(CLOCK_MONOTONIC); }

# What the keeper starts is perl with a script that becomes the real agent, or
# one that speaks the next version, as "agent.kind" in the data directory says.
my $real = "$ENV{PGE_BINDIR}/pg_envelope_agent";
my $bindir = PgEnvelope::Cluster::own_programs(PostgreSQL::Test::Utils::tempdir_short() . '/root');
copy($^X, "$bindir/pg_envelope_agent") or die "$^X: $!";
chmod 0755, "$bindir/pg_envelope_agent";

local $ENV{PGE_BINDIR} = $bindir;
my $node = PgEnvelope::Cluster->new('lost', start => 0, plain_keyring => 1,
	'pg_envelope.kms_timeout' => '60s');
my $data = $node->data_dir;
system_or_bail($real, 'keyring', 'create', '--test', '--keyring', $node->keyring_file);
copy("$FindBin::RealBin/../tools/fake_agent.pl", "$data/fake_agent") or die $!;
write_file("$data/serve", <<"SCRIPT");
open(my \$in, '<', 'agent.kind') or die \$!;
chomp(my \$kind = <\$in>);
close \$in;
exec { '$real' } 'pg_envelope_agent', 'serve' if \$kind eq 'real';
\$SIG{PIPE} = 'IGNORE';    # who gave up waiting has closed its connection
exec { '$bindir/pg_envelope_agent' } 'pg_envelope_agent', 'fake_agent';
SCRIPT
write_file("$data/agent.kind", "real\n");
$node->start;
$node->create_extension;

my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  q{SELECT envelope_create_key('k', 'main')}, q{CREATE TABLE t AS SELECT envelope_encrypt('value', 'k') AS sealed};
my $open = q{SELECT envelope_decrypt(sealed, 'k') FROM t};

my $postmaster = $node->postmaster_pid;
my $keeper = $node->wait_for_agent && $node->keeper_pid;
my $started = $admin->query('SELECT pg_postmaster_start_time()');
my $session = $node->session;    # lives through it all
my $backend = $session->pid;

# Until an agent other than that one is ready.  The signal ends the keeper's
# back-off as a reload does, which is an administrator's "try again now".
sub wait_for_return
{
	my ($gone) = @_;
	my $pid;
	wait_until(sub {
		$pid = $node->agent_pid // 0;
		kill('HUP', $keeper) unless $pid;
		return $pid && $pid != $gone;
	}, 'another agent');
	wait_until(sub {
		$admin->query(q{SELECT value FROM envelope_status() WHERE name = 'agent_state'}) eq 'ready' }, 'it to be ready');
	return;
}

sub cold { $admin->query('SELECT envelope_cache_flush()'); return; }

# Returns the seconds that a cold open took.
sub opens_cold
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cold();
	my $from = now();
	is($session->query($open), 'value', $name);
	return now() - $from;
}

# A cold open fails at its deadline, with an error that says what to do.  A loaded
# machine may need a second or third try.
sub fails_at_deadline
{
	my ($agent, $detail) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($err, $seconds);
	$admin->set_for_all('kms_timeout', '2s', $session);
	for my $try (1 .. 3)
	{
		cold();
		my $from = now();
		(undef, $err) = $session->try($open);
		$seconds = now() - $from;
		last if $seconds < 2.8;
	}
	$admin->set_for_all('kms_timeout', '1min', $session);
	like($err, qr/^\S*\s*ERROR:  KE006: could not unwrap version 1 of key "k"$/m, "$agent: a cold open fails");
	like($err, qr/^DETAIL:  The agent did not answer within 2000 ms$detail\.$/m, 'the error says what happened');
	like($err, qr/^HINT:  .*envelope_status\(\)/m, 'and what to do');
	cmp_ok($seconds, '>=', 1.9, 'it waits for its deadline');
	cmp_ok($seconds, '<', 2.8, 'and no longer');
	return;
}

#
# Killed twenty times, each time under a session that waits: stopped first, so
# that it is sure to wait.  By turns it waits for its connection to be accepted,
# and for the answer to a request on one that was proved before.
#
my ($served, $slowest) = (0, 0);
for my $round (1 .. 20)
{
	$session->query('BEGIN');
	if ($round % 2)
	{
		cold();
		$session->query($open);
	}
	cold();
	my $agent = $node->stop_agent_process;
	$session->send($open);
	wait_until(sub {
		$admin->query("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $backend") eq 'Extension' },
		'the session to wait for the agent');
	kill('KILL', delete $node->{pge_stopped});
	wait_for_return($agent);
	my $from = now();
	my ($out) = $session->wait;
	$served++ if $out eq 'value';
	$slowest = now() - $from if now() - $from > $slowest;
	$session->query('ROLLBACK');
}
is($served, 20, 'killed 20 times under a session that waits, whose open goes on with the next agent');
cmp_ok($slowest, '<', 5, 'within 5 s of its return');

#
# Hung.
#
is($session->query($open), 'value', 'a warm key');
my $hung = $node->stop_agent_process;
is($session->query($open), 'value', 'opens while the agent hangs');
fails_at_deadline('hung', '');
$node->continue_agent_process;
cmp_ok(opens_cold('it goes on: cold opens work'), '<', 5, 'within 5 s');
is($node->agent_pid, $hung, 'and is the same');

#
# Replaced by one of another version.
#
write_file("$data/agent.kind", "other\n");
write_file("$data/fake_agent.start", "next version\n");
$node->kill_agent;
kill('HUP', $keeper);
$node->wait_for_log(qr/killing the pg_envelope agent \(PID \d+\): it speaks another version of the protocol, or none; restart the server after an upgrade/);
pass('the log names the other version and the way out');
fails_at_deadline('another version', '; (no agent is ready|the agent speaks another version of the protocol|the agent closed the connection|could not \w+ .*)');
# This one calls itself ready, and then answers in another version.
write_file("$data/fake_agent.start", "\n");
write_file("$data/fake_agent.connection", "next version\n");
wait_for_return(0);
fails_at_deadline('another version in its answers', '; the agent speaks another version of the protocol');
my $wrong = $node->agent_pid;
write_file("$data/agent.kind", "real\n");
kill('KILL', $wrong);
wait_for_return($wrong);
cmp_ok(opens_cold('the right one is back: cold opens work'), '<', 5, 'within 5 s');

#
# And the server has seen nothing of it.
#
is($node->postmaster_pid, $postmaster, 'the postmaster is the same');
is($node->keeper_pid, $keeper, 'the keeper too');
is($session->query('SELECT pg_backend_pid()'), $backend, 'and the session');
is($admin->query('SELECT pg_postmaster_start_time()'), $started, 'the server has not started again');
unlike(slurp_file($node->logfile), qr/terminating any other active server processes|reinitializing/, 'or crashed');
cmp_ok($node->status('agent_starts'), '>=', 22, 'while agents came and went');
$_->close for $session, $admin;
$node->stop;
done_testing();

sub write_file
{
	my ($file, $content) = @_;
	open(my $out, '>', "$file.new") or die "$file: $!";
	print $out $content;
	close $out;
	rename("$file.new", $file) or die "$file: $!";
	return;
}

