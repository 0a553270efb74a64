-- A key_id is 1 to 255 bytes of UTF-8 without control characters.
SET client_min_messages = error;
SELECT envelope_create_kek('names_kek') IS NOT NULL AS made;
RESET client_min_messages;
\set VERBOSITY terse
SELECT envelope_create_key(repeat('n', 255), 'names_kek');
SELECT envelope_create_key(repeat('n', 256), 'names_kek');
\echo :LAST_ERROR_SQLSTATE
-- bytes count, not characters
SELECT envelope_create_key(repeat('é', 127), 'names_kek');
SELECT envelope_create_key(repeat('é', 128), 'names_kek');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key('', 'names_kek');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key(E'a\tb', 'names_kek');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key(E'a\x7f', 'names_kek');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key(U&'a\0085', 'names_kek');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key('*', 'names_kek');
\echo :LAST_ERROR_SQLSTATE
-- a space, a quote and case are ordinary
SELECT envelope_create_key(' O''Neill & Söhne ', 'names_kek');
SELECT envelope_create_key(' o''neill & söhne ', 'names_kek');
-- arguments
SELECT envelope_create_key('names', 'names_kek', 'AES128_GCM');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key('names', 'no such kek');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key(NULL, 'names_kek');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key('names', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key('names', 'names_kek', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key('names', 'names_kek', require_associated_data => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_rotate_key('no such key');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_mark_compromised('no such key', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_mark_compromised(repeat('n', 255), NULL);
\echo :LAST_ERROR_SQLSTATE
-- the caller's search_path chooses none of our names
CREATE SCHEMA names_trap;
CREATE FUNCTION names_trap.eq(text, text) RETURNS boolean LANGUAGE plpgsql
	AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR names_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = names_trap.eq);
CREATE FUNCTION names_trap.now() RETURNS timestamptz LANGUAGE plpgsql
	AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
SELECT current_setting('search_path') AS path \gset
SELECT set_config('search_path', 'names_trap, pg_catalog, public', false);
SELECT envelope_create_key('names_path', 'names_kek');
SELECT envelope_rotate_key('names_path');
SELECT envelope_grant('names_path', current_user, '{decrypt}');
SELECT envelope_revoke('names_path', current_user, '{decrypt}');
SELECT envelope_disable_key('names_path');
SELECT envelope_enable_key('names_path');
SELECT set_config('search_path', :'path', false) IS NOT NULL AS reset;
DROP SCHEMA names_trap CASCADE;
