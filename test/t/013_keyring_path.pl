# Where the keyring is looked for: paths that cannot be used, and data directories
# beside which nothing lasts.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('path', start => 0);

# A relative path, in a data directory whose own name no frame can carry.
my $odd = $node->basedir . "/odd\xff";
symlink($node->data_dir, $odd) or die "$odd: $!";
$node->append_conf('postgresql.conf', "pg_envelope.keyring_file = 'kept/keyring'");
start_by($node->installed_command('pg_ctl'), '-D', $odd);
$node->create_extension;
wait_until_ready();
my $err = $node->fails_with(q{SELECT envelope_create_kek('main')}, '22023', 'a path that cannot be used is none');
like($err, qr/set pg_envelope\.keyring_file to a path outside/, 'and the line to set is shown');
unlike(slurp_file($node->logfile), qr/could not pass the settings/, 'the keeper lives with it');
$node->stop;
$node->append_conf('postgresql.conf', "pg_envelope.keyring_file = ''");

# A keyring that would travel with every base backup.
unlike(slurp_file($node->logfile), qr/lies inside the data directory/, 'no word of a keyring outside');
$node->append_conf('postgresql.conf', "pg_envelope.keyring_file = 'kept/keyring'");
$node->start;
$node->wait_for_log(qr/WARNING:  pg_envelope\.keyring_file lies inside the data directory/);
pass('the log warns of a keyring inside the data directory');
$node->stop;
$node->append_conf('postgresql.conf', "pg_envelope.keyring_file = ''");

# The data directory as a mount of its own, of the same file system.
SKIP:
{
	my $mount = q{my $p = shift; my $t = 'none'; syscall(165, $p, $p, $t, 4096, 0) == 0 or exit 77; exec @ARGV};
	my @alone = ('unshare', '--user', '--map-current-user', '--keep-caps', '--mount', $^X, '-e', $mount, $node->data_dir);
	skip 'SKIP: no mounts in a namespace of our own here', 6
	  if system(@alone, 'true') != 0;
	start_by(@alone, $node->installed_command('pg_ctl'), '-D', $node->data_dir);
	wait_until_ready();
	$err = $node->fails_with(q{SELECT envelope_create_kek('main')}, '22023', 'beside a mount of its own no keyring is made');
	like($err, qr/set pg_envelope\.keyring_file to a path outside/, 'and the line to set is shown');
	ok(!-e $node->data_dir . '.pg_envelope', 'nothing was made there');
	$node->stop;
}
done_testing();

sub start_by
{
	command_ok([ @_, '-w', '-l', $node->logfile, 'start' ], 'it starts');
	$node->_update_pid(1);
	return;
}

sub wait_until_ready
{
	ok($node->poll_query_until('postgres', q{SELECT value = 'ready' FROM envelope_status() WHERE name = 'agent_state'}), 'the agent is ready');
	return;
}
