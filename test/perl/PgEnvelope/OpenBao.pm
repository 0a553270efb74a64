# The real OpenBao (test/tools/openbao.sh), in memory, on random loopback ports: one with
# TLS for the product, and one without for this module, which asks as root.
#
#	my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => PgEnvelope::OpenBao::why_not();
#	$bao->address, $bao->server;         # "https://127.0.0.1:PORT", "127.0.0.1:PORT"
#	$bao->ca_file;
#	$bao->ask(POST => 'transit/keys/x', { type => 'aes256-gcm96' });   # the answer's data; dies of an error
#	my ($status, $answer) = $bao->request($method, $path, $body, $token);
#	$bao->approle('db', $policy, token_ttl => '5s');    # files of a role that may log in
#	$bao->audited;                       # [{path => ..., operation => ..., ...}, ...] since the last time
#	$bao->seal; $bao->unseal; $bao->stop; $bao->go_on;
#
# Transit is there, and the auth methods approle, cert, jwt and kubernetes.  It ends with the test.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::OpenBao;

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

# What is skipped here is a failure where nothing may be skipped (test/suites.sh).
sub why_not { return "no OpenBao: $why_not"; }

# undef: its program cannot be had.  $dir: a directory that is there, with a short path.  bare => 1:
# nothing is mounted.  json_strings => N: at plain_address it takes no request with more of them.
sub new
{
	my ($class, $dir, %option) = @_;
	my $program = qx("$tools/openbao.sh" 2>"$dir/openbao.sh.err");
	if ($? != 0)
	{
		$why_not = PostgreSQL::Test::Utils::slurp_file("$dir/openbao.sh.err") || 'openbao.sh failed';
		chomp $why_not;
		# Perl would end with the script's 77, which elsewhere means "skipped".
		($!, $?) = (0, 0);
		croak why_not() if $ENV{PGE_REQUIRE_ALL};
		return;
	}
	chomp $program;
	my $self = bless { program => $program, dir => "$dir/openbao", owner => $$, root => 'root-' . rand_hex(12), audit_at => 0 }, $class;
	mkdir $_ or croak "$_: $!" for $self->{dir}, "$self->{dir}/tls";
	$self->{$_} = PostgreSQL::Test::Cluster::get_free_port() for qw(port plain_port);
	$self->{http} = HTTP::Tiny->new(timeout => $PostgreSQL::Test::Utils::timeout_default, proxy => undef, http_proxy => undef);
	$self->start($program, $option{json_strings} ? "  max_request_json_strings = $option{json_strings}\n" : '');
	return $self if $option{bare};
	$self->ask(POST => 'sys/mounts/transit', { type => 'transit' });
	$self->ask(POST => "sys/auth/$_", { type => $_ }) for qw(approle cert jwt kubernetes);
	return $self;
}

sub start
{
	my ($self, $program, $limits) = @_;
	write_file("$self->{dir}/config.hcl", qq(listener "tcp" {\n  address = "127.0.0.1:$self->{plain_port}"\n  tls_disable = true\n$limits}\n)
		  . qq(audit "file" "log" {\n  options {\n    file_path = "$self->{dir}/audit.log"\n    log_raw = "true"\n  }\n}\n));
	my $pid = fork // croak "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null') && open(STDOUT, '>', "$self->{dir}/log") && open(STDERR, '>&', \*STDOUT) or die $!;
		# It dies with the test, however that ends; and has a home of its own.
		%ENV = (PATH => $ENV{PATH}, HOME => $self->{dir}, BAO_DEV_ROOT_TOKEN_ID => $self->{root});
		exec 'setpriv', '--pdeathsig', 'KILL', $program, 'server', '-dev', '-dev-no-store-token', '-dev-tls',
		  "-dev-tls-cert-dir=$self->{dir}/tls", "-dev-listen-address=127.0.0.1:$self->{port}", "-config=$self->{dir}/config.hcl" or die $!;
	}
	$self->{pid} = $pid;
	PgEnvelope::Cluster::wait_until(
		sub {
			croak "OpenBao ended at once, see $self->{dir}/log" if waitpid($pid, 1) == $pid;
			my ($status) = $self->request(GET => 'sys/health');
			return $status == 200 && -e $self->ca_file && $self->unseal_key;
		}, 'OpenBao answers');
	return;
}

sub server { my ($self) = @_; return "127.0.0.1:$self->{port}"; }
sub address { my ($self) = @_; return "https://127.0.0.1:$self->{port}"; }
sub ca_file { my ($self) = @_; return "$self->{dir}/tls/vault-ca.pem"; }
sub pid { my ($self) = @_; return $self->{pid}; }
sub dir { my ($self) = @_; return $self->{dir}; }
sub plain_address { my ($self) = @_; return "http://127.0.0.1:$self->{plain_port}"; }

# HTTP's status and the answer, {} if there is none.
sub request
{
	my ($self, $method, $path, $body, $token) = @_;
	my %options = (headers => { 'X-Vault-Token' => $token // $self->{root} });
	$options{content} = encode_json($body) if defined $body;
	my $answer = $self->{http}->request($method, $self->plain_address . "/v1/$path", \%options);
	my $said = ($answer->{content} // '') =~ /^\{/ ? decode_json($answer->{content}) : {};
	return ($answer->{status}, $said);
}

sub ask
{
	my ($self, $method, $path, $body) = @_;
	my ($status, $answer) = $self->request($method, $path, $body);
	croak "$method $path: HTTP $status " . encode_json($answer) if $status >= 300;
	return $answer->{data};
}

sub policy
{
	my ($self, $name, $text) = @_;
	return $self->ask(PUT => "sys/policies/acl/$name", { policy => $text });
}

# What the README says the agent needs, on the named keys of "transit".
sub least_policy
{
	my ($self, @keys) = @_;
	return join '', map {
		qq(path "transit/encrypt/$_" { capabilities = ["update"] }\npath "transit/decrypt/$_" { capabilities = ["update"] }\n)
		  . qq(path "transit/rewrap/$_" { capabilities = ["update"] }\npath "transit/keys/$_" { capabilities = ["read"] }\n)
	} @keys;
}

# A role with this policy (at another mount => ...); its two files, and lines of a section that use them.
sub approle
{
	my ($self, $name, $policy, %settings) = @_;
	my $mount = delete $settings{mount} // 'approle';
	$self->policy($name, $policy);
	$self->ask(POST => "auth/$mount/role/$name", { token_policies => $name, %settings });
	my %role = (role_id_file => "$self->{dir}/$name.role_id", secret_id_file => "$self->{dir}/$name.secret_id",
		role_id => $self->ask(GET => "auth/$mount/role/$name/role-id")->{role_id});
	$role{secret_id} = $self->ask(POST => "auth/$mount/role/$name/secret-id", {})->{secret_id};
	write_file($role{role_id_file}, "$role{role_id}\n");
	write_file($role{secret_id_file}, "$role{secret_id}\n");
	$role{lines} = "auth = approle\nrole_id_file = $role{role_id_file}\nsecret_id_file = $role{secret_id_file}\n"
	  . ($mount eq 'approle' ? '' : "auth_mount = $mount\n");
	return \%role;
}

# A section for pg_envelope.kms_config_file.
sub section
{
	my ($self, $name, $lines) = @_;
	return "[vault $name]\naddress = " . $self->address . "\nca_file = " . $self->ca_file . "\n$lines\n";
}

# Requests that it has answered since this was last asked, our own left out.
sub audited
{
	my ($self) = @_;
	open(my $file, '<', "$self->{dir}/audit.log") or croak $!;
	seek($file, $self->{audit_at}, 0);
	my @seen;
	while (my $line = <$file>)
	{
		last unless $line =~ /\n\z/;
		$self->{audit_at} = tell $file;
		# (To decode a batch takes a while.)
		next if index($line, '"type":"response"') < 0;
		my $entry = decode_json($line);
		next if $entry->{type} ne 'response' || ($entry->{auth}{display_name} // '') eq 'token' && ($entry->{auth}{client_token} // '') eq $self->{root};
		push @seen, { path => $entry->{request}{path}, operation => $entry->{request}{operation},
			data => $entry->{request}{data}, error => $entry->{error}, namespace => $entry->{request}{namespace}{path} };
	}
	return \@seen;
}

sub unseal_key
{
	my ($self) = @_;
	return PostgreSQL::Test::Utils::slurp_file("$self->{dir}/log") =~ /^Unseal Key: (\S+)/m ? $1 : undef;
}

sub seal { my ($self) = @_; return $self->ask(POST => 'sys/seal'); }

sub unseal
{
	my ($self) = @_;
	my $key = $self->unseal_key;
	my ($status, $answer) = $self->request(POST => 'sys/unseal', { key => $key }, '');
	croak "unseal: HTTP $status" if $status != 200 || $answer->{sealed};
	return;
}

# It answers nothing for a while, its connections stay.
sub stop { my ($self) = @_; kill STOP => $self->{pid}; return; }
sub go_on { my ($self) = @_; kill CONT => $self->{pid}; return; }

sub write_file
{
	my ($path, $text) = @_;
	open(my $file, '>', $path) or croak "$path: $!";
	chmod 0600, $path;
	print {$file} $text;
	close $file or croak "$path: $!";
	return;
}

sub rand_hex
{
	my ($bytes) = @_;
	open(my $random, '<:raw', '/dev/urandom') or croak $!;
	read($random, my $got, $bytes) == $bytes or croak 'no random bytes';
	return unpack('H*', $got);
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
