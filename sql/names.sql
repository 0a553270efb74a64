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

-- What each function says of each kind of name.  No message, detail or hint may
-- hold a control character, an invisible one, or 10,000 characters.
CREATE TABLE bad_name (kind text PRIMARY KEY, name text);
INSERT INTO bad_name VALUES ('newline', E'x\nLOG:  forged'), ('carriage return', E'x\rERROR:  forged'), ('escape', E'x\x1b[2Jforged'), ('delete', E'x\x7f'),
	('C1', U&'x\009b2J'), ('long', repeat('x', 10000)), ('longer', repeat('é', 1000000)), ('star', '*'), ('empty', ''), ('zero width', U&'ac\200Bme'), ('turned round', U&'x\202Egpj.exe'),
	('line separator', U&'x\2028y'), ('byte order mark', U&'\FEFFx'), ('soft hyphen', U&'ac\00ADme'), ('filler', U&'\3164'), ('tag', U&'x\+0E0041'),
	('quotes', $$it's "quoted" \' ; -- %s$$), ('joiner', U&'\0645\06CC\200C\062E'), ('URI', 'local:00000000-0000-4000-8000-000000000000'), ('https', 'https://acme.example/?a=b&c'), ('colon', 'Mandant: 7'), ('word and colon', 'tenant:7');
CREATE FUNCTION bad_name_answer(f text, n text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text;
BEGIN
	BEGIN
		EXECUTE format(f, n);
		RAISE EXCEPTION USING ERRCODE = 'UN000';	-- undo it
	EXCEPTION WHEN SQLSTATE 'UN000' THEN
		RETURN 'done';
	END;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	IF m || d || h ~ U&'[\0001-\001f\007f-\009f\00AD\200B\2028\202E\3164\FEFF\+0E0041]' OR length(m || d || h) > 800 THEN
		RETURN 'FORGED ' || SQLSTATE;
	END IF;
	RETURN SQLSTATE || CASE WHEN h = '' THEN ', no hint: ' ELSE ': ' END || replace(replace(m, n, '#'), left(n, 100), '#');
END $$;
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only on
\echo create_key:
SELECT string_agg(kind, ', ' ORDER BY kind COLLATE "C"), answer FROM (SELECT kind, bad_name_answer('SELECT envelope_create_key(%L, ''names_kek'')', name) COLLATE "C" AS answer FROM bad_name) s GROUP BY answer ORDER BY answer;
\echo create_kek:
SELECT string_agg(kind, ', ' ORDER BY kind COLLATE "C"), answer FROM (SELECT kind, bad_name_answer('SELECT envelope_create_kek(%L)', name) COLLATE "C" AS answer FROM bad_name) s GROUP BY answer ORDER BY answer;
\echo under_kek:
SELECT string_agg(kind, ', ' ORDER BY kind COLLATE "C"), answer FROM (SELECT kind, bad_name_answer('SELECT envelope_create_key(''names'', %L)', name) COLLATE "C" AS answer FROM bad_name) s GROUP BY answer ORDER BY answer;
\echo uri:
SELECT string_agg(kind, ', ' ORDER BY kind COLLATE "C"), answer FROM (SELECT kind, bad_name_answer('SELECT envelope_create_kek(''names_uri'', %L)', name) COLLATE "C" AS answer FROM bad_name) s GROUP BY answer ORDER BY answer;
\echo alter_kek and destroy_kek, uri:
SELECT string_agg(kind, ', ' ORDER BY kind COLLATE "C"), answer FROM (SELECT kind, regexp_replace(bad_name_answer('SELECT envelope_alter_kek(''names_kek'', %L)', name), 'local:[0-9a-f-]{36}', 'local:#') COLLATE "C" AS answer FROM bad_name) s GROUP BY answer ORDER BY answer;
SELECT string_agg(kind, ', ' ORDER BY kind COLLATE "C"), answer FROM (SELECT kind, regexp_replace(bad_name_answer('SELECT envelope_destroy_kek(''names_kek'', %L)', name), 'local:[0-9a-f-]{36}', 'local:#') COLLATE "C" AS answer FROM bad_name) s GROUP BY answer ORDER BY answer;
\echo algorithm:
SELECT string_agg(kind, ', ' ORDER BY kind COLLATE "C"), answer FROM (SELECT kind, bad_name_answer('SELECT envelope_create_key(''names'', ''names_kek'', %L)', name) COLLATE "C" AS answer FROM bad_name) s GROUP BY answer ORDER BY answer;
\echo rights:
SELECT string_agg(kind, ', ' ORDER BY kind COLLATE "C"), answer FROM (SELECT kind, bad_name_answer('SELECT envelope_grant(''names_path'', current_user, ARRAY[%L])', name) COLLATE "C" AS answer FROM bad_name) s GROUP BY answer ORDER BY answer;
-- a key that does not exist, a KEK that does not exist: one answer for all names
CREATE TABLE bad_name_said AS
	SELECT f, kind, regexp_replace(bad_name_answer(f, name), '"[^#].*"', '"#"') AS answer FROM bad_name, unnest(ARRAY['SELECT envelope_encrypt(''v'', %L)', 'SELECT envelope_encrypt_bytea(''v'', %L)', 'SELECT envelope_encrypt(''v'', %L, ''bound'')',
	'SELECT envelope_rotate_key(%L)', 'SELECT envelope_disable_key(%L)', 'SELECT envelope_enable_key(%L)', 'SELECT envelope_destroy_key(%L)', 'SELECT envelope_mark_compromised(%L, 1)',
	'SELECT envelope_cache_flush(%L)', 'SELECT envelope_prewarm(ARRAY[%L])', 'SELECT envelope_grant(%L, current_user, ''{decrypt}'')', 'SELECT envelope_revoke(%L, current_user)',
	'SELECT envelope_decrypt(envelope_encrypt(''v'', ''names_path''), %L)', 'SELECT envelope_decrypt_bytea(envelope_encrypt(''v'', ''names_path''), %L)', 'SELECT envelope_reencrypt(envelope_encrypt(''v'', ''names_path''), %L)',
	'SELECT envelope_enable_kek(%L)', 'SELECT envelope_rotate_kek(%L)', 'SELECT envelope_destroy_kek(%L, ''local:x'')', 'SELECT envelope_alter_kek(%L, ''local:x'')', 'SELECT rewrap_all(%L, ''names_kek'')', 'SELECT rewrap_all(''names_kek'', %L)', 'SELECT rewrap_all(''names_kek'', %L, dry_run => true)']) f;
SELECT f, kinds, answer FROM (SELECT f COLLATE "C" AS f, answer COLLATE "C" AS answer,
		CASE WHEN count(*) > 10 THEN 'all others' ELSE string_agg(kind, ', ' ORDER BY kind COLLATE "C") END AS kinds FROM bad_name_said GROUP BY 1, 2) s ORDER BY f, answer;
\pset format aligned
\pset tuples_only off
SELECT count(*) AS forged FROM bad_name_said WHERE answer LIKE 'FORGED%';
RESET client_min_messages;
DROP FUNCTION bad_name_answer;
DROP TABLE bad_name, bad_name_said;
