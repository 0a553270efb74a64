# Stands between the agent and OpenBao, and loses what it is told to, once.
#
#	my $between = PgEnvelope::Between->new($bao, qr{^\w+ \S+/rotate });
#	$between->server;                    # "127.0.0.1:PORT", plain HTTP
#	$between->lose('answer');            # of the next request whose first line is such a one; or 'request'
#	$between->has_lost;                  # it was lost
#
# A connection is one exchange.  It ends with the test.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Between;

use strict;
use warnings FATAL => 'all';

use Carp;
use IO::Select;
use IO::Socket::INET;
use POSIX ();

use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;

sub new
{
	my ($class, $bao, $which) = @_;
	my $self = bless { service => $bao->plain_address =~ s{^http://}{}r, which => $which, file => $bao->dir . '/lose', owner => $$ }, $class;
	my $listener = IO::Socket::INET->new(Listen => 16, LocalAddr => '127.0.0.1') or croak $!;
	my $parent = $$;
	$self->{server} = '127.0.0.1:' . $listener->sockport;
	$self->{pid} = fork // croak $!;
	return $self if $self->{pid};
	my $ready = IO::Select->new($listener);
	# It ends with the test, however that ends.
	while (getppid == $parent)
	{
		my $client = $ready->can_read(1) ? $listener->accept : next;
		eval { $self->pass_on($client) };
		close $client;
	}
	POSIX::_exit(0);
}

sub server { my ($self) = @_; return $self->{server}; }
sub lose { my ($self, $what) = @_; PgEnvelope::OpenBao::write_file($self->{file}, $what); return; }
sub has_lost { my ($self) = @_; return !-e $self->{file}; }

sub pass_on
{
	my ($self, $client) = @_;
	my ($head, $length, $body) = ('', 0, '');
	while (defined(my $line = <$client>))
	{
		$length = $1 if $line =~ /^Content-Length: (\d+)/i;
		$head .= $line unless $line =~ /^Connection:/i || $line =~ /^\r\n\z/;
		last if $line =~ /^\r\n\z/;
	}
	read($client, $body, $length) if $length;
	my $lose = $head =~ $self->{which} && -e $self->{file} ? slurp_file($self->{file}) : '';
	unlink $self->{file} if $lose;
	return if $lose eq 'request';
	my $server = IO::Socket::INET->new(PeerAddr => $self->{service}) or die $!;
	print {$server} "${head}Connection: close\r\n\r\n$body";
	local $/;
	my $answer = <$server>;
	# (As what it is for: each answer is the last of its connection.)
	print {$client} $answer unless $lose;
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
