-- envelope_verify counts the values of a column by the data key that they need,
-- with nothing but the caller's own rights.
\set VERBOSITY terse
SET client_min_messages = error;
SELECT envelope_create_kek('verify_kek') IS NOT NULL AS made;
RESET client_min_messages;
SELECT envelope_create_key('verify a', 'verify_kek'), envelope_create_key('verify b', 'verify_kek');
CREATE SCHEMA "Verify me";
CREATE DOMAIN "Verify me".sealed AS bytea;
CREATE TABLE "Verify me"."a table" (id int, "a ""value" "Verify me".sealed, plain text, owner_name name DEFAULT current_user)
	PARTITION BY RANGE (id);
CREATE TABLE "Verify me".low PARTITION OF "Verify me"."a table" FOR VALUES FROM (0) TO (100);
CREATE TABLE "Verify me".high PARTITION OF "Verify me"."a table" FOR VALUES FROM (100) TO (1000);
INSERT INTO "Verify me"."a table" SELECT i, envelope_encrypt('x', 'verify a') FROM generate_series(90, 109) i;
SELECT envelope_rotate_key('verify a');
INSERT INTO "Verify me"."a table" SELECT i, envelope_encrypt(repeat('long ', 100000), 'verify a') FROM generate_series(110, 112) i;
INSERT INTO "Verify me"."a table" SELECT i, envelope_encrypt('y', 'verify b') FROM generate_series(120, 124) i;
INSERT INTO "Verify me"."a table" SELECT i, NULL FROM generate_series(130, 139) i;
-- of no key here, and no sealed values at all
SELECT min(n) AS stranger FROM generate_series(1, 100000) n WHERE n NOT IN (SELECT dek_id FROM envelope.dek) \gset
INSERT INTO "Verify me"."a table" SELECT i, '\x01'::bytea || decode(lpad(to_hex(:stranger), 8, '0'), 'hex') || convert_to(repeat('z', 40), 'UTF8') FROM generate_series(140, 142) i;
INSERT INTO "Verify me"."a table" VALUES (150, ''), (151, '\x01'), (152, 'in plain'), (153, '\x0100000000' || convert_to(repeat('z', 40), 'UTF8'));

PREPARE verify AS
  SELECT key_id, version, CASE WHEN dek_id = :stranger THEN 'the stranger' WHEN dek_id IS NULL THEN 'none' ELSE 'one of ours' END AS dek_id, state, sealed_values
  FROM envelope_verify('"Verify me"."a table"', 'a "value');
EXECUTE verify;
SELECT bool_and(d.dek_id IS NOT NULL) AS the_right_numbers
  FROM envelope_verify('"Verify me"."a table"', 'a "value') v LEFT JOIN envelope.dek d USING (dek_id, key_id, version) WHERE key_id IS NOT NULL;
-- one partition, a view, a temporary table
SELECT key_id, version, sealed_values FROM envelope_verify('"Verify me".low', 'a "value');
CREATE VIEW "Verify me".view AS SELECT "a ""value" AS r FROM "Verify me"."a table" WHERE id < 105;
SELECT key_id, version, sealed_values FROM envelope_verify('"Verify me".view', 'r');
CREATE TEMP TABLE verify_temp AS SELECT "a ""value"::bytea AS r FROM "Verify me"."a table" WHERE id < 92;
SELECT key_id, version, sealed_values FROM envelope_verify('verify_temp', 'r');
SELECT key_id, sealed_values FROM envelope_verify('verify_temp', 'r') WHERE false;
TRUNCATE verify_temp;
SELECT * FROM envelope_verify('verify_temp', 'r');
-- states
SELECT envelope_mark_compromised('verify a', 1);
SELECT envelope_disable_key('verify b');
EXECUTE verify;
SELECT envelope_enable_key('verify b');
-- nobody's search_path, operators or functions come in between
CREATE SCHEMA verify_trap;
CREATE FUNCTION verify_trap.envelope_is_encrypted(bytea) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION verify_trap.substr(bytea, int, int) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea';
CREATE FUNCTION verify_trap.count() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
SELECT nspname AS functions FROM pg_proc p JOIN pg_namespace n ON pronamespace = n.oid WHERE proname = 'envelope_verify' \gset
SET search_path = verify_trap, pg_catalog;
SELECT sum(sealed_values) FROM :"functions".envelope_verify('"Verify me"."a table"', 'a "value') WHERE state <> 'malformed';
RESET search_path;
-- in a parallel query's leader, and with workers of its own
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SELECT count(*) FROM "Verify me".high WHERE id > (SELECT min(sealed_values) FROM envelope_verify('"Verify me"."a table"', 'a "value'));
SELECT sum(sealed_values) FROM envelope_verify('"Verify me".high', 'a "value');
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;

-- rights: those on the column and, for what a key is called, on the key
CREATE ROLE regress_pge_verifier;
SET ROLE regress_pge_verifier;
EXECUTE verify;
RESET ROLE;
GRANT USAGE ON SCHEMA "Verify me" TO regress_pge_verifier;
GRANT SELECT (id, plain) ON "Verify me"."a table" TO regress_pge_verifier;
SET ROLE regress_pge_verifier;
EXECUTE verify;
RESET ROLE;
GRANT SELECT ("a ""value") ON "Verify me"."a table" TO regress_pge_verifier;
SET ROLE regress_pge_verifier;
SELECT key_id, version, state, sum(sealed_values) FROM envelope_verify('"Verify me"."a table"', 'a "value') GROUP BY 1, 2, 3 ORDER BY 4;
RESET ROLE;
SELECT envelope_grant('verify b', 'regress_pge_verifier', '{encrypt}');
ALTER TABLE "Verify me"."a table" ENABLE ROW LEVEL SECURITY;
CREATE POLICY part ON "Verify me"."a table" USING (id BETWEEN 112 AND 122);
SET ROLE regress_pge_verifier;
SELECT key_id, version, state, sealed_values FROM envelope_verify('"Verify me"."a table"', 'a "value');
RESET ROLE;

-- arguments
\set VERBOSITY default
SELECT * FROM envelope_verify('"Verify me"."a table"', 'plain');
SELECT * FROM envelope_verify('"Verify me"."a table"', 'nothing');
SELECT * FROM envelope_verify('"Verify me"."a table"', 'ctid');
SELECT * FROM envelope_verify(4294967295::oid::regclass, 'a');
SELECT * FROM envelope_verify(NULL, 'a');
SELECT * FROM envelope_verify('"Verify me"."a table"', NULL);
CREATE SEQUENCE "Verify me".sequence;
SELECT * FROM envelope_verify('"Verify me".sequence', 'last_value');

SET client_min_messages = warning;
SELECT envelope_revoke('verify b', 'regress_pge_verifier');
DROP SCHEMA "Verify me" CASCADE;
DROP SCHEMA verify_trap CASCADE;
DROP ROLE regress_pge_verifier;
