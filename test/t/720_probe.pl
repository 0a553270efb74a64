# "pg_envelope_agent probe" tells which step to a KEK works, and of the first that does not what
# to do: OpenBao, and a local keyring.  It prints no credential, and leaves nothing behind.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Digest::SHA qw(sha256);
use IO::Socket::INET;
use JSON::PP;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $agent = "$ENV{PGE_BINDIR}/pg_envelope_agent";
my ($said, @secrets) = ('');

# Exit status and lines, each "ok step" or "FAIL step" and the rest.
sub probe
{
	my (@arguments) = @_;
	my ($out, $err) = run_command([ $agent, 'probe', @arguments ]);
	my $status = $? >> 8;
	note($out);
	$said .= "$out$err";
	my @lines = map { /^(ok|FAIL) +(\w+) +(.*?)   (\d+\.\d) ms$/ ? { line => $_, end => "$1 $2", detail => $3 } : { line => $_, end => "? $_", detail => '' } } split /\n/, $out;
	return ($status, \@lines, $err);
}

sub works
{
	my ($name, $steps, @arguments) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $lines, $err) = probe(@arguments);
	is_deeply([ $status, map { $_->{end} } @$lines ], [ 0, map { "ok $_" } split / /, $steps ], "$name: every step, exit status 0") or diag($err);
	return { map { ((split / /, $_->{end})[1] => $_->{detail}) } @$lines };
}

# All that is before a step works, and it is the last.
sub fails
{
	my ($name, $steps, $detail, @arguments) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $lines, $err) = probe(@arguments);
	my @steps = split / /, $steps;
	my $last = pop @steps;
	is_deeply([ $status, map { $_->{end} } @$lines ], [ 1, (map { "ok $_" } @steps), "FAIL $last" ], "$name: \"$last\" fails, exit status 1") or diag($err);
	like(@$lines ? $lines->[-1]{detail} : '', $detail, "$name: why, and what to do");
	return;
}

#
# Usage.
#
my ($status, $lines, $err) = probe();
is($status, 2, 'without a URI: exit status 2');
like($err, qr/probe needs one URI/, 'and why');
is((probe('a:b', 'c:d'))[0], 2, 'two URIs are too many');
is((probe('--help'))[0], 0, 'there is help');

#
# A local KEK.
#
fails('a URI of nobody', 'config', qr/no key service "nowhere"/, 'nowhere:x');
my $local = 'local:00000000-0000-4000-8000-000000000000';
fails('no keyring', 'config keyring', qr/does not exist\. pg_envelope\.keyring_file, or keyring_file in \[agent\], says where/, '--keyring', "$dir/k/keyring", $local);
{
	local %ENV = %ENV;
	delete $ENV{PGDATA};
	fails('no idea where the keyring is', 'config keyring', qr/name what pg_envelope\.keyring_file says/, $local);
}
system_or_bail($agent, 'keyring', 'create', '--test', '--keyring', "$dir/k/keyring");
fails('a KEK that is not in it', 'config keyring key', qr/is not in the keyring\. Compare the URI/, '--keyring', "$dir/k/keyring", $local);
{
	# One KEK, plain (src/agent/kms/README.md): no server makes it here.
	my $kek = pack('H*', '00000000000040008000000000000000') . pack('NCQ>', 3, 1, 1) . 'K' x 32;
	my $bytes = 'PGEKEYR' . pack('CCCQ>x16N', 1, 0, 1, 2, 1) . $kek;
	PgEnvelope::OpenBao::write_file("$dir/k/keyring", $bytes . sha256($bytes));
	push @secrets, 'K' x 32;
}
my $at = works('a local KEK', 'config keyring key wrap unwrap', '--keyring', "$dir/k/keyring", $local);
is($at->{keyring}, "$dir/k/keyring, plain", 'the file, and how it is protected');
is_deeply([ $at->{key} =~ /^(version \d+)/, $at->{wrap}, $at->{unwrap} ], [ ('version 3') x 3 ], 'the version');
{
	local $ENV{PGDATA} = "$dir/data/";
	mkdir "$dir/data.pg_envelope", 0700 or die $!;
	rename "$dir/k/keyring", "$dir/data.pg_envelope/keyring" or die $!;
	works('and without an option beside PGDATA', 'config keyring key wrap unwrap', $local);
	rename "$dir/data.pg_envelope/keyring", "$dir/k/keyring" or die $!;
}
chmod 0644, "$dir/k/keyring";
fails('a keyring that others may read', 'config keyring', qr/has mode 644.*chmod 600/, '--keyring', "$dir/k/keyring", $local);

my $bao = PgEnvelope::OpenBao->new($dir);
if (!$bao)
{
	note('SKIP: ' . PgEnvelope::OpenBao::why_not());
	done_testing();
	exit 0;
}
my $server = $bao->server;
my $all = 'config dns tcp tls login key wrap unwrap';
my %derived = (type => 'aes256-gcm96', derived => JSON::PP::true);

sub put { PgEnvelope::OpenBao::write_file("$dir/$_[0]", $_[1]); return "$dir/$_[0]"; }
sub conf { my ($section) = @_; return ('--config', put('kms.conf', $section)); }
sub uri { my ($key) = @_; return "vault://$server/transit/keys/$key"; }

$bao->ask(POST => "transit/keys/$_", \%derived) for qw(acme other);
my $role = $bao->approle('acme', $bao->least_policy('acme') . qq(path "transit/keys/missing" { capabilities = ["read"] }\n), token_ttl => '1h');
push @secrets, $role->{secret_id};
my $section = $bao->section('corp', "$role->{lines}allow_keys = transit/keys/acme, transit/keys/missing, transit/keys/other");
my $found = works('a KEK of OpenBao', $all, conf($section), uri('acme'));
is($found->{config}, "[vault corp] serves " . uri('acme'), 'the section is named');
is($found->{dns}, '127.0.0.1', 'and the address');
like($found->{tls}, qr/^TLSv1\.[23], certificate valid \d+ days$/, 'the version of TLS, and the days of the certificate');
my ($days) = $found->{tls} =~ /(\d+) days/;
my @left = map { system("openssl x509 -noout -in '" . $bao->dir . "/tls/vault-cert.pem' -checkend " . int($_ * 86400) . ' >/dev/null') >> 8 } $days - 0.1, $days + 1;
is("@left", '0 1', 'as many as there are');
like($found->{login}, qr/^(59|60) minutes left$/, 'how long the login is good for');
like($found->{key}, qr/^version 1: It is of type aes256-gcm96, derived, version 1;/, 'the key');
$bao->ask(POST => 'transit/keys/acme/rotate');
$bao->audited;
$found = works('the same after a rotation, by another spelling', $all, conf($section), 'openbao://acme?instance=corp');
is_deeply([ $found->{wrap}, $found->{unwrap} ], [ 'version 2', 'version 2' ], 'wraps and unwraps with the new version');
my ($context) = map { $_->{data}{context} } grep { $_->{path} eq 'transit/encrypt/acme' } @{ $bao->audited };
works('and again', $all, conf($section), uri('acme'));
my ($next) = map { $_->{data}{context} } grep { $_->{path} eq 'transit/encrypt/acme' } @{ $bao->audited };
isnt($next, $context, 'the binding is a new one each time');
my $plain = $section =~ s/^address = .*$/'address = ' . $bao->plain_address/emr =~ s/^ca_file.*\n//mr;
works('over loopback without TLS', 'config dns tcp login key wrap unwrap', conf($plain), 'openbao://acme');

#
# The configuration.
#
fails('without a file', 'config', qr/no section.*--config FILE/i, uri('acme'));
fails('a key that is not allowed', 'config', qr/Section \[vault corp\].*allow_keys = \.\.\., transit\/keys\/third/, conf($section), uri('third'));
fails('a file with an error', 'config', qr/Line 2 of/, conf("[vault corp]\nnonsense\n"), uri('acme'));

#
# The network.
#
sub at { my ($address) = @_; return conf($section =~ s/^address = .*$/address = $address/mr); }
fails('a host that is not there', 'config dns', qr/name lookup.*Compare the host/, at('https://nowhere.invalid:8200'), 'openbao://acme');
my $closed = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp') or die $!;    # bound, and nobody listens
fails('a port that nobody listens at', 'config dns tcp', qr/Connection refused\. See that the service runs/, at('https://127.0.0.1:' . $closed->sockport), 'openbao://acme');
system_or_bail('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=other', '-keyout', "$dir/other.key", '-out', "$dir/other.pem");
fails('the wrong authority', 'config dns tcp tls', qr/certificate.*authority that the section names/, conf($section =~ s/^ca_file = .*$/ca_file = $dir\/other.pem/mr), uri('acme'));

#
# The login.
#
sub token { my ($file, %settings) = @_; my (undef, $made) = $bao->request(POST => 'auth/token/create', { no_parent => JSON::PP::true, %settings });
	my $token = $made->{auth}{client_token}; push @secrets, $token; put($file, "$token\n"); return $token; }
sub by_token { return conf($bao->section('corp', "auth = token_file\ntoken_file = $dir/token\nallow_keys = transit/keys/*")); }
my $token = token('token', policies => ['acme'], ttl => '90s');
like(works('a token in a file', $all, by_token(), uri('acme'))->{login}, qr/^\d\d seconds left$/, 'and its seconds, where they are few');
$bao->ask(POST => 'auth/token/revoke', { token => $token });
fails('a token that is no longer good', 'config dns tcp tls login', qr/refuses the login.*another credential/, by_token(), uri('acme'));
put('acme-wrong', "00000000-0000-0000-0000-000000000000\n");
fails('a wrong secret id', 'config dns tcp tls login', qr/refuses the login.*another credential/, conf($section =~ s/^secret_id_file = .*$/secret_id_file = $dir\/acme-wrong/mr), uri('acme'));

#
# Rights, one less each time; and keys.
#
for my $case ([ 'key' => keys => 'read' ], [ 'wrap' => encrypt => 'update' ], [ 'unwrap' => decrypt => 'update' ])
{
	my ($step, $path, $capability) = @$case;
	$bao->policy('less', $bao->least_policy('acme') =~ s/^path "transit\/$path\/.*\n//mr);
	token('token', policies => ['less'], ttl => '1h');
	fails("no right to $path", $all =~ s/(?<= $step)\b.*//r, qr/\(HTTP 403\): give the agent's policy "$capability" on transit\/$path\/acme\./, by_token(), uri('acme'));
}
fails('a key that is not there', 'config dns tcp tls login key', qr/Compare the URI with the names of the keys there/, conf($section), uri('missing'));
$bao->ask(DELETE => 'transit/keys/acme/soft-delete');
fails('a key that is deleted', 'config dns tcp tls login key', qr/Have the key enabled or restored there/, conf($section), uri('acme'));
$bao->seal;
fails('a service that is sealed', 'config dns tcp tls login', qr/sealed.*\(HTTP 503\)\. See what the service itself says/, conf($section), uri('acme'));

is(scalar(grep { index($said, $_) >= 0 } @secrets), 0, 'no credential was printed');
ok(scalar(@secrets) >= 5, '(there were some)');
done_testing();
