# Looks for bytes in the memory of a running process (/proc/PID/mem).
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::ProcMem;

use strict;
use warnings FATAL => 'all';

use Carp;

my $chunk = 4 * 1024 * 1024;
my $page = 4096;
# What is larger is the address sanitizer's (test/hardened): it says of each byte of the
# process whether it may be used, holds none of them, and would take hours to read.
my $shadow = 2**34;

# 1 or 0; undef, with $!, if the kernel refuses us that process.  Mappings that
# cannot be read (secret memory, [vvar]) count as holding nothing.
sub contains
{
	my ($pid, $bytes) = @_;
	die 'nothing to look for' if length($bytes) == 0;
	open(my $maps, '<', "/proc/$pid/maps") or return;
	open(my $mem, '<:raw', "/proc/$pid/mem") or return;
	my ($readable, $seen) = (0, 0);
	while (my $line = <$maps>)
	{
		$line =~ /^([0-9a-f]+)-([0-9a-f]+) r/ or next;
		next if $line =~ /\[(?:vvar|vsyscall|vvar_vclock)\]/;
		no warnings 'portable';
		my ($start, $end) = (hex $1, hex $2);
		next if $end - $start > $shadow;
		my $found = range_contains($mem, $start, $end, $bytes);
		$readable++;
		$seen++ if defined $found;
		return 1 if $found;
	}
	# A process of which nothing can be read proves nothing.
	return $readable > 0 && $seen > 0 ? 0 : undef;
}

# What is there, and follows; nothing where a page cannot be read.  Such pages may be anywhere:
# a thread's guard page is part of its stack's writable mapping (glibc 2.42, Linux 6.13).
sub bytes_at
{
	my ($mem, $at, $want) = @_;
	return '' unless defined sysseek($mem, $at, 0) && sysread($mem, my $bytes, $want);
	return $bytes;
}

# undef if nothing of the range can be read.
sub range_contains
{
	my ($mem, $at, $end, $bytes) = @_;
	my ($tail, $any) = ('', 0);
	while ($at < $end)
	{
		my $buffer = bytes_at($mem, $at, $end - $at < $chunk ? $end - $at : $chunk);
		$at += length($buffer) || $page;
		$any = 1 if $buffer ne '';
		return 1 if index($tail . $buffer, $bytes) >= 0;
		$tail = $buffer eq '' ? '' : substr($tail . $buffer, -(length($bytes) - 1)) if length($bytes) > 1;
	}
	return $any ? 0 : undef;
}

# What a process may write to: {start, end, shared, id (the same in every process
# that shares it), name, flags (VmFlags of proc(5): lo locked, dd not dumped)}.
# Empty if the kernel refuses us that process.
sub mappings
{
	my ($pid) = @_;
	open(my $smaps, '<', "/proc/$pid/smaps") or return;
	my @mappings;
	while (my $line = <$smaps>)
	{
		no warnings 'portable';
		if (my ($start, $end, $perms, $id, $name) = $line =~ /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ (\S+ \d+)\s*(.*)$/)
		{
			push @mappings, { start => hex $start, end => hex $end, perms => $perms, id => $id, name => $name,
				shared => substr($perms, 3) eq 's', flags => '' };
		}
		$mappings[-1]{flags} = $1 if $line =~ /^VmFlags: (.*?)\s*$/;
	}
	return grep { $_->{perms} =~ /^rw/ && $_->{name} !~ /^\[v/ && $_->{end} - $_->{start} <= $shadow } @mappings;
}

# The bytes of one, zeros for pages that cannot be read; undef, with $!, if none can.
sub content
{
	my ($pid, $mapping) = @_;
	open(my $mem, '<:raw', "/proc/$pid/mem") or return;
	my ($content, $any) = ('', 0);
	while ((my $at = $mapping->{start} + length $content) < $mapping->{end})
	{
		my $bytes = bytes_at($mem, $at, $mapping->{end} - $at);
		$any = 1 if $bytes ne '';
		$content .= $bytes ne '' ? $bytes : "\0" x $page;
	}
	return $any ? $content : undef;
}

# How often the bytes are in a text.
sub copies
{
	my ($text, $bytes) = @_;
	my $copies = 0;
	for (my $at = -1; ($at = index($text, $bytes, $at + 1)) >= 0;)
	{
		$copies++;
	}
	return $copies;
}

1;
