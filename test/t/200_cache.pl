# What a session may still open is decided at each value: by state, rights,
# flush and time; and no key outlives its transaction in a session's memory.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('cache', 'pg_envelope.harden_backends' => 'off');
my $admin = $node->session;
$admin->query(q{SET client_min_messages = error});
$admin->query(q{SELECT envelope_create_kek('main')});
$admin->query(q{SELECT envelope_create_key('acme', 'main')});
$admin->query(q{CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'acme') AS sealed FROM generate_series(1, 5) i});
$admin->query($_) for q{CREATE ROLE member LOGIN}, q{CREATE ROLE readers}, q{GRANT readers TO member},
  q{GRANT SELECT ON t TO member}, q{SELECT envelope_grant('acme', 'readers', ARRAY['encrypt', 'decrypt'])};

sub unwraps { return $node->status('unwraps'); }

#
# One statement, opening or sealing value after value; another session acts
# while it stands between the second and the third.
#
my $gate = 4711;

sub acts_at_the_next_value
{
	my ($user, $expression, $act, $sqlstate, $undo) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $s = $node->session(user => $user);
	is($s->query("SELECT count($expression) FROM t"), '5', "$act: all is well before");
	$admin->query("SELECT pg_advisory_lock($gate)");
	$s->send(qq{SELECT i, CASE WHEN i = 3 THEN pg_advisory_xact_lock_shared($gate) END, $expression FROM t});
	PgEnvelope::Cluster::wait_until(sub {
		$admin->query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") eq '1' }, 'the gate');
	$admin->query($act);
	$admin->query("SELECT pg_advisory_unlock($gate)");
	my ($out, $err) = $s->wait;
	like($err, qr/ERROR:  \Q$sqlstate\E:/, "$act: the running statement fails at its next value");
	$admin->query($undo) if $undo;
	is($s->query("SELECT count($expression) FROM t"), '5', "$undo: and works again") if $undo;
	$s->close;
	return;
}

my $open = q{envelope_decrypt(sealed, 'acme')};
my $seal = q{envelope_encrypt('x', 'acme')};
acts_at_the_next_value($node->superuser, $open, q{SELECT envelope_disable_key('acme')}, 'KE004',
	q{SELECT envelope_enable_key('acme')});
acts_at_the_next_value($node->superuser, $seal, q{SELECT envelope_disable_key('acme')}, 'KE004',
	q{SELECT envelope_enable_key('acme')});
acts_at_the_next_value('member', $open, q{SELECT envelope_revoke('acme', 'readers', ARRAY['decrypt'])}, '42501',
	q{SELECT envelope_grant('acme', 'readers', ARRAY['decrypt'])});
acts_at_the_next_value($node->superuser, $seal, q{SELECT envelope_mark_compromised('acme', 1)}, 'KE016',
	q{SELECT envelope_rotate_key('acme')});
is($admin->query(qq{SELECT count($open) FROM t}), '5', 'a compromised version still opens');

#
# Role membership: from the next statement, in an open transaction, for a plan
# that is not made anew.
#
my $member = $node->session(user => 'member');
$member->query(qq{PREPARE p AS SELECT count($open) FROM t});
$member->query('BEGIN');
is($member->query('EXECUTE p'), '5', 'a member opens');
is($member->query('EXECUTE p'), '5', 'and again');
$admin->query('REVOKE readers FROM member');
my (undef, $err) = $member->try('EXECUTE p');
like($err, qr/ERROR:  42501:/, 'a member no more: the next EXECUTE fails');
$member->query('ROLLBACK');
$admin->query('GRANT readers TO member');
is($member->query('EXECUTE p'), '5', 'a member again');
$member->close;

#
# The shared cache: one unwrap serves all, until a flush.
#
$admin->query('SELECT envelope_cache_flush()');
my $before = unwraps();
for (1 .. 3)
{
	my $s = $node->session;
	is($s->query(qq{SELECT count($open) FROM t}), '5', 'a session opens');
	$s->close;
}
is(unwraps() - $before, 1, 'three sessions, one unwrap');
my $long = $node->session;
$long->query('BEGIN');
is($long->query(qq{SELECT count($open) FROM t}), '5', 'a transaction has its context ready');
is($admin->query('SELECT envelope_cache_flush()'), '1', 'a flush tells that one session holds a context');
is($long->query(qq{SELECT count($open) FROM t}), '5', 'which it does not use again');
is(unwraps() - $before, 2, 'but asks the agent');
$node->stop_agent_process;
is($long->query(qq{SELECT count($open) FROM t}), '5', 'with the agent away cached keys work');
$admin->query('SELECT envelope_cache_flush()');
$admin->set_for_all('kms_timeout', '1s', $long);
(undef, $err) = $long->try(qq{SELECT count($open) FROM t});
like($err, qr/ERROR:  KE006:/, 'after a flush they do not');
$node->continue_agent_process;
$long->query('ROLLBACK');
$admin->set_for_all('kms_timeout', '10s', $long);
is($long->query(qq{SELECT count($open) FROM t}), '5', 'the agent is back');

#
# No context outlives its transaction, or its subtransaction's abort.
#
sub holders { return $node->status('context_holders'); }
for my $end ('COMMIT', 'ROLLBACK', 'SELECT 1/0', 'ROLLBACK TO a')
{
	$long->query('BEGIN');
	$long->query('SAVEPOINT a');
	$long->query(qq{SELECT count($open) FROM t});
	is(holders(), '1', "a context before $end");
	$long->try($end);
	is(holders(), '0', "none after $end");
	$long->query('ROLLBACK');
}
$long->query('BEGIN');
$long->query(qq{SELECT count($open) FROM t});
$long->query('SAVEPOINT a');
$long->query(qq{SELECT $seal});
$long->query('ROLLBACK TO a');
is(holders(), '1', 'ROLLBACK TO leaves the context of the outer level');
my $backend = $long->pid;
$admin->query("SELECT pg_terminate_backend($backend)");
PgEnvelope::Cluster::wait_until(sub {
	$admin->query("SELECT count(*) FROM pg_stat_activity WHERE pid = $backend") eq '0' }, 'its end');
is(holders(), '0', 'none after the session was terminated');
$long->close;

# An uncommitted DEK is its maker's alone.
my $used = $node->status('cache_used');
$admin->query('BEGIN');
$admin->query(q{SELECT envelope_create_key('mine', 'main')});
is($admin->query(q{SELECT envelope_decrypt(envelope_encrypt('x', 'mine'), 'mine')}), 'x', 'its maker uses it');
is($node->status('cache_used'), $used, 'no slot has it');
$admin->query('ROLLBACK');
$node->fails_with(q{SELECT envelope_encrypt('x', 'mine')}, '42704', 'it went with the transaction');

# Time ends what nobody revoked: in the slots, and in a transaction that goes on.
$admin->query('SELECT envelope_cache_flush()');
my $timed = $node->session;
$admin->set_for_all('cache_ttl', '1s', $timed);
$timed->query('BEGIN');
is($timed->query(qq{SELECT count($open) FROM t}), '5', 'opened within its time');
$before = unwraps();
PgEnvelope::Cluster::wait_until(sub { $node->status('cache_used') eq '0' }, 'the keeper to wipe the slots');
is($timed->query(qq{SELECT count($open) FROM t}), '5', 'opened after it');
is(unwraps() - $before, 1, 'by asking the agent again');
$timed->close;
$admin->set_for_all('cache_ttl', '5min');

# context_cache bounds them.
$admin->query(q{SELECT envelope_create_key('k' || i, 'main') FROM generate_series(1, 5) i});
is($admin->query(q{SET pg_envelope.context_cache = 2;
	SELECT count(*) FROM generate_series(1, 200) n, LATERAL (SELECT 'k' || 1 + n % 5 AS k) x
	WHERE envelope_decrypt(envelope_encrypt('v' || n, k), k) = 'v' || n}), '200', 'two contexts for five keys');

# Parallel workers miss and open too.
$admin->query(q{CREATE TABLE big AS SELECT i, envelope_encrypt('value ' || i, 'k' || 1 + i % 5) AS sealed FROM generate_series(1, 20000) i; ANALYZE big});
$admin->query('SELECT envelope_cache_flush()');
$admin->query(q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	SET parallel_leader_participation = off});
like($admin->query(q{EXPLAIN (COSTS OFF) SELECT count(*) FROM big WHERE envelope_decrypt(sealed, 'k' || 1 + i % 5) = 'value ' || i}),
	qr/Parallel Seq Scan/, 'workers do it');
is($admin->query(q{SELECT count(*) FROM big WHERE envelope_decrypt(sealed, 'k' || 1 + i % 5) = 'value ' || i}),
	'20000', 'and open all');
is(holders(), '0', 'and leave nothing');

#
# One slot, two keys, four sessions: nobody ever gets another's bytes.
#
$node->append_conf('postgresql.conf', "pg_envelope.cache_size = 1\n");
$admin->close;
$node->restart;
$before = unwraps();
my @fighters = map { $node->session } 1 .. 4;
$_->send(q{DO $$
	DECLARE plain text;
	BEGIN
		FOR i IN 1 .. 300 LOOP
			plain := i || ' ' || pg_backend_pid();
			IF envelope_decrypt(envelope_encrypt(plain, 'k' || 1 + i % 2), 'k' || 1 + i % 2) <> plain THEN
				RAISE 'wrong value';
			END IF;
			COMMIT;
		END LOOP;
	END $$}) for @fighters;
is(($_->wait)[1], '', 'a session gets its own values') for @fighters;
cmp_ok(unwraps() - $before, '>', 100, 'while the two keys fought for the slot');

done_testing();
