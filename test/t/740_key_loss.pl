# While a data key lives, nobody's statement takes it along: each is tried plain, in a
# DO block, under a replica role, as superuser and as owner.  The same statements lose
# the key on a server whose library has that guard compiled out: they are real.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# name => what is refused; or a list, of which the first is refused, and the others
# lose the key if it is not.
my %attack = (
	'drop the extension' => 'DROP EXTENSION pg_envelope CASCADE',
	'drop the schema of the functions' => 'DROP SCHEMA functions CASCADE',
	'drop what the owner owns' => 'DROP OWNED BY installer CASCADE',
	'truncate dek' => 'TRUNCATE envelope.dek',
	'truncate wrapping' => 'TRUNCATE envelope.wrapping',
	'truncate kek' => 'TRUNCATE envelope.kek',
	'truncate key' => 'TRUNCATE envelope.key',
	'truncate by cascade' => 'TRUNCATE parent CASCADE',
	'drop a column' => ['ALTER TABLE envelope.wrapping DROP COLUMN wrapped CASCADE', 'CLUSTER envelope.wrapping USING wrapping_pkey'],
	'fill a column' => q{ALTER TABLE envelope.wrapping ALTER wrapped TYPE bytea USING '\x00000000'::bytea},
	'statistics, and a column filled' => q{ALTER TABLE envelope.wrapping ALTER seq SET STATISTICS 5, ALTER wrapped TYPE bytea USING '\x00000000'::bytea},
	'drop a primary key' => 'ALTER TABLE envelope.dek DROP CONSTRAINT dek_pkey CASCADE',
	'an index that goes with another extension' => 'CREATE EXTENSION tcn; ALTER INDEX envelope.wrapping_pkey DEPENDS ON EXTENSION tcn; DROP EXTENSION tcn CASCADE',
	'rename an index' => 'ALTER INDEX envelope.wrapping_pkey RENAME TO primary_key',
	'rename a primary key' => 'ALTER TABLE envelope.dek RENAME CONSTRAINT dek_pkey TO primary_key',
	'change a type' => q{ALTER TABLE envelope.dek ALTER dek_id TYPE integer USING 1},
	'rename a table' => 'ALTER TABLE envelope.dek RENAME TO deks',
	'move a table' => 'ALTER TABLE envelope.wrapping SET SCHEMA public',
	'rename the schema' => 'ALTER SCHEMA envelope RENAME TO envelopes',
	'disable all triggers' => ['ALTER TABLE envelope.wrapping DISABLE TRIGGER ALL', 'DELETE FROM envelope.wrapping'],
	'disable the triggers of users' => ['ALTER TABLE envelope.wrapping DISABLE TRIGGER USER', 'DELETE FROM envelope.wrapping'],
	'disable the guard' => ['ALTER TABLE envelope.wrapping DISABLE TRIGGER envelope_guard', 'DELETE FROM envelope.wrapping'],
	'another trigger in place of the guard' => ['CREATE OR REPLACE TRIGGER envelope_guard BEFORE UPDATE ON envelope.wrapping FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
		'DELETE FROM envelope.wrapping'],
	'drop the guard' => ['DROP TRIGGER envelope_guard ON envelope.wrapping', 'DELETE FROM envelope.wrapping'],
	'disable triggers, in a search_path that changes' => [q{SET LOCAL search_path = envelope; ALTER TABLE wrapping DISABLE TRIGGER ALL, ADD CHECK (set_config('search_path', 'pg_catalog', true) IS NOT NULL)},
		'DELETE FROM envelope.wrapping'],
	'drop what it is a partition of' => 'CREATE TABLE whole (LIKE envelope.dek) PARTITION BY LIST (dek_id); ALTER TABLE whole ATTACH PARTITION envelope.dek DEFAULT; DROP TABLE whole CASCADE',
	'truncate what it is a partition of' => 'CREATE TABLE whole (LIKE envelope.wrapping) PARTITION BY LIST (dek_id); ALTER TABLE whole ATTACH PARTITION envelope.wrapping DEFAULT; TRUNCATE whole',
	'drop what it inherits from' => 'CREATE TABLE base (LIKE envelope.wrapping); ALTER TABLE envelope.wrapping INHERIT base; DROP TABLE base CASCADE',
	'truncate what it inherits from' => 'CREATE TABLE base (LIKE envelope.wrapping); ALTER TABLE envelope.wrapping INHERIT base; TRUNCATE base',
	'fill a column that it inherits' => q{CREATE TABLE base (LIKE envelope.wrapping); ALTER TABLE envelope.wrapping INHERIT base; ALTER TABLE base ALTER wrapped TYPE bytea USING '\x00000000'::bytea},
	'take a table out of the extension' => ['ALTER EXTENSION pg_envelope DROP TABLE envelope.wrapping', 'DROP TABLE envelope.wrapping'],
);
# What only a superuser may try: the tables are written by hand by nobody else.
my %by_hand = (
	'mark it as destroyed' => q{UPDATE envelope.dek SET state = 'destroyed'},
	'delete a wrapping' => 'DELETE FROM envelope.wrapping',
	'overwrite a wrapping' => q{UPDATE envelope.wrapping SET wrapped = '\x01010000'},
	'change the URI of the KEK' => q{UPDATE envelope.kek SET uri = 'local:00000000-0000-4000-8000-000000000000'},
	'mark the key as destroyed' => q{UPDATE envelope.key SET state = 'destroyed'},
	'merge' => 'MERGE INTO envelope.wrapping USING (SELECT) one ON true WHEN MATCHED THEN DELETE',
	'insert, and update instead' => q{INSERT INTO envelope.wrapping SELECT * FROM envelope.wrapping ON CONFLICT (dek_id, seq) DO UPDATE SET wrapped = '\x01010000'},
	'update from another table' => q{UPDATE envelope.wrapping w SET wrapped = '\x01010000' FROM envelope.dek d WHERE d.dek_id = w.dek_id},
	'delete from what it is a partition of' => 'CREATE TABLE whole (LIKE envelope.wrapping) PARTITION BY LIST (dek_id); ALTER TABLE whole ATTACH PARTITION envelope.wrapping DEFAULT; DELETE FROM whole',
	'move it to another partition' => 'CREATE TABLE whole (LIKE envelope.wrapping) PARTITION BY LIST (seq); ALTER TABLE whole ATTACH PARTITION envelope.wrapping DEFAULT; CREATE TABLE part PARTITION OF whole FOR VALUES IN (77); UPDATE whole SET seq = 77',
	'an event trigger that changes the search_path' => [q{CREATE FUNCTION public.path() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM set_config('search_path', 'pg_catalog', true); END $f$;
		CREATE EVENT TRIGGER path ON ddl_command_end EXECUTE FUNCTION public.path(); SET LOCAL search_path = envelope; ALTER TABLE wrapping DISABLE TRIGGER ALL},
		'DELETE FROM envelope.wrapping'],
	'supersede the last wrapping' => 'UPDATE envelope.wrapping SET wrapped = NULL, superseded = now()',
	'replace the guard' => ['CREATE OR REPLACE FUNCTION functions.envelope_guard_row() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN OLD; END $f$',
		'DELETE FROM envelope.wrapping'],
);
# What a data key is bound to, nobody changes.
my %bound = (
	'its number' => 'UPDATE envelope.dek SET dek_id = dek_id # 1',
	'its key' => q{INSERT INTO parent VALUES ('other'); UPDATE envelope.dek SET key_id = 'other'},
	'its version' => 'UPDATE envelope.dek SET version = 7',
	'its algorithm' => q{UPDATE envelope.dek SET algorithm = 'AES256_GCM'},
	'its keyring' => q{UPDATE envelope.dek SET keyring = '00000000-0000-4000-8000-000000000000'},
	'its check value' => 'UPDATE envelope.dek SET check_value = sha256(check_value)',
);
# What an owner's trigger would do to it within a statement of ours, made by the function
# and fired by somebody who rotates the key.
my %spoils = (
	'a trigger behind the guard' => ['zzz BEFORE UPDATE', 'NEW.check_value := sha256(NEW.check_value)'],
	'a trigger before the guard' => ['aaa BEFORE INSERT OR UPDATE', q{NEW.state := 'destroyed'}],
);
# Its rows would not fit the tables of a new database, so that a dump could not be
# restored; and what undoes it.
my %dumped = (
	'rename a column' => ['ALTER TABLE envelope.dek RENAME check_value TO checked', 'ALTER TABLE envelope.dek RENAME checked TO check_value'],
	'add a column' => ['ALTER TABLE envelope.wrapping ADD note text', 'ALTER TABLE envelope.wrapping DROP note'],
);
my %hidden = (
	'row security' => 'ALTER TABLE envelope.dek ENABLE ROW LEVEL SECURITY',
	'row security, in a search_path that changes' => q{SET LOCAL search_path = envelope; ALTER TABLE dek ENABLE ROW LEVEL SECURITY, ADD CHECK (set_config('search_path', 'pg_catalog', true) IS NOT NULL)},
	'truncate keyring' => 'TRUNCATE envelope.keyring',
	'row security for the owner' => 'ALTER TABLE envelope.dek FORCE ROW LEVEL SECURITY',
	'an unlogged table' => 'ALTER TABLE envelope.wrapping SET UNLOGGED',
);
# Foreign keys would keep it, where they are looked at.
my %as_replica = (
	'delete a data key' => 'DELETE FROM envelope.dek',
	'delete a KEK' => 'DELETE FROM envelope.kek',
);

# The extension is owned by who installed it, and is no superuser any more.
sub install
{
	my ($name, %settings) = @_;
	my $node = PgEnvelope::Cluster->new($name, extension => 0, %settings);
	$node->safe_psql('postgres', $_) for 'CREATE ROLE installer SUPERUSER LOGIN', 'CREATE SCHEMA functions AUTHORIZATION installer',
	  'CREATE TABLE parent (key_id text PRIMARY KEY)', 'ALTER TABLE parent OWNER TO installer',
	  'GRANT CREATE ON DATABASE postgres TO installer', 'GRANT CREATE ON SCHEMA public TO installer',
	  'GRANT SET ON PARAMETER session_replication_role TO installer';
	$node->safe_psql('postgres', q{
		SET client_min_messages = error;
		SET SESSION AUTHORIZATION installer;
		CREATE EXTENSION pg_envelope SCHEMA functions;
		ALTER TABLE envelope.dek ADD CONSTRAINT of_parent FOREIGN KEY (key_id) REFERENCES parent;
		INSERT INTO parent VALUES ('acme');
		SET search_path = functions, public;
		SELECT envelope_create_kek('main'), envelope_create_key('acme', 'main');
	});
	$node->safe_psql('postgres', $_) for q{CREATE TABLE public.sealed AS SELECT functions.envelope_encrypt('a value', 'acme') AS ssn},
	  'ALTER ROLE installer NOSUPERUSER';
	return $node;
}

my $opens = q{SELECT functions.envelope_cache_flush(); SELECT functions.envelope_decrypt(ssn, 'acme') FROM public.sealed};
my @everybody = ([ 'plain', '%s' ], [ 'in DO', 'DO $do$ BEGIN %s; END $do$' ]);
my $replica = [ 'as replica', 'SET LOCAL session_replication_role = replica; %s' ];

my $node = install('guarded');
my ($super, $owner) = ($node->session, $node->session(user => 'installer'));
like($super->query($opens), qr/a value/, 'the control: the value opens');

sub tried_by
{
	my ($session, $who, $attacks, @ways) = @_;
	my $refused = $attacks == \%bound ? qr/ERROR:  23001: column "\w+" of a data key never changes/
	  : qr/ERROR:  KE014: cannot .* data key would be lost|ERROR:  KE014: cannot .* data key could be lost/;
	for my $name (sort keys %$attacks)
	{
		my $statement = $attacks->{$name};
		$statement = $statement->[0] if ref $statement;
		for my $way (@ways)
		{
			$session->query('BEGIN');
			my (undef, $err) = $session->try(sprintf $way->[1], $statement);
			$session->query('ROLLBACK');
			like($err, $refused, "$name, $way->[0], as $who");
		}
	}
	return;
}

tried_by($super, 'superuser', { %attack, %by_hand, %dumped, %hidden }, @everybody, $replica);
tried_by($super, 'superuser', \%as_replica, $replica);
tried_by($super, 'superuser', \%bound, @everybody, $replica);
tried_by($owner, 'owner', { %attack, %dumped, %hidden }, @everybody, $replica);
# Each index by which a key is found, or kept from being two; and no other.
my @indexes = split /\n/, $super->query(q{SELECT concat_ws(' ', i.indexrelid::regclass, i.indrelid::regclass, conname) FROM pg_index i
	LEFT JOIN pg_constraint ON conindid = i.indexrelid AND contype IN ('p', 'u')
	WHERE indrelid IN (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'pg_envelope') ORDER BY 1});
cmp_ok(scalar @indexes, '>', 10, 'the key tables have indexes');
for (@indexes)
{
	my ($index, $table, $constraint) = split / /;
	tried_by($super, 'superuser', { "drop $index" => $constraint ? "ALTER TABLE $table DROP CONSTRAINT $constraint" : "DROP INDEX $index",
		"rename $index" => "ALTER INDEX $index RENAME TO another" }, $everybody[0]);
}
for my $index ('dek_active', 'wrapping_kek')
{
	my (undef, $err) = $super->try("DROP INDEX CONCURRENTLY envelope.$index");
	like($err, qr/ERROR:  KE014: cannot drop index "envelope.$index": 1 data key could be lost/, "drop $index concurrently");
}
is(($super->try($_))[1], '', $_) for 'CREATE INDEX anybodys ON envelope.dek (created)', 'ALTER INDEX envelope.anybodys RENAME TO mine', 'DROP INDEX envelope.mine';
# What the server itself keeps from being dropped alone.
for my $session ($super, $owner)
{
	for my $member ('SCHEMA envelope', 'TABLE envelope.dek', 'FUNCTION functions.envelope_guard_row()')
	{
		my (undef, $err) = $session->try("DROP $member CASCADE");
		like($err, qr/ERROR:  2BP01: .* because extension pg_envelope requires it/, "drop $member");
	}
}
like($super->query($opens), qr/a value/, 'and the value opens still');

# What the owner of the tables has put there runs inside of our statements, and has no
# more right to the tables for that.
$super->query($_) for 'CREATE ROLE climber', q{CREATE FUNCTION climb() RETURNS trigger LANGUAGE plpgsql AS $f$
	BEGIN INSERT INTO envelope.key_grant VALUES ('acme', 'climber', 0, '{decrypt}'); RETURN NEW; END $f$},
  q{CREATE FUNCTION climb(text) RETURNS boolean LANGUAGE plpgsql AS $f$
	BEGIN INSERT INTO envelope.key_grant VALUES ('acme', 'climber', 0, '{decrypt}'); RETURN true; END $f$},
  q{CREATE FUNCTION climb_in_sql(text) RETURNS boolean LANGUAGE sql AS $f$
	INSERT INTO envelope.key_grant VALUES ('acme', 'climber', 0, '{decrypt}') RETURNING true $f$},
  q{CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $f$
	BEGIN UPDATE envelope.wrapping SET wrapped = NULL, superseded = now(); RETURN NULL; END $f$},
  q{CREATE FUNCTION climb_at_once(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $f$ BEGIN RETURN climb($1); END $f$},
  q{COPY (SELECT 'acme', 'climber', 0, '{decrypt}') TO '} . $node->basedir . q{/climb'}, 'GRANT pg_read_server_files TO installer',
  q{CREATE FUNCTION climb_by_copy() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN COPY envelope.key_grant FROM '} . $node->basedir . q{/climb'; RETURN NULL; END $f$};
$super->query($_) for q{CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT climb_at_once(''x'')'; RETURN NULL; END $f$},
  q{CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM set_config('search_path', 'elsewhere', false); RETURN NULL; END $f$};
my %inside = (
	'a trigger before' => 'CREATE TRIGGER climb BEFORE UPDATE ON envelope.key FOR EACH ROW EXECUTE FUNCTION climb()',
	'a trigger after' => 'CREATE TRIGGER climb AFTER UPDATE ON envelope.key FOR EACH ROW EXECUTE FUNCTION climb()',
	'a trigger of the statement' => 'CREATE TRIGGER climb BEFORE UPDATE ON envelope.key EXECUTE FUNCTION climb()',
	'a trigger that loses it' => 'CREATE TRIGGER lose AFTER UPDATE ON envelope.key FOR EACH ROW EXECUTE FUNCTION lose()',
	'a trigger that copies' => 'CREATE TRIGGER climb AFTER UPDATE ON envelope.key EXECUTE FUNCTION climb_by_copy()',
	'a trigger that waits for the commit' => 'CREATE CONSTRAINT TRIGGER climb AFTER UPDATE ON envelope.key DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION climb()',
	'a cursor that waits for the commit' => 'CREATE TRIGGER later AFTER UPDATE ON envelope.key EXECUTE FUNCTION later()',
	'a default by which nobody would rewrap it' => 'ALTER TABLE envelope.wrapping DROP CONSTRAINT wrapping_superseded_check, ALTER superseded SET DEFAULT now()',
	'a default, when it is planned' => q{ALTER TABLE envelope.kek ALTER state SET DEFAULT climb_at_once('enabled')},
	'a constraint' => 'ALTER TABLE envelope.key ADD CHECK (climb(state)) NOT VALID',
	'a constraint in SQL' => 'ALTER TABLE envelope.key ADD CHECK (climb_in_sql(state)) NOT VALID',
	'a rule' => q{CREATE RULE climb AS ON UPDATE TO envelope.key DO ALSO INSERT INTO envelope.key_grant VALUES ('acme', 'climber', 0, '{decrypt}')},
	'a rule that loses it' => 'CREATE RULE lose AS ON UPDATE TO envelope.key DO ALSO UPDATE envelope.wrapping SET wrapped = NULL, superseded = now()',
	'a rule instead' => 'CREATE RULE lose AS ON UPDATE TO envelope.key DO INSTEAD UPDATE envelope.wrapping SET wrapped = NULL, superseded = now()',
);
my $refusal = join '|', '42501: cannot change table .* by hand', 'KE014: a rule that is not of', 'KE014: trigger "climb" could change the rows',
	'42501: cannot (?:fire deferred trigger|create a cursor WITH HOLD) within security-restricted operation', 'KE014: a wrapping of a data key is not in table';
$refusal = qr/ERROR:  (?:$refusal)/;
for my $name (sort keys %inside)
{
	$super->query($_) for 'BEGIN', 'SET LOCAL ROLE installer', $inside{$name}, 'RESET ROLE';
	my (undef, $err) = $super->try($inside{$name} =~ /state SET DEFAULT/ ? q{SELECT functions.envelope_create_kek('other')} :
		  $inside{$name} =~ /SET DEFAULT/ ? q{SELECT functions.envelope_rotate_key('acme')} : q{SELECT functions.envelope_disable_key('acme')});
	$super->query('ROLLBACK');
	like($err, $refusal, "inside of our statement: $name");
}
# Nor does it leave anything behind that whoever called us would run as himself.
$super->query($_) for 'BEGIN', 'SET LOCAL ROLE installer', 'CREATE TRIGGER away AFTER UPDATE ON envelope.key EXECUTE FUNCTION away()', 'RESET ROLE',
  q{SELECT functions.envelope_disable_key('acme')};
isnt($super->query('SHOW search_path'), 'elsewhere', 'what is set inside of our statement is as it was before');
$super->query('ROLLBACK');
sub spoiled
{
	my ($name) = @_;
	my ($trigger, $does) = @{ $spoils{$name} };
	$super->query($_) for 'BEGIN', 'SET LOCAL ROLE installer', "CREATE FUNCTION public.spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN $does; RETURN NEW; END'" =~ s/'destroyed'/''destroyed''/r,
	  "CREATE TRIGGER $trigger ON envelope.dek FOR EACH ROW EXECUTE FUNCTION public.spoil()", 'RESET ROLE', 'SAVEPOINT made';
	my (undef, $err) = $super->try(q{SELECT functions.envelope_rotate_key('acme')});
	$super->query('ROLLBACK TO made') if $err ne '';
	my ($out) = $super->try($opens);
	$super->query('ROLLBACK');
	return ($out, $err);
}
for my $name (sort keys %spoils)
{
	my ($out, $err) = spoiled($name);
	like($err, qr/ERROR:  KE014: trigger "\w+" could change the rows of table "envelope.dek"/, "inside of our statement: $name");
	like($out, qr/a value/, 'which changes nothing');
}
like($super->query($opens), qr/a value/, 'and the value opens still');

# No data key is made where a guard is missing: while none lived, it could be taken away.
$super->query('CREATE DATABASE early');
my $early = $node->session(dbname => 'early');
$early->query($_) for 'SET client_min_messages = error', 'CREATE EXTENSION pg_envelope', q{SELECT envelope_create_kek('main')};
for my $away ((map { ("DROP TRIGGER envelope_guard ON envelope.$_", "DROP TRIGGER envelope_guard_truncate ON envelope.$_") } qw(keyring kek key dek wrapping key_grant)),
	'CREATE OR REPLACE TRIGGER envelope_guard BEFORE INSERT ON envelope.wrapping FOR EACH ROW EXECUTE FUNCTION envelope_guard_row()',
	'CREATE OR REPLACE TRIGGER envelope_guard BEFORE INSERT OR UPDATE OR DELETE ON envelope.kek FOR EACH ROW WHEN (false) EXECUTE FUNCTION envelope_guard_row()')
{
	$early->query($_) for 'BEGIN', $away;
	my (undef, $err) = $early->try(q{SELECT envelope_create_key('acme', 'main')});
	$early->query('ROLLBACK');
	like($err, qr/ERROR:  KE014: a data key is not made while table "envelope.\w+" lacks a guard/, "no data key is made behind $away");
}
is(($early->try(q{SELECT envelope_create_key('acme', 'main')}))[1], '', 'but with all guards');
$early->close;

# Who installed it may leave.
$super->query($_) for 'CREATE ROLE successor', 'BEGIN';
is(($super->try('REASSIGN OWNED BY installer TO successor'))[1], '', 'all of it goes to another owner');
like($super->query(q{SELECT functions.envelope_rotate_key('acme')} . "; $opens"), qr/a value/, 'and works');
$super->query('ROLLBACK');

$node->stop;

my $bare = do
{
	local $ENV{PGE_BINDIR} = PgEnvelope::Cluster::own_library(PostgreSQL::Test::Utils::tempdir_short() . '/root', '-DPGE_WITHOUT_KEY_LOSS_GUARD');
	install('bare');
};
($super, $owner) = ($bare->session, $bare->session(user => 'installer'));

sub loses
{
	my ($session, $who, $attacks, $way) = @_;
	for my $name (sort keys %$attacks)
	{
		my $statement = $attacks->{$name};
		$session->query('BEGIN');
		$session->query('SET LOCAL ROLE installer') if $who eq 'owner';
		$session->query(sprintf $way->[1], $_) for ref $statement ? @$statement : $statement;
		$session->query('RESET ROLE');
		my ($out) = $session->try($opens);
		$session->query('ROLLBACK');
		unlike($out, qr/a value/, "without the guard it is lost: $name, $way->[0], as $who");
	}
	return;
}
loses($super, 'superuser', { %attack, %by_hand, %bound }, $everybody[0]);
unlike((spoiled($_))[0], qr/a value/, "without the guard it is lost: $_") for sort keys %spoils;
loses($super, 'superuser', \%as_replica, $replica);
like($super->query($opens), qr/a value/, 'and opens when nothing is done');
# (An owner's TRUNCATE is writing by hand.)
loses($super, 'owner', { map { ($_ => $attack{$_}) } grep { !/truncate/ } keys %attack }, $everybody[0]);

# Whether a dump of the server restores to keys that open.
sub restores
{
	my ($what) = @_;
	my $dump = $bare->basedir . '/dump';
	system_or_bail("$ENV{PGE_BINDIR}/pg_dump", '-Fc', '-f', $dump, '-d', $bare->connstr('postgres'));
	$bare->safe_psql('template1', 'CREATE DATABASE restored');
	my ($out, $err) = ('', '');
	IPC::Run::run([ "$ENV{PGE_BINDIR}/pg_restore", '-d', $bare->connstr('restored'), $dump ], '>', \$out, '2>', \$err);
	my (undef, $value) = $bare->psql('restored', $opens);
	$bare->safe_psql('template1', 'DROP DATABASE restored');
	return $value =~ /a value/;
}
$super->query('ALTER TABLE envelope.dek DROP CONSTRAINT of_parent');	# which was for the attacks
ok(restores(), 'a dump restores');
for my $name (sort keys %dumped)
{
	my ($there, $back) = @{ $dumped{$name} };
	$super->query($there);
	ok(!restores(), "without the guard a dump does not: $name");
	$super->query($back);
}

# What row security hides, a dump by somebody whom it holds does not have.
$super->query($_) for 'CREATE ROLE dumps IN ROLE pg_read_all_data', 'ALTER TABLE envelope.dek ENABLE ROW LEVEL SECURITY', 'SET ROLE dumps';
is($super->query('SELECT count(*) FROM envelope.dek'), '0', 'without the guard rows are hidden: row security');
$super->query($_) for 'RESET ROLE', 'ALTER TABLE envelope.dek DISABLE ROW LEVEL SECURITY';

# An unlogged table is empty after a crash.
$super->query('ALTER TABLE envelope.wrapping SET UNLOGGED');
$_->close for $super, $owner;
$bare->stop('immediate');
$bare->start;
my (undef, $value) = $bare->psql('postgres', $opens);
unlike($value, qr/a value/, 'without the guard it is lost: an unlogged table, and a crash');
$bare->stop;
done_testing();
