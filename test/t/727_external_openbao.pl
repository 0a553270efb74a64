# A key service through an agent of another operating-system user: keys in OpenBao, a credential that only he can read.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PgEnvelope::OtherUser;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIP: ' . PgEnvelope::OtherUser::missing() if PgEnvelope::OtherUser::missing();
my $bao = PgEnvelope::OpenBao->new(PostgreSQL::Test::Utils::tempdir_short()) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
my $server = $bao->server;
$bao->ask(POST => 'transit/keys/acme', { type => 'aes256-gcm96', derived => JSON::PP::true() });
my $role = $bao->approle('db', $bao->least_policy('acme'), token_ttl => '1h');

# His files; that of the service's certificate is anybody's.
my $dir = PgEnvelope::OtherUser::directory('bao');
PgEnvelope::OtherUser::write_file("$dir/role-id", "$role->{role_id}\n");
PgEnvelope::OtherUser::write_file("$dir/secret-id", "$role->{secret_id}\n");
PgEnvelope::OtherUser::write_file("$dir/ca.pem", slurp_file($bao->ca_file), 0644);
unlink $role->{role_id_file}, $role->{secret_id_file};
$bao->audited;
my $agent = PgEnvelope::OtherUser->start_agent($dir, sections => "[vault corp]\naddress = " . $bao->address
	  . "\nca_file = $dir/ca.pem\nauth = approle\nrole_id_file = $dir/role-id\nsecret_id_file = $dir/secret-id\nallow_keys = transit/keys/acme\n");
my $node = PgEnvelope::Cluster->new('bao', $agent->settings, 'pg_envelope.kms_timeout' => 20000);

is($node->safe_psql('postgres', qq{
	SELECT envelope_create_kek('acme', 'vault://$server/transit/keys/acme');
	SELECT envelope_create_key('acme', 'acme');
	CREATE TABLE t AS SELECT envelope_encrypt('value', 'acme') AS sealed}), "vault://$server/transit/keys/acme\n1", 'a KEK and a key in the service');
my $cold = q{SELECT envelope_cache_flush() IS NULL; SELECT envelope_decrypt(sealed, 'acme') FROM t};
is($node->safe_psql('postgres', $cold), "f\nvalue", 'a value opens');
my %seen = map { ("$_->{operation} $_->{path}" => 1) } @{ $bao->audited };
ok($seen{$_}, "the service's log shows $_") for 'update auth/approle/login', 'update transit/encrypt/acme', 'update transit/decrypt/acme';
is($node->safe_psql('postgres', q{SELECT envelope_create_kek('local'); SELECT outcome FROM rewrap_all('acme', 'local')}) =~ s/^local:.*\n//r, 'rewrapped', 'from the service to the agent\'s own keyring');
is($node->safe_psql('postgres', q{SELECT envelope_enable_kek('acme'); SELECT outcome FROM rewrap_all('local', 'acme')}) =~ s/^\n//r, 'rewrapped', 'and back');
is($node->safe_psql('postgres', $cold), "f\nvalue", 'it still opens');

# What is wrong has the hint for this agent.
my $err = $node->fails_with(qq{SELECT envelope_create_kek('no', 'vault://$server/transit/keys/other')}, '22023', 'a key that its file does not allow');
like($err, qr/Section \[vault corp\] of the agent's own configuration file does not allow the key/, 'which is its own, and not the server\'s');
$bao->policy(db => 'path "transit/keys/acme" { capabilities = ["read"] }');
$err = $node->fails_with($cold, 'KE010', 'a right that was taken away');
like($err, qr/HINT: .*the agent's configuration \(then reload the agent\)/, 'has a hint for an agent of its own');

# Neither the credential nor a token is anywhere where the server is.
$node->assert_no_canary($role->{role_id}, $role->{secret_id});
my $postmaster = $node->postmaster_pid;
my @pids = ($postmaster, @{ PgEnvelope::Cluster::process_tree()->{$postmaster} });
my $all = join '', map { my $pid = $_; map { PgEnvelope::Cluster::read_proc("$pid/$_") // '' } qw(environ cmdline) } @pids;
unlike($all, qr/\Q$role->{$_}\E/, "no server process has the $_ in its environment or command line") for qw(role_id secret_id);
unlike($agent->log_text, qr/\Q$role->{$_}\E/, "nor the agent's log") for qw(role_id secret_id);
$node->stop;
$agent->stop;
done_testing();
