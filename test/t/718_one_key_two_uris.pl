# A KEK whose key has another URI here, too: another address of the service, or another section.  It is not
# destroyed while that wraps; and a key of another namespace, whose URI differs in nothing but ?instance=, is
# another one: it neither keeps a KEK from being destroyed nor counts as destroyed with it.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
my @keys = qw(shared idle);
my $policy = $bao->least_policy(@keys) . join '', map {
	qq(path "transit/keys/$_/config" { capabilities = ["update"] }\npath "transit/keys/$_" { capabilities = ["read", "delete"] }\n) } @keys;
$bao->ask(POST => 'sys/namespaces/team', {});
$bao->ask(POST => 'team/sys/mounts/transit', { type => 'transit' });
$bao->ask(PUT => 'team/sys/policies/acl/team', { policy => $policy });
$bao->ask(POST => "$_", { type => 'aes256-gcm96', derived => JSON::PP::true }) for map { ("transit/keys/$_", "team/transit/keys/$_") } @keys;
my (undef, $in_team) = $bao->request(POST => 'team/auth/token/create', { policies => ['team'], no_parent => JSON::PP::true });
PgEnvelope::OpenBao::write_file("$dir/team-token", $in_team->{auth}{client_token});
my $role = $bao->approle('db', $policy);
my $lines = "allow_keys = transit/keys/*\nallow_destroy = on\n";
PgEnvelope::Cluster::replace_file("$dir/kms.conf", join '',
	$bao->section('here', "$role->{lines}$lines"),
	$bao->section('team', "auth = token_file\ntoken_file = $dir/team-token\nnamespace = team\n$lines"),
	"[vault there]\naddress = @{[ $bao->plain_address ]}\n$role->{lines}$lines");
my $node = PgEnvelope::Cluster->new('two_uris', 'pg_envelope.kms_config_file' => "$dir/kms.conf");
my $there = 'vault://' . ($bao->plain_address =~ s{^http://}{}r) . '/transit/keys';
my $here = 'vault://' . $bao->server . '/transit/keys';
my %uri = (here => "$here/shared?instance=here", team => "$here/shared?instance=team", there => "$there/shared",
	idle => "$here/idle?instance=here", team_idle => "$here/idle?instance=team");

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', "SET client_min_messages = error; $sql"); }
sub state { my ($kek) = @_; return sql("SELECT state FROM envelope.kek WHERE name = '$kek'"); }
sub destroy { my ($kek) = @_; return "SELECT envelope_destroy_kek('$kek', '$uri{$kek}', immediate => true)"; }
sub there { my ($path) = @_; return ($bao->request(GET => $path))[0] == 200; }
sub opens { my ($key) = @_; return sql("SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, k) FROM t WHERE k = '$key'") =~ s/^\d+\n//r; }

my %told;
for my $kek (sort keys %uri)
{
	my ($out, $notices) = $node->try("SELECT envelope_create_kek('$kek', '$uri{$kek}')");
	is($out, $uri{$kek}, "KEK $kek");
	$told{$kek} = $notices;
}
unlike($told{team}, qr/is the same key/, 'a key whose URI differs in the section is not said to be the same');
like($told{team}, qr/NOTICE:  00000: KEK "team" may be the same key as KEK "here"\nDETAIL:  The other one has the URI "\Q$uri{here}\E"\. If both sections are of one namespace/, 'but that it may be');
is($told{$_}, '', "of $_ nothing is said") for qw(here idle there);
my (undef, $again) = $node->try("BEGIN; SELECT envelope_create_kek('again', '$uri{team}'); SELECT envelope_alter_kek('idle', '$uri{team_idle}'); ROLLBACK");
like($again, qr/KEK "again" is the same key as KEK "team"\nDETAIL:  Both have the URI "\Q$uri{team}\E"/, 'the same URI is the same key');
unlike($again, qr/KEK "again".*"here"/, 'and that is told alone');
like($again, qr/KEK "idle" is the same key as KEK "team_idle"/, 'by envelope_alter_kek, too');
sql(q{CREATE TABLE t (k text, sealed bytea)});
sub key_under { my ($kek) = @_; return sql("SELECT envelope_create_key('k $kek', '$kek'); INSERT INTO t VALUES ('k $kek', envelope_encrypt('value of k $kek', 'k $kek'))"); }
key_under('there');
$bao->ask(POST => 'transit/keys/shared/rotate');
sql(q{SELECT envelope_rotate_key('k there')});

# Another address of the same key.
my $err = $node->fails_with(destroy('here'), '55000', 'a KEK that wraps by another address of its service');
like($err, qr/^DETAIL:  KEK "there" is the same key by another URI, and wraps version [12] of key "k there"\.$/m, 'is needed, as is told');
ok(there('transit/keys/shared'), 'the key is there');
is(opens('k there'), 'value of k there', 'and opens');
is(state('here'), 'enabled', 'and the row says so');

# A key of the same URI but for its section, in another namespace.
$bao->ask(POST => 'team/transit/keys/shared/rotate') for 1 .. 2;
key_under('team');

# A document from where one section served the key: which of two it is here, what it wrapped tells.
my $document = sql(q{SELECT envelope_export_keyring('{k team}')}) =~ s/\Q?instance=team//r;
my $sealed = sql(q{SELECT sealed FROM t WHERE k = 'k team'});
my $target = $node->session;
sub arrive { my ($database) = @_; $node->safe_psql('template1', "CREATE DATABASE $database"); $target = $node->session(dbname => $database); $target->query($_) for 'CREATE EXTENSION pg_envelope', 'SET client_min_messages = error'; return; }
sub import_it { return $target->try("SELECT outcome FROM envelope_import_keyring('$document')"); }
arrive('one');
(undef, $err) = import_it();
like($err, qr/ERROR:  22023: could not import KEK "team" .*\nDETAIL:  Several sections of .*"here".*"team"/s, 'a KEK that two sections serve is not guessed about');
like($err, qr/HINT:  Nothing was imported\. .* envelope_create_kek\('team', '\Q$here\E\/shared\?instance=NAME'\), and import again/, 'but told how to be named');
$target->query("SELECT envelope_create_kek('wrong', '$uri{here}')");
(undef, $err) = import_it();
like($err, qr/ERROR:  KE013: could not import version 1 of key "k team": KEK "wrong" does not open it/, 'the other section\'s key does not pass for it');
is($target->query('SELECT count(*) FROM envelope.dek'), '0', 'and nothing was imported');
$target->query("SELECT envelope_create_kek('team', '$uri{team}')");
is((import_it())[0], 'imported', 'its own name tells which of two');
is($target->query(qq{SELECT envelope_decrypt('$sealed', 'k team'), (SELECT kek FROM envelope.wrapping)}), 'value of k team|team', 'and it opens');
$target->close;
arrive('two');
$target->query("SELECT envelope_create_kek('mine', '$uri{team}')");
is((import_it())[0], 'imported', 'the only one there is, by whatever name');
is($target->query(qq{SELECT envelope_decrypt('$sealed', 'k team'), (SELECT kek FROM envelope.wrapping)}), 'value of k team|mine', 'opens it');
$target->close;
arrive('three');
$target->query("SELECT envelope_create_kek('mine', '$uri{team}'), envelope_create_kek('yours', '$uri{here}')");
(undef, $err) = import_it();
like($err, qr/ERROR:  22023: .*\nHINT:  Nothing was imported\. Several KEKs here have this URI with an \?instance=.*: put that of the right one into the document/s, 'of two that have other names none is guessed');
$target->close;
sql(q{SELECT envelope_disable_key('k there')});
sql(q{SELECT envelope_destroy_key('k there')});
my (undef, $said) = $node->try(destroy('here'));
like($said, qr/WARNING:  01000: KEK "here" is destroyed\n/, 'a KEK is destroyed although another namespace has a key of its name that wraps');
ok(!there('transit/keys/shared'), 'its key is gone');
ok(there('team/transit/keys/shared'), "and the other namespace's is there");
is(opens('k team'), 'value of k team', 'and opens');
is(join(' ', map { state($_) } qw(here team there)), 'destroyed enabled enabled', 'and the rows say so');
(undef, $said) = $node->try(destroy('there'));
like($said, qr/KEK "there" is noted as destroyed: its key service does not have it/, 'by its other address it is gone, too');

# And what wraps nothing is not taken for destroyed.
(undef, $said) = $node->try(destroy('idle'));
like($said, qr/KEK "idle" is destroyed\n/, 'a KEK is destroyed');
unlike($said, qr/KEK "team_idle" is the same key/, 'the key of another namespace is not said to be the same');
like($said, qr/NOTICE:  00000: KEK "team_idle" stays as it is\nDETAIL:  It has the URI "\Q$uri{team_idle}\E"/, 'but is told of');
ok(there('team/transit/keys/idle'), 'that is there');
is(state('team_idle'), 'enabled', 'and its row says so');

$node->stop;
done_testing();
