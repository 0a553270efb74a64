# Stands in for pg_envelope_agent and misbehaves to order.  The test puts a copy
# of perl in the agent's place; the keeper runs it with the argument "serve", so
# this file lies in the data directory under that name.
#
# "fake_agent.start" and "fake_agent.connection" beside it say what to do at the next
# start and with the next connection: words, and perhaps how often (then all is
# well).  What was seen goes to "fake_agent.seen".
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256);
use IO::Handle;
use IO::Select;
use Socket;

my %tag = (nonce => 1, proof => 2, check_value => 5, detail => 7, uri => 8, wrapped => 9,
	version => 10, name => 11, value => 12);
my $version = 1;
my $secret;
my $connections = 0;

open(my $pipe, '+<&=', 3) or die "no pipe: $!";
open(my $listener, '+<&=', 4) or die "no socket: $!";
binmode $pipe;

note_process();
$SIG{PIPE} = 'IGNORE';			# of a client that had waited for an agent, and has left
my $start = mode('start');
exit 3 if $start eq 'exit';
if ($start eq 'mute') { sleep 600; }
if ($start eq 'garbage') { syswrite $pipe, 'HTTP/1.1 400 Bad Request' . "\r\n" x 20; sleep 600; }
if ($start eq 'next version') { $version = 2; }

settings(read_frame($pipe));
log_line("warning", "from\x{1b}[31m the fake") if $start eq 'control characters';
log_line("warning", 'x' x 1000) if $start eq 'long line';
syswrite $pipe, frame(49, 0, 0, value => 'fake');

my $select = IO::Select->new($pipe, $listener);
while (1)
{
	for my $fh ($select->can_read)
	{
		if ($fh == $pipe)
		{
			my $frame = read_frame($pipe);
			if (!$frame) { sleep 600 if $start eq 'stay'; exit 0; }
			settings($frame);
		}
		else
		{
			accept(my $client, $listener) or next;
			binmode $client;
			serve($client);
		}
	}
}

sub seen
{
	open(my $out, '>>', 'fake_agent.seen') or die $!;
	print $out "@_\n";
	close $out;
	return;
}

# The word for this kind of moment; counts down what is to happen so often only.
sub mode
{
	my ($moment) = @_;
	open(my $in, '<', "fake_agent.$moment") or return '';
	chomp(my $line = <$in> // '');
	my ($word, $times) = $line =~ /^(.*?)(?: (\d+))?$/;
	return $word unless defined $times;
	return '' if $times == 0;
	open(my $out, '>', "fake_agent.$moment") or die $!;
	print $out "$word ", $times - 1, "\n";
	return $word;
}

sub note_process
{
	open(my $in, '<', '/proc/self/environ') or die $!;
	local $/ = "\0";
	seen('environment', join(',', sort map { /^([^=]*)/ } <$in>));
	opendir(my $dir, '/proc/self/fd') or die $!;
	my $own = fileno $dir;
	# 0 to 4 were given; perl opened its script, and we the directory and environ.
	my @links = map { my $l = readlink "/proc/self/fd/$_"; $l // () }
	  grep { /^\d+$/ && $_ > 4 } readdir $dir;
	seen('descriptors', join(',', sort grep { !m{/serve$|^/proc/} } @links));
	local $/ = "\n";
	open(my $status, '<', '/proc/self/status') or die $!;
	/^(Sig(?:Blk|Ign)|CapEff):\s+(\S+)/ and seen($1, $2) while <$status>;
	seen('session', (getpgrp() == $$ ? 'own' : 'shared'));
	return;
}

sub read_bytes
{
	my ($fh, $len) = @_;
	my $bytes = '';
	while (length $bytes < $len)
	{
		my $n = sysread($fh, $bytes, $len - length $bytes, length $bytes);
		return unless $n;
	}
	return $bytes;
}

sub read_frame
{
	my ($fh) = @_;
	my $header = read_bytes($fh, 24) // return;
	my ($len, $v, $type, $status, $ticket, $flush) = unpack('NCCna8N', $header);
	my $body = $len ? read_bytes($fh, $len) // return : '';
	my %frame = (type => $type, ticket => $ticket, fields => []);
	while (length $body)
	{
		my ($t, $value) = unpack('nn/a', $body);
		substr($body, 0, 4 + length $value) = '';
		push @{ $frame{fields} }, [ $t, $value ];
	}
	return \%frame;
}

sub field { my ($frame, $name) = @_; return (map { $_->[1] } grep { $_->[0] == $tag{$name} } @{ $frame->{fields} })[0]; }

sub frame
{
	my ($type, $status, $ticket, @fields) = @_;
	my $body = '';
	while (my ($name, $value) = splice @fields, 0, 2) { $body .= pack('nn/a', $tag{$name}, $value); }
	return pack('NCCna8NN', length $body, $version, $type, $status, $ticket || "\0" x 8, 0, 0) . $body;
}

sub log_line
{
	my ($level, $text) = @_;
	return syswrite $pipe, frame(50, 0, 0, detail => $text, value => $level);
}

sub settings
{
	my ($frame) = @_;
	my ($name, %value);
	my $sent = '';
	for my $f (@{ $frame->{fields} })
	{
		$name = $f->[1] if $f->[0] == $tag{name};
		$value{$name} = $f->[1] if $f->[0] == $tag{value};
		$sent = $secret = $f->[1] if $f->[0] == 3;
	}
	seen('secret', length $sent);
	seen('settings', map { "$_=$value{$_}" } sort keys %value);
	return;
}

sub serve
{
	my ($client) = @_;
	my $mode = mode('connection');
	$connections++;
	seen('connection', $mode);
	return if $mode eq 'close';
	my $hello = read_frame($client) // return;
	my $nonce = field($hello, 'nonce');
	my $mine = 'n' x 32;
	my $key = $mode eq 'wrong secret' ? 'k' x 32 : $secret;
	if ($mode eq 'wrong type') { syswrite $client, frame(50, 0, 0, value => 'log'); return; }
	if ($mode eq 'welcome')
	{
		syswrite $client, frame(5, 0, 0);
	}
	else
	{
		syswrite $client, frame(2, 0, 0, nonce => $mine,
			proof => hmac_sha256("pge agent 1$nonce$mine", $key));
		my $proof = read_frame($client);
		seen('proof', ($proof && field($proof, 'proof') eq hmac_sha256("pge client 1$nonce$mine", $secret))
			? 'right' : 'none') ;
		return unless $proof;
	}
	return one_by_one($client, $1) if $mode =~ /^one by one, status=(\d+)$/;
	while (my $request = read_frame($client))
	{
		seen('request', $request->{type});
		return if $mode eq 'drop';
		if ($mode eq 'silent') { read_bytes($client, 1); seen('left'); return; }
		return unless answer($client, $mode, $request->{ticket});
	}
	seen('end');
	return;
}

# Answers the first of those that wait when no more have come for a moment, and notes
# the most that ever waited.
sub one_by_one
{
	my ($client, $status) = @_;
	my $come = IO::Select->new($client);
	my ($most, @waiting) = (0);
	while (1)
	{
		while (!@waiting || $come->can_read(0.01))
		{
			my $request = read_frame($client) // return;
			push @waiting, $request->{ticket};
		}
		seen('most', $most = @waiting) if @waiting > $most;
		syswrite $client, frame(32, $status, shift @waiting, detail => 'The fake says so.');
	}
}

# False: the connection ends here.
sub answer
{
	my ($client, $mode, $ticket) = @_;
	my $answer = frame(32, 0, $ticket, name => 'from', value => 'the fake');
	substr($answer, 8, 1) ^= "\1" if $mode eq 'wrong ticket';
	substr($answer, 0, 4) = "\x7f\xff\xff\xff" if $mode eq 'long length';
	substr($answer, 4, 1) = "\x02" if $mode eq 'next version';
	substr($answer, 24, 2) = "\xff\xff" if $mode eq 'malformed';
	$answer = frame(49, 0, $ticket, value => 'fake') if $mode eq 'no answer';
	$answer = frame(32, $1, $ticket, detail => 'The fake says so.') if $mode =~ /^status=(\d+)$/;
	$answer = substr($answer, 0, 30) if $mode eq 'half';
	if ($mode eq 'stopped')
	{
		# The client does not run from before the answer to after its deadline.
		my ($pid) = unpack('iii', getsockopt($client, SOL_SOCKET, 17));	# SO_PEERCRED
		kill 'STOP', $pid;
		syswrite $client, $answer;
		select(undef, undef, undef, 1.1);
		kill 'CONT', $pid;
		return 1;
	}
	my @wrap = (check_value => 'c' x 32, wrapped => 'w' x 60, version => '1');
	$answer = frame(32, 0, $ticket, @wrap[0 .. 3]) if $mode eq 'no version';
	$answer = frame(32, 0, $ticket, @wrap[2 .. 5]) if $mode eq 'no check value';
	$answer = frame(32, 0, $ticket, @wrap, wrapped => 'w' x 60, version => '2') if $mode eq 'two wrappings';
	$answer = frame(32, 0, $ticket, @wrap[0 .. 2], 'w', @wrap[4, 5]) if $mode eq 'short wrapping';
	$answer = frame(32, 0, $ticket, @wrap[0 .. 4], "\xc3\xbc") if $mode eq 'odd version';
	$answer = frame(32, 0, $ticket, uri => "local:\xc3\xbc") if $mode eq 'odd uri';
	if ($mode eq 'slowly')
	{
		for my $byte (split //, $answer)
		{
			syswrite $client, $byte;
			select(undef, undef, undef, 0.002);
		}
	}
	else { syswrite $client, $answer; }
	return $mode ne 'half';
}
