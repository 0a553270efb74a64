# A hot standby opens and seals; what the primary revokes acts there from the
# next statement, and then at the next value of the running ones too; of one that runs
# alone, soon.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $primary = PgEnvelope::Cluster->new('primary', allows_streaming => 1);
$primary->safe_psql('postgres', q{SET client_min_messages = error;
	SELECT envelope_create_kek('main'); SELECT envelope_create_key('acme', 'main');
	CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'acme') AS sealed FROM generate_series(1, 5) i});
$primary->backup('base');
# (The backup's configuration names the primary's keyring file: both read it.)
my $standby = PostgreSQL::Test::Cluster::new('PgEnvelope::Cluster', 'standby',
	PgEnvelope::Cluster::install_path(0));
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

my $open = q{envelope_decrypt(sealed, 'acme')};
my $one = $standby->session;
my $two = $standby->session;
is($one->query(qq{SELECT count($open) FROM t}), '5', 'a standby opens');
is($one->query(q{SELECT length(envelope_encrypt('x', 'acme'))}), '46', 'and seals');

$two->query('SELECT pg_advisory_lock(1)');
$one->send(qq{SELECT CASE WHEN i = 3 THEN pg_advisory_lock_shared(1) END, $open FROM t});
PgEnvelope::Cluster::wait_until(sub {
	$two->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) eq '1' }, 'the gate');
is($two->query(qq{SELECT count($open) FROM t}), '5', 'both have opened');
$primary->safe_psql('postgres', q{SELECT envelope_disable_key('acme')});
$primary->wait_for_catchup($standby);
like(($two->try(qq{SELECT count($open) FROM t}))[1], qr/ERROR:  KE004:/, 'the next statement fails');
$two->query('SELECT pg_advisory_unlock(1)');
like(($one->wait)[1], qr/ERROR:  KE004:/, 'and the running one at its next value');

# A statement that runs alone: who looks on has come later, and knows no key.
$primary->safe_psql('postgres', q{SELECT envelope_enable_key('acme')});
$primary->wait_for_catchup($standby);
$one->query('SELECT 1');		# what came before is heard
my $gate = $standby->session;
$gate->query('SELECT pg_advisory_lock(2)');
$one->send(qq{SELECT count($open), count(CASE WHEN n = 3 THEN pg_advisory_lock_shared(2) END), count(CASE WHEN n > 3 THEN pg_sleep(0.01) END)
	FROM generate_series(1, 3000) n, t WHERE i = 1});
PgEnvelope::Cluster::wait_until(sub {
	$gate->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) eq '1' }, 'the gate');
$primary->safe_psql('postgres', q{SELECT envelope_disable_key('acme')});
$primary->wait_for_catchup($standby);
$gate->query('SELECT pg_advisory_unlock(2)');
like(($one->wait)[1], qr/ERROR:  KE004:/, 'a statement that runs alone hears of it, too');
$gate->close;

# It learns of a transaction by one message, which goes down with the
# subtransaction that sent it: so each that changes something sends its own.
my $admin = $primary->session;
my $disable = q{SELECT envelope_disable_key('acme')};
my $undone = q{SELECT envelope_rotate_key('acme')};
my $undone_in_block = q{DO $$ BEGIN PERFORM envelope_rotate_key('acme'); RAISE 'undone'; EXCEPTION WHEN raise_exception THEN END $$};
for my $case (
	[ 'one change', $disable ],
	[ 'in a released savepoint', 'SAVEPOINT a', $disable, 'RELEASE a' ],
	[ 'again, in the next transaction', 'SAVEPOINT a', $disable, 'RELEASE a' ],
	[ 'after ROLLBACK TO', 'SAVEPOINT a', $undone, 'ROLLBACK TO a', $disable ],
	[ 'after ROLLBACK TO, outside', 'SAVEPOINT a', $undone, 'ROLLBACK TO a', 'RELEASE a', $disable ],
	[ 'after an exception', $undone_in_block, $disable ],
	[ 'after a savepoint within a released one', 'SAVEPOINT a', 'SAVEPOINT b', $undone, 'ROLLBACK TO b', 'RELEASE b', $disable, 'RELEASE a' ],
	[ 'before a savepoint that is undone', $disable, 'SAVEPOINT a', q{SELECT envelope_enable_key('acme')}, 'ROLLBACK TO a' ],
	[ 'after a transaction that is undone', $undone, 'ROLLBACK', 'BEGIN', $disable ])
{
	my ($name, @statements) = @$case;
	$admin->query(q{SELECT envelope_enable_key('acme')});
	$primary->wait_for_catchup($standby);
	is($two->query(qq{SELECT count($open) FROM t}), '5', "$name: the standby opens before");
	$admin->query($_) for 'BEGIN', @statements, 'COMMIT';
	$primary->wait_for_catchup($standby);
	like(($two->try(qq{SELECT count($open) FROM t}))[1], qr/ERROR:  KE004:/, 'and hears of it');
}
$admin->close;

# Administration says that it cannot be done here; what only looks can.
for my $sql (q{SELECT envelope_create_kek('here')}, q{SELECT envelope_rotate_kek('main')},
	q{SELECT envelope_alter_kek('main', 'local:x')}, q{SELECT envelope_enable_kek('main')}, q{SELECT envelope_destroy_kek('main', 'local:x', true)},
	q{SELECT envelope_create_key('here', 'main')}, q{SELECT envelope_rotate_key('acme')},
	q{SELECT envelope_enable_key('acme')}, q{SELECT envelope_grant('acme', 'postgres', '{encrypt}')},
	q{SELECT rewrap_all('main', 'main')}, q{CALL envelope_rewrap('main', 'main')})
{
	like(($one->try($sql))[1], qr/ERROR:  25006:/, $sql);
}
is($one->query(q{SELECT outcome FROM rewrap_all('main', 'main', dry_run => true)}), 'already', 'a dry run');

$standby->promote;
$primary->stop;
is($two->query(q{SELECT envelope_enable_key('acme')}), '', 'promoted, it may change keys');
is($one->query(qq{SELECT count($open) FROM t}), '5', 'and opens without a restart');
done_testing();
