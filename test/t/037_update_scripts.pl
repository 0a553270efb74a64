# A database that was updated by ALTER EXTENSION pg_envelope UPDATE has what a fresh install
# has: for each version that is out, and for one that nobody released, which changes and fills
# key tables while data keys live.  The guards let it, stand during it against all others, and
# stand after it; a comparison that overlooked a script's fault is noticed by planted ones.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::Estate;
use PgEnvelope::Versions;
use PostgreSQL::Test::Utils;
use Test::More;

my $current = PgEnvelope::Versions::default_version();

# --- a next version: how it is installed, and how one gets there ---
my $column = q{note text COLLATE "C" NOT NULL DEFAULT 'none' CONSTRAINT kek_note_check CHECK (note <> '')};
my $common = q{
COMMENT ON COLUMN envelope.kek.note IS 'whatever';
CREATE INDEX kek_note ON envelope.kek (note);
COMMENT ON INDEX envelope.kek_note IS 'by note';
CREATE TABLE envelope.region (
	name text COLLATE "C" CONSTRAINT region_pkey PRIMARY KEY,
	given boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE envelope.region IS 'regions';
SELECT pg_catalog.pg_extension_config_dump('envelope.region', 'WHERE NOT given');
GRANT SELECT ON envelope.region TO pg_database_owner, pg_read_all_data;
INSERT INTO envelope.region VALUES ('here', true);
CREATE TRIGGER later BEFORE DELETE ON envelope.region FOR EACH ROW EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger();
ALTER TABLE envelope.region ENABLE ALWAYS TRIGGER later;
COMMENT ON TRIGGER later ON envelope.region IS 'stays';
CREATE FUNCTION envelope_later(sealed bytea) RETURNS boolean AS 'MODULE_PATHNAME', 'envelope_is_encrypted' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
REVOKE ALL ON FUNCTION envelope_later(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION envelope_later(bytea) TO pg_monitor;
COMMENT ON FUNCTION envelope_later(bytea) IS 'a function more';
ALTER FUNCTION envelope_status() ROWS 50;
};
my $update = qq{\\echo Use "ALTER EXTENSION pg_envelope UPDATE" to load this file. \\quit
ALTER TABLE envelope.kek DISABLE TRIGGER envelope_guard;
ALTER TABLE envelope.kek ADD COLUMN $column;
UPDATE envelope.kek SET note = 'of ' || name;
ALTER TABLE envelope.kek ENABLE ALWAYS TRIGGER envelope_guard;
ALTER TABLE envelope.dek ALTER COLUMN created SET NOT NULL;
$common};
my $install = PgEnvelope::Versions::script("pg_envelope--$current.sql");
is($install =~ s/^(\tunused_since_lsn pg_lsn,\n)/$1\t$column,\n/m, 1, '(the next version has a column more)');
my %scripts = ("pg_envelope--next.sql" => $install . $common, "pg_envelope--$current--next.sql" => $update);

# --- faults of an update script: what is left out or changed, and where it shows; those of
# one script (its number) are in nobody else's way ---
my %faults = (
	grant => [ 1, qr/^GRANT SELECT ON envelope\.region.*\n/m, '', qr/^ACL envelope.TABLE region: only in a fresh install$/ ],
	grantee => [ 2, qr/pg_database_owner, pg_read_all_data/, 'pg_database_owner', qr/^ACL envelope.TABLE region: fresh: GRANT SELECT .* TO pg_read_all_data/ ],
	revoke => [ 3, qr/^REVOKE ALL.*\n/m, '', qr/^ACL public.FUNCTION envelope_later\(sealed bytea\): fresh: REVOKE ALL/ ],
	comment => [ 1, qr/^COMMENT ON COLUMN.*\n/m, '', qr/^COMMENT envelope.COLUMN kek.note: only in a fresh install$/ ],
	comment_text => [ 2, qr/'by note'/, q{'by notes'}, qr/^COMMENT envelope.INDEX kek_note: fresh: / ],
	default => [ 1, qr/DEFAULT 'none'/, q{DEFAULT 'nothing'}, qr/^TABLE envelope.kek: fresh: .*'none'.*; updated: .*'nothing'/ ],
	not_null => [ 2, qr/ NOT NULL DEFAULT 'none'/, q{ DEFAULT 'none'}, qr/^TABLE envelope.kek: / ],
	check => [ 3, qr/ CONSTRAINT kek_note_check CHECK \(note <> ''\)/, '', qr/^TABLE envelope.kek: fresh: .*kek_note_check/ ],
	collation => [ 4, qr/note text COLLATE "C"/, 'note text', qr/^TABLE envelope.kek: / ],
	index => [ 1, qr/^(?:CREATE|COMMENT ON) INDEX.*\n/m, '', qr/^INDEX envelope.kek_note: only in a fresh install$/, 2 ],
	guard_off => [ 1, qr/^ALTER TABLE envelope\.kek ENABLE ALWAYS.*\n/m, '', qr/^TRIGGER envelope.kek envelope_guard: .*DISABLE TRIGGER/ ],
	guard_ordinary => [ 2, qr/ENABLE ALWAYS TRIGGER later/, 'ENABLE TRIGGER later', qr/^TRIGGER envelope.region later: fresh: .*ENABLE ALWAYS/ ],
	mark => [ 1, qr/^SELECT pg_catalog\.pg_extension_config_dump.*\n/m, '', qr/^mark for dumps envelope.region: only in a fresh install$/ ],
	condition => [ 2, qr/'WHERE NOT given'/, q{''}, qr/^mark for dumps envelope.region: fresh: dumped WHERE NOT given; updated: dumped $/ ],
	volatility => [ 1, qr/ IMMUTABLE STRICT/, ' STABLE STRICT', qr/^FUNCTION public.envelope_later\(bytea\): / ],
	setting => [ 3, qr/^ALTER FUNCTION envelope_status.*\n/m, '', qr/^FUNCTION public.envelope_status\(\): / ],
	member => [ 3, qr/\z/, "ALTER EXTENSION pg_envelope DROP FUNCTION envelope_later(bytea);\n", qr/^FUNCTION public.envelope_later\(bytea\): fresh: ALTER EXTENSION pg_envelope ADD/ ],
	owner => [ 2, qr/\z/, "ALTER FUNCTION envelope_later(bytea) OWNER TO pg_monitor;\n", qr/^FUNCTION public.envelope_later\(bytea\): .*OWNER TO pg_monitor/ ],
	dependency => [ 4, qr/\z/, "ALTER FUNCTION envelope_later(bytea) DEPENDS ON EXTENSION plpgsql;\n", qr/^function public.envelope_later\(pg_catalog.bytea\): fresh: ; updated: depends x on extension plpgsql$/ ],
);
my %wrong;
for my $fault (sort keys %faults)
{
	my ($script, $what, $by, undef, $times) = @{ $faults{$fault} };
	is(($wrong{$script} //= $update) =~ s/$what/$by/g, $times // 1, "(script $script has a fault: $fault)");
}
$scripts{"pg_envelope--$current--wrong$_.sql"} = $wrong{$_} for keys %wrong;
$scripts{"pg_envelope--$current--symbol.sql"} = $update . "CREATE FUNCTION envelope_other() RETURNS void AS 'MODULE_PATHNAME', 'envelope_of_a_later_library' LANGUAGE C;\n";

$ENV{PGE_BINDIR} = PgEnvelope::Versions::server(PostgreSQL::Test::Utils::tempdir_short() . '/root', %scripts);
my $node = PgEnvelope::Cluster->new('main', extension => 0);
$node->safe_psql('postgres', $_) for 'CREATE DATABASE installed', 'CREATE ROLE goes', 'CREATE ROLE stays', 'CREATE ROLE owner LOGIN', 'CREATE DATABASE live OWNER owner';
$node->safe_psql('installed', "CREATE EXTENSION pg_envelope VERSION '$current'");
my $installed = PgEnvelope::Versions::objects($node, 'installed');
cmp_ok(scalar(grep { /^(?:FUNCTION|PROCEDURE|TABLE|INDEX|TRIGGER|CONSTRAINT|ACL|COMMENT|mark for dumps) / } keys %$installed), '>', 150, 'its members are described');
for my $version (map { m{pg_envelope--([^-]+)\.sql$} && $1 ne $current ? $1 : () } glob "$FindBin::RealBin/../../pg_envelope--*.sql")
{
	is_deeply([ PgEnvelope::Versions::differences($installed, from($version, $current)) ], [], "$version updated to $current is a fresh $current");
}

# --- the next version, with data keys that live ---
$node->safe_psql('live', "CREATE EXTENSION pg_envelope VERSION '$current'");
PgEnvelope::Estate::make($node, 'live');
my $keys = PgEnvelope::Estate::keys($node, 'live');
my $values = PgEnvelope::Estate::values($node, 'live');
my $version = q{SELECT extversion FROM pg_extension WHERE extname = 'pg_envelope'};
$node->fails_with(q{ALTER EXTENSION pg_envelope UPDATE TO 'next'}, '42501', "the database's owner may not update it", dbname => 'live', user => 'owner');
my $err = $node->fails_with(q{ALTER EXTENSION pg_envelope UPDATE TO 'symbol'}, '42883', 'nor anybody to a version that the library is too old for', dbname => 'live');
like($err, qr/could not find function "envelope_of_a_later_library"/, 'which says so');
is($node->safe_psql('live', $version), $current, 'and nothing has changed');
is_deeply([ PgEnvelope::Versions::differences($installed, PgEnvelope::Versions::objects($node, 'live')) ], [], 'indeed');
is(PgEnvelope::Estate::keys($node, 'live'), $keys, 'no row either');
$node->safe_psql('live', q{BEGIN; ALTER EXTENSION pg_envelope UPDATE TO 'next'; ROLLBACK});
is_deeply([ PgEnvelope::Versions::differences($installed, PgEnvelope::Versions::objects($node, 'live')) ], [], 'one that is rolled back has not been');

my $session = $node->session(dbname => 'live');
is($session->query(q{SELECT envelope_decrypt(sealed, key_id, associated_data) FROM app.customers WHERE id = 1}), 'acme 1', 'a session opens values');
$node->safe_psql('live', q{ALTER EXTENSION pg_envelope UPDATE TO 'next'});
is($session->query(q{SELECT envelope_decrypt(sealed, key_id, associated_data) FROM app.customers WHERE id = 1}), 'acme 1', 'and goes on when it was updated');
$session->close;
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', q{CREATE EXTENSION pg_envelope VERSION 'next'});
my $fresh = PgEnvelope::Versions::objects($node, 'fresh');
is_deeply([ PgEnvelope::Versions::differences($fresh, PgEnvelope::Versions::objects($node, 'live')) ], [], 'updated under live data keys is a fresh install');
isnt(scalar(PgEnvelope::Versions::differences($installed, $fresh)), 0, 'which is another than before');
is($node->safe_psql('live', q{SELECT string_agg(note, ',' ORDER BY name) FROM envelope.kek}), 'of escrow,of main,of old', "the script's own UPDATE was done");
is(PgEnvelope::Estate::values($node, 'live'), $values, 'every value opens');
for my $attack ('TRUNCATE envelope.dek', 'DELETE FROM envelope.wrapping', 'DROP EXTENSION pg_envelope CASCADE', 'ALTER TABLE envelope.kek DISABLE TRIGGER envelope_guard',
	'ALTER TABLE envelope.kek DROP COLUMN note', 'ALTER TABLE envelope.dek ADD COLUMN note text', 'DROP TRIGGER envelope_guard ON envelope.kek',
	'ALTER EXTENSION pg_envelope DROP TABLE envelope.dek')
{
	$node->fails_with($attack, 'KE014', "the guards stand: $attack", dbname => 'live');
}
$node->fails_with(q{UPDATE envelope.dek SET check_value = sha256('x')}, '23001', 'and what never changes does not', dbname => 'live');
$node->restart;
is(PgEnvelope::Estate::values($node, 'live'), $values, 'every value opens after a restart');
PgEnvelope::Estate::use_all($node, 'live');

# --- the comparison sees each fault ---
is_deeply([ PgEnvelope::Versions::differences($fresh, from($current, 'next')) ], [], 'so is one without keys');
for my $script (sort keys %wrong)
{
	my @differences = PgEnvelope::Versions::differences($fresh, from($current, "wrong$script"));
	for my $fault (grep { $faults{$_}[0] == $script } sort keys %faults)
	{
		my $seen = grep { $_ =~ $faults{$fault}[3] } @differences;
		is($seen, 1, "it is found: $fault") or diag(join "\n", 'found:', @differences);
	}
}
$node->stop;
done_testing();

# The objects of a database that was updated.
sub from
{
	my ($old, $new) = @_;
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS updated', extra_params => [ '-q' ], on_error_stop => 1);
	$node->safe_psql('postgres', 'CREATE DATABASE updated' . ($old eq $current ? ' TEMPLATE installed' : ''));
	$node->safe_psql('updated', ($old eq $current ? '' : "CREATE EXTENSION pg_envelope VERSION '$old';") . "ALTER EXTENSION pg_envelope UPDATE TO '$new'");
	return PgEnvelope::Versions::objects($node, 'updated');
}
