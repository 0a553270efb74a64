# Where key bytes are in a running server: in every process's memory, in core files, in
# memory that may be swapped out; with memfd_secret and with the fallback.  What is
# found is the table of src/cache/README.md, row by row.
#
# DEKs are read out of the fallback's region, where that can be done; they are the
# same after a restart with memfd_secret.  The agent and the keeper can be read in test builds only.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Canary;
use PgEnvelope::Cluster;
use PgEnvelope::CoreFile;
use PgEnvelope::KeyBytes;
use PgEnvelope::ProcMem;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'hardened-asan: the sanitizer makes mlock do nothing, and core files terabytes long'
  if PgEnvelope::Cluster::hardened_run() eq 'asan';

my $passphrase = sprintf '%08x%08xQ', map { int rand 2**32 } 1, 2;
# A region so small fits any limit of locked memory.
my $node = PgEnvelope::Cluster->new('keys', test_build => 1, 'pg_envelope.secret_memory' => 'fallback',
	'pg_envelope.harden_backends' => 'off', 'pg_envelope.cache_size' => '256', 'shared_buffers' => '2MB',
	'max_parallel_workers' => '2');
my $work = $node->basedir . '/work';
mkdir $work or die "$work: $!";

# Two keys; the keyring is made plain, so that the KEK is known, then put under a passphrase.
$node->safe_psql('postgres', $_) for q{SET client_min_messages = error; SELECT envelope_create_kek('main')},
  q{SELECT envelope_create_key('x', 'main'), envelope_create_key('g', 'main', 'AES256_GCM')},
  q{CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'x') AS x, envelope_encrypt('value ' || i, 'g') AS g FROM generate_series(1, 3000) i},
  q{ANALYZE t},
  q{CREATE FUNCTION gate(i int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS $$
	BEGIN IF i > 100 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF; RETURN i; END $$},
  q{CREATE ROLE reader LOGIN IN ROLE pg_read_server_files; GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint) TO reader};
my %key = (KEK => PgEnvelope::KeyBytes::keks($node->keyring_file), passphrase => $passphrase);
tells_of_swap();
open(my $file, '>', "$work/passphrase") or die $!;
print $file $passphrase;
close $file or die $!;
system_or_bail($node->agent_command, 'keyring', 'passwd', '--keyring', $node->keyring_file,
	'--new-passphrase-command', "cat '$work/passphrase'");
$node->append_conf('postgresql.conf', "pg_envelope.keyring_passphrase_command = 'cat ''$work/passphrase'''\n");
$key{'file key'} = PgEnvelope::KeyBytes::file_key($node->keyring_file, $passphrase);
($key{x}) = PgEnvelope::KeyBytes::dek($node, 'x');
($key{g}) = PgEnvelope::KeyBytes::dek($node, 'g');
ok(defined $key{x} && defined $key{g}, 'both DEKs are known');
my $salt = substr pack('H*', $node->safe_psql('postgres', q{SELECT encode(x, 'hex') FROM t WHERE i = 1})), 5, 12;
$key{'derived key'} = PgEnvelope::KeyBytes::xaes_key($key{x}, $salt);
my $matcher = PgEnvelope::Canary->matcher(%key);
my $no_gcore = PgEnvelope::CoreFile::missing();

my @questions = questions();
my %measured = map { ($_ => {}) } @questions;
my @kinds = measure('fallback');
SKIP:
{
	my $fd = syscall(447, 0);
	skip 'this kernel has no memfd_secret (before Linux 6.5 it needs the boot option secretmem.enable=1)', 1 if $fd < 0;
	POSIX::close($fd);
	push @kinds, measure('memfd_secret');
}

# The table, as measured and as written.
my $readme = PgEnvelope::Cluster::slurp_binary("$FindBin::RealBin/../../src/cache/README.md");
my @rows = map { [ split / \| /, $_ ] } $readme =~ /^\| (a .*?) \|$/mg;
my %column = (memfd_secret => 1, fallback => 2);
is_deeply([ map { $_->[0] } @rows ], \@questions, 'the rows of src/cache/README.md are the questions asked here');
for my $row (@rows)
{
	my $got = $measured{ $row->[0] };
	is($got->{$_} // 'not measured', $row->[ $column{$_} ], "$_: $row->[0]") for @kinds;
	note(join ' | ', $row->[0], map { $got->{$_} // '-' } 'memfd_secret', 'fallback');
}
$node->stop if defined $node->postmaster_pid;
done_testing();

sub questions
{
	return (
		'a cached DEK, read by another process of the server\'s user',
		'a cached DEK, read by a role with `pg_read_server_files` and EXECUTE on `pg_read_binary_file`',
		'a cached DEK, in a core file',
		'a cached DEK, in swap',
		'a DEK in use, read by another process of the server\'s user',
		'a DEK in use, in a core file',
		'a DEK in use, `harden_backends` off: read by another process of the server\'s user',
		'a DEK in use, `harden_backends` off: in a core file',
		'a DEK in use, in swap',
		'a DEK, anywhere but in the cache, after the transaction that used it',
		'a KEK, read by another process of the server\'s user',
		'a KEK, in a core file',
		'a KEK, in swap',
		'a KEK, in any process but the agent',
		'a passphrase, in any process, after it was used');
}

# May be asked several times: one yes is a yes.
sub answer
{
	my ($question, $kind, $yes) = @_;
	die "not in the table: $question" unless $measured{$question};
	my $before = $measured{$question}{$kind} // 'no';
	$measured{$question}{$kind} = $yes ? 'yes' : $before;
	return;
}

#
# One kind of secret memory: as users run it, then with nothing hardened so that all
# processes can be read.
#
sub measure
{
	my ($kind) = @_;
	restart_with($kind, 'on');
	is($node->status('secret_memory'), $kind eq 'fallback' ? 'fallback, locked' : $kind, "$kind is in force");
	measure_hardened($kind);
	$node->let_agent_be_read;
	restart_with($kind, 'off');
	measure_open($kind);
	unlink $node->keyring_file . '.dumpable' or die $!;
	return $kind;
}

sub restart_with
{
	my ($kind, $harden) = @_;
	$node->stop if defined $node->postmaster_pid;
	$node->append_conf('postgresql.conf', 'pg_envelope.secret_memory = ' . ($kind eq 'fallback' ? 'fallback' : 'require')
		  . "\npg_envelope.harden_backends = $harden\n");
	$node->start;
	return;
}

sub measure_hardened
{
	my ($kind) = @_;
	my $s = $node->session;
	ok(can_be_read($s->pid), "$kind: a session without a key can be read");
	use_keys($s);
	answer('a DEK in use, read by another process of the server\'s user', $kind, can_be_read($s->pid));
	answer('a KEK, read by another process of the server\'s user', $kind, can_be_read($node->agent_pid));
	SKIP:
	{
		skip $no_gcore, 2 if defined $no_gcore;
		answer('a DEK in use, in a core file', $kind, defined PgEnvelope::CoreFile::of_process($s->pid, $work));
		answer('a KEK, in a core file', $kind, defined PgEnvelope::CoreFile::of_process($node->agent_pid, $work));
	}
	# whatever makes the file: the kernel has no room for it
	is(limit_of_core($_), '0 0', "$kind: no core file by its limit") for $s->pid, $node->agent_pid;
	$s->close;
	return;
}

sub can_be_read
{
	my ($pid) = @_;
	return open(my $mem, '<:raw', "/proc/$pid/mem") ? 1 : 0;
}

sub limit_of_core
{
	my ($pid) = @_;
	return PgEnvelope::Cluster::read_proc("$pid/limits") =~ /^Max core file size\s+(\d+)\s+(\d+)/m ? "$1 $2" : 'more';
}

# In a transaction that stays open; the first value is the one whose salt is known.
sub use_keys
{
	my ($s) = @_;
	$s->query('BEGIN');
	$s->query(q{SELECT envelope_decrypt(g, 'g'), envelope_decrypt(x, 'x') FROM t WHERE i = 1});
	return;
}

sub measure_open
{
	my ($kind) = @_;
	my ($using, $done, $leader) = map { $node->session } 1 .. 3;
	use_keys($_) for $using, $done;
	$done->query('COMMIT');
	is($node->status('cache_used'), '2', "$kind: both DEKs are cached");
	my $region = region_of($node->postmaster_pid);
	ok(defined $region && defined region_of($using->pid), "$kind: the region is mapped in every process");
	use_agent($kind);
	wait_for_agent_to_forget($kind);
	my $gate = hold_workers($leader);
	my @found = look_everywhere($kind);
	judge_deks($kind, $region, { map { $_ => 1 } $using->pid, workers_of($leader->pid) }, @found);
	judge_other_keys($kind, @found);
	measure_region($kind, $region);
	measure_cores($kind, $using, $done);
	$gate->query('SELECT pg_advisory_unlock(1)');
	is(($leader->wait)[0], '3000', "$kind: workers opened all");
	$using->query('ROLLBACK');
	judge_deks($kind, $region, {}, look_everywhere($kind));
	measure_real_core($kind, $using);
	$_->close for $using, $done, $leader, $gate;
	return;
}

# Parallel workers that have opened values, and stay.
sub hold_workers
{
	my ($leader) = @_;
	my $gate = $node->session;
	$gate->query('SELECT pg_advisory_lock(1)');
	$leader->query(q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
		SET parallel_leader_participation = off; SET max_parallel_workers_per_gather = 2});
	$leader->send(q{SELECT count(*) FROM t WHERE envelope_decrypt(x, 'x') IS NOT NULL AND gate(i) > 0});
	PgEnvelope::Cluster::wait_until(sub {
		$gate->query(q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) eq 't' }, 'the gate');
	return $gate;
}

sub workers_of
{
	my ($leader) = @_;
	return split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE leader_pid = $leader AND pid <> leader_pid");
}

# {pid => what it is}: the server's processes and the agent.
sub processes
{
	my $postmaster = $node->postmaster_pid;
	my %kind = ($postmaster => 'postmaster', $node->agent_pid => 'agent');
	for my $pid (@{ PgEnvelope::Cluster::process_tree()->{$postmaster} })
	{
		my $title = PgEnvelope::Cluster::read_proc("$pid/cmdline") // next;
		($kind{$pid}) = $title =~ /(autovacuum launcher|background writer|checkpointer|parallel worker|pg_envelope keeper|walwriter|logical replication launcher)/;
		$kind{$pid} //= 'session';
	}
	return %kind;
}

# All finds in all processes: {process, pid, key, form, mapping}.
sub look_everywhere
{
	my ($kind) = @_;
	my %process = processes();
	my (@found, %read, %shared);
	for my $pid (keys %process)
	{
		for my $mapping (PgEnvelope::ProcMem::mappings($pid))
		{
			next if $mapping->{shared} && $shared{ $mapping->{id} }++;    # the same bytes for all
			my $content = PgEnvelope::ProcMem::content($pid, $mapping) // next;
			$read{ $process{$pid} } = 1;
			push @found, map { /^(.*?) (raw|hex|HEX|octal.*|escape.*|base64.*|UTF-16)$/
				? { process => $process{$pid}, pid => $pid, key => $1, form => $2, mapping => $mapping } : () } $matcher->in_memory($content);
		}
	}
	my @wanted = ('agent', 'autovacuum launcher', 'background writer', 'checkpointer', 'pg_envelope keeper', 'postmaster', 'session', 'walwriter');
	is(join(', ', grep { !$read{$_} } @wanted), '', "$kind: processes of every kind were read" . ($read{'parallel worker'} ? ', a parallel worker too' : ''));
	return @found;
}

# $users: the sessions and workers that are in a transaction which has used a key.
sub judge_deks
{
	my ($kind, $region, $users, @found) = @_;
	my %in_use;
	for my $find (grep { $_->{key} =~ /^(?:x|g|derived key)$/ } @found)
	{
		next if $find->{mapping}{id} eq $region->{id} && $find->{mapping}{shared};
		if ($users->{ $find->{pid} } && !$find->{mapping}{shared} && $find->{form} eq 'raw')
		{
			$in_use{"$find->{process}: $find->{key}"} = 1;
			answer('a DEK in use, `harden_backends` off: read by another process of the server\'s user', $kind, 1);
			answer('a DEK in use, in swap', $kind, !is_locked($find->{mapping}));
			next;
		}
		answer('a DEK, anywhere but in the cache, after the transaction that used it', $kind, 1);
		diag("$kind: $find->{key}, $find->{form}, in $find->{process} $find->{pid}: $find->{mapping}{name}");
	}
	answer('a DEK, anywhere but in the cache, after the transaction that used it', $kind, 0);
	is_deeply([ sort keys %in_use ], [ 'parallel worker: derived key', 'parallel worker: x', 'session: derived key', 'session: g', 'session: x' ],
		"$kind: session and workers hold what they use (the control)") if %$users;
	return;
}

sub judge_other_keys
{
	my ($kind, @found) = @_;
	my %in_agent;
	my ($passphrase, $elsewhere) = (0, 0);
	for my $find (@found)
	{
		$passphrase++ if $find->{key} eq 'passphrase';
		next unless $find->{key} =~ /^(?:KEK|file key)$/;
		$elsewhere++ if $find->{process} ne 'agent' || $find->{mapping}{shared};
		$in_agent{"$find->{key} $find->{form}"} = 1;
		answer('a KEK, in swap', $kind, !is_locked($find->{mapping}));
	}
	is_deeply([ sort keys %in_agent ], [ 'KEK raw', 'file key raw' ], "$kind: the agent holds KEK and file key, as they are (the control)");
	answer('a KEK, in any process but the agent', $kind, $elsewhere);
	answer('a passphrase, in any process, after it was used', $kind, $passphrase);
	return;
}

sub is_locked { return $_[0]{flags} =~ /\blo\b/; }

# All that makes copies of the keyring and its keys.
sub use_agent
{
	my ($kind) = @_;
	$node->safe_psql('postgres', qq{SET client_min_messages = error; SELECT envelope_create_kek('$kind'), envelope_rotate_kek('$kind')});
	$node->safe_psql('postgres', qq{SELECT envelope_create_key('$kind', 'main'), envelope_cache_flush(); SELECT envelope_prewarm(ARRAY['x', 'g'])});
	return;
}

# The agent answers first and wipes then: of DEKs not 8 bytes stay, of the KEK one copy.
sub wait_for_agent_to_forget
{
	my ($kind) = @_;
	my $left;
	eval {
		PgEnvelope::Cluster::wait_until(sub { ($left = left_in_agent()) eq '' }, 'the agent to forget');
		1 } or note($@);
	is($left, '', "$kind: the agent keeps nothing of a DEK and of the passphrase, and one copy of the KEK");
	return;
}

sub left_in_agent
{
	my $agent = $node->agent_pid;
	my (%name, %copies);
	for my $key ('x', 'g', 'KEK', 'passphrase')
	{
		$name{ substr $key{$key}, $_, 8 } = "$key at $_" for 0 .. length($key{$key}) - 8;
	}
	my $any = join '|', map { quotemeta } sort keys %name;
	for my $mapping (PgEnvelope::ProcMem::mappings($agent))
	{
		my $content = PgEnvelope::ProcMem::content($agent, $mapping) // next;
		while ($content =~ /($any)/g)
		{
			$copies{ $name{$1} }++;
			pos($content) = $-[0] + 1;
		}
	}
	return join ', ', map { "$_: " . ($copies{$_} // 0) }
	  grep { ($copies{$_} // 0) != (/^KEK/ ? 1 : 0) } sort values %name;
}

# An agent that may not lock memory says so when a KEK is made.  (It takes over the keeper's limit.)
sub tells_of_swap
{
	SKIP:
	{
		my $keeper = $node->keeper_pid;
		skip 'root may lock what it likes', 1 if $> == 0;
		system_or_bail('prlimit', '--pid', $keeper, '--memlock=0:0');
		$node->wait_for_agent($node->kill_agent);
		my (undef, $err) = $node->try(q{SELECT envelope_create_kek('swappable')});
		like($err, qr/WARNING:.*could not lock the memory of its keys, so they may be written to swap space/s, 'memory that cannot be locked is told');
	}
	return;
}

# The mapping of a process that is the secret region.
sub region_of
{
	my ($pid) = @_;
	my ($secret) = grep { $_->{name} =~ /secretmem/ } PgEnvelope::ProcMem::mappings($pid);
	return $secret // (PgEnvelope::KeyBytes::dek($node, 'x', pid => $pid))[1];
}

# As the postmaster sees it, which made and locked it.
sub measure_region
{
	my ($kind, $region) = @_;
	my $content = PgEnvelope::ProcMem::content($node->postmaster_pid, $region) // '';
	answer('a cached DEK, read by another process of the server\'s user', $kind, index($content, $key{x}) >= 0);
	# secret memory is never swapped, locked or not
	answer('a cached DEK, in swap', $kind, $region->{name} !~ /secretmem/ && !is_locked($region));

	my $reader = $node->session(user => 'reader');
	my ($hex, $err) = $reader->try(sprintf q{SELECT encode(pg_read_binary_file('/proc/%d/mem', %d, %d), 'hex')},
		$node->postmaster_pid, $region->{start}, $region->{end} - $region->{start});
	like($err, qr/could not read file/, "$kind: the kernel refuses") if $kind eq 'memfd_secret';
	answer('a cached DEK, read by a role with `pg_read_server_files` and EXECUTE on `pg_read_binary_file`', $kind, index($hex, unpack('H*', $key{x})) >= 0);
	$reader->close;
	return;
}

sub measure_cores
{
	my ($kind, $using, $done) = @_;
	SKIP:
	{
		skip $no_gcore, 2 if defined $no_gcore;
		answer('a DEK in use, `harden_backends` off: in a core file', $kind, deks_in_core($kind, $using->pid) > 0);
		answer('a cached DEK, in a core file', $kind, deks_in_core($kind, $_) > 0) for $done->pid, $node->postmaster_pid, $node->keeper_pid;
	}
	return;
}

# How many copies of DEKs gcore finds.
sub deks_in_core
{
	my ($kind, $pid) = @_;
	my $file = PgEnvelope::CoreFile::of_process($pid, $work);
	ok(defined $file, "$kind: a core file was made of $pid") or return 1;
	my @found = grep { /: (?:x|g|derived key) / } $matcher->in_files($file);
	unlink $file;
	return scalar @found;
}

# The kernel's own, where it makes files of them.  The server goes down with it.
sub measure_real_core
{
	my ($kind, $using) = @_;
	use_keys($using);
	my $pid = $using->pid;
	my $pattern = PgEnvelope::Cluster::slurp_binary('/proc/sys/kernel/core_pattern');
	my $may = $pattern !~ m{[|/]} && system("prlimit --pid $pid --core=unlimited >/dev/null 2>&1") == 0;
	$using->query('COMMIT');
	kill 'ABRT', $pid;
	my $postmaster = $node->postmaster_pid;
	PgEnvelope::Cluster::wait_until(sub {
		(PgEnvelope::Cluster::read_proc("$postmaster/stat") // 'gone) Z') =~ /.*\) [ZX]/s }, 'the end of the server');
	$node->_update_pid(0);
	my ($core) = glob $node->data_dir . '/core*';
	return note("$kind: this machine makes no core files here") unless $may;
	ok(defined $core, "$kind: the kernel made a core file") or return;
	my @found = grep { /: (?:x|g|derived key) / } $matcher->in_files($core);
	answer('a cached DEK, in a core file', $kind, scalar @found);
	unlink $core;
	return;
}
