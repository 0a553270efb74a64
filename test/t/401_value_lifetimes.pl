# Where a transaction or a statement is unusual: cursors, work at commit, waits
# that end badly, workers, copies of a database, a crash.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('lifetimes', 'max_prepared_transactions' => 2,
	'restart_after_crash' => 'on', 'pg_envelope.kms_timeout' => '30s');
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error},
  q{SELECT envelope_create_kek('main'), envelope_create_key('acme', 'main'), envelope_create_key('other', 'main')},
  q{CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'acme') AS sealed FROM generate_series(1, 5) i};
my $open = q{envelope_decrypt(sealed, 'acme')};

sub holders { return $node->status('context_holders'); }
sub disabled { $admin->query(q{SELECT envelope_disable_key('acme')}); return; }
sub enabled { $admin->query(q{SELECT envelope_enable_key('acme')}); return; }

# Cursors: a row fetched is a value opened then (a sort would open all at once).
my $s = $node->session;
$s->query('BEGIN');
$s->query(qq{DECLARE c CURSOR FOR SELECT $open FROM t});
is($s->query('FETCH c'), 'value 1', 'a cursor opens');
disabled();
like(($s->try('FETCH c'))[1], qr/ERROR:  KE004:/, 'and not after the disable');
$s->query('ROLLBACK');
enabled();

# A loop of PL/pgSQL, one value per turn, no new statement.
$admin->query(q{CREATE FUNCTION opened(n int) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE one bytea; plain text; i int := 0;
	BEGIN
		SELECT sealed INTO one FROM t WHERE t.i = 1;
		WHILE i < n LOOP
			i := i + 1;
			IF i = 3 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
			BEGIN
				plain := envelope_decrypt(one, 'acme');
			EXCEPTION WHEN SQLSTATE 'KE004' THEN
				RETURN i;
			END;
		END LOOP;
		RETURN 0;
	END $$});
$admin->query('SELECT pg_advisory_lock(1)');
$s->send('SELECT opened(10)');
PgEnvelope::Cluster::wait_until(sub {
	$admin->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) eq '1' }, 'the gate');
disabled();
$admin->query('SELECT pg_advisory_unlock(1)');
is(($s->wait)[0], '3', 'a loop with handlers is refused at its next value');
enabled();

# Values that are opened while the transaction commits.
$s->query('BEGIN');
$s->query(qq{DECLARE h CURSOR WITH HOLD FOR SELECT $open FROM t ORDER BY i});
$s->query('COMMIT');
is($s->query('FETCH 1 FROM h'), 'value 1', 'a cursor WITH HOLD was opened at commit');
is(holders(), '0', 'and left no context');
$s->query('CLOSE h');
$s->query(q{CREATE TABLE plain (p text); CREATE TABLE late (i int);
	CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO plain SELECT envelope_decrypt(sealed, 'acme') FROM t WHERE t.i = NEW.i;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION late()});
$s->query('INSERT INTO late VALUES (2)');
is($s->query('SELECT p FROM plain'), 'value 2', 'a deferred trigger opened at commit');
is(holders(), '0', 'and left no context');
$s->query('BEGIN');
$s->query('INSERT INTO late VALUES (3)');
$s->query(q{PREPARE TRANSACTION 'late'});
is(holders(), '0', 'PREPARE TRANSACTION leaves none');
disabled();
$s->query(q{COMMIT PREPARED 'late'});
is($s->query('SELECT count(*) FROM plain'), '2', 'what was opened before stays opened');
enabled();

# A wait for the agent that ends by timeout, by cancel, by the session's end.
for my $end ('timeout', 'cancel', 'terminate')
{
	my $waiting = $node->session;
	$admin->query('SELECT envelope_cache_flush()');
	$node->stop_agent_process;
	$waiting->query('BEGIN');
	$waiting->query('SET LOCAL statement_timeout = 100') if $end eq 'timeout';
	my $pid = $waiting->pid;
	$waiting->send(qq{SELECT count($open) FROM t});
	PgEnvelope::Cluster::wait_until(sub {
		$admin->query(qq{SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid}) eq 'Extension' }, 'the wait')
	  if $end ne 'timeout';
	$admin->query("SELECT pg_${end}_backend($pid)") if $end ne 'timeout';
	my ($out, $err) = $waiting->wait;
	like($err, $end eq 'terminate' ? qr/57P01/ : qr/57014/, "$end ends a wait");
	$node->continue_agent_process;
	PgEnvelope::Cluster::wait_until(sub { holders() eq '0' }, 'its contexts to go');
	if ($end ne 'terminate')
	{
		$waiting->query('ROLLBACK');
		is($waiting->query(qq{SELECT count($open) FROM t}), '5', "and after $end the session opens");
		$waiting->close;
	}
}

# Workers hear of a disable at the next value too.
$admin->query(q{CREATE TABLE big AS SELECT i, envelope_encrypt('value ' || i, 'acme') AS sealed FROM generate_series(1, 3000) i; ANALYZE big});
$admin->query(q{CREATE FUNCTION gate(i int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS $$
	BEGIN IF i > 2000 THEN PERFORM pg_advisory_xact_lock_shared(2); END IF; RETURN i; END $$});
$s->query(q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	SET parallel_leader_participation = off; SET max_parallel_workers_per_gather = 2});
my $parallel = q{SELECT count(*) FROM big WHERE gate(i) > 0 AND envelope_decrypt(sealed, 'acme') IS NOT NULL};
like($s->query("EXPLAIN (COSTS OFF) $parallel"), qr/Parallel Seq Scan/, 'workers do it');
is($s->query($parallel), '3000', 'workers open');
$admin->query('SELECT pg_advisory_lock(2)');
$s->send($parallel);
PgEnvelope::Cluster::wait_until(sub {
	$admin->query(q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) eq 't' }, 'the gate');
disabled();
$admin->query('SELECT pg_advisory_unlock(2)');
like(($s->wait)[1], qr/ERROR:  KE004:/, 'and fail at the next value after a disable');
is(holders(), '0', 'and leave no context');
enabled();

# A copy of the database has the same rows, and rights and states of its own.
$_->close for $admin, $s;
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
$admin = $node->session;
my $copy = $node->session(dbname => 'copy');
is($copy->query(qq{SELECT count($open) FROM t}), '5', 'a copy of the database opens');
disabled();
is($copy->query(qq{SELECT count($open) FROM t}), '5', 'a disable there is none here');
like(($admin->try(qq{SELECT count($open) FROM t}))[1], qr/ERROR:  KE004:/, 'but is one there');
enabled();
$copy->close;

# A crash: no slot survives it, and all goes on.
is($admin->query(qq{SELECT count($open) FROM t}), '5', 'before the crash');
isnt($node->status('cache_used'), '0', 'slots are used');
my $victim = $node->session;
kill 'KILL', $victim->pid;
PgEnvelope::Cluster::wait_until(sub {
	my ($out) = $node->try(q{SELECT value FROM envelope_status() WHERE name = 'cache_used'});
	return $out eq '0' }, 'the server and an empty cache');
$admin = $node->session;
is($admin->query(qq{SELECT count($open) FROM t}), '5', 'after the crash');
is($node->status('cache_used'), '1', 'one slot is used');
is(holders(), '0', 'and no context counted');
$admin->close;

done_testing();
