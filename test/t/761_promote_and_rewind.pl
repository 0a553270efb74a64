# A standby is promoted under load: no statement fails, nothing is started again, keys can be
# changed. pg_rewind turns the old primary into its standby while it lives, with an agent's
# socket in its data directory.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

# (What autovacuum removes would cancel, on the standby, the statement that the promotion comes into.)
my $old = PgEnvelope::Cluster->new('old', allows_streaming => 1, autovacuum => 'off', wal_log_hints => 'on', wal_keep_size => '256MB');
$old->safe_psql('postgres', q{SET client_min_messages = error;
	SELECT envelope_create_kek('main'); SELECT envelope_create_key('acme', 'main');
	CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'acme') AS sealed FROM generate_series(1, 100) i;
	CREATE TABLE fresh (key_id text, sealed bytea)});
$old->backup('base');
my $new = PostgreSQL::Test::Cluster::new('PgEnvelope::Cluster', 'new', PgEnvelope::Cluster::install_path(0));
$new->init_from_backup($old, 'base', has_streaming => 1);
$new->start;
$old->wait_for_catchup($new);

# Two clients make keys and versions, and values under them, in one transaction each.
my $making = $old->basedir . '/making.sql';
append_to_file($making, <<'SQL');
BEGIN;
SELECT envelope_create_key('fresh ' || txid_current(), 'main');
INSERT INTO fresh SELECT 'fresh ' || txid_current(), envelope_encrypt('x', 'fresh ' || txid_current());
SELECT envelope_rotate_key('fresh ' || txid_current());
INSERT INTO fresh SELECT 'fresh ' || txid_current(), envelope_encrypt('x', 'fresh ' || txid_current());
COMMIT;
SQL

# Four clients open and seal without end what they see, and a session sits in the middle of a statement.
my $script = $new->basedir . '/load.sql';
append_to_file($script, q{SELECT count(envelope_decrypt(sealed, 'acme')), length(envelope_encrypt('x', 'acme')) FROM t;
SELECT count(envelope_decrypt(sealed, key_id)) FROM fresh;} . "\n");
my ($said, $complaints) = ('', '');
my $load = IPC::Run::start([ $new->installed_command('pgbench'), '-n', '-c', '4', '-j', '1', '-T', '3600', '-f', $script,
	'-h', $new->host, '-p', $new->port, '-U', $new->superuser, 'postgres' ], '>', \$said, '2>', \$complaints);
my $admin = $new->session;
my $transactions = q{SELECT sum(xact_commit) FROM pg_stat_database};
sub go_on
{
	my $from = $admin->query($transactions);
	PgEnvelope::Cluster::wait_until(sub { $load->pumpable && $admin->query($transactions) > $from + 100 }, 'the load to go on');
	return;
}
go_on();
my ($made, $failed) = ('', '');
ok(IPC::Run::run([ $old->installed_command('pgbench'), '-n', '-c', '2', '-j', '1', '-t', '25', '-f', $making, '-h', $old->host, '-p', $old->port, '-U', $old->superuser, 'postgres' ],
	'>', \$made, '2>', \$failed), 'keys and values are made while the standby opens all that it sees') or diag($failed);
$old->wait_for_catchup($new);
go_on();
is($admin->query(q{SELECT count(envelope_decrypt(sealed, key_id)) FROM fresh}), '100', 'and they all open there');
my $holder = $new->session;
my $inside = $new->session;
$holder->query('SELECT pg_advisory_lock(1)');
$inside->send(q{SELECT count(envelope_decrypt(CASE WHEN i = 50 THEN substr(sealed, 1 + length(pg_advisory_lock_shared(1)::text)) ELSE sealed END, 'acme')) FROM t});
PgEnvelope::Cluster::wait_until(sub {
	$admin->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) eq '1' }, 'the gate');
my %was = (server => $admin->query('SELECT pg_postmaster_start_time()'), keeper => $new->keeper_pid, agent => $new->agent_pid);

$old->stop;		# what it wrote, the standby has
$new->promote;
go_on();
$holder->query('SELECT pg_advisory_unlock(1)');
is(($inside->wait)[0], '100', 'the statement that the promotion came into goes on');
$admin->query(q{SET client_min_messages = error});
is($admin->query(q{SELECT envelope_rotate_key('acme')}), '2', 'keys can be changed');
go_on();
is($admin->query(q{SELECT version FROM envelope_key_info(envelope_encrypt('x', 'acme'))}), '2', 'and it counts');
is_deeply({ server => $admin->query('SELECT pg_postmaster_start_time()'), keeper => $new->keeper_pid, agent => $new->agent_pid },
	\%was, 'neither the server nor its keeper nor its agent has started again');
$load->signal('INT');
$load->finish;
unlike($complaints, qr/error|abort|fail/i, 'of the load, no statement failed') or diag($complaints);

# What the new primary has seals and keys that the old one has not, and the reverse.
$admin->query(q{SELECT envelope_create_key('young', 'main')});
$admin->query(q{INSERT INTO t VALUES (0, envelope_encrypt('value 0', 'young'))});
$old->start;
$old->safe_psql('postgres', q{SET client_min_messages = error;
	SELECT envelope_create_key('stray', 'main'); INSERT INTO t VALUES (-1, envelope_encrypt('stray', 'stray')); SELECT envelope_disable_key('acme')});
$old->stop;
my $config = slurp_file($old->data_dir . '/postgresql.conf');
$admin->query('CHECKPOINT');
isnt(join(' ', grep { -S } glob($new->data_dir . '/pg_stat_tmp/*')), '', 'the agent has its socket in the data directory');
command_ok([ $old->installed_command('pg_rewind'), '--target-pgdata', $old->data_dir, '--source-server', $new->connstr('postgres') . ' user=' . $new->superuser, '--no-sync' ],
	'pg_rewind from the living new primary');
unlink $old->data_dir . '/postgresql.conf';
append_to_file($old->data_dir . '/postgresql.conf', $config);
$old->enable_streaming($new);
$old->start;
$new->wait_for_catchup($old);
is($old->safe_psql('postgres', q{SELECT string_agg(envelope_decrypt(sealed), ', ' ORDER BY i) FROM t WHERE i < 2}),
	'value 0, value 1', 'the old primary is its standby: it opens what it has missed, and what it had');
like(($old->try(q{SELECT envelope_encrypt('x', 'stray')}))[1], qr/ERROR:  42704:/, 'what it had done alone is undone');
$_->close for $admin, $holder, $inside;
$old->stop;
$new->stop;
done_testing();
