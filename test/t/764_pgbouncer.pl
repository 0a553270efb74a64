# Behind pgbouncer in transaction mode nothing of one client's transaction stays for the next
# client's on the same server process: not its role, not what it rolled back, not its leave to
# lose keys, not its wait for the agent; what another has changed counts; and many clients on few
# server processes all open and seal.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use IO::Socket::UNIX;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'pgbouncer is not installed' unless defined $pgbouncer;

my $node = PgEnvelope::Cluster->new('main', 'pg_envelope.kms_timeout' => '60s');
$node->safe_psql('postgres', q{SET client_min_messages = error;
	CREATE ROLE app LOGIN NOINHERIT; CREATE ROLE clerk; GRANT clerk TO app;
	SELECT envelope_create_kek('main');
	SELECT envelope_create_key('acme', 'main'), envelope_grant('acme', 'clerk', '{encrypt,decrypt}');
	SELECT envelope_create_key('open', 'main'), envelope_grant('open', 'app', '{encrypt,decrypt}');
	CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'acme') AS acme, envelope_encrypt('value ' || i, 'open') AS open FROM generate_series(1, 50) i;
	GRANT SELECT, INSERT ON t TO app, clerk});

# On the server's own port number, in a directory of its own, beside it.
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my ($host, $port, $superuser) = ($node->host, $node->port, $node->superuser);
append_to_file("$dir/users", qq{"app" ""\n"$superuser" ""\n});
append_to_file("$dir/pgbouncer.ini", <<"INI");
[databases]
* = host=$host port=$port
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 1
ignore_startup_parameters = extra_float_digits
logfile = $dir/log
INI
my $bouncer = IPC::Run::start([ $pgbouncer, '-q', "$dir/pgbouncer.ini" ], '<', \undef, '>', \my $out, '2>', \my $err);
# (The file is there a moment before anyone listens.)
PgEnvelope::Cluster::wait_until(sub { IO::Socket::UNIX->new(Peer => "$dir/.s.PGSQL.$port") }, 'pgbouncer');

sub client
{
	my ($user) = @_;
	return $node->session(connstr => "host=$dir port=$port dbname=postgres user=$user");
}
sub fails
{
	my ($session, $sql, $state, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like(($session->try($sql))[1], qr/ERROR:  $state:/, $name);
	return;
}
my $one = client('app');
my $two = client('app');
my $open = q{SELECT count(envelope_decrypt(acme, 'acme')) FROM t};
is($one->query('SELECT pg_backend_pid()'), $two->query('SELECT pg_backend_pid()'), 'two clients have one server process');

$one->query($_) for 'BEGIN', 'SET LOCAL ROLE clerk';
is($one->query($open), '50', 'one opens as the role of its transaction');
$one->query('COMMIT');
fails($two, $open, '42501', 'the other, in the same process, does not');
fails($one, $open, '42501', 'nor does the first in its next transaction');
is($two->query(q{SELECT count(envelope_decrypt(open, 'open')) FROM t}), '50', 'what it may open, it opens');

# Administration through another server process, and through the same.
my $admin = client($superuser);
my $admin_too = client($superuser);
$admin->query(q{SET client_min_messages = error});
is($admin->query($open), '50', 'a DEK is in use');
$node->safe_psql('postgres', q{SELECT envelope_disable_key('acme')});
fails($admin_too, $open, 'KE004', 'disabled from elsewhere: the next transaction is refused');
$admin->query(q{SELECT envelope_enable_key('acme')});
is($admin_too->query($open), '50', 'enabled in the same process: it is not');
$admin->query($_) for 'BEGIN', q{SELECT envelope_disable_key('acme')};
fails($admin, $open, 'KE004', 'disabled in a transaction');
$admin->query('ROLLBACK');
is($admin_too->query($open), '50', 'that is undone: it never was for the next client');
$admin->query($_) for 'BEGIN', q{SELECT envelope_create_key('draft', 'main')};
my $lost = $admin->query(q{SELECT envelope_encrypt('x', 'draft')});
$admin->query('ROLLBACK');
fails($admin_too, "SELECT envelope_decrypt('$lost', 'draft')", 'KE003', 'a key that was rolled back is nobody\'s');
my $leave = $admin->query(q{SELECT uuid FROM envelope.keyring});
my $loss = q{DELETE FROM envelope.wrapping};
$admin->query($_) for 'BEGIN', "SET LOCAL pg_envelope.allow_key_loss = '$leave'", $loss, 'ROLLBACK';
fails($admin_too, $loss, 'KE014', 'leave to lose keys ends with its transaction');

$admin->query('DISCARD ALL');
is($admin_too->query($open), '50', 'after DISCARD ALL the next client opens');

# A client that gives up its wait leaves a server process that works.
$admin->query('SELECT envelope_cache_flush()');
$node->stop_agent_process;
$admin->send($open);
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'}) or die 'no wait';
$admin->{run}->signal('INT');
like(($admin->wait)[1], qr/ERROR:  57014:/, 'a wait for the agent that its client cancels');
$node->continue_agent_process;
is($admin_too->query($open), '50', 'and the next client opens');
$_->close for $one, $two, $admin, $admin_too;

# Twenty clients on one server process, each transaction with two statements.
append_to_file("$dir/load.sql", <<'SQL');
BEGIN;
SET LOCAL ROLE clerk;
SELECT count(envelope_decrypt(acme, 'acme')) FROM t WHERE i <= 5;
INSERT INTO t VALUES (1000 + :client_id, envelope_encrypt('value ' || (1000 + :client_id), 'acme'), NULL);
COMMIT;
SELECT count(envelope_decrypt(open, 'open')) FROM t WHERE i <= 5;
SQL
for my $protocol ('simple', 'extended')
{
	local $ENV{PGHOST} = $dir;
	my $ok = IPC::Run::run([ $node->installed_command('pgbench'), '-n', '-c', '20', '-j', '1', '-t', '5', '-M', $protocol, '-f', "$dir/load.sql", '-p', $port, '-U', 'app', 'postgres' ],
		'>', \my $report, '2>', \my $complaints);
	ok($ok, "twenty clients, five rounds each, $protocol") or diag($complaints);
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM t WHERE envelope_decrypt(acme, 'acme') = 'value ' || i}), '250', 'and each sealed what it meant');

$bouncer->signal('TERM');
$bouncer->finish;
$node->stop;
done_testing();
