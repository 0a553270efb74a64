# A throwaway server with pg_envelope preloaded and created:
# PostgreSQL::Test::Cluster, and what our tests ask of it besides.
#
#	my $node = PgEnvelope::Cluster->new('main');
#	my $node = PgEnvelope::Cluster->new('main', 'pg_envelope.cache_ttl' => 2,
#		test_build => 1);
#
# Names are settings of postgresql.conf, except these: test_build => 1 (the build
# with -DPGE_TEST_BUILD, whose hooks set_provider_delay needs), start => 0 (only
# initialise; $node->start, then $node->create_extension), extension => 0, encoding =>
# 'LATIN1', allows_streaming => 1 (as in PostgreSQL::Test::Cluster->init),
# plain_keyring => 1 (leave the keyring to be made by the agent).
#
# Each node, unless its agent is external, has a keyring file of its own, marked as a test keyring, in a directory of its own beside
# PGDATA, no TCP, and sockets in a short path.  Statements are not logged, since
# tests pass values as literals and then look for them in the log.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Cluster;

use strict;
use warnings FATAL => 'all';

use Carp;
use File::Copy;
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC usleep);

use PgEnvelope::Canary;
use PgEnvelope::ProcMem;
use PgEnvelope::Session;

use parent -norequire, 'PostgreSQL::Test::Cluster';

my @options =
  qw(test_build start extension encoding allows_streaming plain_keyring);

sub new
{
	my ($class, $name, %settings) = @_;
	my %option = (start => 1, extension => 1);
	$option{$_} = delete $settings{$_} for grep { exists $settings{$_} } @options;

	my $node = $class->SUPER::new($name, install_path($option{test_build}));
	$node->{pge_test_build} = $option{test_build};
	$node->init(
		allows_streaming => $option{allows_streaming},
		extra => [
			'--encoding=' . ($option{encoding} // 'UTF8'),
			'--locale=' . (($option{encoding} // 'UTF8') eq 'UTF8' ? 'C.UTF-8' : 'C')
		]);
	$node->make_keyring($option{plain_keyring});
	$node->append_conf('postgresql.conf',
		    "shared_preload_libraries = 'pg_envelope'\n"
		  . "log_statement = none\n"
		  . (($settings{'pg_envelope.agent'} // '') eq 'external' ? '' : "pg_envelope.keyring_file = '" . $node->keyring_file . "'\n")
		  . join('', map { "$_ = '$settings{$_}'\n" } sort keys %settings));
	$node->start if $option{start};
	$node->create_extension if $option{start} && $option{extension};
	return $node;
}

# The server the runner made for us (test/suites.sh); by hand, the one in PATH.
sub install_path
{
	my ($test_build) = @_;
	my $bindir = $ENV{ $test_build ? 'PGE_TEST_BINDIR' : 'PGE_BINDIR' };
	croak 'set PGE_TEST_BINDIR to a server with a build with -DPGE_TEST_BUILD (test/suites.sh does)'
	  if $test_build && !defined $bindir;
	return () unless defined $bindir;
	$bindir =~ s{/bin/?\z}{};
	return (install_path => $bindir);
}

# Which run of test/hardened/run.sh this is, "" if none: what cannot be tested on its
# server is skipped with a reason that names it.
sub hardened_run { return $ENV{PGE_HARDENED_RUN} // ''; }

# A server below $root whose programs are copies, so that a test can put another
# agent beside them; all else is shared with the one in PGE_BINDIR.  Its bindir.
sub own_programs
{
	my ($root) = @_;
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
	my %dir = map { my $d = qx($pg_config --$_); chomp $d; ($_ => $d) } qw(bindir pkglibdir sharedir);
	my $from = $ENV{PGE_BINDIR} =~ s/\Q$dir{bindir}\E$//r;
	for my $shared (qw(pkglibdir sharedir))
	{
		my ($parent) = "$root$dir{$shared}" =~ m{(.*)/};
		make_path($parent);
		symlink("$from$dir{$shared}", "$root$dir{$shared}") or die $!;
	}
	make_path("$root$dir{bindir}");
	for my $program (qw(postgres initdb pg_ctl psql pg_isready pg_config))
	{
		copy("$from$dir{bindir}/$program", "$root$dir{bindir}/$program") or die "$program: $!";
		chmod 0755, "$root$dir{bindir}/$program";
	}
	return "$root$dir{bindir}";
}

# As above, the agent included, and with a library of our own instead of the one there:
# this tree's, compiled with these flags besides.
sub own_library
{
	my ($root, $flags) = @_;
	my $tree = "$FindBin::RealBin/../..";
	# A pg_config there would say that the server's headers are there.
	local $ENV{PATH} = join ':', grep { $_ ne $ENV{PGE_BINDIR} } split /:/, $ENV{PATH};
	my $copy = PostgreSQL::Test::Utils::tempdir_short() . '/tree';
	my $bindir = own_programs($root);
	copy("$ENV{PGE_BINDIR}/pg_envelope_agent", "$bindir/pg_envelope_agent") or die $!;
	chmod 0755, "$bindir/pg_envelope_agent";
	mkdir $copy or die $!;
	# With its objects and their times: only what names a flag is compiled again.
	system_or_bail('cp', '-a', map({ "$tree/$_" } qw(Makefile src pg_envelope.control)), glob("$tree/pg_envelope--*.sql"), $copy);
	my ($name) = $flags =~ /-D(\w+)/;
	# A tree that was built for tests has objects that need another one.
	$flags .= ' -DPGE_TEST_BUILD' if -e "$copy/src/base/crash_point.o";
	unlink map { s/c$/o/r } split /\n/, qx(grep -rlw $name --include=*.c $copy/src) or die "nothing names $name";
	local %ENV = %ENV;
	delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL TEST_CPPFLAGS TEST_OBJS)};
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'make', '-C', $copy, 'pg_envelope.so', "TEST_CPPFLAGS=$flags" ], '>', \$out, '2>', \$err) or die "$out$err";
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
	chomp(my $libdir = qx($pg_config --pkglibdir));
	my $shared = readlink "$root$libdir";
	unlink "$root$libdir" or die $!;
	mkdir "$root$libdir" or die $!;
	symlink $_, "$root$libdir/" . s{.*/}{}r for grep { !m{/pg_envelope\.so$} } glob "$shared/*";
	copy("$copy/pg_envelope.so", "$root$libdir/pg_envelope.so") or die $!;
	return $bindir;
}

# initdb names it after who runs the tests.
sub superuser { return scalar getpwuid($>); }

sub create_extension
{
	my ($self, $dbname) = @_;
	$self->safe_psql($dbname // 'postgres', 'CREATE EXTENSION pg_envelope');
	return;
}

#
# The keyring
#

sub keyring_file { return $_[0]->basedir . '/keyring/keyring'; }

sub agent_command { return $_[0]->installed_command('pg_envelope_agent'); }

sub make_keyring
{
	my ($self, $only_directory) = @_;
	my $dir = $self->basedir . '/keyring';
	mkdir $dir, 0700 or croak "mkdir $dir: $!";
	return if $only_directory;
	system_or_bail($self->agent_command, 'keyring', 'create', '--test', '--keyring',
		$self->keyring_file);
	return;
}

# Lets tests read the agent's memory from its next request on (test builds only).
sub let_agent_be_read
{
	my ($self) = @_;
	croak 'let_agent_be_read needs new(..., test_build => 1)' unless $self->{pge_test_build};
	my $file = $self->keyring_file . '.dumpable';
	open(my $fh, '>', $file) or croak "$file: $!";
	close($fh);
	return;
}

# Makes each call of the local provider take that long (test builds only).
sub set_provider_delay
{
	my ($self, $ms) = @_;
	croak 'set_provider_delay needs new(..., test_build => 1)' unless $self->{pge_test_build};
	my $file = $self->keyring_file . '.delay_ms';
	# By rename, so that the agent never reads half a number.
	open(my $fh, '>', "$file.new") or croak "$file.new: $!";
	print $fh "$ms\n";
	close($fh) or croak "$file.new: $!";
	rename("$file.new", $file) or croak "$file: $!";
	return;
}

# Calls of the local provider that begin are held up until they are let through.
sub hold_calls { my ($self) = @_; $self->set_provider_delay(3_600_000); return; }
sub let_calls_through { my ($self) = @_; $self->set_provider_delay(0); return; }

#
# The processes
#

sub postmaster_pid { return $_[0]->{_pid}; }

# ppid => [pid, ...] of all processes.
sub process_tree
{
	my %children;
	opendir(my $proc, '/proc') or croak "/proc: $!";
	for my $pid (grep { /^\d+$/ } readdir $proc)
	{
		my $stat = read_proc("$pid/stat") // next;
		push @{ $children{$1} }, $pid if $stat =~ /.*\) \S (\d+)/s && $stat !~ /.*\) Z/s;
	}
	return \%children;
}

sub read_proc
{
	my ($name) = @_;
	open(my $fh, '<', "/proc/$name") or return;
	local $/;
	my $content = eval { <$fh> };
	return $content;
}

# How many sockets, pipes and the like a process has, and directories; not the files, of
# which the server keeps as many open as it likes.  Dies if we may not see them.
sub descriptors
{
	my ($pid) = @_;
	my @links = map { readlink($_) // () } glob("/proc/$pid/fd/*") or croak "the descriptors of $pid cannot be seen";
	return scalar grep { !m{^/} || -d } @links;
}

# undef while there is none.
sub keeper_pid
{
	my ($self) = @_;
	my $children = process_tree();
	for my $pid (@{ $children->{ $self->{_pid} // 0 } // [] })
	{
		return $pid if (read_proc("$pid/cmdline") // '') =~ /pg_envelope keeper/;
	}
	return;
}

# The keeper starts nothing but the agent.  undef while there is none.
sub agent_pid
{
	my ($self) = @_;
	my $keeper = $self->keeper_pid // return;
	my ($agent) = grep { (read_proc("$_/cmdline") // '') =~ /pg_envelope_agent/ }
	  @{ process_tree()->{$keeper} // [] };
	return $agent;
}

# Waits for an agent that is not $other; returns its pid.
sub wait_for_agent
{
	my ($self, $other) = @_;
	my $pid;
	wait_until(sub { defined($pid = $self->agent_pid) && (!defined $other || $pid != $other) },
		'an agent');
	return $pid;
}

# Returns the pid that it killed; the keeper starts another one.
sub kill_agent
{
	my ($self, $signal) = @_;
	my $pid = $self->wait_for_agent;
	kill($signal // 'KILL', $pid) or croak "kill $pid: $!";
	wait_until(sub { ($self->agent_pid // 0) != $pid }, "the end of agent $pid");
	return $pid;
}

sub stop_agent_process
{
	my ($self) = @_;
	my $pid = $self->wait_for_agent;
	kill('STOP', $pid) or croak "kill -STOP $pid: $!";
	wait_until(sub { (read_proc("$pid/stat") // '') =~ /.*\) T/s }, "agent $pid to stop");
	$self->{pge_stopped} = $pid;
	return $pid;
}

sub continue_agent_process
{
	my ($self) = @_;
	my $pid = delete $self->{pge_stopped} // croak 'no agent is stopped';
	kill('CONT', $pid) or croak "kill -CONT $pid: $!";
	return $pid;
}

# A stopped agent would outlive the server (a stopped process does see SIGKILL
# but not SIGTERM), so it goes on first.
sub stop
{
	my ($self, @args) = @_;
	if (my $pid = delete $self->{pge_stopped})
	{
		kill('CONT', $pid);
	}
	return $self->SUPER::stop(@args);
}

# kill9, until the server may be started again: that it refuses while a process of the old
# one, which may not have noticed yet, is attached to its shared memory.
sub kill9_and_wait
{
	my ($self) = @_;
	my $postmaster = $self->{_pid};
	# (Line 7 of the lock file: the segment's key and id; then in the kernel's list, how many are attached.)
	my ($segment) = (split /\n/, slurp_file($self->data_dir . '/postmaster.pid'))[6] =~ /^\s*\d+\s+(\d+)\s*$/ or croak 'no shared memory in postmaster.pid';
	$self->kill9;
	wait_until(sub { !kill(0, $postmaster) && slurp_file('/proc/sysvipc/shm') !~ /^\s*-?\d+\s+$segment(?:\s+\d+){4}\s+[1-9]/m },
		'the server processes to follow the postmaster');
	return;
}

# Waits, with a deadline, for what only looking can tell.
sub wait_until
{
	my ($condition, $what, $seconds) = @_;
	my $deadline = clock_gettime(CLOCK_MONOTONIC)
	  + ($seconds // $PostgreSQL::Test::Utils::timeout_default);
	until ($condition->())
	{
		croak "timed out waiting for $what" if clock_gettime(CLOCK_MONOTONIC) > $deadline;
		usleep(10_000);
	}
	return;
}

# Has the agent read another pg_envelope.kms_config_file, $file, with this text.
sub configure_services
{
	my ($self, $file, $text) = @_;
	my $from = -s $self->logfile;
	# one that is not in order first: when that has been seen, what it was before is not taken for this one
	replace_file($file, "nothing\n");
	$self->reload;
	$self->wait_for_log(qr/is not in order.*Line 1 of/, $from);
	replace_file($file, $text);
	$self->reload;
	# (An agent that says nothing says nothing of a problem either.)
	wait_until(sub { $self->safe_psql('postgres', q{SELECT value = '' FROM envelope_status() WHERE name = 'agent_kms_config_problem'}) eq 't' },
		'the agent to take its file');
	return;
}

# Whole or not at all.
sub replace_file
{
	my ($file, $text) = @_;
	open(my $out, '>', "$file.new") or croak "$file.new: $!";
	print $out $text;
	close($out) or croak "$file.new: $!";
	chmod(0600, "$file.new") or croak "$file.new: $!";
	rename("$file.new", $file) or croak "$file: $!";
	return;
}

#
# SQL
#

# One value of envelope_status(); undef if there is none of that name.  What the agent would
# say of itself is waited for: on a busy machine it may miss the second that it is given.
sub status
{
	my ($self, $name) = @_;
	my $value;
	wait_until(sub {
		$value = $self->safe_psql('postgres', qq{
			WITH s AS MATERIALIZED (SELECT name, value FROM envelope_status())
			SELECT coalesce((SELECT 'value ' || coalesce(value, '') FROM s WHERE name = '$name'),
				(SELECT 'late' FROM s WHERE starts_with('$name', 'agent_') AND name = 'agent_answer' AND value LIKE 'The agent did not answer within %'), 'value ')});
		return $value =~ s/^value //; }, "the agent to answer of $name");
	return $value eq '' ? undef : $value;
}

sub session
{
	my ($self, %params) = @_;
	return PgEnvelope::Session->new($self, %params);
}

# (stdout, stderr) of SQL that may fail; messages carry their SQLSTATE.
sub try
{
	my ($self, $sql, %params) = @_;
	my ($rc, $out, $err) = $self->psql($params{dbname} // 'postgres', $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose' ],
		(defined $params{user} ? (connstr => $self->connstr($params{dbname} // 'postgres')
			. " user=$params{user}") : ()));
	return ($out, $err);
}

# Asserts that the SQL fails with that SQLSTATE; returns the message.
sub fails_with
{
	my ($self, $sql, $sqlstate, $name, %params) = @_;
	my ($out, $err) = $self->try($sql, %params);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($err, qr/^(?:psql:\S+ )?ERROR:\s+\Q$sqlstate\E:/m, $name);
	return $err;
}

# A statement that lets the session lose data keys (README, "Uninstall").
sub leave_to_lose_keys
{
	return q{DO $$BEGIN PERFORM set_config('pg_envelope.allow_key_loss', uuid::text, false) FROM envelope.keyring; END$$};
}

#
# Looking for what must not be there
#

# 1 or 0; undef (with $!) if the kernel refuses us that process's memory.
sub proc_mem_contains
{
	my ($self, $pid, $bytes) = @_;
	return PgEnvelope::ProcMem::contains($pid, $bytes);
}

# Where in data files, WAL and server logs any of the bytes is found, as
# "file: form"; empty if nowhere.
sub find_on_disk
{
	my ($self, @needles) = @_;
	my $matcher = PgEnvelope::Canary->matcher(map { ($_ => $needles[$_]) } 0 .. $#needles);
	return map { s/: \d+ /: /r } $matcher->in_files($self->data_dir, glob($self->{_logfile_base} . '*'));
}

# undef if it has gone meanwhile.
sub slurp_binary
{
	my ($file) = @_;
	open(my $fh, '<:raw', $file) or return;
	local $/;
	return <$fh> // '';
}

# One canary per node: a value to seal that occurs nowhere else.
sub canary
{
	my ($self) = @_;
	return $self->{pge_canary} //= sprintf('canary-%08x%08x', map { int rand 2**32 } 1, 2);
}

# Asserts that no canary (default: this node's) is in data files, WAL, the
# server's log or the activity views.
sub assert_no_canary
{
	my ($self, @needles) = @_;
	@needles = ($self->canary) unless @needles;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$self->safe_psql('postgres', 'CHECKPOINT');
	my @found = $self->find_on_disk(@needles);
	push @found, 'pg_stat_activity' if $self->in_activity(@needles);
	is_deeply(\@found, [], 'no canary in data files, WAL, log or activity views');
	return;
}

# Needles go over in hex: our own query must not be the one that is found.
sub in_activity
{
	my ($self, @needles) = @_;
	my $list = join ',', map { "'" . unpack('H*', $_) . "'" } @needles;
	return $self->safe_psql('postgres', qq{
		SELECT count(*) FROM pg_stat_activity, unnest(ARRAY[$list]) needle
		WHERE position(decode(needle, 'hex') in convert_to(coalesce(query, ''), 'UTF8')) > 0}) > 0;
}

1;
