# Logical replication of data and keyring together, in adverse order: what arrives before its key
# fails with KE003, for the session that is there too, and opens there as soon as the key has
# arrived.  The triggers act in the apply workers.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('main', extension => 0, allows_streaming => 'logical',
	wal_retrieve_retry_interval => '100ms', max_worker_processes => 24, max_logical_replication_workers => 16, max_wal_senders => 20, max_replication_slots => 20);
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(publisher subscriber);
for my $db (qw(publisher subscriber))
{
	$node->create_extension($db);
	$node->safe_psql($db, 'CREATE TABLE t (i int PRIMARY KEY, sealed bytea)');
}
my $superuser = $node->superuser;
my $publisher = $node->session(dbname => 'publisher');
my $subscriber = $node->session(dbname => 'subscriber');
$publisher->query('SET client_min_messages = error');

# Within one cluster the slot is made by hand.
sub subscribe
{
	my ($name, $tables) = @_;
	my $connection = $node->connstr('publisher') =~ s{'}{''}gr;
	$publisher->query("CREATE PUBLICATION $name FOR TABLE $tables");
	$publisher->query("SELECT pg_create_logical_replication_slot('$name', 'pgoutput')");
	$subscriber->query("CREATE SUBSCRIPTION $name CONNECTION '$connection user=$superuser' PUBLICATION $name WITH (create_slot = false, slot_name = '$name')");
	return;
}

sub arrives
{
	my ($sql, $what) = @_;
	$node->poll_query_until('subscriber', $sql) or die "$what does not arrive";
	return;
}
sub value { return qq{SELECT envelope_decrypt(sealed, 'acme') FROM t WHERE i = $_[0]} }
sub row { return qq{SELECT count(*) = 1 FROM t WHERE i = $_[0]} }
sub refused
{
	my ($sql, $state, $name) = @_;
	my ($out, $err) = $subscriber->try($sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($err, qr/ERROR:  $state:/, $name);
	return $err;
}

$publisher->query(q{SELECT envelope_create_kek('main')});
$publisher->query(q{SELECT envelope_create_key('acme', 'main')});
$publisher->query(q{INSERT INTO t VALUES (1, envelope_encrypt('one', 'acme'))});

# The data alone; then table by table, in the order of the worst copy.
subscribe('data', 't');
arrives(row(1), 'the first value');
my $err = refused(value(1), 'KE003', 'a value whose key is not there yet');
like($err, qr/^HINT:  .*(?:again|replicat)/mi, 'its HINT says that it may come');
refused(q{SELECT envelope_encrypt('x', 'acme')}, '42704', 'sealing knows no such key yet');
my @keyring = qw(keyring wrapping dek key kek);
for my $table (@keyring)
{
	subscribe($table, "envelope.$table");
	arrives(q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'}, $table);
	refused(value(1), 'KE003', "with $table there, too") if $table ne $keyring[-1];
}
is($subscriber->query(value(1)), 'one', 'all is there: the session that was refused opens it');

# A new version, whose key is held up on its way.
sub held_up
{
	my ($tables, $sql, $wanted, $name) = @_;
	$subscriber->query("ALTER SUBSCRIPTION $_ DISABLE") for @$tables;
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_subscription WHERE pid IS NOT NULL AND subname IN ('} . join("', '", @$tables) . q{')})
	  or die 'a worker goes on';
	$publisher->query($sql);
	my $i = $publisher->query(q{INSERT INTO t SELECT max(i) + 1, envelope_encrypt('more', 'acme') FROM t RETURNING i}) =~ s/\n.*//sr;
	arrives(row($i), 'the next value');
	refused(value($i), $wanted, $name);
	is($subscriber->query(value(1)), 'one', 'what was there before opens');
	$subscriber->query("ALTER SUBSCRIPTION $_ ENABLE") for @$tables;
	PgEnvelope::Cluster::wait_until(sub { ($subscriber->try(value($i)))[1] eq '' }, 'the key');
	is($subscriber->query(value($i)), 'more', 'then it arrives');
	return;
}
my $rotate = q{SELECT envelope_rotate_key('acme')};
held_up([ 'dek' ], $rotate, 'KE003', 'the DEK is held up');
held_up([ 'wrapping' ], $rotate, 'KE003', 'its wrapping is held up');
held_up([ 'dek', 'wrapping' ], $rotate, 'KE003', 'both are');

# What an apply worker changes counts for the session that is there.
my $worker = q{SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
	WHERE relnamespace = 'envelope'::regnamespace AND NOT tgisinternal AND tgenabled };
isnt($subscriber->query("$worker = 'A'"), '0', 'there are triggers that always fire');
is($subscriber->query("$worker <> 'A'"), '0', 'and none that an apply worker would leave out');
$publisher->query(q{SELECT envelope_disable_key('acme')});
PgEnvelope::Cluster::wait_until(sub { ($subscriber->try(value(1)))[1] =~ /ERROR:  KE004:/ }, 'the session to hear that the key is disabled');
pass('a key that is disabled at the publisher');
$publisher->query(q{SELECT envelope_enable_key('acme')});
PgEnvelope::Cluster::wait_until(sub { ($subscriber->try(value(1)))[1] eq '' }, 'the session to hear that it is enabled');

# One publication of all: data and key of one transaction come together.
for my $name ('data', @keyring)
{
	$subscriber->query($_) for "ALTER SUBSCRIPTION $name DISABLE", "ALTER SUBSCRIPTION $name SET (slot_name = NONE)", "DROP SUBSCRIPTION $name";
}
my $connection = $node->connstr('publisher') =~ s{'}{''}gr;
$publisher->query('CREATE PUBLICATION whole FOR TABLE t, ' . join(', ', map { "envelope.$_" } @keyring));
$publisher->query(q{SELECT pg_create_logical_replication_slot('whole', 'pgoutput')});
$subscriber->query("CREATE SUBSCRIPTION whole CONNECTION '$connection user=$superuser' PUBLICATION whole WITH (create_slot = false, slot_name = 'whole', copy_data = false)");
$publisher->query($_) for 'BEGIN', q{SELECT envelope_create_key('new', 'main')}, q{INSERT INTO t VALUES (100, envelope_encrypt('new', 'new'))}, 'COMMIT';
arrives(row(100), 'the row of the new key');
is($subscriber->query(q{SELECT envelope_decrypt(sealed, 'new') FROM t WHERE i = 100}), 'new', 'in one publication a value never comes without its key');
$subscriber->query($_) for 'ALTER SUBSCRIPTION whole DISABLE', 'ALTER SUBSCRIPTION whole SET (slot_name = NONE)', 'DROP SUBSCRIPTION whole';
$_->close for $publisher, $subscriber;
$node->stop;
done_testing();
