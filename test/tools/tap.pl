#!/usr/bin/env perl
# Runs TAP tests and closes with "N passed, N failed", counting test files; names
# each skip with its reason.
# usage: tap.pl [--jobs N] [--first "NAME …"] FILE …
# Of the FILEs, those of the names that are given begin.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings FATAL => 'all';

use File::Basename;
use Getopt::Long;
use TAP::Harness;

my ($jobs, $first) = (1, '');
GetOptions('jobs=i' => \$jobs, 'first=s' => \$first) or die "usage: tap.pl [--jobs N] [--first NAMES] FILE ...\n";
die "tap.pl: no tests\n" unless @ARGV;
my %rank = do { my $n = 0; map { ($_ => $n++) } split ' ', $first };
sub rank { return $rank{ basename($_[0], '.pl') } // keys %rank }
my @tests = sort { rank($a) <=> rank($b) || $a cmp $b } @ARGV;

my $harness = TAP::Harness->new(
	{ jobs => $jobs, timer => 1, verbosity => 0, failures => 1, comments => 1 });
$harness->callback(
	made_parser => sub {
		my ($parser, $test) = @_;
		$parser->callback(
			test => sub {
				my ($result) = @_;
				printf("SKIP: %s: %s\n", $test->[0], $result->explanation)
				  if $result->has_skip;
			});
	});

my $result = $harness->runtests(@tests);
my ($passed, $failed) = (0, 0);
for my $parser ($result->parsers)
{
	if (defined $parser->skip_all)
	{
		printf("SKIP: %s\n", $parser->skip_all);
	}
	elsif ($parser->has_problems || !$parser->tests_run)
	{
		$failed++;
	}
	else
	{
		$passed++;
	}
}
print "$passed passed, $failed failed\n";
exit($failed ? 1 : 0);
