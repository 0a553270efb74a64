# A second operating-system user (test/tools/other_user.sh), and an agent that is his service.
#
#	PgEnvelope::OtherUser::missing();         # why there is none; undef: there is one
#	my $dir = PgEnvelope::OtherUser::directory('name');      # his, a new one
#	PgEnvelope::OtherUser::write_file($path, $text, $mode);
#	my ($status, $out, $err) = PgEnvelope::OtherUser::run(@command);
#
#	my $agent = PgEnvelope::OtherUser->start_agent($dir, sections => "[vault x]\n...", section => "concurrency = 4\n");
#	... config => FILE: one that is there
#	$agent->settings;                         # of the server, for PgEnvelope::Cluster->new
#	$agent->signal('HUP'); $agent->wait_log(qr/.../); $agent->stop; $agent->restart;
#
# The agent ends with the test, however that ends.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::OtherUser;

use strict;
use warnings FATAL => 'all';

use Carp;
use IPC::Run;
use PostgreSQL::Test::Utils;

use PgEnvelope::Cluster;

sub missing
{
	return if defined $ENV{PGE_OTHER_AS};
	return 'no second operating-system user: test/tools/other_user.sh can give the tests none (it needs root, who may gain rights by a program, in a TMPDIR that allows that)';
}

sub name { return $ENV{PGE_OTHER_USER}; }
sub uid { return scalar getpwnam(name()); }
sub as { return split / /, $ENV{PGE_OTHER_AS}; }

sub run
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ as(), @command ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out, $err);
}

sub write_file
{
	my ($path, $text, $mode) = @_;
	my $script = 'umask 077; cat > "$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"';
	IPC::Run::run([ as(), 'sh', '-c', $script, 'sh', $path, sprintf('%o', $mode // 0600) ], '<', \$text) or croak "cannot write $path";
	return;
}

# Everybody may enter it, as with /run/pg_envelope; "keys" in it is his own.
sub directory
{
	my ($name) = @_;
	my $dir = "$ENV{PGE_OTHER_DIR}/$name.$$";
	my ($status, undef, $err) = run('sh', '-c', 'mkdir -m 755 "$1" && mkdir -m 700 "$1/keys"', 'sh', $dir);
	croak "cannot make $dir: $err" if $status != 0;
	return $dir;
}

sub start_agent
{
	my ($class, $dir, %option) = @_;
	my $self = bless {
		dir => $dir, log => "$dir/agent.log", program => ($option{program} // "$ENV{PGE_BINDIR}/pg_envelope_agent"), owner => $$,
		environment => $option{environment} // {}
	}, $class;
	$self->configure(%option) unless $option{config};
	$self->{config} = $option{config} // "$dir/agent.conf";
	$self->restart;
	return $self;
}

sub socket { my ($self) = @_; return "$self->{dir}/agent.sock"; }
sub config { my ($self) = @_; return $self->{config} // "$self->{dir}/agent.conf"; }
sub keyring { my ($self) = @_; return "$self->{dir}/keys/keyring"; }
sub pid { my ($self) = @_; return $self->{pid}; }

sub configure
{
	my ($self, %option) = @_;
	write_file($self->config, "[agent]\nserver_user = " . ($option{server_user} // scalar getpwuid($>)) . "\nsocket = " . $self->socket
		  . "\nkeyring_file = " . $self->keyring . "\n" . ($option{section} // '') . ($option{sections} // ''));
	return;
}

# What the server is told of it.
sub settings
{
	my ($self) = @_;
	return ('pg_envelope.agent' => 'external', 'pg_envelope.agent_user' => name(), 'pg_envelope.agent_socket' => $self->socket);
}

# A guard of the same user starts it, passes signals on, and kills it when we are gone:
# we could not, and the kernel would not for us.
my $guard = q{
	my ($log, @command) = @ARGV;
	chdir '/'; umask 022; $| = 1;
	my $pid = fork;
	if ($pid == 0) {
		open(STDIN, '<', '/dev/null'); open(STDOUT, '>>', $log); open(STDERR, '>>', $log);
		exec @command or exit 127;
	}
	print "$pid\n";
	while (my $signal = <STDIN>) { chomp $signal; kill $signal, $pid; }
	kill 'KILL', $pid; waitpid $pid, 0;
};

sub restart
{
	my ($self) = @_;
	$self->stop if $self->{guard};
	my ($in, $out);
	my $ready = () = $self->log_text =~ / is ready at /g;
	pipe(my $commands, $in) && pipe($out, my $answers) or croak "pipe: $!";
	my $pid = fork // croak "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<&', $commands) && open(STDOUT, '>&', $answers) or die $!;
		close $_ for $in, $out;
		exec as(), 'env', (map { "$_=$self->{environment}{$_}" } sort keys %{ $self->{environment} }), $^X, '-e', $guard, $self->{log}, $self->{program}, 'serve', '--config', $self->config or die $!;
	}
	close $_ for $commands, $answers;
	$in->autoflush(1);
	@{$self}{qw(guard in)} = ($pid, $in);
	chomp($self->{pid} = <$out> // croak 'the agent was not started');
	PgEnvelope::Cluster::wait_until(sub { my $now = () = $self->log_text =~ / is ready at /g; $now > $ready }, 'the external agent');
	return;
}

sub signal
{
	my ($self, $signal) = @_;
	print { $self->{in} } "$signal\n" or croak "signal $signal: $!";
	return;
}

sub log_text
{
	my ($self) = @_;
	return -e $self->{log} ? slurp_file($self->{log}) : '';
}

sub wait_log
{
	my ($self, $pattern) = @_;
	PgEnvelope::Cluster::wait_until(sub { $self->log_text =~ $pattern }, "$pattern in the agent's log");
	return $self->log_text;
}

# signal => 'KILL': not in good order.
sub stop
{
	my ($self, %option) = @_;
	return unless $self->{guard};
	my $pid = $self->{pid};
	$self->signal($option{signal} // 'TERM');
	PgEnvelope::Cluster::wait_until(sub { (PgEnvelope::Cluster::read_proc("$pid/stat") // ') Z') =~ /\) Z/ }, "the end of agent $pid");
	close delete $self->{in};
	waitpid(delete $self->{guard}, 0);
	return;
}

sub DESTROY
{
	my ($self) = @_;
	return unless $self->{guard} && $self->{owner} == $$;
	local $?;
	close delete $self->{in};
	waitpid(delete $self->{guard}, 0);
	return;
}

1;
