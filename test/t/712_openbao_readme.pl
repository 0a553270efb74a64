# README's section on OpenBao does what it says: its commands, policy, configuration and SQL, as
# they stand but for the server's address and where the files are.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir, bare => 1) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my $server = $bao->server;

sub block
{
	my ($name) = @_;
	my ($block) = $readme =~ /<!-- \Q$name\E -->\n```\w+\n(.*?)```/s;
	ok(defined $block, "README has its $name") or BAIL_OUT('README');
	return $block;
}

sub bao
{
	my ($command) = @_;
	my ($out, $err) = run_command([ 'sh', '-ec', "cd '$dir'; umask 077; bao() { '$bao->{program}' \"\$\@\"; }; $command" ]);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($? == 0, $command) or diag($err);
	return;
}

# The administrator of the service.
local $ENV{BAO_ADDR} = $bao->plain_address;
local $ENV{BAO_TOKEN} = $bao->{root};
local $ENV{HOME} = $dir;
PgEnvelope::OpenBao::write_file("$dir/pg_envelope.hcl", block('vault policy'));
bao($_) for split /\n/, block('vault commands');

# That of the database.
my $lines = block('vault configuration');
cmp_ok(scalar(split /\n/, $lines), '<=', 10, 'of ten lines at most');
is($lines =~ s{^address = https://vault\.example\.com:8200$}{address = https://$server}m, 1, 'with an address');
is($lines =~ s{^ca_file = \S+}{ca_file = @{[ $bao->ca_file ]}}m, 1, 'and a CA');
is($lines =~ s{/etc/pg_envelope/}{$dir/}g, 2, 'and two files');
PgEnvelope::OpenBao::write_file("$dir/kms.conf", $lines);
my $node = PgEnvelope::Cluster->new('readme', 'pg_envelope.kms_config_file' => "$dir/kms.conf");
my $sql = block('vault sql') =~ s/vault\.example\.com:8200/$server/gr;
is($node->safe_psql('postgres', $sql), "vault://$server/transit/keys/acme\n1", 'its SQL');
$node->safe_psql('postgres', q{CREATE TABLE t AS SELECT envelope_encrypt('value', 'acme') AS sealed});
my $open = q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'acme') FROM t};

sub in_text { my ($what) = @_; ok(index($readme, "`$what`") >= 0, "README says: $what"); return $what; }
sub opens { local $Test::Builder::Level = $Test::Builder::Level + 1; like($node->safe_psql('postgres', $open), qr/^value\z/m, $_[0]); return; }
opens('a value opens');

# Rotate, here and there.
is($node->safe_psql('postgres', in_text(q{SELECT envelope_rotate_kek('acme')})), '2', 'which is a new version');
bao(in_text('bao write -f transit/keys/acme/rotate'));
like($node->safe_psql('postgres', in_text(q{SELECT * FROM rewrap_all('acme', 'acme')})), qr/^acme\|1\|rewrapped\|/, 'and a rewrap onto the newest');
is($node->safe_psql('postgres', 'SELECT kek_version FROM envelope.wrapping WHERE superseded IS NULL'), '3', 'the third');
bao(in_text('bao write transit/keys/acme/config min_decryption_version=2'));
opens('the old ones are not needed');

# Revoke.
bao(in_text('bao delete transit/keys/acme/soft-delete'));
$node->fails_with($open, 'KE011', 'soft-deleted');
bao(in_text('bao write -f transit/keys/acme/soft-delete-restore'));
opens('restored');

# What the audit log is said to show.
my %seen = map { ("$_->{operation} $_->{path}" => 1) } @{ $bao->audited };
ok($seen{$_}, "the audit log shows $_") for 'update transit/encrypt/acme', 'update transit/decrypt/acme', 'read transit/keys/acme', 'update auth/approle/login';
$node->stop;
done_testing();
