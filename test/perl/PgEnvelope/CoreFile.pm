# Core files of running processes, made by gdb's gcore: it takes what the kernel
# would (the process's core filter, MADV_DONTDUMP), wherever the machine sends its own.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::CoreFile;

use strict;
use warnings FATAL => 'all';

use IPC::Run;

use PgEnvelope::Cluster;

# Why there can be no core files; undef if there can.
sub missing
{
	return 'hardened-asan: with the sanitizer\'s tables a core file is terabytes long'
	  if PgEnvelope::Cluster::hardened_run() eq 'asan';
	return 'gdb is missing (its gcore makes the core files)' unless defined program();
	return;
}

sub program
{
	my ($gcore) = grep { -x } map { "$_/gcore" } split /:/, $ENV{PATH};
	return $gcore;
}

# The name of the file; undef if none came to be, which is so for a process that
# its own user may not trace.
sub of_process
{
	my ($pid, $dir) = @_;
	my ($out, $err) = ('', '');
	my $file = "$dir/core.$pid";
	unlink $file;
	IPC::Run::run([ program(), '-o', "$dir/core", $pid ], '<', \undef, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return -s $file ? $file : undef;
}

1;
