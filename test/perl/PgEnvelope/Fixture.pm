# What earlier versions wrote (test/fixtures), for tests that bring it into a server of now.
#
#	for my $version (PgEnvelope::Fixture::versions()) ...
#	PgEnvelope::Fixture::pinned($version)	# its files are as they were frozen; tests
#	my $node = PgEnvelope::Fixture::cluster('main', $version, 'scrypt');	# with its keyring and roles
#	PgEnvelope::Fixture::restore($node, 'db', $version)	# tests
#	PgEnvelope::Fixture::opens($node, 'db', $version, 'how')	# all of it, and what must not; tests
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Fixture;

use strict;
use warnings FATAL => 'all';

use Digest::SHA;
use File::Basename;
use File::Copy;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $place = "$top/test/fixtures";

# How many of its values open.
my $values = 10_000;

sub versions { return sort map { basename($_) } grep { -d } glob "$place/*"; }

sub file { my ($version, $name) = @_; return "$place/$version/$name"; }

# Bytes that nobody has changed since: else nothing that follows means anything.
sub pinned
{
	my ($version) = @_;
	my ($wrong, %pinned) = ('');
	for (split /\n/, slurp_file("$place/SHA256SUMS"))
	{
		my ($sum, $path) = /^([0-9a-f]{64})  (\S+)$/ or die "what is this line: $_";
		$pinned{$path} = 1;
		$wrong .= " $path" unless -f "$top/$path" && Digest::SHA->new(256)->addfile("$top/$path", 'b')->hexdigest eq $sum;
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($wrong, '', "$version: what is pinned in SHA256SUMS is as it was");
	is(join(' ', grep { !$pinned{$_} } "pg_envelope--$version.sql", map { "test/fixtures/$version/" . basename($_) } glob "$place/$version/*"),
		'', "$version: and all of it is pinned");
	return;
}

# A server with the keyring of that version, in either protection, and the roles of its dump.
sub cluster
{
	my ($name, $version, $protection, %settings) = @_;
	my $passphrase = file($version, 'passphrase');
	my $node = PgEnvelope::Cluster->new($name, start => 0, plain_keyring => 1,
		'pg_envelope.keyring_passphrase_command' => "cat \"$passphrase\"", %settings);
	copy(file($version, "keyring.$protection"), $node->keyring_file) or die "keyring: $!";
	chmod 0600, $node->keyring_file;
	$node->start;
	$node->safe_psql('postgres', slurp_file(file($version, 'roles.sql')));
	return $node;
}

# $extension: the version that the database has already when the dump comes.
sub restore
{
	my ($node, $dbname, $version, $extension) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $dbname OWNER fixture_owner TEMPLATE template0 ENCODING 'UTF8'");
	$node->safe_psql($dbname, "CREATE EXTENSION pg_envelope VERSION '$extension'") if defined $extension;
	my ($out, $err) = run_command([ $node->installed_command('psql'), '-X', '-q', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr($dbname), '-f', file($version, 'dump.sql') ]);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	# (One comes of CREATE EXTENSION IF NOT EXISTS.)
	is($err =~ s/^psql:\S+ NOTICE:  extension "pg_envelope" already exists, skipping\n?//mr, '', "$dbname: the dump of $version is restored without a warning");
	return;
}

# Every value opens to what it was, by the functions and the view that the dump names; what
# must not is refused; and the headers tell the same story.
sub opens
{
	my ($node, $dbname, $version, $how) = @_;
	my $expected = file($version, 'expected.tsv');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($got, $err) = $node->try(qq{
		CREATE TEMP TABLE expected (name text, id integer, outcome text, enabled text);
		\\copy expected FROM '$expected'
		SELECT count(*) FROM expected e FULL JOIN app.opened o ON e.id = o.id WHERE e.name = 'sealed' AND encode(o.plain, 'hex') = e.outcome;
		SELECT count(*) FROM app.sealed;
		CREATE FUNCTION pg_temp.refusal(r app.refused) RETURNS text LANGUAGE plpgsql AS \$\$
		BEGIN
			IF r.associated_data IS NULL THEN PERFORM envelope_decrypt_bytea(r.sealed, r.key_id);
			ELSE PERFORM envelope_decrypt_bytea(r.sealed, r.key_id, r.associated_data);
			END IF;
			RETURN 'opens';
		EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE;
		END \$\$;
		CREATE TEMP TABLE refusal AS SELECT id, why, pg_temp.refusal(r) AS outcome FROM app.refused r;
		SELECT string_agg(r.id || ' (' || r.why || '): ' || r.outcome || ', not ' || coalesce(e.outcome, 'known'), '; ')
		FROM refusal r LEFT JOIN expected e ON e.name = 'refused' AND e.id = r.id WHERE r.outcome IS DISTINCT FROM e.outcome;
		SELECT count(*) > 0, count(*) = (SELECT count(*) FROM expected WHERE name = 'refused') FROM refusal WHERE outcome ~ '^(KE00[1-5]|22023)\$';
		SELECT string_agg(uuid::text, ',') = (SELECT outcome FROM expected WHERE name = 'keyring') FROM envelope.keyring;
		SELECT string_agg(DISTINCT state, ',' ORDER BY state), sum(sealed_values) FROM envelope_verify('app.sealed', 'sealed');
		SELECT count(*) FROM (SELECT key_id, version, count(*) FROM app.sealed GROUP BY 1, 2 EXCEPT
			SELECT key_id, version, sealed_values FROM envelope_verify('app.sealed', 'sealed')) x}, dbname => $dbname);
	is($got, "$values\n$values\n\nt|t\nt\nactive,compromised,retired|$values\n0",
		"$how: of $version $values values open to what they were, what must not is refused, the uuid and the data keys are the same") or diag($err);
	return;
}

1;
