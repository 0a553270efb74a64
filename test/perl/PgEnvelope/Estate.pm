# A database with everything in it that a keyring can hold, so that a test can say whether
# all of it has come over to another one.
#
#	PgEnvelope::Estate::make($node, 'app');	# in a database with the extension
#	PgEnvelope::Estate::keys($node, 'app');	# its rows, as text that can be compared
#	PgEnvelope::Estate::values($node, 'app');	# every value as it opens, likewise
#	PgEnvelope::Estate::use_all($node, 'app');	# what may still be done with the keys; tests
#
# It has three KEKs (old, main, escrow), one retired and one with two versions; keys of both
# algorithms with several versions, enabled, disabled, destroyed, compromised, under one KEK
# and under two; wrappings that are superseded; and grants to the roles goes and stays, which
# have to be there.  The values are in app.customers, which belongs to the database's owner.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Estate;

use strict;
use warnings FATAL => 'all';

use Test::More;

# A key that is not ASCII, in a database of any encoding, and a value that is not.
my $sons = q{convert_from('\x53c3b6686e65', 'UTF8')};
my $greeting = q{'Gr' || convert_from('\xc3bcc39f', 'UTF8') || 'e'};

# The values of key $key, which stands as an SQL expression, sealed by its version of now.
sub seal
{
	my ($key, $version, @values) = @_;
	return join '', map {
		qq{INSERT INTO app.customers (key_id, version, associated_data, sealed) SELECT k, $version, 'row ' || $version,
			envelope_encrypt($_, k, 'row ' || $version) FROM (SELECT $key AS k) x;\n}
	} @values;
}

sub make
{
	my ($node, $dbname) = @_;
	my $long = q{(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)};
	my @sql = (
		q{SET client_min_messages = error;
		CREATE SCHEMA app;
		CREATE TABLE app.customers (id serial PRIMARY KEY, key_id text NOT NULL, version int NOT NULL,
			associated_data text NOT NULL, sealed bytea CHECK (envelope_is_encrypted(sealed)));
		DO $$ BEGIN EXECUTE format('ALTER SCHEMA app OWNER TO %1$I; ALTER TABLE app.customers OWNER TO %1$I',
			(SELECT datdba::regrole::name FROM pg_database WHERE datname = current_database())); END $$;
		SELECT envelope_create_kek(k) FROM unnest(ARRAY['old', 'main', 'escrow']) k;
		SELECT envelope_create_key('acme', 'old'), envelope_create_key('compact', 'old', 'AES256_GCM', true),
			envelope_create_key('disabled', 'old'), envelope_create_key('gone', 'old'), envelope_create_key('leaked', 'old');},
		(map { seal("'$_'", 1, "'$_ 1'", "''") } qw(acme compact disabled gone leaked)),
		seal("'acme'", 1, $long, 'NULL'),
		# "old" is left behind, and "main" gets a second version
		q{SELECT rewrap_all('old', 'main');
		SELECT envelope_rotate_key(k) FROM unnest(ARRAY['acme', 'compact', 'leaked']) k;},
		(map { seal("'$_'", 2, "'$_ 2'") } qw(acme compact leaked)),
		qq{SELECT envelope_rotate_kek('main'); SELECT rewrap_all('main', 'main');
		SELECT envelope_create_key($sons, 'main');},
		seal($sons, 1, $greeting),
		# two KEKs for all that there is, one for what comes later
		q{SELECT rewrap_all('main', 'escrow', keep_old => true); SELECT envelope_rotate_key('acme');},
		seal("'acme'", 3, "'acme 3'"),
		qq{SELECT envelope_create_key('later', 'escrow', 'AES256_GCM');},
		seal("'later'", 1, "'later 1'"),
		q{SELECT envelope_disable_key(k) FROM unnest(ARRAY['disabled', 'gone']) k; SELECT envelope_destroy_key('gone');
		SELECT envelope_mark_compromised('leaked', 1);
		SELECT envelope_grant('acme', 'goes', '{encrypt,decrypt}'); SELECT envelope_grant('*', 'stays', '{decrypt}');
		INSERT INTO envelope.rewrap_result (run, old, new, dek_id, outcome) SELECT uuid, 'a', 'b', 1, 'failed' FROM envelope.keyring;});
	$node->safe_psql($dbname, join '', @sql);
	return;
}

# Each table with the name before each row.  The oids of roles mean nothing elsewhere.
sub keys
{
	my ($node, $dbname) = @_;
	return join "\n", map { $node->safe_psql($dbname, "SET client_encoding = 'UTF8'; SELECT '$_->[0]', $_->[1] FROM envelope.$_->[0] t ORDER BY 2, 3") }
	  [ 'keyring', 'uuid, 1' ], (map { [ $_, 't.*' ] } qw(kek key dek wrapping)), [ 'key_grant', 'key_id, role_name, rights' ];
}

# A line a value: what it is, and its bytes or why it does not open.
sub values
{
	my ($node, $dbname) = @_;
	return $node->safe_psql($dbname, q{
		SET client_encoding = 'UTF8';
		CREATE FUNCTION pg_temp.opened(app.customers) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			RETURN coalesce(encode(envelope_decrypt_bytea($1.sealed, $1.key_id, $1.associated_data), 'hex'), 'NULL');
		EXCEPTION WHEN OTHERS THEN
			RETURN SQLSTATE;
		END $$;
		SELECT id, key_id, version, pg_temp.opened(s) FROM app.customers s ORDER BY id});
}

# That the keys have not come over as a picture only.
sub use_all
{
	my ($node, $dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $uuid = $node->safe_psql($dbname, 'SELECT uuid FROM envelope.keyring');
	is($node->safe_psql($dbname, q{
		SET client_min_messages = error;
		SELECT envelope_rotate_key('acme'), envelope_rotate_key('later');
		SELECT envelope_enable_key('disabled');
		SELECT envelope_decrypt(sealed, key_id, associated_data) FROM app.customers WHERE key_id = 'disabled' ORDER BY id LIMIT 1;
		SELECT envelope_decrypt(envelope_encrypt('new', 'compact', 'x'), 'compact', 'x');
		SELECT envelope_create_kek('afterwards') LIKE 'local:%', envelope_create_key('afterwards', 'afterwards');
		SELECT outcome, count(*) FROM rewrap_all('escrow', 'afterwards') GROUP BY 1}),
		"4|2\n\ndisabled 1\nnew\nt|1\nrewrapped|12", "$dbname: its keys rotate, come back, seal, and move to a new KEK");
	is($node->safe_psql($dbname, q{SELECT array_agg(uuid) FROM envelope.keyring}), "{$uuid}", 'under the one uuid that came');
	$node->fails_with(q{SELECT envelope_create_key('gone', 'main')}, '42710', 'a destroyed name stays given', dbname => $dbname);
	return;
}

1;
