# Logical replication: the tables arrive whole and act at once; and who owns a
# subscription may not write by it what they may not write by hand.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('main', extension => 0, allows_streaming => 'logical',
	wal_retrieve_retry_interval => '100ms');
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(publisher subscriber);
for my $db (qw(publisher subscriber))
{
	$node->create_extension($db);
	$node->safe_psql($db, 'CREATE TABLE sealed (ssn bytea)');
}

my $superuser = $node->superuser;

# Within one cluster the slot is made by hand.
sub subscribe
{
	my ($name, $tables, $as) = @_;
	my $connection = $node->connstr('publisher') =~ s{'}{''}gr;
	$node->safe_psql('publisher', "CREATE PUBLICATION $name FOR TABLE $tables");
	$node->safe_psql('publisher', "SELECT pg_create_logical_replication_slot('$name', 'pgoutput')");
	$node->safe_psql('subscriber', qq{SET SESSION AUTHORIZATION $as;
		CREATE SUBSCRIPTION $name CONNECTION '$connection user=$superuser'
		PUBLICATION $name WITH (create_slot = false, slot_name = '$name')});
	return;
}

$node->safe_psql('publisher', q{
	SET client_min_messages = error;
	SELECT envelope_create_kek('main');
	SELECT envelope_create_key('acme', 'main');
	INSERT INTO sealed VALUES (envelope_encrypt('a value', 'acme'));
});
subscribe('whole', 'envelope.keyring, envelope.kek, envelope.key, envelope.dek, envelope.wrapping, sealed', $superuser);
$node->poll_query_until('subscriber',
	q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'}) or die 'no initial copy';
my $open = q{SELECT envelope_decrypt(ssn, 'acme') FROM sealed};
is($node->safe_psql('subscriber', $open), 'a value', 'a value opens on the subscriber');

my $session = $node->session(dbname => 'subscriber');
is($session->query($open), 'a value', 'also in a session that stays');
$node->safe_psql('publisher', q{SELECT envelope_disable_key('acme')});
# (Applied and over: a commit is visible a moment before others hear of it.)
$node->wait_for_catchup('whole');
my (undef, $err) = $session->try($open);
like($err, qr/KE004/, 'which hears that the key was disabled');
$session->close;

# A superuser's subscription, whose owner is none any more.
$node->safe_psql('postgres', $_) for 'CREATE ROLE climber SUPERUSER LOGIN', 'GRANT pg_write_all_data, pg_read_all_data TO climber';
subscribe('climb', 'envelope.key_grant', 'climber');
$node->poll_query_until('subscriber',
	q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'}) or die 'no initial copy';
$node->safe_psql('subscriber', 'ALTER SUBSCRIPTION climb DISABLE');
$node->safe_psql('postgres', 'ALTER ROLE climber NOSUPERUSER');
# (Else 16 and later want a password, and apply as the table's owner, whom climber may not become.)
$node->safe_psql('subscriber', 'ALTER SUBSCRIPTION climb SET (password_required = false, run_as_owner = true)')
  if $node->pg_version >= 16;
my $at = -s $node->logfile;
$node->safe_psql('subscriber', 'ALTER SUBSCRIPTION climb ENABLE');
$node->safe_psql('publisher', q{SELECT envelope_grant('acme', 'climber', '{decrypt}')});
my $granted = q{SELECT count(*) FROM envelope.key_grant WHERE role_name = 'climber'};
PgEnvelope::Cluster::wait_until(sub {
	substr(slurp_file($node->logfile), $at) =~ /cannot change table "envelope.key_grant" by hand/
	  || $node->safe_psql('subscriber', $granted) }, 'the grant to arrive, or not');
is($node->safe_psql('subscriber', $granted), '0', 'a subscription gives its owner no right');

# What a publisher's administrator gives up is given up there only.
$at = -s $node->logfile;
$node->safe_psql('publisher', $node->leave_to_lose_keys . '; DELETE FROM envelope.wrapping');
PgEnvelope::Cluster::wait_until(sub {
	substr(slurp_file($node->logfile), $at) =~ /KE014|cannot delete the last wrapping/
	  || !$node->safe_psql('subscriber', 'SELECT count(*) FROM envelope.wrapping') }, 'the loss to arrive, or not');
is($node->safe_psql('subscriber', 'SELECT count(*) FROM envelope.wrapping'), '1', 'a subscription takes no last wrapping along');

for my $name (qw(whole climb))
{
	$node->safe_psql('subscriber', $_) for "ALTER SUBSCRIPTION $name DISABLE",
	  "ALTER SUBSCRIPTION $name SET (slot_name = NONE)", "DROP SUBSCRIPTION $name";
}
$node->stop;
done_testing();
