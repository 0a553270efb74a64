# make installcheck runs nothing against a server whose keys somebody may need.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $script = "$FindBin::RealBin/../tools/installcheck.sh";

sub installcheck
{
	my ($node) = @_;
	local %ENV = $node->_get_env();
	$ENV{PGHOST} = $node->host;
	$ENV{PGPORT} = $node->port;
	$ENV{INSTALLCHECK_OUTPUT} = $node->basedir . '/installcheck';
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ $script, 'bind' ], '>', \$out, '2>', \$err);
	return ($ok, $out, $err);
}

sub databases
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_database WHERE datname = 'contrib_regression'});
}

my $node = PgEnvelope::Cluster->new('main', plain_keyring => 1, extension => 0);
my ($ok, $out, $err) = installcheck($node);
ok(!$ok, 'a server without a keyring is refused');
like($err, qr/has no keyring yet.*keyring create --test/s, 'with what to do');

system_or_bail($node->agent_command, 'keyring', 'create', '--keyring', $node->keyring_file);
($ok, $out, $err) = installcheck($node);
ok(!$ok, 'a server with a keyring of its own is refused');
like($err, qr/is not marked as a test keyring/, 'and told why');
is(databases($node), 0, 'and nothing was run');

unlink $node->keyring_file or die $node->keyring_file . ": $!";
system_or_bail($node->agent_command, 'keyring', 'create', '--test', '--keyring',
	$node->keyring_file);
($ok, $out, $err) = installcheck($node);
ok($ok, 'a server with a test keyring is tested') or diag($out, $err);
like($out, qr/All 1 tests passed/, 'with the SQL tests');
is(databases($node), 1, 'in their own database');

# The test keyring is still there, but its keys would be made elsewhere.
my $conf = slurp_file($node->data_dir . '/postgresql.conf');
$node->append_conf('postgresql.conf', "pg_envelope.agent = external\npg_envelope.agent_user = '" . getpwuid($>) . "'\npg_envelope.kms_timeout = 500\n");
$node->restart;
$node->safe_psql('postgres', 'DROP DATABASE contrib_regression');
($ok, $out, $err) = installcheck($node);
ok(!$ok, 'a server whose agent is external is refused');
like($err, qr/its agent is external/, 'and told why');
is(databases($node), 0, 'and nothing was run');
unlink $node->data_dir . '/postgresql.conf' or die $!;
append_to_file($node->data_dir . '/postgresql.conf', $conf);
$node->restart;

# Another file's bytes are no keyring, whatever their tenth.
append_to_file($node->keyring_file . '.other', 'PGEKEYX' . "\1\0\1" . 'x' x 40);
rename $node->keyring_file . '.other', $node->keyring_file or die $!;
($ok, $out, $err) = installcheck($node);
like($err, qr/is no keyring/, 'what is no keyring is refused');

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
($ok, $out, $err) = installcheck($node);
ok(!$ok, 'a server that does not preload the library is refused');
like($err, qr/shared_preload_libraries = 'pg_envelope'/, 'with the line to add');
$node->stop;
done_testing();
