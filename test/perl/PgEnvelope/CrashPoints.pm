# The crash points of src/base/crash_point.h: which there are, and arming them on a
# node with test_build => 1.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::CrashPoints;

use strict;
use warnings FATAL => 'all';

use Carp;
use FindBin;

# What each macro can be told besides "pause".
my %actions = (
	PGE_CRASH_POINT => [qw(error fatal kill)],
	PGE_CRASH_POINT_NO_THROW => [qw(kill)],
	PGE_CRASH_POINT_STATUS => [qw(error fatal kill)],
	PGE_CRASH_POINT_EXIT => [qw(fatal kill)]);

# { name, process (backend, keeper, agent), actions => [...] }, in the order of the sources.
sub all
{
	my $top = "$FindBin::RealBin/../..";
	my (@points, %seen);
	for my $file (sort glob("$top/src/*.c $top/src/*/*.c $top/src/*/*/*.c"))
	{
		open(my $in, '<', $file) or croak "$file: $!";
		my $text = do { local $/; <$in> };
		while ($text =~ /\b(PGE_CRASH_POINT(?:_[A-Z_]+)?)\s*\(\s*(?:"([\w.-]+)")?/g)
		{
			my ($macro, $name) = ($1, $2);
			croak "$file: $macro is none of crash_point.h, or has no name" unless $actions{$macro} && defined $name;
			croak "$file: there are two crash points \"$name\"" if $seen{$name}++;
			push @points, { name => $name, actions => $actions{$macro},
				process => $file =~ m{/src/agent/} ? 'agent' : $file =~ m{/src/keeper/} ? 'keeper' : 'backend' };
		}
	}
	return @points;
}

sub armed_file { return $_[0]->data_dir . '/pg_envelope.crash_armed'; }
sub fired_file { return $_[0]->data_dir . '/pg_envelope.crash_fired'; }

sub arm
{
	my ($node, $name, $action) = @_;
	release($node);
	PgEnvelope::Cluster::replace_file(armed_file($node), "$name $action");
	return;
}

sub has_fired { return -e fired_file($_[0]); }

# Whoever pauses goes on, and nothing is armed.
sub release
{
	my ($node) = @_;
	for my $file (armed_file($node), fired_file($node))
	{
		unlink $file or $!{ENOENT} or croak "$file: $!";
	}
	return;
}

1;
