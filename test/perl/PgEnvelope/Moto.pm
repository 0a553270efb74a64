# AWS for tests: moto with the signatures checked (test/tools/aws_kms.py), on a random loopback port.
#
#	my $aws = PgEnvelope::Moto->new($dir) or plan skip_all => PgEnvelope::Moto::why_not();
#	$aws->endpoint;                       # "http://127.0.0.1:PORT"
#	my $arn = $aws->key;                  # makes one in eu-west-1, or in the region that is named
#	$aws->ask('kms', 'create_alias', { AliasName => ..., TargetKeyId => ... });   # the answer; dies of an error
#	my $user = $aws->user('db');          # may do what README's policy says; {file, secret, ...}
#	$aws->section('prod', $user, 'allow_keys = arn:*');    # of pg_envelope.kms_config_file
#	$aws->requests;                       # [{operation, key, status, code, signature, context, ...}, ...] to KMS since the last time
#	$aws->set(clock => 3600, fail => { Decrypt => { status => 400, code => 'DisabledException' } });
#
# It ends with the test.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Moto;

use strict;
use warnings FATAL => 'all';

use Carp;
use FindBin;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Cluster;

use PgEnvelope::Cluster;

my $tools = "$FindBin::RealBin/../tools";
my $why_not = '';

# README's text between its marks.
sub readme
{
	my ($name) = @_;
	my ($block) = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../../README.md") =~ /<!-- \Q$name\E -->\n```\w+\n(.*?)```/s;
	return $block // croak "README has no $name";
}

# What the agent may do is what README says.  (moto knows of a policy's resources "*" alone.)
my @key_actions = @{ decode_json(readme('aws policy'))->{Statement}[0]{Action} };

# What is skipped here is a failure where nothing may be skipped (test/suites.sh).
sub why_not { return "no moto: $why_not"; }

# undef: it cannot be had.  $dir: a directory that is there.
sub new
{
	my ($class, $dir) = @_;
	my $python = qx("$tools/moto.sh" 2>"$dir/moto.sh.err");
	if ($? != 0)
	{
		$why_not = PostgreSQL::Test::Utils::slurp_file("$dir/moto.sh.err") || 'moto.sh failed';
		chomp $why_not;
		# Perl would end with the script's 77, which elsewhere means "skipped".
		($!, $?) = (0, 0);
		croak why_not() if $ENV{PGE_REQUIRE_ALL};
		return;
	}
	chomp $python;
	my $self = bless { dir => "$dir/moto", owner => $$, requests_at => 0 }, $class;
	mkdir $self->{dir} or croak "$self->{dir}: $!";
	$self->{http} = HTTP::Tiny->new(timeout => $PostgreSQL::Test::Utils::timeout_default, proxy => undef, http_proxy => undef);
	$self->start($python);
	return $self;
}

sub start
{
	my ($self, $python) = @_;
	pipe(my $stdin, $self->{stdin}) or croak $!;
	my $pid = fork // croak "fork: $!";
	if ($pid == 0)
	{
		close $self->{stdin};
		open(STDIN, '<&', $stdin) && open(STDOUT, '>', "$self->{dir}/out") && open(STDERR, '>', "$self->{dir}/log") or die $!;
		# It dies with the test, however that ends; and has a home of its own.
		%ENV = (PATH => $ENV{PATH}, HOME => $self->{dir});
		exec 'setpriv', '--pdeathsig', 'KILL', $python, "$tools/aws_kms.py", $self->{dir} or die $!;
	}
	close $stdin;
	$self->{pid} = $pid;
	PgEnvelope::Cluster::wait_until(
		sub {
			croak "moto ended at once, see $self->{dir}/log" if waitpid($pid, 1) == $pid;
			$self->{port} = $1 if -e "$self->{dir}/out" && PostgreSQL::Test::Utils::slurp_file("$self->{dir}/out") =~ /^ready (\d+)\n/;
			return defined $self->{port};
		}, 'moto answers');
	return;
}

sub endpoint { my ($self) = @_; return "http://127.0.0.1:$self->{port}"; }
sub port { my ($self) = @_; return $self->{port}; }
sub pid { my ($self) = @_; return $self->{pid}; }

sub control
{
	my ($self, $what, $said) = @_;
	my $answer = $self->{http}->post($self->endpoint . "/_test/$what", { content => encode_json($said) });
	croak "moto: $what " . encode_json($said) . ": $answer->{status} $answer->{content}" unless $answer->{success};
	return decode_json($answer->{content});
}

# Operations as boto3 names them.
sub ask
{
	my ($self, $service, $operation, $arguments, $region) = @_;
	return $self->control(call => { service => $service, operation => $operation, region => $region // 'eu-west-1', arguments => $arguments // {} });
}

sub set { my ($self, %settings) = @_; return $self->control(set => \%settings); }

# The ARN of a new key.
sub key
{
	my ($self, $region) = @_;
	return $self->ask('kms', 'create_key', {}, $region)->{KeyMetadata}{Arn};
}

# Another than its ARN; for what moto wants it for.
sub bare { my ($arn) = @_; return $arn =~ s{.*/}{}r; }

sub alias
{
	my ($self, $name, $arn) = @_;
	$self->ask('kms', 'create_alias', { AliasName => "alias/$name", TargetKeyId => bare($arn) });
	return $arn =~ s{key/.*}{alias/$name}r;
}

# A user with a long-term key, who may do this besides; lines of a section that use it.
sub user
{
	my ($self, $name, @more) = @_;
	$self->ask('iam', 'create_user', { UserName => $name });
	$self->allow($name, @key_actions, map { "kms:$_" } @more);
	my $key = $self->ask('iam', 'create_access_key', { UserName => $name })->{AccessKey};
	return $self->credential($name, @{$key}{qw(AccessKeyId SecretAccessKey)}, '');
}

# All that the user may do from now on.
sub allow
{
	my ($self, $name, @actions) = @_;
	my $policy = { Version => '2012-10-17', Statement => [{ Effect => 'Allow', Action => \@actions, Resource => '*' }] };
	$self->ask('iam', 'put_user_policy', { UserName => $name, PolicyName => 'keys', PolicyDocument => encode_json($policy) });
	return;
}

# The same with temporary keys, of a role.
sub role
{
	my ($self, $name) = @_;
	my $policy = { Version => '2012-10-17', Statement => [{ Effect => 'Allow', Action => \@key_actions, Resource => '*' }] };
	my $trust = { Version => '2012-10-17', Statement => [{ Effect => 'Allow', Principal => { AWS => '*' }, Action => 'sts:AssumeRole' }] };
	my $arn = $self->ask('iam', 'create_role', { RoleName => $name, AssumeRolePolicyDocument => encode_json($trust) })->{Role}{Arn};
	$self->ask('iam', 'put_role_policy', { RoleName => $name, PolicyName => 'keys', PolicyDocument => encode_json($policy) });
	my $key = $self->ask('sts', 'assume_role', { RoleArn => $arn, RoleSessionName => 'test' })->{Credentials};
	return $self->credential($name, @{$key}{qw(AccessKeyId SecretAccessKey SessionToken)});
}

sub credential
{
	my ($self, $name, $id, $secret, $token) = @_;
	my %credential = (file => "$self->{dir}/$name.credentials", id => $id, secret => $secret, token => $token);
	write_file($credential{file}, "[default]\naws_access_key_id = $id\naws_secret_access_key = $secret\n" . ($token eq '' ? '' : "aws_session_token = $token\n"));
	$credential{lines} = "auth = profile:default\ncredentials_file = $credential{file}\n";
	return \%credential;
}

# A section for pg_envelope.kms_config_file.
sub section
{
	my ($self, $name, $credential, $lines, $region) = @_;
	return "[aws $name]\nregion = " . ($region // 'eu-west-1') . "\nendpoint = " . $self->endpoint . "\n$credential->{lines}$lines\n";
}

# Requests to KMS that it has answered since this was last asked, the administrator's left out.
sub requests
{
	my ($self) = @_;
	open(my $file, '<', "$self->{dir}/requests") or croak $!;
	seek($file, $self->{requests_at}, 0);
	my @seen;
	while (my $line = <$file>)
	{
		last unless $line =~ /\n\z/;
		$self->{requests_at} = tell $file;
		push @seen, decode_json($line);
	}
	return \@seen;
}

sub write_file
{
	my ($path, $text) = @_;
	open(my $file, '>', $path) or croak "$path: $!";
	chmod 0600, $path;
	print {$file} $text;
	close $file or croak "$path: $!";
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local $?;
	return unless $self->{pid} && $self->{owner} == $$;
	kill KILL => $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

1;
