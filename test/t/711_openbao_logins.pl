# How the agent comes by a token of OpenBao and keeps one: each way to log in, files that are
# rotated, renewal, refusals.  No credential is in a log, a view, an error or a process's
# arguments or environment.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use POSIX ();
use PgEnvelope::Canary;
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
my $server = $bao->server;
my (%lines, %canary);
my %derived = (type => 'aes256-gcm96', derived => JSON::PP::true);

sub put { my ($name, $text) = @_; PgEnvelope::OpenBao::write_file("$dir/$name.new", $text); rename("$dir/$name.new", "$dir/$name") or die $!; return "$dir/$name"; }
sub openssl { my (@arguments) = @_; system_or_bail('openssl', @arguments); return; }
sub slurp { return slurp_file($_[0]); }

#
# A key, a policy and a role for each way.
#
my @ways = qw(token approle short cert jwt kubernetes);
for (@ways)
{
	$bao->ask(POST => "transit/keys/$_", \%derived);
	$bao->policy($_, $bao->least_policy($_));
}

# A token in a file, as an agent of OpenBao's writes it.
sub new_token { return $bao->request(POST => 'auth/token/create', { policies => ['token'], no_parent => JSON::PP::true, period => '1h' }); }
my (undef, $made) = new_token();
$canary{token} = $made->{auth}{client_token};
$lines{token} = "auth = token_file\ntoken_file = " . put('token', "$canary{token}\n") . "\n";

# AppRole; once more at a mount of its own, with tokens that live for 3 s and may be renewed until they are 7 s old.
my $approle = $bao->approle('approle', $bao->least_policy('approle'));
$bao->ask(POST => 'sys/auth/team/short', { type => 'approle' });
my $short = $bao->approle('short', $bao->least_policy('short'), mount => 'team/short', token_ttl => '3s', token_max_ttl => '7s');
$canary{"$_->[0] secret id"} = $_->[1]{secret_id} for [ approle => $approle ], [ short => $short ];
$lines{approle} = $approle->{lines};
$lines{short} = $short->{lines};

# A client certificate.
openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=db',
	'-addext', 'extendedKeyUsage=clientAuth', '-keyout', "$dir/client.key", '-out', "$dir/client.pem");
$bao->ask(POST => 'auth/cert/certs/db', { certificate => slurp("$dir/client.pem"), token_policies => 'cert' });
$lines{cert} = "auth = cert\ncert_file = $dir/client.pem\nkey_file = $dir/client.key\nrole = db\n";

# JWTs of an issuer of ours.
openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', "$dir/issuer.key");
openssl('pkey', '-in', "$dir/issuer.key", '-pubout', '-out', "$dir/issuer.pem");
$bao->ask(POST => 'auth/jwt/config', { jwt_validation_pubkeys => [ slurp("$dir/issuer.pem") ] });
$bao->ask(POST => 'auth/jwt/role/db', { role_type => 'jwt', user_claim => 'sub', bound_audiences => ['openbao'], token_policies => 'jwt' });

sub jwt
{
	my (%claims) = @_;
	my $signed = join '.', map { encode_base64url(encode_json($_)) } { alg => 'RS256', typ => 'JWT' }, { iat => time, exp => time + 3600, %claims };
	put('signed', $signed);
	openssl('dgst', '-sha256', '-sign', "$dir/issuer.key", '-out', "$dir/signature", "$dir/signed");
	return "$signed." . encode_base64url(slurp("$dir/signature"));
}
$canary{jwt} = jwt(sub => 'db', aud => 'openbao', iss => 'us');
$lines{jwt} = "auth = jwt\njwt_file = " . put('jwt', $canary{jwt}) . "\nrole = db\n";

# Kubernetes, whose part in it is to say whose a token is.
$canary{'service account'} = jwt(sub => 'system:serviceaccount:prod:db', aud => ['k8s'], iss => 'kubernetes/serviceaccount',
	'kubernetes.io' => { namespace => 'prod', serviceaccount => { name => 'db', uid => 'u-1' } });
my ($kubernetes, $reviewer) = review_tokens($canary{'service account'});
$bao->ask(POST => 'auth/kubernetes/config', { kubernetes_host => $kubernetes, disable_local_ca_jwt => JSON::PP::true, token_reviewer_jwt => 'reviewer',
	kubernetes_ca_cert => slurp("$dir/client.pem") });
$bao->ask(POST => 'auth/kubernetes/role/db', { bound_service_account_names => 'db', bound_service_account_namespaces => 'prod', token_policies => 'kubernetes' });
$lines{kubernetes} = "auth = kubernetes\njwt_file = " . put('service-account', $canary{'service account'}) . "\nrole = db\n";
chmod 0644, "$dir/service-account";

# A namespace with all of it once more.
$bao->ask(POST => 'sys/namespaces/team', {});
$bao->ask(POST => 'team/sys/mounts/crypt/here', { type => 'transit' });
$bao->ask(POST => 'team/crypt/here/keys/team', \%derived);
$bao->ask(PUT => 'team/sys/policies/acl/team', { policy => $bao->least_policy('team') =~ s{transit/}{crypt/here/}gr });
my (undef, $in_team) = $bao->request(POST => 'team/auth/token/create', { policies => ['team'], no_parent => JSON::PP::true });
$canary{'token of a namespace'} = $in_team->{auth}{client_token};
$lines{team} = "auth = token_file\ntoken_file = " . put('team-token', $canary{'token of a namespace'}) . "\nnamespace = team\n";

put('kms.conf', join '', map { my $key = $_ eq 'team' ? 'crypt/here/keys/team' : "transit/keys/$_"; $bao->section($_, "$lines{$_}allow_keys = $key") } @ways, 'team');
my $node = PgEnvelope::Cluster->new('logins', 'pg_envelope.kms_config_file' => "$dir/kms.conf");
my $admin = $node->session;
$admin->query('SET client_min_messages = error');
my $errors = '';

sub says
{
	my ($name, $sql, $sqlstate, $detail) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, $err) = $admin->try($sql);
	my ($state) = $err =~ /^\S*\s*ERROR:  (\w{5}):/m;
	my ($said) = $err =~ /^DETAIL:  (.*)$/m;
	$errors .= $err;
	ok(($state // '') eq $sqlstate && ($said // '') =~ $detail, "$name: $sqlstate and why") or diag($err);
	return;
}

sub open_sql { my ($key) = @_; return "SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, '$key') FROM v WHERE key_id = '$key'"; }
sub opens { my ($key) = @_; return $admin->query(open_sql($key)) =~ s/^\d+\n//r; }
sub opens_soon { my ($key, $why) = @_; wait_until(sub { ($admin->try(open_sql($key)))[0] =~ /of $key/ }, $why); return; }
sub renewals { return scalar grep { $_->{path} eq 'auth/token/renew-self' && !$_->{error} } seen(); }
sub logins { my ($role) = @_; return scalar grep { $_->{path} =~ m{^auth/.*/login$} && ($_->{data}{role_id} // '') eq $role->{role_id} && !$_->{error} } seen(); }
my @seen;
sub seen { push @seen, @{ $bao->audited }; return @seen; }

#
# Each of them.
#
$admin->query('CREATE TABLE v (key_id text, sealed bytea)');
for my $way (@ways, 'team')
{
	my $path = $way eq 'team' ? 'crypt/here/keys/team' : "transit/keys/$way";
	$admin->query("SELECT envelope_create_kek('$way', 'vault://$server/$path'); SELECT envelope_create_key('$way', '$way');
		INSERT INTO v VALUES ('$way', envelope_encrypt('of $way', '$way'))");
	is(opens($way), "of $way", "a key by way of \"$way\"");
}
cmp_ok(scalar(grep { ($_->{namespace} // '') eq 'team/' && $_->{path} eq 'crypt/here/decrypt/team' } seen()), '>=', 1, 'the namespace is asked where it is configured');

#
# Files that change.
#
my (undef, $next) = new_token();
$canary{'next token'} = $next->{auth}{client_token};
put('token', $canary{'next token'});
$bao->ask(POST => 'auth/token/revoke', { token => $canary{token} });
is(opens('token'), 'of token', 'a token that was exchanged, its predecessor revoked');
my (undef, $worthless) = $bao->request(POST => 'auth/token/create', { policies => ['default'] });
$bao->ask(POST => 'auth/token/revoke', { token => $canary{'next token'} });
says('a token that was revoked', open_sql('token'), 'KE009', qr/\(HTTP 403\)/);
put('token', $worthless->{auth}{client_token});
wait_until(sub { ($admin->try(open_sql('token')))[1] =~ /KE010/ }, 'the agent to take the new file');
says('a token without the right', open_sql('token'), 'KE010', qr{"update" on transit/decrypt/token\.});
(undef, $next) = new_token();
$canary{'last token'} = $next->{auth}{client_token};
put('token', $canary{'last token'});
opens_soon('token', 'the agent to take the last file');
pass('with a good one in the file it opens by itself');

#
# Refusals.
#
$bao->ask(POST => 'auth/approle/role/approle/secret-id/destroy', { secret_id => $approle->{secret_id} });
$bao->ask(POST => 'sys/leases/revoke-force/auth/approle');
says('a secret id that was destroyed', open_sql('approle'), 'KE009', qr/refuses the login \(HTTP 400\)/);
my $secret_file = $approle->{secret_id_file};
$canary{'new secret id'} = $bao->ask(POST => 'auth/approle/role/approle/secret-id', {})->{secret_id};
PgEnvelope::OpenBao::write_file("$secret_file.new", $canary{'new secret id'});
chmod 0644, "$secret_file.new";
rename("$secret_file.new", $secret_file) or die $!;
wait_until(sub { my (undef, $err) = $admin->try(open_sql('approle')); $err =~ /everybody may read it \(chmod o-r\)/ }, 'the agent to look at the new file');
says('a file that everybody may read', open_sql('approle'), 'KE009', qr/^File "\Q$secret_file\E" could not be taken as a secret: everybody may read it/);
PgEnvelope::OpenBao::write_file("$secret_file.new", $canary{'new secret id'});
rename("$secret_file.new", $secret_file) or die $!;
opens_soon('approle', 'a login with the new secret id');
pass('a new secret id, with its mode put right');

#
# A token that lives for 3 s, renewed, and after 7 s its successor, without a call.
#
# (A machine that stops for a second and more may miss the time for a renewal, and have to log in; not each time.)
wait_until(sub { logins($short) >= 2 && renewals() >= 1 }, 'a second login, and a renewal');
is(opens('short'), 'of short', 'its key opens all the time');
cmp_ok(renewals(), '>=', 1, 'tokens were renewed');

#
# Where no credential may be.
#
my $matcher = PgEnvelope::Canary->matcher(map { ($_ => substr($canary{$_}, -24)) } keys %canary);
is_deeply([ $matcher->in_text($errors) ], [], 'no credential in an error');
is_deeply([ $matcher->in_text($admin->query(q{SELECT string_agg(s::text, ' ') FROM envelope_status() s})
		. $admin->query(q{SELECT string_agg(a::text, ' ') FROM pg_stat_activity a}) . $admin->query('SELECT string_agg(s::text, $$ $$) FROM pg_settings s')) ], [], 'nor in a view');
is_deeply([ $matcher->in_files($node->logfile, $node->data_dir) ], [], 'nor in the log or the data directory');
is_deeply([ $matcher->in_files($secret_file) ], ["$secret_file: new secret id raw"], 'where one is, it is found');

# Of a process that is not dumpable nobody but root sees the environment.
sub of_processes
{
	my ($read, @found) = (0);
	for my $process (@_)
	{
		my ($arguments, $environment) = map { PgEnvelope::Cluster::read_proc("$process/$_") } qw(cmdline environ);
		$read++ if length($environment // '');
		push @found, map { "$process: $_" } $matcher->in_text($arguments . ($environment // ''));
	}
	return ($read, @found);
}
my ($read, @found) = of_processes($node->postmaster_pid, $node->keeper_pid, $node->agent_pid, $admin->pid);
is_deeply(\@found, [], 'nor in arguments or environment of a process');
cmp_ok($read, '>=', 1, 'of which some could be read');
my $planted = fork // die $!;
if ($planted == 0) { $ENV{PLANTED} = $canary{'last token'}; exec 'setpriv', '--pdeathsig', 'KILL', 'sleep', '600' or die $!; }
wait_until(sub { (PgEnvelope::Cluster::read_proc("$planted/cmdline") // '') =~ /^sleep/ }, 'the planted process');
is_deeply([ of_processes($planted) ], [ 1, "$planted: last token raw" ], 'where a planted one is found');
kill KILL => $_ for $planted, $reviewer;
waitpid $_, 0 for $planted, $reviewer;

$admin->close;
$node->stop;
done_testing();

# What OpenBao asks of Kubernetes (TokenReview), answered by a process of ours for this one token.
sub review_tokens
{
	my ($token) = @_;
	my $listener = IO::Socket::INET->new(Listen => 8, LocalAddr => '127.0.0.1') or die $!;
	my $pid = fork // die $!;
	return ('http://127.0.0.1:' . $listener->sockport, $pid) if $pid;
	my $parent = getppid;
	my $ready = IO::Select->new($listener);
	# It ends with the test, however that ends.
	while (getppid == $parent)
	{
		my $client = $ready->can_read(1) ? $listener->accept : next;
		my ($length, $body) = (0, '');
		while (defined(my $line = <$client>))
		{
			$length = $1 if $line =~ /^Content-Length: (\d+)/i;
			last if $line =~ /^\r?\n\z/;
		}
		read($client, $body, $length);
		my $asked = decode_json($body);
		my $good = $asked->{spec}{token} eq $token;
		my $answer = encode_json({ %$asked, kind => 'TokenReview', apiVersion => 'authentication.k8s.io/v1', status => { authenticated => $good ? JSON::PP::true : JSON::PP::false,
			$good ? (user => { username => 'system:serviceaccount:prod:db', uid => 'u-1', groups => ['system:serviceaccounts'] }, audiences => $asked->{spec}{audiences}) : () } });
		print {$client} "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " . length($answer) . "\r\n\r\n$answer";
		close $client;
	}
	POSIX::_exit(0);
}
