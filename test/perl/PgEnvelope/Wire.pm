# A client that speaks the server's protocol itself, without waiting for anything,
# so that one test can hold many sessions and interrupt each at any instant.
#
#	my $w = PgEnvelope::Wire->new($node, 'SET ...');    # settings of the session
#	$w->send('SELECT ...');          # one string of statements, answered as a whole; or several
#	PgEnvelope::Wire::pump($seconds, @wires);   # reads what has come, at most that long
#	$w->idle; $w->gone;              # the answer is complete; the server has hung up
#	$w->value;                       # the last row's only column
#	$w->error;                       # { C => '57014', M => ..., D => ..., H => ... } or undef: the last one
#	$w->codes;                       # how often each SQLSTATE came
#	$w->cancel; $w->terminate; $w->vanish;      # vanish: closed without a word
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Wire;

use strict;
use warnings FATAL => 'all';

use Carp;
use IO::Select;
use IO::Socket::UNIX;

sub new
{
	my ($class, $node, $setup) = @_;
	my $self = bless { path => $node->host . '/.s.PGSQL.' . $node->port, in => '', left => 1 }, $class;
	$self->{socket} = $self->connect;
	my $hello = pack('N', 3 << 16) . join("\0", user => $node->superuser, database => 'postgres') . "\0\0";
	$self->put(pack('N', 4 + length $hello) . $hello);
	$self->{setup} = $setup;
	return $self;
}

sub connect
{
	my ($self) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $self->{path}) or croak "$self->{path}: $!";
	return $socket;
}

sub put
{
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	$self->{gone} = 1 unless defined $self->{socket}->syswrite($bytes);
	return;
}

sub send
{
	my ($self, @statements) = @_;
	@$self{qw(idle value error left codes)} = (0, undef, undef, scalar @statements, {});
	$self->put(join '', map { 'Q' . pack('N', 5 + length) . "$_\0" } @statements);
	return;
}

sub idle  { return $_[0]{idle}; }
sub gone  { return $_[0]{gone}; }
sub value { return $_[0]{value}; }
sub error { return $_[0]{error}; }
sub pid   { return $_[0]{pid}; }
sub codes { return $_[0]{codes}; }

# As libpq does it: a connection of its own, which the postmaster answers by closing.
sub cancel
{
	my ($self) = @_;
	my $socket = $self->connect;
	$socket->syswrite(pack('NNNN', 16, 80877102, $self->{pid}, $self->{key}));
	return;
}

sub terminate { kill('TERM', $_[0]{pid}) or croak "kill $_[0]{pid}: $!"; return; }

sub vanish { my ($self) = @_; close $self->{socket}; $self->{gone} = 1; return; }

# Reads what comes until the time is over or nobody is left to be heard; returns
# after the first turn in which there was something to read.
sub pump
{
	my ($seconds, @wires) = @_;
	my %by = map { (fileno($_->{socket}) => $_) } grep { !$_->{gone} } @wires;
	my $select = IO::Select->new(map { $_->{socket} } values %by);
	$by{ fileno $_ }->hear for $select->can_read($seconds < 0 ? 0 : $seconds);
	return;
}

sub hear
{
	my ($self) = @_;
	my $got = $self->{socket}->sysread($self->{in}, 65536, length $self->{in});
	$self->{gone} = 1 unless $got;
	while (length $self->{in} >= 5)
	{
		my ($type, $len) = unpack 'aN', $self->{in};
		last if length $self->{in} < 1 + $len;
		my $message = substr($self->{in}, 0, 1 + $len, '');
		$self->take($type, substr($message, 5));
	}
	return;
}

sub take
{
	my ($self, $type, $body) = @_;
	if ($type eq 'K')
	{
		@$self{qw(pid key)} = unpack 'NN', $body;
	}
	elsif ($type eq 'D')
	{
		my ($columns, $len) = unpack 'nN', $body;
		$self->{value} = $len == 0xffffffff ? undef : substr($body, 6, $len);
	}
	elsif ($type eq 'E')
	{
		$self->{error} = { map { (substr($_, 0, 1) => substr($_, 1)) } split /\0/, $body };
		$self->{codes}{ $self->{error}{C} }++;
	}
	elsif ($type eq 'Z' && defined $self->{setup})
	{
		$self->send(delete $self->{setup});
	}
	elsif ($type eq 'Z')
	{
		$self->{idle} = 1 if --$self->{left} <= 0;
	}
	return;
}

1;
