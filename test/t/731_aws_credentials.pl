# How the agent comes by a credential of AWS: profiles and their roles by moto's STS, which
# checks signatures, a web identity by STS, an instance by its IMDSv2, files that are rotated, refusals.  No credential is in a log, a view,
# an error or a process's arguments or environment.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use PgEnvelope::Canary;
use PgEnvelope::Cluster;
use PgEnvelope::Moto;
use PostgreSQL::Test::Utils;
use Test::More;

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $aws = PgEnvelope::Moto->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::Moto::why_not();
my %canary;

sub put { my ($name, $text) = @_; PgEnvelope::Moto::write_file("$dir/$name.new", $text); rename("$dir/$name.new", "$dir/$name") or die $!; return "$dir/$name"; }
sub keys_of { my ($user) = @_; return "aws_access_key_id = $user->{id}\naws_secret_access_key = $user->{secret}\n"; }

# A user may use the keys, and another may do nothing but become a role that may.
my $user = $aws->user('direct');
my $next = $aws->user('next');
my $caller = $aws->user('caller');
$aws->allow('caller', 'sts:AssumeRole');
my $all = { Version => '2012-10-17', Statement => [{ Effect => 'Allow', Principal => { AWS => '*' }, Action => 'sts:AssumeRole' }] };
my $may = { Version => '2012-10-17', Statement => [{ Effect => 'Allow', Action => [ 'sts:AssumeRole', map { "kms:$_" } qw(Encrypt Decrypt ReEncrypt* DescribeKey) ], Resource => '*' }] };
my $role = $aws->ask('iam', 'create_role', { RoleName => 'keys', AssumeRolePolicyDocument => encode_json($all) })->{Role}{Arn};
$aws->ask('iam', 'put_role_policy', { RoleName => 'keys', PolicyName => 'keys', PolicyDocument => encode_json($may) });

@canary{qw(secret next caller)} = map { $_->{secret} } $user, $next, $caller;
my $config = put('config', "[profile role]\nrole_arn = $role\nsource_profile = caller\nexternal_id = door-7\n"
	  . "[profile again]\nrole_arn = $role\nsource_profile = role\n"
	  . "[profile process]\ncredential_process = /bin/touch $dir/was-run\n[profile wrong]\nrole_arn = $role\nsource_profile = liar\n");
my $credentials = put('credentials', "[direct]\n" . keys_of($user) . "[caller]\n" . keys_of($caller)
	  . "[liar]\naws_access_key_id = $caller->{id}\naws_secret_access_key = $next->{secret}\n");
my $endpoints = join '', map { "${_}_endpoint = " . $aws->endpoint . "\n" } qw(sts imds);
my %lines = ((map { ($_ => "auth = profile:$_\nconfig_file = $config\ncredentials_file = $credentials\n$endpoints") } qw(direct role again process wrong)),
	instance => "auth = imds\nimds_endpoint = " . $aws->endpoint . "\n",
	web => "auth = web-identity\nrole_arn = $role\nweb_identity_token_file = $dir/web-token\nsts_endpoint = " . $aws->endpoint . "\n");
$canary{web} = 'eyJ' . join '', map { chr(65 + int rand 26) } 1 .. 40;
put('web-token', $canary{web});
my $arn = $aws->key;

my $kms_conf = put('kms.conf', join '', map { $aws->section($_, { lines => $lines{$_} }, "allow_keys = $arn") } sort keys %lines);
my $node = PgEnvelope::Cluster->new('aws_credentials', 'pg_envelope.kms_config_file' => $kms_conf);
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
sub tokens { my ($requests) = @_; my %seen = map { ($_->{token} // 0) => 1 } grep { $_->{status} == 200 && $_->{signature} } @$requests; return join ' ', sort keys %seen; }

#
# Each of them.
#
$admin->query('CREATE TABLE v (key_id text, sealed bytea)');
# moto's own key id of an instance has a hyphen, which none of AWS's has.
says('an instance whose key id is none', "SELECT envelope_create_kek('hyphen', '$arn?instance=instance')", 'KE007', qr/The credential in the answer .* has bytes that no credential has/);
$aws->set(instance_role => $role);
wait_until(sub { ($admin->try("SELECT envelope_create_kek('waited', '$arn?instance=instance')"))[0] =~ /^aws-kms:/ }, 'the instance has a credential');
my @web;
sub of_web { my ($requests) = @_; return grep { $_->{operation} eq 'AssumeRoleWithWebIdentity' } @$requests; }
for my $way (qw(direct role again web instance))
{
	push @web, of_web($aws->requests);
	$admin->query("SELECT envelope_create_kek('$way', '$arn?instance=$way'); SELECT envelope_create_key('$way', '$way');
		INSERT INTO v VALUES ('$way', envelope_encrypt('of $way', '$way'))");
	is(opens($way), "of $way", "a key by way of \"$way\"");
	my $seen = $aws->requests;
	push @web, of_web($seen);
	my @signed = grep { $_->{signature} && $_->{status} == 200 } @$seen;
	ok(@signed >= 5 && !(grep { $_->{signature} ne 'ok' } @signed), 'whose requests botocore would have signed so') if $way =~ /^(?:direct|web|instance)$/;
	is(tokens($seen), $way eq 'direct' ? '0' : '1', $way eq 'direct' ? 'with keys that last' : 'with keys that last an hour');
}
cmp_ok(scalar @web, '>=', 1, 'STS was asked by a web identity');
is_deeply([ grep { $_->{status} != 200 || $_->{role} ne $role || $_->{web_identity} ne $canary{web} } @web ], [], 'each time by the token of the file, for the role');
says('a program', "SELECT envelope_create_kek('process', '$arn?instance=process')", '22023', qr/AWS profile "process": It uses credential_process, which is not for a server: no program is run/);
ok(!-e "$dir/was-run", 'which was not run');
says('a secret that is not the key\'s', "SELECT envelope_create_kek('wrong', '$arn?instance=wrong')", 'KE009', qr/AWS profile "wrong": STS refuses \(SignatureDoesNotMatch, HTTP 403/);

#
# Other keys in the file.
#
$aws->ask('iam', 'delete_access_key', { UserName => 'direct', AccessKeyId => $user->{id} });
says('keys that were deleted', open_sql('direct'), 'KE009', qr/refuse/);
put('credentials', "[direct]\n" . keys_of($next) . "[caller]\n" . keys_of($caller));
wait_until(sub { ($admin->try(open_sql('direct')))[0] =~ /of direct/ }, 'the other keys of the file');
pass('other keys in the file are taken up');

#
# What a configuration may not say.
#
put('wrong.conf', $aws->section('env', { lines => "auth = environment\n" }, "allow_keys = $arn"));
my ($out, $said) = ('', '');
IPC::Run::run([ "$ENV{PGE_BINDIR}/pg_envelope_agent", 'check-config', "$dir/wrong.conf" ], '>', \$out, '2>', \$said);
like($said . $out, qr/Line 4 of .*: auth = environment is for an agent that is a service of its own/, 'an agent that the server starts has no secret in its environment');

#
# Where no credential may be.
#
my $matcher = PgEnvelope::Canary->matcher(map { ($_ => substr($canary{$_}, -24)) } keys %canary);
is_deeply([ $matcher->in_text($errors) ], [], 'no credential in an error');
is_deeply([ $matcher->in_text($admin->query(q{SELECT string_agg(s::text, ' ') FROM envelope_status() s})
		. $admin->query(q{SELECT string_agg(a::text, ' ') FROM pg_stat_activity a}) . $admin->query('SELECT string_agg(s::text, $$ $$) FROM pg_settings s')) ], [], 'nor in a view');
is_deeply([ $matcher->in_files($node->logfile, $node->data_dir) ], [], 'nor in the log or the data directory');
is_deeply([ sort $matcher->in_files($credentials) ], [ "$credentials: caller raw", "$credentials: next raw" ], 'where they are, they are found');

# Of a process that is not dumpable nobody but root sees the environment.
my ($read, @found) = (0);
for my $process ($node->postmaster_pid, $node->keeper_pid, $node->agent_pid, $admin->pid)
{
	my ($arguments, $environment) = map { PgEnvelope::Cluster::read_proc("$process/$_") } qw(cmdline environ);
	$read++ if length($environment // '');
	push @found, map { "$process: $_" } $matcher->in_text($arguments . ($environment // ''));
}
is_deeply(\@found, [], 'nor in arguments or environment of a process');
cmp_ok($read, '>=', 1, 'of which some could be read');

$admin->close;
$node->stop;
done_testing();
