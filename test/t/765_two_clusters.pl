# Logical replication between two clusters, each with an agent and a keyring of its own: all
# tables in one publication, data and keys copied together, transactions streamed while they
# run and prepared; a rewrap, a destruction and a new KEK arrive; and when the subscriber has
# taken over, it moves to a KEK of its own and needs the publisher's no more.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %node = map { ($_ => PgEnvelope::Cluster->new($_, start => 0, allows_streaming => 'logical', max_prepared_transactions => 4, autovacuum => 'off',
	logical_decoding_work_mem => '64kB', wal_retrieve_retry_interval => '100ms')) } qw(publisher subscriber);
my ($publisher, $subscriber) = @node{qw(publisher subscriber)};
for my $node ($publisher, $subscriber)
{
	PgEnvelope::Cluster::replace_file(my $services = $node->basedir . '/kms.conf', "[local]\nallow_destroy = on\n");
	$node->append_conf('postgresql.conf', "pg_envelope.kms_config_file = '$services'");
	$node->start;
	$node->create_extension;
	$node->safe_psql('postgres', 'CREATE TABLE t (i int PRIMARY KEY, key_id text, sealed bytea)');
}
my $admin = $publisher->session;
$admin->query('SET client_min_messages = error');

sub copy_keyring
{
	PgEnvelope::Cluster::replace_file($subscriber->keyring_file, slurp_file($publisher->keyring_file));
	return;
}

# What the publisher has done by now, the subscriber has too.
sub arrive
{
	$publisher->wait_for_catchup('whole');
	return;
}
sub insert { my ($i, $key) = @_; return "INSERT INTO t SELECT i, '$key', envelope_encrypt('of $key', '$key') FROM generate_series($i) i"; }
my $reader = $subscriber->session;
sub opens
{
	my ($key, $count, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err) = $reader->try("SELECT count(*) FROM t WHERE key_id = '$key' AND envelope_decrypt(sealed, key_id) = 'of $key'");
	is($out, $count, $name) or diag($err);
	return;
}
sub refused
{
	my ($key, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like(($reader->try("SELECT envelope_decrypt(sealed, key_id) FROM t WHERE key_id = '$key'"))[1], $pattern, $name);
	return;
}

# The initial copy: all tables, in the order that the workers like.
$admin->query($_) for q{SELECT envelope_create_kek('main')}, q{SELECT envelope_create_key('acme', 'main')}, q{SELECT envelope_create_key('doomed', 'main')},
  insert('1, 50', 'acme'), insert('51, 60', 'doomed'), 'CREATE PUBLICATION whole FOR ALL TABLES';
copy_keyring();
$subscriber->safe_psql('postgres', q{CREATE SUBSCRIPTION whole CONNECTION '} . ($publisher->connstr('postgres') =~ s{'}{''}gr) . ' user=' . $publisher->superuser . q{' PUBLICATION whole WITH (two_phase = on, streaming = }
	. ($publisher->pg_version >= 16 ? 'parallel' : 'on') . q{)});
$subscriber->poll_query_until('postgres', q{SELECT count(*) >= 7 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}) or die 'no initial copy';
isnt($subscriber->wait_for_agent, $publisher->agent_pid, 'each has an agent of its own');
opens('acme', 50, 'copied with its key, a value opens at the subscriber');
is($subscriber->safe_psql('postgres', q{SELECT uuid FROM envelope.keyring}), $publisher->safe_psql('postgres', q{SELECT uuid FROM envelope.keyring}), 'under the same uuid');

# Streamed before it commits, with a key and a version of its own, and others that it undoes.
$admin->query($_) for 'BEGIN', q{SELECT envelope_create_key('streamed', 'main')}, insert('1000, 1999', 'streamed'),
  'SAVEPOINT a', q{SELECT envelope_create_key('undone', 'main')}, q{SELECT envelope_rotate_key('streamed')}, insert('2000, 2999', 'streamed'), 'ROLLBACK TO a',
  q{SELECT envelope_rotate_key('streamed')}, insert('3000, 3999', 'streamed');
$publisher->poll_query_until('postgres', q{SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = 'whole'}) or die 'nothing is streamed';
is($subscriber->safe_psql('postgres', q{SELECT count(*) FROM envelope.key WHERE key_id = 'streamed'}), '0', 'streamed, it is not there before it commits');
$admin->query('COMMIT');
arrive();
opens('streamed', 2000, 'then all of it opens');
is($subscriber->safe_psql('postgres', q{SELECT string_agg(version || state, ' ' ORDER BY version) FROM envelope.dek WHERE key_id = 'streamed'}), '1retired 2active', 'with the versions that were kept');

# Prepared: values only, since a transaction that changes keys is not prepared.
$admin->query($_) for 'BEGIN', insert('61, 70', 'acme'), q{PREPARE TRANSACTION 'sealed'};
$subscriber->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_prepared_xacts}) or die 'nothing is prepared';
$admin->query(q{SELECT envelope_rotate_key('acme')});
$admin->query(q{COMMIT PREPARED 'sealed'});
arrive();
opens('acme', 60, 'prepared, and committed after a rotation');

# Rights, of a role that has another oid there; and of one that is not there at first.
$subscriber->safe_psql('postgres', 'CREATE ROLE another; CREATE ROLE reader; GRANT SELECT ON t TO reader');
$publisher->safe_psql('postgres', 'CREATE ROLE reader; CREATE ROLE late');
my %may = (open => q{SELECT count(envelope_decrypt(sealed, 'acme')) FROM t WHERE key_id = 'acme'}, seal => q{SELECT length(envelope_encrypt('x', 'acme'))});
sub may
{
	my ($role) = @_;
	my @may;
	for my $what (sort keys %may)
	{
		push @may, $what if ($reader->try("BEGIN; SET LOCAL ROLE $role; $may{$what}"))[1] eq '';
		$reader->query('ROLLBACK');
	}
	return join ' ', @may;
}
for my $step ([ q{SELECT envelope_grant('acme', 'reader', '{decrypt}')}, 'open' ], [ q{SELECT envelope_grant('acme', 'reader', '{encrypt}')}, 'open seal' ],
	[ q{SELECT envelope_revoke('acme', 'reader', '{decrypt}')}, 'seal' ], [ q{SELECT envelope_revoke('acme', 'reader')}, '' ],
	[ q{SELECT envelope_grant('acme', 'reader', '{decrypt}')}, 'open' ])
{
	$admin->query($step->[0]);
	arrive();
	is(may('reader'), $step->[1], "$step->[0]: a role of that name may there: $step->[1]");
}
$admin->query(q{SELECT envelope_grant('acme', 'late', '{encrypt}')});
arrive();
$subscriber->safe_psql('postgres', $_) for 'CREATE ROLE late', 'REASSIGN OWNED BY reader TO another; DROP OWNED BY reader; DROP ROLE reader; CREATE ROLE reader; GRANT SELECT ON t TO reader';
is(may('late') . may('reader'), '', 'a role that comes later, or is made again, has none');
$admin->query($_) for map { "SELECT envelope_grant('acme', '$_', '{encrypt}')" } qw(late reader);
arrive();
is(may('late'), 'seal', 'until it is granted again');
is(may('reader'), '', 'but who was made again has none of what the other had');
$publisher->safe_psql('postgres', 'DROP ROLE reader; CREATE ROLE reader');
$admin->query(q{SELECT envelope_grant('acme', 'reader', '{encrypt}')});
arrive();
is(may('reader'), 'seal', 'unless it is granted to one that was made again at the publisher, too');

# A new KEK takes over; the subscriber's keyring gets it later.
$reader->query('SELECT envelope_cache_flush()');
$admin->query(q{SELECT envelope_create_kek('next')});
my $next = $admin->query(q{SELECT uri FROM envelope.kek WHERE name = 'next'});
is($admin->query(q{SELECT count(*) FROM rewrap_all('main', 'next') WHERE outcome = 'rewrapped'}), '5', 'all is rewrapped at the publisher');
arrive();
is($subscriber->safe_psql('postgres', q{SELECT count(wrapped), count(*) FILTER (WHERE kek = 'next'), (SELECT state FROM envelope.kek WHERE name = 'main') FROM envelope.wrapping}), '5|5|retired', 'and so at the subscriber');
refused('acme', qr/ERROR:  KE012: .*^DETAIL:  .*\Q$next\E/ms, 'whose keyring lacks the new KEK: the error names it');
copy_keyring();
opens('acme', 60, 'with a newer copy all opens');
$admin->query(q{CALL envelope_rewrap('next', 'next', 2)});

# What is destroyed is destroyed there.
my $main = $admin->query(q{SELECT uri FROM envelope.kek WHERE name = 'main'});
$admin->query($_) for q{SELECT envelope_disable_key('doomed')}, q{SELECT envelope_destroy_key('doomed')}, qq{SELECT envelope_destroy_kek('main', '$main', true)};
arrive();
refused('doomed', qr/ERROR:  KE005:/, 'a key that was destroyed');
is($subscriber->safe_psql('postgres', q{SELECT state FROM envelope.kek WHERE name = 'main'}), 'destroyed', 'and its KEK');
$reader->query('SELECT envelope_cache_flush()');
opens('acme', 60, 'what the publisher destroyed nobody needs any more');

# The subscriber takes over, with a KEK of its own.
$admin->close;
$publisher->stop;
$subscriber->safe_psql('postgres', $_) for 'ALTER SUBSCRIPTION whole DISABLE', 'ALTER SUBSCRIPTION whole SET (slot_name = NONE)', 'DROP SUBSCRIPTION whole';
$reader->query($_) for 'SET client_min_messages = error', q{SELECT envelope_create_kek('own')};
is($reader->query(q{SELECT string_agg(DISTINCT outcome, ' ') FROM rewrap_all('next', 'own')}), 'rewrapped', 'moved to a KEK of its own');
$reader->query(qq{SELECT envelope_destroy_kek('next', '$next', true)});
my ($uuid) = $next =~ /^local:(.*)/;
my ($list) = run_command([ $subscriber->agent_command, 'keyring', 'list', '--keyring', $subscriber->keyring_file ]);
unlike($list, qr/\Q$uuid\E/, 'the publisher\'s KEK is not in its keyring any more');
$reader->query('SELECT envelope_cache_flush()');
opens('acme', 60, 'and all opens');
opens('streamed', 2000, 'of every key');
is($reader->query(q{SELECT envelope_rotate_key('acme')}), '3', 'and keys are made');
$reader->close;
$subscriber->stop;
done_testing();
