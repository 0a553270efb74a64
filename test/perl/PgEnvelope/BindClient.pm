# A client that passes values as bind parameters (psql 15 cannot): the extended
# protocol over the server's socket, in text format, one unnamed statement at a time.
#
#	my $w = PgEnvelope::BindClient->new($node);
#	my ($rows, $error) = $w->run('SELECT $1::text', 'value');
#
# $rows is a list of lists; a parameter or a value may be undef.  $error is undef or what
# the server said: {S => 'ERROR', C => '22P02', M => ..., D => ..., W => ...}.
# Notices are dropped.  Every read has a deadline.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::BindClient;

use strict;
use warnings FATAL => 'all';

use Carp;
use IO::Select;
use IO::Socket::UNIX;

sub new
{
	my ($class, $node, %params) = @_;
	my $path = $node->host . '/.s.PGSQL.' . $node->port;
	my $self = bless {
		timeout => $PostgreSQL::Test::Utils::timeout_default, in => '',
		socket => IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path) || croak "$path: $!"
	}, $class;
	my $start = pack('N', 3 << 16) . join('', map { "$_\0" } user => $params{user} // $node->superuser,
		database => $params{dbname} // 'postgres', client_encoding => 'UTF8', '');
	$self->put(pack('N', 4 + length $start) . $start);
	my (undef, $error) = $self->answer;
	croak "no connection: $error->{M}" if $error;
	return $self;
}

sub run
{
	my ($self, $sql, @values) = @_;
	my $bound = join '', map { defined $_ ? pack('N', length $_) . $_ : pack('N', 0xffffffff) } @values;
	$self->put(message('P', "\0$sql\0" . pack('n', 0))
		  . message('B', "\0\0" . pack('nn', 0, scalar @values) . $bound . pack('n', 0))
		  . message('D', "P\0") . message('E', "\0" . pack('N', 0)) . message('S', ''));
	return $self->answer;
}

# The same, and dies of an error.
sub query
{
	my ($self, $sql, @values) = @_;
	my ($rows, $error) = $self->run($sql, @values);
	croak "\"$sql\" failed: $error->{C}: $error->{M}" if $error;
	return $rows;
}

sub close { CORE::close($_[0]->{socket}); return; }

sub message
{
	my ($type, $body) = @_;
	return $type . pack('N', 4 + length $body) . $body;
}

# Everything up to ReadyForQuery.
sub answer
{
	my ($self) = @_;
	my (@rows, $error);
	while (1)
	{
		my $type = $self->take(1);
		my $body = $self->take(unpack('N', $self->take(4)) - 4);
		push @rows, row($body) if $type eq 'D';
		$error //= { $body =~ /([A-Za-z])([^\0]*)\0/g } if $type eq 'E';
		croak 'the server asks for a password' if $type eq 'R' && unpack('N', $body) != 0;
		return (\@rows, $error) if $type eq 'Z' || ($type eq 'E' && $error->{S} =~ /FATAL|PANIC/);
	}
}

sub row
{
	my ($body) = @_;
	my ($n, $at) = (unpack('n', $body), 2);
	my @values;
	for (1 .. $n)
	{
		my $length = unpack('N', substr($body, $at, 4));
		$at += 4;
		push @values, $length == 0xffffffff ? undef : substr($body, $at, $length);
		$at += $length unless $length == 0xffffffff;
	}
	return \@values;
}

sub put
{
	my ($self, $bytes) = @_;
	for (my $at = 0; $at < length $bytes;)
	{
		$at += syswrite($self->{socket}, $bytes, length($bytes) - $at, $at) // croak "write: $!";
	}
	return;
}

sub take
{
	my ($self, $n) = @_;
	my $ready = IO::Select->new($self->{socket});
	while (length $self->{in} < $n)
	{
		$ready->can_read($self->{timeout}) or croak 'timed out waiting for the server';
		sysread($self->{socket}, $self->{in}, 65536, length $self->{in}) or croak 'the server has gone';
	}
	return substr($self->{in}, 0, $n, '');
}

1;
