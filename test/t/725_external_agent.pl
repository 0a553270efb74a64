# An agent that is a service of another operating-system user: it serves this server's user and no
# other, the server believes it and no other, what it holds cannot be read through the server, and
# sessions find it again when it was away.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IO::Socket::UNIX;
use Socket qw(:DEFAULT SOCK_NONBLOCK);
use PgEnvelope::Cluster;
use PgEnvelope::OtherUser;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIP: ' . PgEnvelope::OtherUser::missing() if PgEnvelope::OtherUser::missing();

my $canary = sprintf('canary-%08x%08x', map { int rand 2**32 } 1, 2);
my $dir = PgEnvelope::OtherUser::directory('agent');
my $agent = PgEnvelope::OtherUser->start_agent($dir, environment => { AWS_SECRET_ACCESS_KEY => $canary });
my $node = PgEnvelope::Cluster->new('main', $agent->settings, 'pg_envelope.kms_timeout' => 20000);
$node->safe_psql('postgres', q{
	SELECT envelope_create_kek('main');
	SELECT envelope_create_key('acme', 'main');
	CREATE TABLE t AS SELECT envelope_encrypt('value', 'acme') AS sealed});
my $cold = q{SELECT envelope_cache_flush() IS NULL; SELECT envelope_decrypt(sealed, 'acme') FROM t};

# --- it works ---
is($node->safe_psql('postgres', $cold), "f\nvalue", 'a value opens through the agent of another user');
ok((stat $agent->socket)[4] == PgEnvelope::OtherUser::uid(), '(who is another user)');
is($node->agent_pid, undef, 'the server has started no agent');
ok(!-e $node->data_dir . '/pg_stat_tmp/pg_envelope.sock', 'nor made a socket');
# (Of one that did not answer within a second it tells no more than that.)
my %told;
PgEnvelope::Cluster::wait_until(
	sub {
		%told = map { split /\|/, $_, 2 } split /\n/, $node->safe_psql('postgres', 'SELECT name, value FROM envelope_status()');
		return !exists $told{agent_answer};
	}, 'an agent that answers in time');
is($told{ $_->[0] }, $_->[1], "envelope_status() tells $_->[0]")
  for [ agent => 'external' ], [ agent_socket => $agent->socket ], [ agent_user => PgEnvelope::OtherUser::name() ],
  [ agent_state => 'reachable' ], [ agent_pid => $agent->pid ], [ agent_keyring_file => $agent->keyring ], [ settings_unused => '' ];
unlike(slurp_file($node->logfile), qr/settings are not used/, 'no word of settings that are not there');

# --- what it holds cannot be reached ---
PgEnvelope::OtherUser::write_file("$dir/role-id", $canary);
PgEnvelope::OtherUser::write_file("$dir/public", "$canary\n", 0644);
$node->safe_psql('postgres', q{
	CREATE ROLE reader LOGIN IN ROLE pg_read_server_files;
	GRANT EXECUTE ON FUNCTION pg_read_file(text), pg_read_binary_file(text) TO reader;
	CREATE TABLE lines (line text);
	GRANT INSERT ON lines TO reader});
my %reads = (
	pg_read_file => q{SELECT pg_read_file('FILE')},
	pg_read_binary_file => q{SELECT pg_read_binary_file('FILE')},
	COPY => q{COPY lines FROM 'FILE'});
my %closed = (keyring => $agent->keyring, configuration => $agent->config, credential => "$dir/role-id",
	environment => '/proc/' . $agent->pid . '/environ', memory => '/proc/' . $agent->pid . '/mem');
for my $user (qw(reader), PgEnvelope::Cluster::superuser())
{
	for my $way (sort keys %reads)
	{
		my ($out, $err) = $node->try($reads{$way} =~ s/FILE/$dir\/public/r, user => $user);
		is($err, '', "(control: $user reads a public file of that user by $way)");
		for my $what (sort keys %closed)
		{
			$err = $node->fails_with($reads{$way} =~ s/FILE/$closed{$what}/r, '42501', "$user cannot read the agent's $what by $way", user => $user);
			like($err, qr/Permission denied/, '... because the system does not let it');
		}
	}
}
for my $what (sort keys %closed)
{
	$node->fails_with("COPY lines FROM PROGRAM 'cat $closed{$what}'", '38000', "a superuser's program cannot read its $what either");
}
is($node->safe_psql('postgres', "SELECT count(*) FROM lines WHERE line <> '$canary'"), '0', 'nothing else has been read');

# --- whom it serves, and whom the server believes ---
my $requests = $node->status('agent_requests_failed');
my $stranger = PgEnvelope::Cluster->new('stranger', $agent->settings, 'pg_envelope.agent_user' => 'daemon', 'pg_envelope.kms_timeout' => 500);
my $err = $stranger->fails_with(q{SELECT envelope_create_kek('main')}, 'KE006', 'an agent that runs as another user than agent_user is not asked');
like($err, qr/who listens at "pg_envelope\.agent_socket" is not "pg_envelope\.agent_user"/, 'and why is told');
like($err, qr/HINT: .*systemctl status pg_envelope_agent/, 'and where to look');
is($stranger->status('agent_state'), 'not reachable', 'envelope_status() says so');
like($stranger->status('agent_answer'), qr/is not "pg_envelope\.agent_user"/, 'with the reason');
$stranger->stop;

# One who has taken the socket's place, as the server's own user.
my $false = PostgreSQL::Test::Utils::tempdir_short() . '/agent.sock';
my $impostor = IO::Socket::UNIX->new(Local => $false, Listen => 16) or die "$false: $!";
$stranger->append_conf('postgresql.conf', "pg_envelope.agent_user = '" . PgEnvelope::OtherUser::name() . "'\npg_envelope.agent_socket = '$false'");
$stranger->start;
$stranger->fails_with(q{SELECT envelope_create_kek('main')}, 'KE006', 'an impostor of another user is not asked');
my ($connections, $heard) = (0, '');
$impostor->blocking(0);
while (my $connection = $impostor->accept)
{
	$connections++;
	$connection->blocking(0);
	$heard .= $_ while defined($_ = <$connection>);
}
cmp_ok($connections, '>', 0, '(it was connected to)');
is($heard, '', 'and hears not a byte');
$stranger->stop;

# A socket whose queue somebody keeps full: a session waits for its turn in there, where the server knows of no wait.
my $full = PostgreSQL::Test::Utils::tempdir_short() . '/agent.sock';
my $queue = IO::Socket::UNIX->new(Local => $full, Listen => 1) or die "$full: $!";
my @others;
do { socket(my $other, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0) or die $!; push @others, $other; } while connect($others[-1], pack_sockaddr_un($full));
ok($!{EAGAIN}, '(it is full)');
$stranger->append_conf('postgresql.conf', "pg_envelope.agent_user = '" . getpwuid($>) . "'\npg_envelope.agent_socket = '$full'\npg_envelope.kms_timeout = 600000");
$stranger->start;
my $waiting = $stranger->session;
$waiting->send(q{SELECT envelope_create_kek('main')});
my $in_queue = q{SELECT state = 'active' AND wait_event IS NULL FROM pg_stat_activity WHERE pid = } . $waiting->pid;
for (1 .. 3)
{
	ok($stranger->poll_query_until('postgres', $in_queue), "a session waits in the queue of the agent's socket ($_)") or last;
}
is($stranger->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $waiting->pid . ')'), 't', '(it is cancelled)');
like(($waiting->wait)[1], qr/canceling statement due to user request/, 'and hears of a cancel there');
$waiting->close;
$stranger->stop;

# The reverse: it serves another user's server.
$agent->configure(server_user => 'daemon');
$agent->signal('HUP');
$agent->wait_log(qr/The configuration was read again/);
$node->append_conf('postgresql.conf', 'pg_envelope.kms_timeout = 500');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT setting = '500' FROM pg_settings WHERE name = 'pg_envelope.kms_timeout'}), '(less patience)');
$err = $node->fails_with($cold, 'KE006', 'a server of another user than server_user is not served');
like($err, qr/DETAIL: .*(closed the connection|send to the agent|receive from the agent)/, 'and why is told');
$agent->wait_log(qr/another user \(id $>, not 1\)/);
pass('by the agent, too');
$agent->configure;
$agent->signal('HUP');
$node->append_conf('postgresql.conf', 'pg_envelope.kms_timeout = 20000');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT setting = '20000' FROM pg_settings WHERE name = 'pg_envelope.kms_timeout'}), '(patience)');
is($node->safe_psql('postgres', $cold), "f\nvalue", 'until it serves this one again');

# --- it goes and comes ---
for my $how (qw(TERM KILL))
{
	my @sessions = map { $node->session } 1 .. 4;
	$_->query('BEGIN; SELECT envelope_cache_flush()') for @sessions;
	is($_->query(q{SELECT envelope_decrypt(sealed, 'acme') FROM t}), 'value', '(a session has a connection)') for @sessions;
	$agent->stop(signal => $how);
	$_->send(q{SELECT envelope_cache_flush() IS NULL; SELECT envelope_decrypt(sealed, 'acme') FROM t}) for @sessions;
	$agent->restart;
	is(($_->wait)[0], "f\nvalue", "a session that asks while the agent is away after SIG$how gets its answer") for @sessions;
	$_->close for @sessions;
}
$node->safe_psql('postgres', 'CREATE TABLE enough (n int)');
my @load = map { $node->session } 1 .. 4;
$_->send(q{DO $$ BEGIN LOOP PERFORM envelope_cache_flush(); PERFORM envelope_decrypt(sealed, 'acme') FROM t;
	EXIT WHEN EXISTS (SELECT FROM enough); END LOOP; END $$}) for @load;
my $unwraps = q{SELECT value::int > 50 FROM envelope_status() WHERE name = 'agent_unwraps'};
ok($node->poll_query_until('postgres', $unwraps), '(four sessions ask on and on)');
$agent->stop(signal => 'KILL');
$agent->restart;
ok($node->poll_query_until('postgres', $unwraps), '(also of the next agent)');
$node->safe_psql('postgres', 'INSERT INTO enough VALUES (1)');
is(($_->wait)[1], '', 'an agent that is killed under load: its calls are made again by the next') for @load;
$_->close for @load;

$node->append_conf('postgresql.conf', 'pg_envelope.kms_timeout = 500');
$node->reload;
$agent->stop;
ok($node->poll_query_until('postgres', q{SELECT setting = '500' FROM pg_settings WHERE name = 'pg_envelope.kms_timeout'}), '(less patience)');
$err = $node->fails_with($cold, 'KE006', 'an agent that is not there');
like($err, qr/DETAIL:  The agent did not answer within 500 ms; could not connect to the agent's socket: No such file/, 'is told of');
like($err, qr/HINT: .*systemctl status pg_envelope_agent/, 'with where to look');
is($node->status('agent_state'), 'not reachable', 'by envelope_status(), too');
$agent->restart;
is($node->safe_psql('postgres', $cold), "f\nvalue", 'the same session settings find it again');

# --- settings ---
$node->append_conf('postgresql.conf', "pg_envelope.keyring_passphrase_command = 'cat /x'\npg_envelope.kms_config_file = '/y'");
$node->reload;
$node->wait_for_log(qr/WARNING:  settings are not used, because the pg_envelope agent is external: pg_envelope\.keyring_passphrase_command, pg_envelope\.kms_config_file/);
pass('settings that an external agent does not hear of are told of');
ok($node->poll_query_until('postgres', q{SELECT value = 'pg_envelope.keyring_passphrase_command, pg_envelope.kms_config_file' FROM envelope_status() WHERE name = 'settings_unused'}), 'by envelope_status(), too');
$node->stop;
for my $bad ([ "pg_envelope.agent_user = ''", qr/does not say who that is/ ], [ "pg_envelope.agent_user = 'no_such_user'", qr/There is no operating-system user "no_such_user"/ ],
	[ "pg_envelope.agent_user = 'root'", qr/no process of root's/ ])
{
	my $conf = slurp_file($node->data_dir . '/postgresql.conf');
	my $at = -s $node->logfile;
	$node->append_conf('postgresql.conf', $bad->[0]);
	is($node->start(fail_ok => 1), 0, "$bad->[0]: the server does not start");
	like(slurp_file($node->logfile, $at), $bad->[1], 'and says why');
	unlink $node->data_dir . '/postgresql.conf';
	append_to_file($node->data_dir . '/postgresql.conf', $conf);
}
$agent->stop;
ok(!-e $agent->socket, 'an agent that ends well takes its socket along');
done_testing();
