# A primary that waits until its standby has applied (remote_apply), a standby of that standby,
# and the primary dies in the middle of CALL envelope_rewrap: what was acknowledged is there; the
# promoted one goes on with the rewrap and commits what was prepared; the third follows it onto the
# new timeline with data keys in its memory, hears of what is disabled then, and may be started
# again in the middle of the replay.  A wait for the agent ends for a conflict with recovery, and
# a backend of a standby that is killed leaves a region that is zero before anyone is let in.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PgEnvelope::Cluster->new('one', test_build => 1, allows_streaming => 1, autovacuum => 'off', max_prepared_transactions => 4,
	wal_retrieve_retry_interval => '100ms', wal_receiver_status_interval => '1s', hot_standby_feedback => 'off', 'pg_envelope.kms_timeout' => '60s');
my $admin = $primary->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT count(envelope_create_kek(n)) FROM unnest('{main,next}'::text[]) n},
  q{SELECT count(envelope_create_key('k' || i, 'main')) FROM generate_series(1, 12) i}, q{CREATE TABLE t (key_id text, sealed bytea)},
  q{CREATE FUNCTION make(key text) RETURNS void LANGUAGE sql AS $$INSERT INTO t VALUES (key, envelope_encrypt('of ' || key, key))$$},
  q{SELECT make('k' || i) FROM generate_series(1, 12) i};

# (The backup's configuration names the primary's keyring file: all read it.)
sub standby_of
{
	my ($node, $name, $besides) = @_;
	$node->backup("for_$name");
	my $standby = PostgreSQL::Test::Cluster::new('PgEnvelope::Cluster', $name, PgEnvelope::Cluster::install_path(1));
	$standby->init_from_backup($node, "for_$name", has_streaming => 1);
	$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''\nrestart_after_crash = on\nlog_connections = on\n$besides");
	$standby->start;
	return $standby;
}
my $second = standby_of($primary, 'two', '');
my $third = standby_of($second, 'three', 'max_standby_streaming_delay = 0');	# conflicts are for the third alone
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'two'\nsynchronous_commit = remote_apply");
# (After a reload commits wait as soon as the checkpointer has heard of it, which nobody sees.)
$admin->close;
$primary->restart;
$admin = $primary->session;
$admin->query('SET client_min_messages = error');
$primary->poll_query_until('postgres', q{SELECT sync_state = 'sync' FROM pg_stat_replication WHERE application_name = 'two'}) or die 'not synchronous';

# The third has replayed what that one has written.
sub third_follows
{
	my ($writer) = @_;
	my $lsn = $writer->lsn('insert');
	$third->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'") or die 'the third does not follow';
	return;
}

sub opened
{
	my ($session) = @_;
	my ($out, $err) = $session->try(q{SELECT count(*) FROM t WHERE envelope_decrypt(sealed, key_id) = 'of ' || key_id});
	return $err eq '' ? $out : $err;
}
my $far = $third->session;
my $near = $second->session;

# Acknowledged is applied: nothing has to be waited for.
for my $key (map { "sync$_" } 1 .. 5)
{
	$admin->query(qq{SELECT envelope_create_key('$key', 'main'), make('$key')});
	is($near->query(qq{SELECT envelope_decrypt(sealed, key_id) FROM t WHERE key_id = '$key'}), "of $key", "$key, acknowledged, opens on the standby at once");
}
$admin->query(q{SELECT envelope_disable_key('sync5')});
like(($near->try(q{SELECT envelope_decrypt(sealed, key_id) FROM t WHERE key_id = 'sync5'}))[1], qr/ERROR:  KE004:/, 'disabled, acknowledged, it is disabled there');
$admin->query(q{SELECT envelope_enable_key('sync5')});
third_follows($primary);
is(opened($far), '17', 'the standby of the standby opens');

# A conflict with recovery ends a wait for the agent.
$far->query('SELECT envelope_cache_flush()');
$third->stop_agent_process;
$far->send(q{SELECT count(envelope_decrypt(sealed, key_id)) FROM t});
my $pid = $far->pid;
$third->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid") or die 'no wait';
$admin->query($_) for q{CREATE TABLE gone AS SELECT * FROM t}, 'DELETE FROM t', 'INSERT INTO t SELECT * FROM gone', 'VACUUM t';
like(($far->wait)[1], qr/ERROR:  40001: .*conflict with recovery/, 'a wait for the agent ends for a conflict with recovery');
$third->continue_agent_process;
third_follows($primary);
is(opened($far), '17', 'and the session opens again');

# Prepared, and a rewrap under way, when the primary dies.
$admin->query($_) for 'BEGIN', q{SELECT make('k1')}, q{PREPARE TRANSACTION 'sealed'};
$primary->set_provider_delay(300);
$admin->send(q{CALL envelope_rewrap('main', 'next', 4)});
$near->query(q{SELECT envelope_prewarm()});
PgEnvelope::Cluster::wait_until(sub { $near->query(q{SELECT count(*) FROM envelope.rewrap_result}) >= 4 }, 'a batch');
$primary->stop('immediate');
$admin->close;
$primary->set_provider_delay(0);
my $done = $near->query('SELECT count(*) FROM envelope.rewrap_result');
$second->promote;
$near->query(q{SET client_min_messages = error});
is(opened($near), '17', "after $done of 17 data keys the primary died; promoted, all open");
is($near->query(q{SELECT count(*) FROM (SELECT 1 FROM envelope.wrapping GROUP BY dek_id HAVING count(wrapped) <> 1) x}), '0', 'each data key has one wrapping');
$near->query(q{CALL envelope_rewrap('main', 'next', 4)});
is($near->query(q{SELECT kek || ' ' || count(wrapped) FROM envelope.wrapping WHERE wrapped IS NOT NULL GROUP BY kek}), 'next 17', 'the same CALL does what was left');
$near->query(q{COMMIT PREPARED 'sealed'});
is(opened($near), '18', 'what was prepared is committed there, and opens');

# The third has followed, with its memory as it was.
third_follows($second);
is(opened($far), '18', 'the standby of the standby has followed onto the new timeline');
$near->query(q{SELECT envelope_disable_key('k2')});
third_follows($second);
like(opened($far), qr/ERROR:  KE004:/, 'and hears of what is disabled since');

# A backend is killed there.
my $from = -s $third->logfile;
kill 'KILL', $far->pid or die $!;
PgEnvelope::Cluster::wait_until(sub { substr(slurp_file($third->logfile), $from) =~ /after it.*ready to accept read-only connections/s }, 'the server to start over');
my ($before, $after) = substr(slurp_file($third->logfile), $from) =~ /\A((?:(?!connection authorized).)*)not zero: [1-9]\d* before the wipe, (\d+) after it/s;
is($after, '0', 'a backend of a standby is killed: its region is zero before anyone is let in');
$far->close;
$near->query(q{SELECT envelope_enable_key('k2')});
third_follows($second);
$far = $third->session;
is(opened($far), '18', 'and the next session opens, still in recovery');

# Started again in the middle of the replay.
$far->query('SELECT pg_wal_replay_pause()');
$near->query($_) for q{SELECT envelope_rotate_key('k3')}, q{SELECT envelope_create_key('last', 'next')}, q{SELECT make('last')};
$far->close;
$third->stop('immediate');
$third->start;
third_follows($second);
$far = $third->session;
is(opened($far), '19', 'started again in the middle of the replay, it opens all');
$_->close for $far, $near;
$third->stop;
$second->stop;
done_testing();
