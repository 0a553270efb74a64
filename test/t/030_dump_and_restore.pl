# A database owner's pg_dump takes the keyring along, and a restore has it whole.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('main', extension => 0);
$node->safe_psql('postgres', $_) for 'CREATE ROLE owner LOGIN', 'CREATE ROLE goes LOGIN',
  'CREATE ROLE stays LOGIN', 'CREATE DATABASE owned OWNER owner', 'CREATE DATABASE restored',
  q{CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'};
$node->create_extension('owned');
$node->safe_psql('owned', q{
	SET client_min_messages = error;
	SELECT envelope_create_kek('main');
	SELECT envelope_create_key('acme', 'main');
	SELECT envelope_rotate_key('acme');
	SELECT envelope_create_key('gone', 'main', 'AES256_GCM', true);
	SELECT envelope_disable_key('gone');
	SELECT envelope_destroy_key('gone');
	SELECT envelope_create_key(U&'S\00f6hne', 'main');
	CREATE TABLE sealed AS
		SELECT envelope_encrypt('78-05-1120', 'acme', 'a') AS acme,
			envelope_encrypt(U&'Gr\00fc\00dfe', U&'S\00f6hne') AS sons;
	ALTER TABLE sealed OWNER TO owner;
	SELECT envelope_grant('acme', 'goes', '{encrypt,decrypt}');
	SELECT envelope_grant('*', 'stays', '{decrypt}');
	INSERT INTO envelope.rewrap_result (run, old, new, dek_id, outcome)
		SELECT uuid, 'a', 'b', 1, 'failed' FROM envelope.keyring;
});

# Everything but the oids of roles, which mean nothing elsewhere.
sub content
{
	my ($dbname) = @_;
	return join "\n", map { $node->safe_psql($dbname, "SELECT $_ ORDER BY 1, 2") }
	  'uuid, 1 FROM envelope.keyring', 'k.* FROM envelope.kek k', 'k.* FROM envelope.key k',
	  'd.* FROM envelope.dek d', 'w.* FROM envelope.wrapping w',
	  'key_id, role_name, rights FROM envelope.key_grant';
}

my $file = $node->basedir . '/dump.sql';
my ($out, $err) = ('', '');
IPC::Run::run([ $node->installed_command('pg_dump'), '-h', $node->host, '-p', $node->port,
	'-U', 'owner', '-f', $file, 'owned' ], '>', \$out, '2>', \$err);
is($err, '', 'the owner of the database may dump it');
my $custom = $node->basedir . '/dump.custom';
command_ok([ $node->installed_command('pg_dump'), '-Fc', '-d', $node->connstr('owned'), '-f', $custom ],
	'a dump in the custom format');

my $before = content('owned');
is(() = $before =~ /^/mg, 18, 'the rows that must travel');
$node->safe_psql('owned', $node->leave_to_lose_keys . '; DROP EXTENSION pg_envelope CASCADE');
$node->safe_psql('postgres', 'DROP ROLE goes');
$node->safe_psql('postgres', 'DROP ROLE stays; CREATE ROLE stays LOGIN');
command_ok([ $node->installed_command('psql'), '-X', '-q', '-v', 'ON_ERROR_STOP=1',
	'-d', $node->connstr('restored'), '-f', $file ], 'restore');
is(content('restored'), $before, 'the same keys, wrapped keys and grants');

# Jobs load the tables in any order, the largest first.
$node->safe_psql('postgres', 'CREATE DATABASE by_jobs');
command_ok([ $node->installed_command('pg_restore'), '--exit-on-error', '--jobs', '2',
	'-d', $node->connstr('by_jobs'), $custom ], 'restore by two jobs');
is(content('by_jobs'), $before, 'the same again');
is($node->safe_psql('restored', 'SELECT count(*) FROM envelope.rewrap_result'), '0',
	'results of old rewraps stay where they were');
is($node->safe_psql('restored',
	q{SELECT role_name, role_oid FROM envelope.key_grant WHERE role_name = 'goes'}),
	'goes|0', 'the grant of a role that is missing waits, without effect');
is($node->safe_psql('restored',
	q{SELECT role_oid = 'stays'::regrole FROM envelope.key_grant WHERE role_name = 'stays'}),
	't', 'the others hold for the role of that name here');

# The wrapped keys are bound to the key_id as UTF-8, in a database of any encoding.
command_ok([ $node->installed_command('psql'), '-X', '-q', '-v', 'ON_ERROR_STOP=1',
	'-d', $node->connstr('latin1'), '-f', $file ], 'restore into another encoding');
for my $db (qw(restored latin1))
{
	is($node->safe_psql($db, q{SELECT envelope_decrypt(acme, 'acme', 'a'),
		envelope_decrypt(sons, 'S' || k.o || 'hne') = 'Gr' || k.u || k.s || 'e'
		FROM sealed, (SELECT convert_from('\xc3b6', 'UTF8') AS o, convert_from('\xc3bc', 'UTF8') AS u,
			convert_from('\xc39f', 'UTF8') AS s) k}),
		'78-05-1120|t', "the values open in $db");
}

is($node->safe_psql('restored', q{SELECT envelope_rotate_key('acme')}), '3', 'life goes on');
is($node->safe_psql('restored', q{SELECT count(DISTINCT keyring) FROM envelope.dek}), '1',
	'under the same keyring');
$node->fails_with(q{SELECT envelope_create_key('gone', 'main')}, '42710',
	'a destroyed name stays given', dbname => 'restored');
$node->stop;
done_testing();
