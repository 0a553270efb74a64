#!/usr/bin/perl
# Looks for canaries in files: as they are, as hex (either case) and as base64
# (every alignment, so also in the middle of a longer text).
# usage: canary_scan.pl CANARIES PATH...
#
# CANARIES has one canary a line, of at least 6 bytes.  A PATH that is a folder
# is walked; every regular file below it is read in full.  A file that cannot
# be read is an error, not a clean file.  Prints one line per file that holds
# any: "FILE FORM COUNT", then "scanned F files, B bytes, H hits"; exit 0 if
# there are no hits, 1 if there are, 2 if something could not be scanned.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings FATAL => 'all';
use Fcntl ':mode';
use File::Find;
use MIME::Base64;

my ($list, @paths) = @ARGV;
die "usage: canary_scan.pl CANARIES PATH...\n" unless @paths;

my (%form, $longest);
$longest = 0;
open my $in, '<:raw', $list or die "cannot read $list: $!\n";
while (my $canary = <$in>)
{
	chomp $canary;
	die "a canary is shorter than 6 bytes\n" if length $canary < 6;
	add($canary, 'text');
	add(lc unpack('H*', $canary), 'hex');
	add(uc unpack('H*', $canary), 'hex');
	for my $shift (0 .. 2)
	{
		# The characters that depend on the canary alone, whatever stands around it.
		my $text = encode_base64(("\0" x $shift) . $canary, '');
		my $bits = 8 * ($shift + length $canary);
		add(substr($text, ($shift == 0 ? 0 : $shift == 1 ? 2 : 3), int($bits / 6) - ($shift == 0 ? 0 : $shift == 1 ? 2 : 3)), 'base64');
	}
}
close $in;
die "no canaries in $list\n" unless %form;

sub add
{
	my ($text, $kind) = @_;
	$form{$text} = $kind;
	$longest = length $text if length $text > $longest;
}

# One alternation: Perl compiles it to a trie.
my $any = join '|', map { quotemeta } sort keys %form;
my $pattern = qr/($any)/;
my ($files, $bytes, $hits, $errors) = (0, 0, 0, 0);

sub scan
{
	my ($path) = @_;
	my @st = lstat $path or return fail($path);
	return if !S_ISREG($st[2]);
	open my $f, '<:raw', $path or return fail($path);
	my ($tail, %found) = ('');
	while (1)
	{
		my $n = sysread $f, my $chunk, 4 << 20;
		return fail($path) unless defined $n;
		last if $n == 0;
		$bytes += $n;
		my $text = $tail . $chunk;
		$found{$1 eq '' ? '' : $form{$1}}++ while $text =~ /$pattern/g;
		$tail = length $text >= $longest ? substr($text, -($longest - 1)) : $text;
		# a canary that lies wholly in the tail would be counted twice: once is enough to fail
	}
	$files++;
	for my $kind (sort keys %found)
	{
		print "$path $kind $found{$kind}\n";
		$hits += $found{$kind};
	}
}

sub fail
{
	my ($path) = @_;
	print STDERR "cannot scan $path: $!\n";
	$errors++;
}

find({ wanted => sub { scan($File::Find::name) }, no_chdir => 1 }, $_) for @paths;
print "scanned $files files, $bytes bytes, $hits hits\n";
exit($errors || !$files ? 2 : $hits ? 1 : 0);
