# A rotation in OpenBao whose answer gets lost is not repeated: exactly one new version is there, and
# envelope_rotate_kek says it; one that never arrived made none.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use PgEnvelope::Between;
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
$bao->ask(POST => 'transit/keys/acme', { type => 'aes256-gcm96', derived => JSON::PP::true });
my $role = $bao->approle('db', $bao->least_policy('acme') . qq(path "transit/keys/acme/rotate" { capabilities = ["update"] }\n));
my $between = PgEnvelope::Between->new($bao, qr{^\w+ \S+/rotate });
my $server = $between->server;
PgEnvelope::OpenBao::write_file("$dir/kms.conf", "[vault corp]\naddress = http://$server\n$role->{lines}allow_keys = transit/keys/acme\n");
my $node = PgEnvelope::Cluster->new('lost', 'pg_envelope.kms_config_file' => "$dir/kms.conf");
$node->safe_psql('postgres', "SELECT envelope_create_kek('bao', 'vault://$server/transit/keys/acme')");

sub version { return $bao->ask(GET => 'transit/keys/acme')->{latest_version}; }
sub asked { return scalar grep { $_->{path} eq 'transit/keys/acme/rotate' } @{ $bao->audited }; }

asked();
is($node->safe_psql('postgres', q{SELECT envelope_rotate_kek('bao')}), '2', 'a rotation');
is(asked(), 1, 'asks once');
$between->lose('answer');
is($node->safe_psql('postgres', q{SELECT envelope_rotate_kek('bao')}), '3', 'one whose answer is lost gives the version, too');
ok($between->has_lost, 'the answer was lost');
is(asked(), 1, 'it asked once');
is(version(), 3, 'exactly one version more is there');
$between->lose('request');
my $err = $node->fails_with(q{SELECT envelope_rotate_kek('bao')}, 'KE007', 'one that never arrived is an error');
like($err, qr/The key was not rotated\./, 'which says that nothing was done');
ok($between->has_lost, 'the request was lost');
is(asked(), 0, 'OpenBao was not asked');
is(version(), 3, 'no version more is there');
is($node->safe_psql('postgres', q{SELECT envelope_rotate_kek('bao')}), '4', 'then it works');

$node->stop;
done_testing();
