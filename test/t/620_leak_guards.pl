# What the server would keep as plaintext is refused to autovacuum as to anybody;
# a replication worker, whose triggers and generated columns may run in the same
# kind of operation (from 16 on), opens values, and an ANALYZE within does not.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('main', extension => 0, allows_streaming => 'logical',
	autovacuum => 'on', autovacuum_naptime => '1s', wal_retrieve_retry_interval => '100ms');
my $superuser = $node->superuser;
my $refusal = 'a value is not opened inside a security-restricted operation';

# Opens a value in a way that nothing can know beforehand.
my $hidden = q{CREATE FUNCTION hidden(v bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	DECLARE opened text;
	BEGIN
		EXECUTE format('SELECT public.envelope_%s($1, ''acme'')', 'decrypt') USING v INTO opened;
		RETURN opened;
	END $$};

sub waited
{
	my ($db, $condition, $what) = @_;
	$node->poll_query_until($db, "SELECT $condition") or die "no $what";
	return pass($what);
}

sub log_since
{
	my ($at) = @_;
	return substr(slurp_file($node->logfile), $at);
}

$node->safe_psql('postgres', $_) for 'CREATE DATABASE publisher', 'CREATE DATABASE subscriber', 'CREATE ROLE app';
$node->create_extension($_) for qw(publisher subscriber);
$node->safe_psql('publisher', q{SET client_min_messages = error; SELECT envelope_create_kek('main');
	SELECT envelope_create_key('acme', 'main');
	CREATE TABLE sealed (id int PRIMARY KEY, ssn bytea)});
$node->safe_psql($_, $hidden) for qw(publisher subscriber);

#
# Autovacuum
#
my $at = -s $node->logfile;
$node->safe_psql('publisher', q{CREATE TABLE watched (ssn bytea)
	WITH (autovacuum_analyze_threshold = 0, autovacuum_analyze_scale_factor = 0);
	CREATE STATISTICS watched_stat ON (hidden(ssn)) FROM watched;
	INSERT INTO watched SELECT envelope_encrypt('canary ' || i % 7, 'acme') FROM generate_series(1, 100) i});
PgEnvelope::Cluster::wait_until(sub { log_since($at) =~ /\Q$refusal\E.*?automatic analyze of table "publisher.public.watched"/s },
	'autovacuum to analyze');
is($node->safe_psql('publisher', q{SELECT count(*) FROM pg_statistic_ext_data}), '0', 'autovacuum keeps no plaintext');
unlike(log_since($at), qr/canary/, 'nor does it log any');
$node->safe_psql('publisher', 'DROP STATISTICS watched_stat');
waited('publisher', q{last_autoanalyze IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'watched'},
	'without the statistics object it analyzes the table');

#
# Replication
#
sub subscribe
{
	my ($name, $tables) = @_;
	my $connection = $node->connstr('publisher') =~ s{'}{''}gr;
	$node->safe_psql('publisher', "CREATE PUBLICATION $name FOR TABLE $tables");
	$node->safe_psql('publisher', "SELECT pg_create_logical_replication_slot('$name', 'pgoutput')");
	$node->safe_psql('subscriber', qq{CREATE SUBSCRIPTION $name CONNECTION '$connection user=$superuser'
		PUBLICATION $name WITH (create_slot = false, slot_name = '$name')});
	return;
}

subscribe('keys', 'envelope.keyring, envelope.kek, envelope.key, envelope.dek, envelope.wrapping');
waited('subscriber', q{count(*) = 5 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}, 'the keys arrive');
$node->safe_psql('subscriber', q{
	SELECT envelope_grant('acme', 'app', '{decrypt}');
	CREATE SCHEMA app AUTHORIZATION app;
	SET ROLE app;
	CREATE TABLE app.kept (ssn bytea);
	CREATE STATISTICS app.kept_stat ON (public.hidden(ssn)) FROM app.kept;
	RESET ROLE;
	CREATE TABLE sealed (id int PRIMARY KEY, ssn bytea, opened text, note text,
		generated text GENERATED ALWAYS AS (hidden(ssn)) STORED);
	ALTER TABLE sealed OWNER TO app;
	CREATE FUNCTION on_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		NEW.opened = public.envelope_decrypt(NEW.ssn, 'acme');
		INSERT INTO app.kept VALUES (NEW.ssn);
		BEGIN
			ANALYZE app.kept;
			NEW.note = 'analyzed';
		EXCEPTION WHEN SQLSTATE 'KE014' THEN
			NEW.note = 'refused';
		END;
		RETURN NEW;
	END $$;
	CREATE TRIGGER on_sealed BEFORE INSERT ON sealed FOR EACH ROW EXECUTE FUNCTION on_sealed();
	ALTER TABLE sealed ENABLE ALWAYS TRIGGER on_sealed});
$node->safe_psql('publisher', q{INSERT INTO sealed VALUES (1, envelope_encrypt('copied', 'acme'))});
subscribe('data', 'sealed');
waited('subscriber', 'count(*) = 1 FROM sealed WHERE id = 1', 'a row arrives by the initial copy');
waited('subscriber', q{count(*) = 6 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}, 'which ends');
$node->safe_psql('publisher', q{INSERT INTO sealed VALUES (2, envelope_encrypt('applied', 'acme'))});
waited('subscriber', 'count(*) = 1 FROM sealed WHERE id = 2', 'a row arrives by the stream');
is($node->safe_psql('subscriber', 'SELECT id, opened, generated, note FROM sealed ORDER BY id'),
	"1|copied|copied|refused\n2|applied|applied|refused",
	'trigger and generated column opened both; an ANALYZE in the trigger did not');
is($node->safe_psql('subscriber', q{SELECT count(*) FROM pg_statistic_ext_data}), '0', 'and kept nothing');

for my $name (qw(keys data))
{
	$node->safe_psql('subscriber', $_) for "ALTER SUBSCRIPTION $name DISABLE",
	  "ALTER SUBSCRIPTION $name SET (slot_name = NONE)", "DROP SUBSCRIPTION $name";
}
$node->stop;
done_testing();
