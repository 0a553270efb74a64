# One psql session that stays open, so that a test can hold a transaction,
# start a statement that waits, and look at it while it does.
#
#	my $s = $node->session;                  # dbname =>, user =>, timeout => seconds; or connstr =>
#	$s->query('BEGIN');                      # stdout; dies on an SQL error
#	my ($out, $err) = $s->try('SELECT ...'); # never dies of an SQL error
#	$s->send('SELECT slow()');               # returns at once
#	$s->busy;                                # true while that statement runs
#	my ($out, $err) = $s->wait;              # its end
#	$s->told('agent_clients');               # a value of envelope_status()
#	$s->set_for_all('cache_ttl', '1s');      # ALTER SYSTEM, in force here
#	$s->pid; $s->close;
#
# $err holds psql's messages with VERBOSITY verbose, so it begins with
# "ERROR:  KE001: ..." and a test may match the SQLSTATE.  Every wait has a
# deadline (the session's timeout, PG_TEST_TIMEOUT_DEFAULT or 180 s) and dies then.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Session;

use strict;
use warnings FATAL => 'all';

use Carp;
use IPC::Run;

our $serial = 0;

sub new
{
	my ($class, $node, %params) = @_;
	my $timeout = $params{timeout} // $PostgreSQL::Test::Utils::timeout_default;
	my $self = bless {
		stdin => '', stdout => '', stderr => '', running => undef,
		timeout => $timeout, timer => IPC::Run::timer($timeout)
	}, $class;
	my @command = (
		$node->installed_command('psql'), '-X', '-A', '-t', '-q', '-d',
		$params{connstr} // $node->connstr($params{dbname} // 'postgres'),
		'-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=0',
		(defined $params{user} ? ('-U', $params{user}) : ()), '-f', '-');

	local %ENV = $node->_get_env();
	$self->{run} = IPC::Run::start(\@command, '<', \$self->{stdin}, '>',
		\$self->{stdout}, '2>', \$self->{stderr}, $self->{timer});
	$self->{pid} = $self->query('SELECT pg_backend_pid()');
	return $self;
}

# The backend's process.
sub pid { return $_[0]->{pid}; }

sub send
{
	my ($self, $sql) = @_;
	croak "a statement is still running: $self->{running}{sql}" if $self->{running};
	my $mark = sprintf('pge-session-%d-%d', $$, ++$serial);
	$self->{running} = { sql => $sql, mark => $mark };
	# Both streams are marked: either may arrive first.
	$self->{stdin} .= "$sql\n;\n\\echo $mark\n\\warn $mark\n";
	$self->{timer}->start($self->{timeout});
	$self->{run}->pump_nb;
	return;
}

sub finished
{
	my ($self) = @_;
	my $mark = $self->{running}{mark};
	return $self->{stdout} =~ /^\Q$mark\E\r?\n/m && $self->{stderr} =~ /^\Q$mark\E\r?\n/m;
}

# A value of envelope_status().  What the agent does not tell within a second, it tells
# when it is asked again.
sub told
{
	my ($self, $name) = @_;
	my $value;
	PgEnvelope::Cluster::wait_until(sub { ($value = $self->query("SELECT value FROM envelope_status() WHERE name = '$name'")) ne '' }, "word of $name");
	return $value;
}

# Sets pg_envelope.NAME for all, and waits until this session goes by it, and @others do.
sub set_for_all
{
	my ($self, $name, $value, @others) = @_;
	$self->query($_) for "ALTER SYSTEM SET pg_envelope.$name = '$value'", 'SELECT pg_reload_conf()';
	PgEnvelope::Cluster::wait_until(sub { !grep { $_->query("SHOW pg_envelope.$name") ne $value } $self, @others }, "$name to be $value");
	return;
}

# True while the statement sent runs.
sub busy
{
	my ($self) = @_;
	return 0 unless $self->{running};
	$self->{run}->pump_nb if $self->{run}->pumpable;
	return !$self->finished;
}

# Waits for the end of what was sent; returns its output and its messages.  If
# the server ends the session, these are what was said until then.
sub wait
{
	my ($self) = @_;
	croak 'nothing was sent' unless $self->{running};
	my $sql = $self->{running}{sql};
	until ($self->finished)
	{
		last unless $self->{run}->pumpable;
		croak "timed out after $self->{timeout} s: $sql" if $self->{timer}->is_expired;
		eval { $self->{run}->pump; 1 } or do
		{
			croak "timed out after $self->{timeout} s: $sql" if $self->{timer}->is_expired;
			last;
		};
	}
	my $mark = $self->{running}{mark};
	my ($out, $err) = @$self{qw(stdout stderr)};
	s/^\Q$mark\E\r?\n//m, s/\r?\n\z// for $out, $err;
	@$self{qw(stdout stderr running)} = ('', '', undef);
	return ($out, $err);
}

sub try
{
	my ($self, $sql) = @_;
	$self->send($sql);
	return $self->wait;
}

sub query
{
	my ($self, $sql) = @_;
	my ($out, $err) = $self->try($sql);
	croak "\"$sql\" failed: $err" if $err =~ /^(?:psql:.*?)?(?:ERROR|FATAL|PANIC):/m;
	return $out;
}

sub close
{
	my ($self) = @_;
	return unless $self->{run};
	my $run = delete $self->{run};
	if ($self->{running})
	{
		$run->kill_kill(grace => 5);
		return;
	}
	$self->{stdin} .= "\\q\n" if $run->pumpable;
	eval { $run->finish };
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@);
	$self->close;
	return;
}

1;
