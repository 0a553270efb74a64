# No room to write the keyring and no descriptors left, in the agent, at its door and
# in a session: clear errors, the old file as it was, no half of a new one, and all
# works again afterwards.  (The command line's half is in test/keyring/run.)
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Fcntl;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIP: needs prlimit (util-linux)' if system('prlimit --version >/dev/null 2>&1') != 0;

# The server would count those that we were started with: it gets none of them.
my @inherited;
for my $fd (grep { $_ > 2 } map { m{/(\d+)\z} } glob '/proc/self/fd/*')
{
	open(my $handle, '<&=', $fd) or next;
	fcntl($handle, F_SETFD, FD_CLOEXEC) or die "descriptor $fd: $!";
	push @inherited, $handle;
}

# 64 leaves a session 18 connections of its own kind (a third of what it counts on).
my $node = PgEnvelope::Cluster->new('short', 'pg_envelope.kms_timeout' => '60s', max_files_per_process => 64);
my $file = $node->keyring_file;
my ($dir) = $file =~ m{(.*)/};
my $admin = $node->session;
my $session = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  q{SELECT envelope_create_key('k', 'main')}, q{CREATE TABLE t AS SELECT envelope_encrypt('value', 'k') AS sealed};
$session->query(q{SET client_min_messages = error});
my $open = q{SELECT envelope_decrypt(sealed, 'k') FROM t};
my $check_disk = qr/^HINT:  Check the disk and the rights on the keyring file and its directory\.$/m;
my $agent = $node->wait_for_agent;
my $tries = 0;

# The hard limit stays, so that the soft one can be raised again.
sub limit { system_or_bail('prlimit', '--pid', $_[0], "--$_[1]=$_[2]:"); return; }

sub cold { $admin->query('SELECT envelope_cache_flush()'); return; }

sub snapshot
{
	opendir(my $in, $dir) or die $!;
	my @names = sort grep { !/^\./ } readdir $in;
	return join ' ', @names, slurp_file($file);
}

sub counts
{
	return $admin->query(q{SELECT (SELECT count(*) FROM envelope.kek), (SELECT count(*) FROM envelope.key), (SELECT count(*) FROM envelope.dek)});
}

#
# A full disk.
#
my ($before, $rows) = (snapshot(), counts());
limit($agent, 'fsize', 64);
for my $try ([ 'create_kek', q{SELECT envelope_create_kek('full')}, 'could not create KEK "full" in the local keyring' ],
	[ 'rotate_kek', q{SELECT envelope_rotate_kek('main')}, 'could not rotate KEK "main"' ])
{
	my ($name, $sql, $message) = @$try;
	my (undef, $err) = $admin->try($sql);
	like($err, qr/ERROR:  58030: \Q$message\E$/m, "$name on a full disk is an I/O error");
	like($err, qr/^DETAIL:  "\Q$file\E\.new" could not be written: File too large; the keyring file is as it was\.$/m, 'the detail says of what');
	like($err, $check_disk, 'and the hint what to look at');
	is(snapshot(), $before, 'the file is as it was, with nothing beside it');
	is(counts(), $rows, 'as are the rows');
}
cold();
is($admin->query($open), 'value', 'what was sealed opens meanwhile');
is($admin->query(q{SELECT envelope_create_key('made meanwhile', 'main')}), '1', 'and keys are made under KEKs that are there');
limit($agent, 'fsize', 'unlimited');
like($admin->query(q{SELECT envelope_create_kek('full')}), qr/^local:/, 'with room a KEK is made');
is($admin->query(q{SELECT envelope_rotate_kek('main')}), '2', 'and rotated');
is($node->agent_pid, $agent, 'by the same agent');

#
# No descriptors: a change opens several, of which one after the other fails.
# The session is connected before, and its transaction keeps the connection.
#
my (%details, %worked);
for my $function ('create_kek', 'rotate_kek')
{
	for my $files (reverse 5 .. 24)
	{
		$tries++;
		($before, $rows) = (snapshot(), counts());
		$session->query('BEGIN');
		PgEnvelope::Cluster::wait_until(sub {
			$session->query(q{SELECT count(*) FROM envelope_status() WHERE name = 'agent_clients'}) eq '1' }, 'the agent to answer');
		limit($agent, 'nofile', $files);
		my ($out, $err) = $session->try($function eq 'create_kek' ? "SELECT envelope_create_kek('few $files')" : q{SELECT envelope_rotate_kek('full')});
		limit($agent, 'nofile', 1024);
		$session->query($err eq '' ? 'COMMIT' : 'ROLLBACK');
		if ($err eq '')
		{
			$worked{$function}++;
			next;
		}
		my ($state, $detail) = $err =~ /ERROR:  (58030|KE007): could not (?:create|rotate) .*^DETAIL:  (.*): Too many open files[^\n]*\n.*^HINT:  /ms;
		isnt($state, undef, "$function with $files descriptors says what is short and what to do") or diag($err);
		is_deeply([ snapshot(), counts() ], [ $before, $rows ], 'file and rows are as they were, with nothing beside them');
		$details{ ($detail // '') =~ s/\Q$dir\E//gr }++;
		last if ($details{$detail =~ s/\Q$dir\E//gr}) > 4;
	}
	cmp_ok($worked{$function} // 0, '>', 0, "$function works with enough");
}
note("\"$_\": $details{$_} times") for sort keys %details;
is(scalar keys %details, 2, 'at its directory and at its file');
cold();
is($session->query($open), 'value', 'what was sealed opens');
like($session->query(q{SELECT envelope_create_kek('enough')}), qr/^local:/, 'and a KEK is made');

#
# None for a newcomer: he waits until there is one, or until his deadline.
#
sub comes_when_there_is_none
{
	cold();
	limit($agent, 'nofile', 5);
	$session->send($open);
	return;
}
my $log_at = -s $node->logfile;
$admin->set_for_all('kms_timeout', '3s', $session);
comes_when_there_is_none();
$node->wait_for_log(qr/WARNING:  pg_envelope agent: The agent cannot accept connections: Too many open files\..*limit of open files/, $log_at);
pass('an agent without descriptors says so in the log');
my (undef, $late) = $session->wait;
like($late, qr/ERROR:  KE006: could not unwrap .*^DETAIL:  The agent did not answer within 3000 ms.*^HINT:  Try again; .*server's log/ms, 'who waits outside fails at his deadline');
$admin->set_for_all('kms_timeout', '1min', $session);
limit($agent, 'nofile', 1024);
is($session->query($open), 'value', 'with descriptors he is let in');
comes_when_there_is_none();
PgEnvelope::Cluster::wait_until(sub {
	$admin->query('SELECT wait_event_type FROM pg_stat_activity WHERE pid = ' . $session->pid) eq 'Extension' }, 'it to wait');
limit($agent, 'nofile', 1024);
is(($session->wait)[0], 'value', 'and who waits until there is one goes on');
is($node->agent_pid, $agent, 'all the time it was one agent');

#
# None in the session: those it may count on are taken, or the system has none.
#
SKIP:
{
	skip 'SKIP: dblink is not installed', 5 unless $admin->query(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'dblink'});
	$admin->query('CREATE EXTENSION dblink');
	my $connect = "'host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres'";
	my $connected = 0;
	my $connects = sub { ($session->try("SELECT dblink_connect('c$connected', $connect)"))[1] eq '' && ++$connected };
	1 while $connected < 40 && $connects->();
	# (The server's own count of 17 is one too low after a refusal: that one is taken, too.)
	$connects->();
	cmp_ok($connected, '<', 40, 'a session takes all the connections that it may');
	cold();
	my (undef, $err) = $session->try($open);
	like($err, qr/ERROR:  53000: could not connect to the pg_envelope agent$/m, 'then there is none for the agent');
	like($err, qr/^DETAIL:  This session has as many .*^HINT:  Close connections .*max_files_per_process/ms, 'and it is told why and what to do');
	# The wait needs one of its own.  (dblink's too, from 16 on: it has left one.)
	my ($freed, $opened) = (0, '');
	while ($opened ne 'value' && $err =~ /ERROR:  53000: could not connect to the pg_envelope agent$/m)
	{
		$session->query("SELECT dblink_disconnect('c$freed')");
		$freed++;
		($opened, $err) = $session->try($open);
	}
	is($opened, 'value', 'with as many as it needs it opens, and the error is the same until then');
	cmp_ok($freed, '<=', 2, 'which are two');
	$session->query("SELECT dblink_disconnect('c$_')") for $freed .. $connected - 1;
}
# Shorter than that: the system refuses a socket, and the session tries until its deadline.
$admin->set_for_all('kms_timeout', '500ms', $session);
$session->query($open);
cold();
limit($session->pid, 'nofile', 5);
my (undef, $none) = $session->try($open);
like($none, qr/ERROR:  (?:KE006: could not unwrap .*^DETAIL:  The agent did not answer within 500 ms; could not make a (?:socket|descriptor to wait with): Too many open files\.\n.*^HINT:  Try again|53000: .*Too many open files)/ms,
	'a session without descriptors says so');
limit($session->pid, 'nofile', 1024);
$admin->set_for_all('kms_timeout', '1min', $session);
is($session->query($open), 'value', 'and opens when it has some');

$_->close for $admin, $session;
$node->stop;
done_testing();
