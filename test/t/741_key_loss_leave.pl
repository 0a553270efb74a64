# The way past the guard is one session's, a superuser's, and in the log; and the
# guard is in nobody's way: maintenance, upgrades, restores, other databases.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::Versions;
use PostgreSQL::Test::Utils;
use Test::More;

my $tools = $ENV{PGE_BINDIR};
# An update script besides, which changes a key table as a later version's may.
$ENV{PGE_BINDIR} = PgEnvelope::Versions::server(PostgreSQL::Test::Utils::tempdir_short() . '/root',
	'pg_envelope--' . PgEnvelope::Versions::default_version() . '--next.sql' =>
	  qq{ALTER TABLE envelope.dek ADD COLUMN note text;\nALTER TABLE envelope.wrapping ALTER kek_version TYPE text COLLATE "C";\n},
	'stranger.control' => "default_version = '1'\n", 'stranger--1.sql' => "ALTER TABLE envelope.wrapping DROP COLUMN wrapped;\n");
my $node = PgEnvelope::Cluster->new('main', allows_streaming => 'logical', wal_retrieve_retry_interval => '100ms');
my $admin = $node->session;
$admin->query('SET client_min_messages = error');
$admin->query(q{SELECT envelope_create_kek('main'); SELECT count(envelope_create_key('k' || i, 'main')) FROM generate_series(1, 1000) i});
$admin->query(q{CREATE TABLE sealed AS SELECT envelope_encrypt('a value', 'k1') AS ssn});
my $uuid = $admin->query('SELECT uuid FROM envelope.keyring');
my $opens = q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(ssn, 'k1') FROM sealed};

sub refused
{
	my ($session, $sql, $name) = @_;
	my (undef, $err) = $session->try($sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($err, qr/ERROR:  KE014: cannot /, $name);
	return $err;
}

#
# What the user sees.
#
my (undef, undef, $said) = $node->psql('postgres', 'DROP EXTENSION pg_envelope');
is($said =~ s/^psql:\S+ //mgr, <<'END' =~ s/\n\z//r, 'what DROP EXTENSION says');
ERROR:  cannot drop extension "pg_envelope": 1,000 data keys would be lost
DETAIL:  Values sealed by them could never be opened again.
HINT:  To uninstall for good, follow "Uninstall" in README.
END

#
# The leave counts only where a superuser's session has set it, to the right uuid.
#
$node->safe_psql('postgres', $_) for 'CREATE ROLE plain LOGIN', 'GRANT SET ON PARAMETER pg_envelope.allow_key_loss TO plain',
  'CREATE ROLE other SUPERUSER LOGIN';
for my $at ("ROLE other", 'DATABASE postgres', 'ROLE other IN DATABASE postgres')
{
	my (undef, $err) = $admin->try("ALTER $at SET pg_envelope.allow_key_loss = '$uuid'");
	like($err, qr/ERROR:  22023: invalid value.*\n.*It is set by SET/, "it cannot be set for $at");
}
my (undef, $err) = $admin->try("ALTER SYSTEM SET pg_envelope.allow_key_loss = '$uuid'");
like($err, qr/ERROR:  55P02:/, 'nor by ALTER SYSTEM');
$node->append_conf('postgresql.conf', "pg_envelope.allow_key_loss = '$uuid'");
$node->restart;
$admin = $node->session;
$admin->query('SET client_min_messages = error');
is($admin->query('SHOW pg_envelope.allow_key_loss'), '', 'it is not taken from postgresql.conf');
refused($admin, 'DROP EXTENSION pg_envelope', 'which lets nothing pass');
like(slurp_file($node->logfile), qr/invalid value for parameter "pg_envelope.allow_key_loss"/, 'and the log says so');
{
	local $ENV{PGOPTIONS} = "-c pg_envelope.allow_key_loss=$uuid";
	my ($rc, undef, $stderr) = $node->psql('postgres', 'DROP EXTENSION pg_envelope');
	isnt($rc, 0, "nor from a connection's options");
	like($stderr, qr/FATAL:.*pg_envelope.allow_key_loss/, 'with which there is no session');
}
$admin->query(q{SET pg_envelope.allow_key_loss = '00000000-0000-4000-8000-000000000000'});
like(refused($admin, 'DROP EXTENSION pg_envelope', 'another uuid does not count'), qr/HINT:.*does not let it pass/, 'and that is said');
$admin->query('RESET pg_envelope.allow_key_loss');

my $plain = $node->session(user => 'plain');
$plain->query("SET pg_envelope.allow_key_loss = '$uuid'");
$admin->query(qq{CREATE FUNCTION trap() RETURNS void LANGUAGE sql SECURITY DEFINER
	AS \$\$ SELECT set_config('pg_envelope.allow_key_loss', '$uuid', false); DELETE FROM envelope.wrapping \$\$});
refused($plain, 'SELECT trap()', 'it is the session that has to be a superuser');
$plain->close;
is($admin->query('SELECT count(*) FROM envelope.wrapping'), '1000', 'nothing is lost so far');

#
# With it, everything may go, and one line says who let it.
#
my $at = -s $node->logfile;
my $other = $node->session(user => 'other');
$other->query($_) for "SET pg_envelope.allow_key_loss = '" . uc($uuid) . "'", 'BEGIN', 'DELETE FROM envelope.wrapping', 'ROLLBACK',
  'BEGIN', 'TRUNCATE envelope.dek', 'ROLLBACK', 'BEGIN', 'DROP EXTENSION pg_envelope CASCADE', 'ROLLBACK',
  'BEGIN', 'ALTER TABLE envelope.wrapping DISABLE TRIGGER ALL', 'DROP TRIGGER envelope_guard ON envelope.dek',
  'ALTER TABLE envelope.wrapping SET UNLOGGED', 'ALTER EXTENSION pg_envelope DROP TABLE envelope.dek', 'ROLLBACK';
my @lines = substr(slurp_file($node->logfile), $at) =~ /LOG:  ("pg_envelope.allow_key_loss" lets user "other" .*)/g;
is(scalar(grep { /delete the last wrapping of a data key of key "k\d+" in database "postgres"$/ } @lines), 1, 'a line for a DELETE of 1,000 rows');
is(scalar(() = join("\n", @lines) =~ /\Q$_\E/g), 1, "a line: $_") for 'disable triggers of table "envelope.wrapping"', 'drop a guard of table "envelope.dek"', 'take an object out of extension "pg_envelope"';
is(scalar(grep { /drop extension "pg_envelope" in database "postgres"$/ } @lines), 1, 'a line for a DROP EXTENSION');
is(scalar(grep { /truncate table "envelope.dek" in/ } @lines), 1, 'and for a TRUNCATE');
is(scalar(grep { /alter table "envelope.wrapping"/ } @lines), 1, 'and for an ALTER');
$other->query('SET ' . ($node->pg_version < 16 ? 'force_parallel_mode' : 'debug_parallel_query') . ' = on');
is($other->query(q{SELECT count(envelope_decrypt(ssn, 'k1')) FROM sealed}), '1', 'parallel workers take it, too');
$other->query('RESET pg_envelope.allow_key_loss');
refused($other, 'TRUNCATE envelope.dek', 'it ends with RESET');
$other->query("BEGIN; SET LOCAL pg_envelope.allow_key_loss = '$uuid'; COMMIT");
refused($other, 'TRUNCATE envelope.dek', 'or with its transaction');
like($admin->query($opens), qr/a value/, 'what was rolled back is there');

#
# In nobody's way.
#
for my $sql ('VACUUM FULL envelope.dek', 'VACUUM FULL', 'CLUSTER envelope.wrapping USING wrapping_pkey', 'REINDEX TABLE envelope.dek',
	'REINDEX TABLE CONCURRENTLY envelope.wrapping', 'REINDEX INDEX CONCURRENTLY envelope.dek_active', 'REINDEX SCHEMA CONCURRENTLY envelope', 'ANALYZE envelope.dek',
	'ALTER TABLE envelope.dek ALTER key_id SET STATISTICS 500', 'ALTER TABLE envelope.dek ALTER key_id SET (n_distinct = -0.5), ALTER version SET STATISTICS -1', 'ALTER TABLE envelope.dek ALTER key_id RESET (n_distinct)',
	'ALTER TABLE envelope.dek SET (autovacuum_vacuum_scale_factor = 0.1)', 'ALTER TABLE envelope.dek CLUSTER ON dek_pkey', 'ALTER INDEX envelope.dek_pkey SET (fillfactor = 80)', 'ALTER INDEX envelope.dek_pkey SET TABLESPACE pg_default', 'ALTER TABLE envelope.dek SET (fillfactor = 90)',
	'ALTER TABLE envelope.dek OWNER TO plain', 'ALTER TABLE envelope.dek OWNER TO CURRENT_USER', 'GRANT SELECT ON envelope.dek TO plain',
	'ALTER FUNCTION envelope_guard_row() OWNER TO plain', 'ALTER FUNCTION envelope_guard_row() OWNER TO CURRENT_USER',
	'ALTER TABLE envelope.dek ENABLE TRIGGER ALL', 'ALTER TABLE envelope.dek ENABLE REPLICA TRIGGER envelope_guard',
	'TRUNCATE envelope.rewrap_result', 'DROP SCHEMA IF EXISTS nothing CASCADE', 'CREATE DATABASE copied', 'DROP DATABASE copied')
{
	(undef, $err) = $admin->try($sql);
	is($err, '', $sql);
}
my $not_always = q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'envelope\_guard%' AND tgenabled <> 'A'};
is($admin->query($not_always), '0', 'the guards are ALWAYS on again');
refused($admin, 'ALTER TABLE envelope.dek ADD COLUMN note text', 'a column by hand');
$admin->query('BEGIN');
$admin->query(q{ALTER EXTENSION pg_envelope UPDATE TO 'next'});
is($admin->query(q{SELECT count(note) FROM envelope.dek}), '0', "and by the extension's own script");
$admin->query('ROLLBACK');
refused($admin, 'CREATE EXTENSION stranger', "but not by another extension's");
like($admin->query($opens), qr/a value/, 'the value opens');

# A schema of that name elsewhere is its owner's affair.
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(elsewhere restored cleaned waits);
is($node->safe_psql('elsewhere', q{CREATE SCHEMA envelope; CREATE TABLE envelope.dek (state text); INSERT INTO envelope.dek VALUES ('active');
	TRUNCATE envelope.dek; ALTER TABLE envelope.dek RENAME TO deks; DROP SCHEMA envelope CASCADE; SELECT 'dropped'}), 'dropped', 'elsewhere');

# What nothing kept from being done before there was a key does not lose the first one.
my $early = $node->session(dbname => 'elsewhere');
$early->query($_) for 'SET client_min_messages = error', 'CREATE EXTENSION pg_envelope', q{SELECT envelope_create_kek('early')};
for my $table (qw(keyring kek key dek wrapping key_grant))
{
	$early->query("ALTER TABLE envelope.$table SET UNLOGGED");
	(undef, $err) = $early->try(q{SELECT envelope_create_key('early', 'early')});
	like($err, qr/ERROR:  KE014: a data key is not kept in table "envelope.$table", which is unlogged/, "an unlogged table: $table");
	$early->query("ALTER TABLE envelope.$table SET LOGGED");
}
is($early->query(q{SELECT envelope_create_key('early', 'early')}), '1', 'as they were they take it');
$early->close;

#
# Restores.
#
my ($data, $clean) = map { $node->basedir . "/$_" } qw(data.sql clean.dump);
command_ok([ "$tools/pg_dump", '-a', '--disable-triggers', '-f', $data, '-d', $node->connstr('postgres') ], 'a dump of the data');
command_ok([ "$tools/pg_dump", '-Fc', '-f', $clean, '-d', $node->connstr('postgres') ], 'a dump of all');
like(slurp_file($data), qr/ALTER TABLE envelope.dek DISABLE TRIGGER ALL/, 'which switches triggers off');
$node->safe_psql('restored', 'CREATE EXTENSION pg_envelope; CREATE TABLE sealed (ssn bytea)');
command_ok([ "$tools/psql", '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $data ],
	'is restored into an empty keyring');
is($node->safe_psql('restored', $not_always), '0', 'where the guards are ALWAYS on');
like($node->safe_psql('restored', $opens), qr/a value/, 'and the value opens');

$node->safe_psql('cleaned', q{SET client_min_messages = error; CREATE EXTENSION pg_envelope; SELECT envelope_create_kek('old');
	SELECT envelope_create_key('gone', 'old'); SELECT envelope_disable_key('gone'); SELECT envelope_destroy_key('gone')});
my @clean = ("$tools/pg_restore", '--clean', '--if-exists', '--exit-on-error', '--single-transaction', '-d', $node->connstr('cleaned'), $clean);
command_ok(\@clean, 'a restore with --clean, where no key lives');
like($node->safe_psql('cleaned', $opens), qr/a value/, 'brings the value');
command_fails_like(\@clean, qr/cannot drop extension "pg_envelope": 1,000 data keys would be lost/, 'and where keys live it is refused');

# Switched off while the table is empty, a guard stays on for what comes then.
my $waits = $node->session(dbname => 'waits');
$waits->query('SET client_min_messages = error; CREATE EXTENSION pg_envelope');
$waits->query('ALTER TABLE envelope.wrapping DISABLE TRIGGER ALL');
is($waits->query($not_always), '0', 'a guard of an empty table stays on');

#
# A key of a transaction under way counts.
#
my $maker = $node->session(dbname => 'waits');
$maker->query(q{SET client_min_messages = error; SELECT envelope_create_kek('main')});
$maker->query('BEGIN; LOCK TABLE envelope.dek IN ROW EXCLUSIVE MODE');
$waits->send('TRUNCATE envelope.dek');
my $blocked = 'SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = ' . $waits->pid;
$node->poll_query_until('waits', $blocked, '1') or die 'nobody waits';
$maker->query(q{SELECT envelope_create_key('late', 'main'); COMMIT});
(undef, $err) = $waits->wait;
like($err, qr/ERROR:  KE014: cannot truncate table "envelope.dek": 1 data key would be lost/, 'a key that came while a TRUNCATE waited');
$maker->query(q{SELECT envelope_disable_key('late'); SELECT envelope_destroy_key('late')});
$maker->query(q{BEGIN; SELECT envelope_create_key('later', 'main')});
refused($waits, 'TRUNCATE envelope.wrapping', 'one that nobody sees yet, and a TRUNCATE');
refused($waits, 'ALTER SCHEMA envelope RENAME TO envelopes', 'or an ALTER');
refused($maker, 'SAVEPOINT s; DROP EXTENSION pg_envelope', 'and for its own transaction');
$maker->query('ROLLBACK TO s');
$waits->send('DROP EXTENSION pg_envelope');
$node->poll_query_until('waits', $blocked =~ s/\d+$/$waits->pid/re, '1') or die 'nobody waits';
$maker->query('COMMIT');
(undef, $err) = $waits->wait;
like($err, qr/ERROR:  KE014: cannot drop extension "pg_envelope": 1 data key would be lost/, 'or that came while a DROP waited');

# Its KEK's row is locked by who makes it, so a hand has to wait and then sees the key.
for my $by_hand (q{DELETE FROM envelope.kek WHERE name = 'fresh'}, q{UPDATE envelope.kek SET uri = 'local:x' WHERE name = 'fresh'})
{
	$maker->query(q{SELECT envelope_create_kek('fresh')});
	$maker->query(q{BEGIN; SELECT envelope_create_key('of fresh ' || count(*), 'fresh') FROM envelope.key});
	$waits->send($by_hand);
	$node->poll_query_until('waits', $blocked =~ s/\d+$/$waits->pid/re, '1') or die 'nobody waits';
	$maker->query('COMMIT');
	(undef, $err) = $waits->wait;
	like($err, qr/ERROR:  KE014: cannot (?:delete|change the URI of) KEK "fresh": 1 data key would be lost/, "a key that came while this waited: $by_hand");
	$maker->query(q{SELECT envelope_disable_key(key_id) FROM envelope.key WHERE kek = 'fresh'; SELECT envelope_destroy_key(key_id) FROM envelope.key WHERE kek = 'fresh'});
	$maker->query(q{DELETE FROM envelope.wrapping WHERE kek = 'fresh'; DELETE FROM envelope.dek WHERE key_id LIKE 'of fresh%';
		DELETE FROM envelope.key WHERE kek = 'fresh'; DELETE FROM envelope.kek WHERE name = 'fresh'});
}

# A snapshot from before the key was made hides it from nobody who counts.
$waits->query(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM envelope.dek});
$maker->query(q{SELECT envelope_create_key('latest', 'main')});
refused($waits, "SAVEPOINT s; $_", "under an old snapshot: $_") && $waits->query('ROLLBACK TO s') for 'TRUNCATE envelope.key', 'DROP EXTENSION pg_envelope';
$waits->query('ROLLBACK');
$maker->query(q{SELECT envelope_disable_key(k), envelope_destroy_key(k) FROM unnest('{later,latest}'::text[]) k});
(undef, $err) = $waits->try('DROP EXTENSION pg_envelope');
is($err, '', 'when all are destroyed no leave is needed');
$_->close for $maker, $waits;

#
# A subscriber follows rotations and destructions; what its publisher loses it keeps.
#
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(publishes follows);
$node->safe_psql($_, 'CREATE EXTENSION pg_envelope') for qw(publishes follows);
my $from = $node->connstr('publishes') =~ s{'}{''}gr;
my $publisher = $node->session(dbname => 'publishes');
$publisher->query(q{SET client_min_messages = error; SELECT envelope_create_kek('main'); SELECT count(envelope_create_key('k' || i, 'main')) FROM generate_series(1, 3) i});
$publisher->query(q{CREATE PUBLICATION keys FOR TABLE envelope.keyring, envelope.kek, envelope.key, envelope.dek, envelope.wrapping});
$publisher->query(q{SELECT pg_create_logical_replication_slot('keys', 'pgoutput')});
$node->safe_psql('follows', "CREATE SUBSCRIPTION keys CONNECTION '$from' PUBLICATION keys WITH (create_slot = false, slot_name = 'keys')");
$node->poll_query_until('follows', q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'}) or die 'no initial copy';
$publisher->query(q{SELECT envelope_create_kek('next'); SELECT count(*) FROM rewrap_all('main', 'next');
	SELECT envelope_disable_key('k2'); SELECT envelope_destroy_key('k2')});
$node->poll_query_until('follows', q{SELECT count(*) = 2 FROM envelope.wrapping WHERE superseded IS NULL AND kek = 'next'})
  or die 'no rotation arrives';
is($node->safe_psql('follows', q{SELECT count(*) FROM envelope.dek WHERE state = 'destroyed'}), '1', 'a subscriber follows');

for my $step ([ q{UPDATE envelope.wrapping SET wrapped = '\x01010000' WHERE superseded IS NULL}, 'change the last wrapping of a data key' ],
	[ "SET session_replication_role = replica; DELETE FROM envelope.dek WHERE key_id = 'k3'", 'delete version 1 of key "k3"' ], [ 'TRUNCATE envelope.dek', 'truncate table "envelope.dek"' ])
{
	my ($loss, $what) = @$step;
	# (A worker that has not heard of the SKIP yet may fail once more of the loss before.)
	my $error = qr/ERROR:  cannot \Q$what\E.*?finished at (\w+\/\w+)/s;
	$at = -s $node->logfile;
	$publisher->query($_) for $node->leave_to_lose_keys, $loss;
	$node->wait_for_log($error, $at);
	is($node->safe_psql('follows', q{SELECT count(*), (SELECT count(*) FROM envelope.wrapping WHERE octet_length(wrapped) > 4) FROM envelope.dek}), '3|2', "it does not follow: $loss");
	# (skips what it cannot apply)
	my ($finish) = substr(slurp_file($node->logfile), $at) =~ $error;
	$node->safe_psql('follows', "ALTER SUBSCRIPTION keys SKIP (lsn = '$finish')");
}
$node->safe_psql('follows', $_) for 'ALTER SUBSCRIPTION keys DISABLE', 'ALTER SUBSCRIPTION keys SET (slot_name = NONE)', 'DROP SUBSCRIPTION keys';

#
# README's steps, as they stand.
#
my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my ($steps) = $readme =~ /<!-- operations: uninstall, on main -->\n```sql\n(.*?)```/s or die q{no "Uninstall"};
my ($rc, undef, $stderr) = $node->psql('restored', $steps, on_error_stop => 1);
is($stderr, q{}, q{the steps of "Uninstall" work});
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_extension WHERE extname = 'pg_envelope'}), '0', 'and leave nothing');

$_->close for $admin, $other, $publisher;
$node->stop;
done_testing();
