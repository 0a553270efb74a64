# What any earlier version wrote is restored and opened by this one, for ever: its dump, its
# keyring file in both protections, its exported keys, its sealed values of both algorithms;
# under the version's own SQL objects (a library that is newer than they are serves them), and
# after ALTER EXTENSION UPDATE.  What did not open then does not open now.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::Fixture;
use PgEnvelope::Versions;
use PostgreSQL::Test::Utils;
use Test::More;

my $current = PgEnvelope::Versions::default_version();
my @versions = PgEnvelope::Fixture::versions();
cmp_ok(scalar @versions, '>=', 1, "there are fixtures: @versions");
# A version after this one, so that there is one to update to.
$ENV{PGE_BINDIR} = PgEnvelope::Versions::server(PostgreSQL::Test::Utils::tempdir_short() . '/root', "pg_envelope--$current--next.sql" =>
	  qq{ALTER TABLE envelope.dek ADD COLUMN note text NOT NULL DEFAULT 'old';\nUPDATE envelope.wrapping SET created = created;\n});
for my $version (@versions)
{
	PgEnvelope::Fixture::pinned($version);
	my $node = PgEnvelope::Fixture::cluster('main', $version, 'scrypt');

	# As everybody restores it: the newest version's objects.
	PgEnvelope::Fixture::restore($node, 'restored', $version);
	PgEnvelope::Fixture::opens($node, 'restored', $version, "restored into $current");

	# Before ALTER EXTENSION UPDATE, and after.
	PgEnvelope::Fixture::restore($node, 'updated', $version, $version);
	PgEnvelope::Fixture::opens($node, 'updated', $version, "under the SQL of $version") if $version ne $current;
	$node->safe_psql('updated', q{ALTER EXTENSION pg_envelope UPDATE TO 'next'});
	PgEnvelope::Fixture::opens($node, 'updated', $version, "updated from $version to what follows $current");
	goes_on($node, 'restored', $version);
	imported($node, $version);
	$node->stop;
}
done_testing();

# The keys are no picture: rights, states, rotation, rewraps, from every KEK.
sub goes_on
{
	my ($node, $dbname, $version) = @_;
	is($node->safe_psql($dbname, q{SET ROLE fixture_reader; SELECT count(envelope_decrypt_bytea(sealed, key_id, associated_data)) > 0 FROM app.sealed WHERE key_id = 'acme' AND bound}),
		't', "$version: a right to a key is one");
	$node->fails_with(q{SET ROLE fixture_reader; SELECT envelope_decrypt(sealed, key_id) FROM app.sealed WHERE key_id = 'visitor' AND NOT bound LIMIT 1}, '42501',
		"$version: and to none but that", dbname => $dbname);
	$node->fails_with(q{SET ROLE fixture_reader; SELECT envelope_encrypt('x', 'acme')}, '42501', "$version: nor to seal", dbname => $dbname);
	$node->fails_with(q{INSERT INTO app.sealed VALUES (0, 'acme', 1, 'text', false, DEFAULT, '\x00')}, '23514', "$version: the domain's CHECK looks at headers", dbname => $dbname);
	$node->fails_with(q{SELECT envelope_create_key('gone', 'main')}, '42710', "$version: a destroyed name stays given", dbname => $dbname);
	is($node->safe_psql($dbname, qq{
		SELECT envelope_enable_key('off');
		CREATE TEMP TABLE expected (name text, id integer, outcome text, enabled text);
		\\copy expected FROM '@{[ PgEnvelope::Fixture::file($version, 'expected.tsv') ]}'
		SELECT count(*) > 0, count(*) = count(*) FILTER (WHERE encode(envelope_decrypt_bytea(r.sealed, r.key_id, r.associated_data), 'hex') = e.enabled)
		FROM app.refused r JOIN expected e ON e.name = 'refused' AND e.id = r.id AND e.outcome = 'KE004';
		SELECT envelope_disable_key('off')}), "\nt|t\n", "$version: a disabled key comes back");
	is($node->safe_psql($dbname, q{SET client_min_messages = error;
		SET ROLE fixture_admin;
		SELECT envelope_rotate_key(k) FROM unnest('{acme,compact,leaked,visitor}'::text[]) k;
		SELECT envelope_create_kek('afterwards') LIKE 'local:%';
		SELECT DISTINCT outcome FROM unnest('{escrow,visitor,main}'::text[]) k, rewrap_all(k, 'afterwards') ORDER BY 1;
		SELECT count(*) FROM envelope.wrapping WHERE superseded IS NULL AND kek <> 'afterwards'}),
		"4\n3\n3\n3\nt\nalready\nrewrapped\n0", "$version: keys rotate, and all move to a new KEK");
	$node->restart;
	PgEnvelope::Fixture::opens($node, $dbname, $version, 'rotated, rewrapped, restarted');
	return;
}

# Another cluster, whose keyring is in the plain protection, takes the exported document, and
# opens the values that it explains.
sub imported
{
	my ($source, $version) = @_;
	my $file = $source->basedir . '/values';
	$source->safe_psql('restored', "\\copy (SELECT id, key_id, version, kind, bound, sealed FROM app.sealed ORDER BY id) TO '$file'");
	my $target = PgEnvelope::Fixture::cluster('target', $version, 'plain');
	my $document = slurp_file(PgEnvelope::Fixture::file($version, 'document.json'));
	$target->create_extension;
	my ($table) = slurp_file(PgEnvelope::Fixture::file($version, 'dump.sql')) =~ /^CREATE TABLE app\.sealed (\(.*?^\));/ms;
	my ($outcome, $err) = $target->try("SELECT DISTINCT outcome FROM envelope_import_keyring(\$document\$$document\$document\$)");
	is($outcome, 'imported', "$version: its exported keys are imported") or diag($err);
	($outcome, $err) = $target->try(qq{CREATE SCHEMA app;
		CREATE TABLE app.sealed @{[ $table =~ s/app\.sealed_value/bytea/r ]};
		\\copy app.sealed (id, key_id, version, kind, bound, sealed) FROM '$file'
		CREATE TABLE expected (name text, id integer, outcome text, enabled text);
		\\copy expected FROM '@{[ PgEnvelope::Fixture::file($version, 'expected.tsv') ]}'
		SELECT count(*) FROM app.sealed s JOIN expected e ON e.name = 'sealed' AND e.id = s.id WHERE e.outcome =
			encode(CASE WHEN bound THEN envelope_decrypt_bytea(sealed, key_id, associated_data) ELSE envelope_decrypt_bytea(sealed, key_id) END, 'hex')});
	is($outcome, '10000', "$version: and all of its values open there") or diag($err);
	$target->stop;
	return;
}
