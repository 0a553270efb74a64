-- What postgres_fdw may send to another server is not ours to open or seal there:
-- values come and go sealed, and the keys are needed here.
CREATE EXTENSION postgres_fdw;
CREATE SERVER regress_pge_far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (extensions 'pg_envelope');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_pge_far;
CREATE FOREIGN TABLE far (id int, ssn bytea) SERVER regress_pge_far OPTIONS (schema_name 'public', table_name 'customers');
-- (the control: this one is immutable, needs no key, and is sent)
EXPLAIN (VERBOSE, COSTS off) SELECT id FROM far WHERE envelope_is_encrypted(ssn);
EXPLAIN (VERBOSE, COSTS off) SELECT envelope_decrypt(ssn, 'acme') FROM far WHERE envelope_decrypt(ssn, 'acme', id::text) = 'x';
EXPLAIN (VERBOSE, COSTS off) SELECT id FROM far WHERE envelope_decrypt_bytea(ssn) = 'x' AND (envelope_key_info(ssn)).version = 1;
EXPLAIN (VERBOSE, COSTS off) UPDATE far SET ssn = envelope_reencrypt(ssn, 'acme');
EXPLAIN (VERBOSE, COSTS off) DELETE FROM far WHERE envelope_decrypt(ssn, 'acme') = 'x';
EXPLAIN (VERBOSE, COSTS off) UPDATE far SET ssn = envelope_encrypt('x', 'acme') WHERE id = 1;
SET client_min_messages = warning;
DROP SERVER regress_pge_far CASCADE;
DROP EXTENSION postgres_fdw;
