# The test harness itself: what it looks for it finds, where it waits it wakes.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('main');
is($node->safe_psql('postgres', q{SELECT envelope_bind('a')}), '1:a,', 'the extension is there');
is($node->safe_psql('postgres', 'SHOW listen_addresses'), '', 'no TCP');

# Sessions.
my $one = $node->session;
my $two = $node->session;
like($one->pid, qr/^\d+$/, 'a session knows its backend');
$one->query('CREATE TABLE t (v text); INSERT INTO t VALUES (1)');
$one->query('BEGIN; LOCK TABLE t');
$two->send('SELECT v FROM t');
ok($two->busy, 'a statement that waits is seen to');
$one->query('COMMIT');
is(($two->wait)[0], '1', 'and ends with its output');
my ($out, $err) = $two->try('SELECT 1/0');
like($err, qr/ERROR:  22012:/, 'an error carries its SQLSTATE');
ok(!eval { $two->query('SELECT 1/0'); 1 }, 'and query dies of it');
is($two->query('SELECT 2'), '2', 'the session lives on');
$node->fails_with('SELECT 1/0', '22012', 'fails_with finds the SQLSTATE');

# A statement that never ends meets the session's deadline.
# (Set when it is there: on a busy machine no second is enough to begin one.)
my $late = $node->session;
$late->{timeout} = 1;
my $backend = $late->pid;
ok(!eval { $late->query('SELECT pg_sleep(600)'); 1 }, 'a session has a deadline');
like($@, qr/timed out/, 'and says so');
$late->close;
$node->safe_psql('postgres', "SELECT pg_terminate_backend($backend)");

# Memory.
my $secret = join '', map { chr(65 + int rand 26) } 1 .. 24;
$one->query("SET application_name = '$secret'");
is($node->proc_mem_contains($one->pid, $secret), 1, 'what a backend holds is found');
is($node->proc_mem_contains($one->pid, 'Q' . reverse($secret) . 'Q'), 0, 'what it does not is not');
# A page that cannot be read, as a thread's guard page is within its stack's mapping, hides none behind it.
# (The needle comes complemented, and is put together there alone.  Linux before 6.13 has no such pages.)
my $guarded = q{
import ctypes, mmap, sys
pages = mmap.mmap(-1, 4 * mmap.PAGESIZE)
for i, byte in enumerate(bytes.fromhex(sys.argv[1])):
    pages[2 * mmap.PAGESIZE + i] = byte ^ 0xff
at = ctypes.addressof(ctypes.c_char.from_buffer(pages))
print(ctypes.CDLL(None).madvise(ctypes.c_void_p(at), ctypes.c_size_t(mmap.PAGESIZE), 102), at, flush=True)
sys.stdin.read()
};
my ($in, $said, $complement) = ('', '', unpack 'H*', ~$secret);
my $holder = IPC::Run::start([ 'python3', '-c', $guarded, $complement ], '<', \$in, '>', \$said, IPC::Run::timeout(60));
$holder->pump until $said =~ /\n/;
my ($without, $at) = split ' ', $said;
note('no guard page here') if $without;
my $holder_pid = $holder->{KIDS}[0]{PID};
is(PgEnvelope::ProcMem::contains($holder_pid, $secret), 1, 'a page that cannot be read hides nothing behind it');
my ($mapping) = grep { $_->{start} <= $at && $at < $_->{end} } PgEnvelope::ProcMem::mappings($holder_pid);
is(index(PgEnvelope::ProcMem::content($holder_pid, $mapping), $secret), $at - $mapping->{start} + 2 * 4096, 'nor moves it');
$holder->finish;

# Disk, log and activity: plain, in hex, in base64 at any offset.
is_deeply([ $node->find_on_disk($node->canary) ], [], 'nothing before');
$node->assert_no_canary;
for my $form ("convert_to('%s', 'UTF8')", "convert_to(encode('%s', 'hex'), 'UTF8')",
	map { "convert_to(encode(convert_to('" . 'x' x $_ . "%s', 'UTF8'), 'base64'), 'UTF8')" } 0 .. 2)
{
	my $canary = sprintf('form-%08x-%08x', map { int rand 2**32 } 1, 2);
	# (Two: one may lie across two pages of WAL, with a header between its parts.)
	$one->query(sprintf("CREATE TABLE IF NOT EXISTS f (v bytea); INSERT INTO f SELECT $form FROM generate_series(1, 2)", $canary));
	$node->safe_psql('postgres', 'CHECKPOINT');
	my @found = $node->find_on_disk($canary);
	ok((grep { m{/base/} } @found), "a value in a table is found: $form");
	ok((grep { m{/pg_wal/} } @found), "and in WAL: $form");
}
$one->query(q{DO $$ BEGIN RAISE LOG 'log-needle-1'; END $$});
ok((grep { m{/log/} } $node->find_on_disk('log-needle-1')), 'a value in the log is found');
ok($node->in_activity('log-needle-1'), 'a value in an activity view is found');
ok(!$node->in_activity('log-needle-2'), 'a value in none is not');

# Logs are taken out of a directory of the tests' user's with his rights.
my ($logs, $taken) = (PostgreSQL::Test::Utils::tempdir(), PostgreSQL::Test::Utils::tempdir() . '/taken');
my $closed = PostgreSQL::Test::Utils::tempdir() . '/closed';
append_to_file($_, "it says so\n") for "$logs/a.log", $closed;
symlink $closed, "$logs/link.log" or die $!;
mkdir "$logs/deep" or die $!;
append_to_file("$logs/deep/b.log", "so does it\n");
my $take = "$FindBin::RealBin/../tools/take_logs.sh";
command_ok([ $take, $logs, $taken, 'postgres' ], 'logs are taken');
is(slurp_file("$taken/a.log") . slurp_file("$taken/deep/b.log"), "it says so\nso does it\n", 'all of them');
ok(-l "$taken/link.log", 'a link stays one');
unlink "$logs/link.log";
command_ok([ $take, $logs, $taken, 'postgres' ], 'and once more');
ok(!-e "$taken/link.log" && !-l "$taken/link.log", 'which leaves nothing of the time before');

$_->close for $one, $two;
$node->stop;
done_testing();
