#!/usr/bin/perl
# Looks for canaries in files: as they are, as hex, bytea's escape format, base64
# and UTF-16 (test/perl/PgEnvelope/Canary.pm has the forms).
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
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Canary;

my ($list, @paths) = @ARGV;
die "usage: canary_scan.pl CANARIES PATH...\n" unless @paths;

my $matcher = PgEnvelope::Canary->matcher(read_canaries($list));
my ($files, $bytes, $hits, $errors) = (0, 0, 0, 0);
find({ wanted => sub { scan($File::Find::name) }, no_chdir => 1 }, $_) for @paths;
print "scanned $files files, $bytes bytes, $hits hits\n";
exit($errors || !$files ? 2 : $hits ? 1 : 0);

sub read_canaries
{
	my ($file) = @_;
	my %canary;
	open my $in, '<:raw', $file or die "cannot read $file: $!\n";
	while (my $line = <$in>)
	{
		chomp $line;
		die "a canary is shorter than 6 bytes\n" if length $line < 6;
		$canary{$.} = $line;
	}
	close $in;
	die "no canaries in $file\n" unless %canary;
	return %canary;
}

sub scan
{
	my ($path) = @_;
	my @stat = lstat $path or return fail($path);
	return if !S_ISREG($stat[2]);
	my $found = $matcher->in_file($path, \$bytes) // return fail($path);
	my %count;
	$files++;
	for my $what (keys %$found)
	{
		my ($form) = $what =~ /^\d+ (.*?)(?: at \d)?$/;
		$count{$form} += $found->{$what};
		$hits += $found->{$what};
	}
	print "$path $_ $count{$_}\n" for sort keys %count;
	return;
}

sub fail
{
	my ($path) = @_;
	print STDERR "cannot scan $path: $!\n";
	$errors++;
	return;
}
