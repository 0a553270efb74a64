# A rotation in OpenBao whose answer gets lost is not repeated: exactly one new version is there, and
# envelope_rotate_kek says it; one that never arrived made none.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
$bao->ask(POST => 'transit/keys/acme', { type => 'aes256-gcm96', derived => JSON::PP::true });
my $role = $bao->approle('db', $bao->least_policy('acme') . qq(path "transit/keys/acme/rotate" { capabilities = ["update"] }\n));
my ($between, $proxy) = start_proxy();
PgEnvelope::OpenBao::write_file("$dir/kms.conf", "[vault corp]\naddress = http://$between\n$role->{lines}allow_keys = transit/keys/acme\n");
my $node = PgEnvelope::Cluster->new('lost', 'pg_envelope.kms_config_file' => "$dir/kms.conf");
$node->safe_psql('postgres', "SELECT envelope_create_kek('bao', 'vault://$between/transit/keys/acme')");

sub version { return $bao->ask(GET => 'transit/keys/acme')->{latest_version}; }
sub asked { return scalar grep { $_->{path} eq 'transit/keys/acme/rotate' } @{ $bao->audited }; }
sub lose { my ($what) = @_; PgEnvelope::OpenBao::write_file("$dir/lose", $what); return; }

asked();
is($node->safe_psql('postgres', q{SELECT envelope_rotate_kek('bao')}), '2', 'a rotation');
is(asked(), 1, 'asks once');
lose('answer');
is($node->safe_psql('postgres', q{SELECT envelope_rotate_kek('bao')}), '3', 'one whose answer is lost gives the version, too');
ok(!-e "$dir/lose", 'the answer was lost');
is(asked(), 1, 'it asked once');
is(version(), 3, 'exactly one version more is there');
lose('request');
my $err = $node->fails_with(q{SELECT envelope_rotate_kek('bao')}, 'KE007', 'one that never arrived is an error');
like($err, qr/The key was not rotated\./, 'which says that nothing was done');
ok(!-e "$dir/lose", 'the request was lost');
is(asked(), 0, 'OpenBao was not asked');
is(version(), 3, 'no version more is there');
is($node->safe_psql('postgres', q{SELECT envelope_rotate_kek('bao')}), '4', 'then it works');

$node->stop;
kill KILL => $proxy;
waitpid $proxy, 0;
done_testing();

# Between the agent and OpenBao; a connection is one exchange.  Of a rotation it loses what
# the file "lose" says, once.
sub start_proxy
{
	my $listener = IO::Socket::INET->new(Listen => 16, LocalAddr => '127.0.0.1') or die $!;
	my $parent = $$;
	my $pid = fork // die $!;
	return ('127.0.0.1:' . $listener->sockport, $pid) if $pid;
	my $ready = IO::Select->new($listener);
	# It ends with the test, however that ends.
	while (getppid == $parent)
	{
		my $client = $ready->can_read(1) ? $listener->accept : next;
		eval { pass_on($client) };
		close $client;
	}
	POSIX::_exit(0);
}

sub pass_on
{
	my ($client) = @_;
	my ($head, $length, $body) = ('', 0, '');
	while (defined(my $line = <$client>))
	{
		$length = $1 if $line =~ /^Content-Length: (\d+)/i;
		$head .= $line unless $line =~ /^Connection:/i || $line =~ /^\r\n\z/;
		last if $line =~ /^\r\n\z/;
	}
	read($client, $body, $length) if $length;
	my $lose = $head =~ m{^\w+ \S+/rotate } && -e "$dir/lose" ? slurp_file("$dir/lose") : '';
	unlink "$dir/lose" if $lose;
	return if $lose eq 'request';
	my $server = IO::Socket::INET->new(PeerAddr => $bao->plain_address =~ s{^http://}{}r) or die $!;
	print {$server} "${head}Connection: close\r\n\r\n$body";
	local $/;
	my $answer = <$server>;
	# (As what it is for: each answer is the last of its connection.)
	print {$client} $answer unless $lose;
	return;
}
