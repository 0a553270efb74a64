# An agent that the server starts: nothing of a credential is in the environment or on the command line of any process
# of the server, the agent's own and its passphrase command's included; and one that an administrator put into the
# server's environment does not get to the agent.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Canary;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %canary = map { ($_ => sprintf('%s-%08x%08x%08x', $_, map { int rand 2**32 } 1 .. 3)) } qw(passphrase token roleid secretid planted);
my $matcher = PgEnvelope::Canary->matcher(%canary);
my $dir = PostgreSQL::Test::Utils::tempdir_short();
for my $name (grep { $_ ne 'planted' } keys %canary)
{
	append_to_file("$dir/$name", "$canary{$name}\n");
	chmod 0600, "$dir/$name" or die $!;
}

# Nobody is at those addresses; the credentials are read all the same.
my $closed = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$dir/kms.conf", "[vault a]\naddress = https://127.0.0.1:$closed\nauth = token_file\ntoken_file = $dir/token\nallow_keys = transit/keys/a\n"
	  . "[vault b]\naddress = https://localhost:$closed\nauth = approle\nrole_id_file = $dir/roleid\nsecret_id_file = $dir/secretid\nallow_keys = transit/keys/b\n");
chmod 0600, "$dir/kms.conf" or die $!;

# Processes that the tests may look into: of the usual ones the system shows nobody but root the environment.
my $node = PgEnvelope::Cluster->new('spawned', test_build => 1, plain_keyring => 1, 'pg_envelope.harden_backends' => 'off',
	'pg_envelope.kms_config_file' => "$dir/kms.conf", 'pg_envelope.kms_timeout' => 30000,
	'pg_envelope.keyring_passphrase_command' => "cat $dir/passphrase; while [ -e $dir/wait ]; do sleep 0.01; done");
$node->let_agent_be_read;
my $session = $node->session;
$session->query(q{SELECT envelope_create_kek('main'); SELECT envelope_create_key('acme', 'main'); CREATE TABLE t AS SELECT envelope_encrypt('value', 'acme') AS sealed});

# All that came of the postmaster.
sub processes
{
	my $children = PgEnvelope::Cluster::process_tree();
	my @all = ($node->postmaster_pid);
	for (my $i = 0; $i < @all; $i++) { push @all, @{ $children->{ $all[$i] } // [] }; }
	return @all;
}

# "name: what", and how many processes there were of which everything could be read.
sub look
{
	my ($read, @found) = (0);
	for my $pid (processes())
	{
		my ($arguments, $environment) = map { PgEnvelope::Cluster::read_proc("$pid/$_") } qw(cmdline environ);
		next unless defined $arguments && length $arguments;
		$read++ if defined $environment;
		push @found, map { ($arguments =~ /agent/ ? 'agent' : $pid == $node->postmaster_pid ? 'postmaster' : 'other') . ": $_" } $matcher->in_text($arguments . "\0" . ($environment // ''));
	}
	return ($read, @found);
}

for my $key (qw(a b))
{
	my $server = $key eq 'a' ? '127.0.0.1' : 'localhost';
	$node->fails_with(qq{SELECT envelope_create_kek('$key', 'vault://$server:$closed/transit/keys/$key')}, 'KE007', "(the agent tries section $key)");
}
my $agent = $node->wait_for_agent;
PgEnvelope::Cluster::wait_until(sub { defined PgEnvelope::Cluster::read_proc("$agent/environ") }, 'an agent that can be looked into');
my ($read, @found) = look();
is_deeply(\@found, [], 'no credential in arguments or environment of any process of the server');
cmp_ok($read, '>=', 7, 'which could be read: postmaster, its own, keeper, agent, a session');

# While the passphrase command runs.
append_to_file("$dir/wait", '');
$node->kill_agent;
$session->send(q{SELECT envelope_cache_flush() IS NULL; SELECT envelope_decrypt(sealed, 'acme') FROM t});
PgEnvelope::Cluster::wait_until(sub { grep { (PgEnvelope::Cluster::read_proc("$_/cmdline") // '') =~ /passphrase/ } processes() }, 'the passphrase command');
($read, @found) = look();
is_deeply(\@found, [], 'nor of the command that prints a passphrase');
unlink "$dir/wait";
is(($session->wait)[0], "f\nvalue", '(which it did)');

# What somebody puts into the server's environment is there to be read, but not passed on.
$session->close;
$node->stop;
{
	local $ENV{AWS_SECRET_ACCESS_KEY} = $canary{planted};
	local $ENV{VAULT_TOKEN} = $canary{planted};
	$node->start;
}
$agent = $node->wait_for_agent;
is($node->safe_psql('postgres', q{SELECT envelope_decrypt(sealed, 'acme') FROM t}), 'value', '(the agent works)');
PgEnvelope::Cluster::wait_until(sub { defined PgEnvelope::Cluster::read_proc("$agent/environ") }, 'an agent that can be looked into');
($read, @found) = look();
is_deeply([ grep { /^postmaster/ } @found ], ['postmaster: planted raw'], 'a credential in the server\'s environment is found there');
is_deeply([ grep { /^agent/ } @found ], [], 'and not in the agent\'s');
$node->stop;
done_testing();
