# KEKs in a real OpenBao: what is sealed under them opens, over rotations, rewraps and failures;
# whatever is wrong there has its SQLSTATE and says what to do, and once it is in order again all goes on.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use PgEnvelope::Cluster;
use PgEnvelope::HostileUris qw(hostile_uris);
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
my $server = $bao->server;
my %derived = (type => 'aes256-gcm96', derived => JSON::PP::true);
$bao->ask(POST => "transit/keys/$_", \%derived) for qw(acme forbidden soft gone anew lone denied);
$bao->ask(POST => 'transit/keys/plain', { type => 'chacha20-poly1305', exportable => JSON::PP::true });
$bao->ask(POST => 'transit/keys/rsa', { type => 'rsa-2048' });
my @keys = qw(acme plain rsa soft gone anew missing);
my $role = $bao->approle('db', $bao->least_policy(@keys) . qq(path "transit/keys/acme/rotate" { capabilities = ["update"] }\n), token_ttl => '1h');

# A secret id for one login, and a token that may not ask about itself.
my $bare = $bao->approle('bare', $bao->least_policy(qw(lone denied)), token_ttl => '1h', token_no_default_policy => JSON::PP::true, secret_id_num_uses => 1);

# Whoever is led there by a URI that SQL names is seen by it.
my $trap = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1') or die $!;
my $trap_server = '127.0.0.1:' . $trap->sockport;

PgEnvelope::OpenBao::write_file("$dir/kms.conf",
	$bao->section('corp', $role->{lines} . 'allow_keys = ' . join(', ', map { "transit/keys/$_" } @keys, 'forbidden'))
	  . $bao->section('bare', $bare->{lines} . "allow_keys = transit/keys/lone, transit/keys/denied\n")
	  . "[vault trap]\naddress = https://$trap_server\nauth = token_file\ntoken_file = $dir/none\nallow_keys = transit/keys/app, transit/keys/acme, transit/keys/tenant-*, deep/mount/keys/*\n");
my $node = PgEnvelope::Cluster->new('bao', 'pg_envelope.kms_config_file' => "$dir/kms.conf", 'pg_envelope.cache_ttl' => '1h');
my $admin = $node->session;
$admin->query('SET client_min_messages = error');

# Fails with that SQLSTATE and such a detail; returns all that was said.
sub says
{
	my ($name, $sql, $sqlstate, $detail) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, $err) = $admin->try($sql);
	my ($state) = $err =~ /^\S*\s*ERROR:  (\w{5}):/m;
	my ($said) = $err =~ /^DETAIL:  (.*)$/m;
	ok(($state // '') eq $sqlstate && ($said // '') =~ $detail, "$name: $sqlstate and why") or diag($err);
	return $err;
}

sub create_kek { my ($name, $key) = @_; return $admin->query("SELECT envelope_create_kek('$name', 'vault://$server/transit/keys/$key')"); }
sub opens { my ($table, $key) = @_; return $admin->query("SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, '$key') FROM $table") =~ s/^\d+\n//r; }
sub wrapping { my ($key_id) = @_; return $admin->query("SELECT w.kek, w.kek_version, encode(substr(w.wrapped, 2, 1), 'hex'), convert_from(substr(w.wrapped, 4, 9), 'UTF8') FROM envelope.wrapping w JOIN envelope.dek d USING (dek_id) WHERE d.key_id = '$key_id' AND w.superseded IS NULL"); }
sub paths { return [ sort map { "$_->{operation} $_->{path}" } @{ $bao->audited } ]; }

#
# One key of each kind, from its KEK to a value.
#
is(create_kek('bao', 'acme'), "vault://$server/transit/keys/acme", 'a key of OpenBao is a KEK');
for my $spelled (
	[ "HCVAULT://$server/transit/keys/acme", '' ], [ "https://$server/v1/transit/keys/acme", '' ],
	[ 'openbao://acme?instance=corp', '?instance=corp' ])
{
	my ($uri, $instance) = @$spelled;
	$admin->query('BEGIN');
	is($admin->query("SELECT envelope_create_kek('spelled', '$uri')"), "vault://$server/transit/keys/acme$instance", "$uri is stored in its one spelling");
	is($admin->query(q{SELECT uri FROM envelope.kek WHERE name = 'spelled'}), "vault://$server/transit/keys/acme$instance", 'as the table says');
	is($admin->query(q{SELECT envelope_create_key('spelled', 'spelled')}), '1', 'and makes keys');
	$admin->query('ROLLBACK');
}
create_kek('plain', 'plain');
$bao->audited;
$admin->query("SELECT envelope_create_key('acme', 'bao')");
my ($encrypt) = grep { $_->{path} eq 'transit/encrypt/acme' } @{ $bao->audited };
ok(length $encrypt->{data}{context} && !exists $encrypt->{data}{associated_data}, 'a derived key gets the binding as context');
$admin->query("SELECT envelope_create_key('plain', 'plain')");
($encrypt) = grep { $_->{path} eq 'transit/encrypt/plain' } @{ $bao->audited };
ok(length $encrypt->{data}{associated_data} && !exists $encrypt->{data}{context}, 'another as associated data');
is(wrapping('acme'), 'bao|1|03|vault:v1:', 'form 3 and the version are stored');
is(wrapping('plain'), 'plain|1|04|vault:v1:', 'form 4 and the version');
$admin->query("CREATE TABLE $_ AS SELECT envelope_encrypt('of $_', '$_') AS sealed") for qw(acme plain);
$bao->audited;
is($admin->query("SELECT envelope_decrypt(sealed, 'acme') FROM acme"), 'of acme', 'what is sealed opens');
is_deeply(paths(), [], 'of itself, while the key is cached');
is(opens('acme', 'acme'), 'of acme', 'and after a flush');
is_deeply(paths(), ['update transit/decrypt/acme'], 'by one call');
is(opens('plain', 'plain'), 'of plain', 'of the other key, too');
$node->wait_for_log(qr/It is exportable: whoever may read export/);
pass('the log warns of a key that can be taken away');

#
# Another row's wrapping.
#
$admin->query("SELECT envelope_create_key('twin', 'bao')");
$admin->query($node->leave_to_lose_keys);
$admin->query($_) for 'BEGIN', q{ALTER TABLE envelope.wrapping DISABLE TRIGGER USER},
  q{UPDATE envelope.wrapping SET wrapped = (SELECT wrapped FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id = 'twin')
	WHERE dek_id = (SELECT dek_id FROM envelope.dek WHERE key_id = 'acme')};
says('the wrapping of another key', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'acme') FROM acme}, 'KE013', qr/^The service does not open it/);
$admin->query('ROLLBACK');
is(opens('acme', 'acme'), 'of acme', 'it is in its place again');

#
# A key that is deleted and made anew as one that is not derived: a context would bind nothing there.
#
create_kek('anew', 'anew');
$bao->ask(POST => 'transit/keys/anew/config', { deletion_allowed => JSON::PP::true });
$bao->ask(DELETE => 'transit/keys/anew');
$bao->ask(POST => 'transit/keys/anew', { type => 'aes256-gcm96' });
$admin->query("SELECT envelope_create_key('anew', 'anew')");
is(wrapping('anew'), 'anew|1|04|vault:v1:', 'is noticed by the next wrap');
my $unbound = $bao->ask(POST => 'transit/encrypt/anew', { plaintext => 'QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=' })->{ciphertext};
$admin->query("CREATE TABLE anew AS SELECT envelope_encrypt('of anew', 'anew') AS sealed");
$admin->query($_) for 'BEGIN', q{ALTER TABLE envelope.wrapping DISABLE TRIGGER USER},
  qq{UPDATE envelope.wrapping SET wrapped = '\\x010300' || convert_to('$unbound', 'UTF8') WHERE dek_id = (SELECT dek_id FROM envelope.dek WHERE key_id = 'anew')};
says('a wrapping that is bound to nothing', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'anew') FROM anew}, 'KE011', qr/^The key is not a derived one/);
$admin->query('ROLLBACK');
is(opens('anew', 'anew'), 'of anew', 'the right one opens');

#
# Rotation, here and there.
#
is($admin->query("SELECT envelope_rotate_kek('bao')"), '2', 'envelope_rotate_kek gives the new version');
is($bao->ask(GET => 'transit/keys/acme')->{latest_version}, 2, 'which is the service\'s');
is(opens('acme', 'acme'), 'of acme', 'what the old one wrapped opens');
is($admin->query("SELECT count(*), min(outcome) FROM rewrap_all('bao', 'bao')"), '2|rewrapped', 'it is rewrapped onto the new one');
is(wrapping('acme'), 'bao|2|03|vault:v2:', 'as the row says');
is($admin->query("SELECT count(*), min(outcome) FROM rewrap_all('bao', 'bao')"), '2|already', 'once');
says('a rotation without the right to it', q{SELECT envelope_rotate_kek('plain')}, 'KE010', qr{^The service denies it \(HTTP 403\): give the agent's policy "update" on transit/keys/plain/rotate\.});

$bao->ask(POST => 'transit/keys/plain/rotate', {});
$bao->ask(POST => 'transit/keys/plain/config', { min_decryption_version => 2 });
says('min_decryption_version above it', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'plain') FROM plain}, 'KE011', qr/below the key's min_decryption_version .*: lower it again/);
$bao->ask(POST => 'transit/keys/plain/config', { min_decryption_version => 1 });
is(opens('plain', 'plain'), 'of plain', 'lowered again it opens');

#
# From the local keyring and back.
#
$admin->query("SELECT envelope_create_kek('main')");
is($admin->query("SELECT count(*), min(outcome) FROM rewrap_all('bao', 'main', dry_run => true)"), '2|rewrapped', 'a dry run out of OpenBao');
is($admin->query("SELECT count(*), min(outcome) FROM rewrap_all('bao', 'main')"), '2|rewrapped', 'all of it');
$bao->audited;
is(opens('acme', 'acme'), 'of acme', 'opens from the keyring');
is_deeply(paths(), [], 'which asks nobody');
$admin->query("SELECT envelope_enable_kek('bao')");
is($admin->query("SELECT count(*), min(outcome) FROM rewrap_all('main', 'bao')"), '2|rewrapped', 'and back');
is(opens('acme', 'acme'), 'of acme', 'opens from OpenBao');

#
# Keys that are away, or of no use.
#
says('a key that is not there', "SELECT envelope_create_kek('x', 'vault://$server/transit/keys/missing')", 'KE012', qr/^The service has no key of this name\. \(Key "transit\/keys\/missing" of \[vault corp\], \Q$server\E\.\)/);
is(($bao->request(GET => 'transit/keys/missing'))[0], 404, 'is not made by that');
says('an RSA key', "SELECT envelope_create_kek('x', 'vault://$server/transit/keys/rsa')", 'KE011', qr/^The key is of type "rsa-2048": make one of type aes256-gcm96/);
says('a key that the policy leaves out', "SELECT envelope_create_kek('x', 'vault://$server/transit/keys/forbidden')", 'KE010', qr{give the agent's policy "read" on transit/keys/forbidden\.});
says('a key that the configuration leaves out', "SELECT envelope_create_kek('x', 'vault://$server/transit/keys/other')", '22023', qr{transit/keys/other});
for my $key (qw(soft gone))
{
	create_kek($key, $key);
	$admin->query("SELECT envelope_create_key('$key', '$key')");
	$admin->query("CREATE TABLE $key AS SELECT envelope_encrypt('of $key', '$key') AS sealed");
}
$bao->ask(DELETE => 'transit/keys/soft/soft-delete');
says('a key that is soft-deleted', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'soft') FROM soft}, 'KE011', qr/^The key is soft-deleted: restore it/);
says('and wraps nothing', q{SELECT envelope_rotate_key('soft')}, 'KE011', qr/^The key is soft-deleted: restore it/);
$bao->ask(POST => 'transit/keys/soft/soft-delete-restore');
is(opens('soft', 'soft'), 'of soft', 'restored it opens');
$bao->ask(POST => 'transit/keys/gone/config', { deletion_allowed => JSON::PP::true });
$bao->ask(DELETE => 'transit/keys/gone');
says('a key that is deleted', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'gone') FROM gone}, 'KE012', qr/^The service has no key of this name/);
$admin->try(q{SELECT envelope_rotate_key('gone')});
is(($bao->request(GET => 'transit/keys/gone'))[0], 404, 'and is not made anew by a wrap');

#
# What one tenant is denied costs the neighbour nothing: no login, which would want another secret id.
#
for my $key (qw(lone denied))
{
	create_kek($key, $key);
	$admin->query("SELECT envelope_create_key('$key', '$key')");
	$admin->query("CREATE TABLE $key AS SELECT envelope_encrypt('of $key', '$key') AS sealed");
}
$bao->policy('bare', $bao->least_policy('lone'));
says('one that is denied', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'denied') FROM denied}, 'KE010', qr{"update" on transit/decrypt/denied\.}) for 1, 2;
is(opens('lone', 'lone'), 'of lone', 'its neighbour opens with the same token');

#
# Rights and tokens.
#
$bao->policy('db', $bao->least_policy(grep { $_ ne 'acme' } @keys));
says('a policy without the key', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'acme') FROM acme}, 'KE010', qr{give the agent's policy "update" on transit/decrypt/acme\.});
is(opens('plain', 'plain'), 'of plain', 'its neighbour opens');
$bao->policy('db', $bao->least_policy(@keys));
is(opens('acme', 'acme'), 'of acme', 'with the right given back it opens at once');
is($admin->query("SELECT count(*), min(outcome) FROM rewrap_all('bao', 'plain', keep_old => true)"), '2|rewrapped', 'with a second wrapping by another key');
$bao->policy('db', $bao->least_policy(grep { $_ ne 'acme' } @keys));
is(opens('acme', 'acme'), 'of acme', 'it opens without that right, too');
$bao->policy('db', $bao->least_policy(@keys));
$bao->audited;
$bao->ask(POST => 'sys/leases/revoke-force/auth/approle');
is(opens('acme', 'acme'), 'of acme', 'a token that was revoked costs a login');
is(scalar(grep { $_ eq 'update auth/approle/login' } @{ paths() }), 1, 'exactly one');

#
# Sealed.
#
opens('acme', 'acme');
$bao->seal;
is($admin->query("SELECT envelope_decrypt(sealed, 'acme') FROM acme"), 'of acme', 'while it is sealed a cached key opens');
says('another', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'acme') FROM acme}, 'KE007', qr/sealed/);
$bao->unseal;
wait_until(sub { ($admin->try(q{SELECT envelope_decrypt(sealed, 'acme') FROM acme}))[0] eq 'of acme' }, 'OpenBao is there again');
pass('unsealed it opens by itself');

#
# URIs that an attacker may give: no byte goes anywhere.
#
my $host = $trap_server;
my ($ip, $port) = split /:/, $trap_server;
my @hostile = (
	(map { "vault://$host/$_" } 'transit/keys/app2', 'transit/keys/app/../acme2', 'transit/keys/..%2fapp', 'transit%2fkeys/app', 'transit/keys%2fapp',
		'transit/keys/app%00', 'transit/keys/%61pp/rotate', 'transit/keys//app', '/transit/keys/app', 'transit/./keys/app', 'transit/KEYS/app', 'Transit/keys/app',
		'transit/keys/APP', 'transit/keys/app/', 'transit/keys/app?instance=corp', 'transit/keys/app?instance=nobody', 'transit/keys/app?x=y', 'transit/keys/app?instance=trap&instance=corp',
		'transit/keys/app#x', 'transit/keys/*', 'transit/keys/app%2f..%2facme', 'sys/keys/app', 'transit/export/app', "transit/keys/app\\\\..", 'transit/keys/app%0d%0aX-Vault-Token:x'),
	"vault://user\@$host/transit/keys/app", "vault://user:pw\@$host/transit/keys/app", "vault://$server\@$host/transit/keys/app", "vault://$host\@$server/transit/keys/app",
	"vault://localhost:$port/transit/keys/app", "vault://127.1:$port/transit/keys/app", "vault://0x7f000001:$port/transit/keys/app", "vault://2130706433:$port/transit/keys/app",
	"vault://[::ffff:127.0.0.1]:$port/transit/keys/app", "vault://[::1]:$port/transit/keys/app", "vault://127.0.0.1.:$port/transit/keys/app", "vault://$ip:0$port/transit/keys/app",
	"vault://$ip:$port:$port/transit/keys/app", "vault://$ip:99999/transit/keys/app", "vault:///transit/keys/app2", "http://$host/v1/transit/keys/app", "https://$host/transit/keys/app",
	"https://$host/v1/../v1/transit/keys/app2", "hcvault://$host/transit/keys/app2", "file:///etc/passwd");
my @listed = hostile_uris($ip, $port);
push @hostile, map { $_->{uri} } grep { $_->{what} ne 'taken' } @listed;
$bao->audited;
my @let_in = grep { ($admin->try("SELECT envelope_create_kek('x', '$_')"))[1] !~ /ERROR:  (?:22023|KE012|22P0\d|54000)/ } @hostile;
is_deeply(\@let_in, [], scalar(@hostile) . ' hostile URIs are refused');
cmp_ok(scalar @hostile, '>=', 140, 'at least 140');
ok(!IO::Select->new($trap)->can_read(0), 'no connection was made');
is_deeply(paths(), [], 'nor a request to the other server');
says('what is not allowed', "SELECT envelope_create_kek('x', 'vault://$host/transit/keys/app2')", '22023',
	qr{^Section \[vault trap\] .* does not allow the key\. It needs the line allow_keys = \.\.\., transit/keys/app2 \(behind the patterns of line \d+\)$});
# The control: with a token the agent would go there.
says('a URI that is allowed, without a token', "SELECT envelope_create_kek('x', 'vault://$host/transit/keys/app')", 'KE009', qr{File "\Q$dir/none\E"});
my @kept_out = grep { ($admin->try("SELECT envelope_create_kek('x', '$_')"))[1] !~ m{ERROR:  KE009:.*File "\Q$dir/none\E"}s } map { $_->{uri} } grep { $_->{what} eq 'taken' } @listed;
is_deeply(\@kept_out, [], 'and so are the controls of the list');
PgEnvelope::OpenBao::write_file("$dir/none", 'a-token');
ok(IO::Select->new($trap)->can_read($PostgreSQL::Test::Utils::timeout_default), 'with one there is a connection');

$admin->close;
$node->stop;
done_testing();
