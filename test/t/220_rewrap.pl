# A rewrap that is slow, cancelled, or loses its agent half way: nothing is half
# written, nobody else waits for it, and the next run does what is left.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

# A call that is held up waits for the test, which lets it go or ends it within a minute.
my $deks = 40;
my $node = PgEnvelope::Cluster->new('main', test_build => 1,
	'pg_envelope.kms_timeout' => '1min', 'pg_envelope.kms_concurrency' => 8,
	wal_writer_delay => '10s', client_min_messages => 'warning');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

# live wrappings per KEK, and the DEKs that have not exactly one
sub live
{
	return sql(q{SELECT string_agg(kek || ' ' || n, ', ' ORDER BY kek) FROM
		(SELECT kek, count(*) AS n FROM envelope.wrapping WHERE superseded IS NULL GROUP BY 1) x})
	  . '; odd: ' . sql(q{SELECT count(*) FROM (SELECT 1 FROM envelope.wrapping
		GROUP BY dek_id HAVING count(wrapped) <> 1) x});
}

sub state { return sql("SELECT state, unused_since IS NOT NULL FROM envelope.kek WHERE name = '$_[0]'") }

sub opens
{
	sql('SELECT envelope_cache_flush()');
	return sql(q{SELECT count(*) FROM sealed WHERE envelope_decrypt(s, 'k' || i) = 'v' || i});
}

sql(q{SET client_min_messages = error;
	SELECT envelope_create_kek(n) FROM unnest('{a,b}'::text[]) n});
sql("SELECT envelope_create_key('k' || i, 'a') FROM generate_series(1, $deks) i");
sql("CREATE TABLE sealed AS SELECT i, envelope_encrypt('v' || i, 'k' || i) AS s FROM generate_series(1, $deks) i");

# How long one data key takes at this delay; then all of them, side by side.  (Of some times, of which
# the machine may have stood still in one, the shortest.)
sub seconds
{
	my ($statement) = @_;
	my @took;
	for (1 .. 3)
	{
		my $from = clock_gettime(CLOCK_MONOTONIC);
		sql($statement);
		push @took, clock_gettime(CLOCK_MONOTONIC) - $from;
	}
	return (sort { $a <=> $b } @took)[0];
}
sql(q{SELECT envelope_create_kek('one')});
sql(q{SELECT envelope_create_key('alone', 'one')});
$node->set_provider_delay(50);
my $one = seconds(q{SELECT * FROM rewrap_all('one', 'b', dry_run => true)});
cmp_ok($one, '>', 0.05, 'the delay is in force');
my $all = seconds(q{SELECT * FROM rewrap_all('a', 'b', dry_run => true)});
cmp_ok($all, '<', 1.5 * $one * $deks / 8, "$deks data keys, 8 at a time, take no more than 5 of them");
sql(q{SET client_min_messages = error; SELECT count(*) FROM rewrap_all('one', 'b')});

# Cancelled while it asks: old is enabled as before, and nobody waited.
my $admin = $node->session;
$node->hold_calls;
$admin->send(q{SELECT count(*) FROM rewrap_all('a', 'b')});
wait_until(sub { sql("SELECT count(*) FROM pg_locks WHERE pid = " . $admin->pid . " AND relation = 'envelope.kek'::regclass AND mode = 'RowExclusiveLock'") },
	'the rewrap to have retired the KEK');
wait_until(sub { $node->status('agent_calls_in_flight') }, 'it to ask');
is(sql(q{SET statement_timeout = '30s'; SELECT envelope_disable_key('k1'); SELECT envelope_enable_key('k1'); SELECT 'free'}) =~ s/\A\s+//r,
	'free', 'no key is locked while the agent is asked');
ok($admin->busy, 'and it was asked all the while');
sql('SELECT pg_cancel_backend(' . $admin->pid . ')');
my ($out, $err) = $admin->wait;
like($err, qr/57014/, 'it is cancelled');
is(live(), "a $deks, b 1; odd: 0", 'nothing was written');
is(state('a'), 'enabled|f', 'and nothing retired');

# CALL, until it asks for another batch than the first, and waits for the answers: a row of the
# second is locked until calls are held up.
sub call_half_way
{
	my $results = sql('SELECT count(*) FROM envelope.rewrap_result');
	my $lock = $node->session;
	$lock->query(q{BEGIN; SELECT FROM envelope.wrapping WHERE superseded IS NULL
		AND dek_id = (SELECT dek_id FROM envelope.wrapping WHERE kek = 'a' AND superseded IS NULL ORDER BY dek_id OFFSET 8 LIMIT 1) FOR UPDATE});
	$node->let_calls_through;
	$admin->send(q{CALL envelope_rewrap('a', 'b', 8)});
	wait_until(sub { sql('SELECT count(*) FROM envelope.rewrap_result') > $results }, 'a batch');
	$node->hold_calls;
	$lock->close;
	wait_until(sub { $node->status('agent_calls_in_flight') }, 'it to ask for another');
	return;
}

# Cancelled there: whole batches.
call_half_way();
sql('SELECT pg_cancel_backend(' . $admin->pid . ')');
($out, $err) = $admin->wait;
$node->let_calls_through;
like($err, qr/57014/, 'it is cancelled between its first and its last batch');
my $done = sql('SELECT count(*) FROM envelope.rewrap_result');
ok($done > 0 && $done < $deks && $done % 8 == 0, "$done of $deks: whole batches");
is(live(), 'a ' . ($deks - $done) . ', b ' . ($done + 1) . '; odd: 0', 'and their wrappings');
is(state('a'), 'retired|f', 'the retirement was committed, and it is still in use');
is(sql(q{SELECT string_agg(DISTINCT kek, ',') FROM envelope.key}), 'b', 'keys moved with it');
is(opens(), $deks, 'everything opens');

# The agent dies in the middle: it comes back, and the run goes on.  (Stopped before calls are let go.)
call_half_way();
$node->stop_agent_process;
$node->let_calls_through;
$node->kill_agent;
delete $node->{pge_stopped};
($out, $err) = $admin->wait;
is($err, '', 'a rewrap waits through the death of the agent');
is(live(), 'b ' . ($deks + 1) . '; odd: 0', 'and does what was left');
is(state('a'), 'retired|t', 'the old KEK is needed no more');
is(sql('SELECT count(*), count(DISTINCT dek_id), count(DISTINCT run) FROM envelope.rewrap_result'),
	"$deks|$deks|2", 'each data key was rewrapped once');
is(opens(), $deks, 'everything opens');

# An agent that hangs: each data key is a row that failed, after one deadline, not
# one for every eight of them.
sql(q{SELECT envelope_enable_kek('a')});
$admin->set_for_all('kms_timeout', '5s');
$node->stop_agent_process;
my $from = clock_gettime(CLOCK_MONOTONIC);
is(sql(q{SELECT outcome, split_part(detail, ':', 1), count(*) FROM rewrap_all('b', 'a') GROUP BY 1, 2}),
	'failed|agent not reachable|' . ($deks + 1), 'no agent: a row for each, and no error');
cmp_ok(clock_gettime(CLOCK_MONOTONIC) - $from, '<', 12, 'after one deadline of 5 s');
is(state('b'), 'retired|f', 'the KEK is retired, but not unused');
$node->continue_agent_process;
$admin->set_for_all('kms_timeout', '1min');
is(sql(q{SELECT outcome, count(*) FROM rewrap_all('b', 'a') GROUP BY 1}),
	'rewrapped|' . ($deks + 1), 'running again does what is left');
is(state('b'), 'retired|t', 'and now it is unused');
is(opens(), $deks, 'everything opens');

# Whoever reads "rewrapped" may destroy the old KEK, so it is on disk by then.
$admin->query(q{SET synchronous_commit = off; BEGIN});
is($admin->query(q{SELECT DISTINCT outcome FROM rewrap_all('a', 'a')}), 'already', 'nothing is written');
$admin->query(q{COMMIT; SELECT envelope_enable_kek('b'); BEGIN});
is($admin->query(q{SELECT DISTINCT outcome FROM rewrap_all('a', 'b')}), 'rewrapped', 'all is written');
my $lsn = $admin->query('SELECT pg_current_wal_insert_lsn()');
is($admin->query("COMMIT; SELECT pg_current_wal_flush_lsn() >= '$lsn'"), 't',
	'and flushed at the commit, also with synchronous_commit = off');
sql(q{SELECT envelope_enable_kek('a')});
is($admin->query(q{SET synchronous_commit = off; CALL envelope_rewrap('b', 'a', 40); SELECT pg_current_wal_flush_lsn() >= unused_since_lsn FROM envelope.kek WHERE name = 'b'}),
	't', 'by CALL too');
$admin->close;

# Memory: 30,000 data keys need no more than 300.
sql(q{INSERT INTO envelope.kek (name, uri) SELECT 'many', uri FROM envelope.kek WHERE name = 'a';
	INSERT INTO envelope.kek (name, uri) SELECT 'few', uri FROM envelope.kek WHERE name = 'a';
	INSERT INTO envelope.key (key_id, kek, algorithm) VALUES ('many', 'many', 'XAES_256_GCM')});
my $made = 0;
sub make
{
	my ($kek, $count) = @_;
	sql("INSERT INTO envelope.dek (dek_id, key_id, version, purpose, algorithm, keyring, check_value, state)
			SELECT i, 'many', i, 'aead', 'XAES_256_GCM', uuid, sha256(''), 'retired'
			FROM generate_series($made + 1, $made + $count) i, envelope.keyring ON CONFLICT DO NOTHING;
		 INSERT INTO envelope.wrapping (dek_id, seq, kek, kek_version, wrapped)
			SELECT version, 1, '$kek', '1', '\\x01010000' FROM envelope.dek
			WHERE key_id = 'many' AND version BETWEEN $made + 1 AND $made + $count");
	$made += $count;
	return;
}
make('few', 300);
make('many', 30_000);
sub peak
{
	my ($kek) = @_;
	my $session = $node->session;
	my $count = $session->query("SET work_mem = '64kB'; SELECT count(*) FROM rewrap_all('$kek', 'a', dry_run => true)");
	my ($kb) = slurp_file('/proc/' . $session->pid . '/status') =~ /^VmPeak:\s+(\d+)/m or die;
	$session->close;
	return ($count, $kb);
}
my ($few, $few_kb) = peak('few');
my ($many, $many_kb) = peak('many');
cmp_ok($many, '>', 29_990, 'all of them were looked at');
cmp_ok($many_kb - $few_kb, '<', 2500, "memory does not grow with the number of data keys ($few_kb kB, $many_kb kB)");
$node->stop;
done_testing();
