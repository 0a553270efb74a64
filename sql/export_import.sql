-- Keys move to another database as a document: what it seals at the one opens at
-- the other, and nothing in a document is believed before it opens.
\set VERBOSITY terse
\set QUIET on
SELECT current_database() AS source \gset
CREATE ROLE regress_pge_mover;
CREATE ROLE regress_pge_manager;
SET client_min_messages = error;
SELECT envelope_create_kek('move_kek') IS NOT NULL AS made;
SELECT envelope_create_kek('move_other') AS other_uri \gset
RESET client_min_messages;
SELECT envelope_create_key('move acme', 'move_kek'), envelope_rotate_key('move acme');
SELECT envelope_create_key('move beta', 'move_kek', 'AES256_GCM', true);
SELECT envelope_create_key('move gone', 'move_other');
SELECT envelope_disable_key('move gone');
SET client_min_messages = warning;
SELECT envelope_destroy_key('move gone');
RESET client_min_messages;
SELECT envelope_mark_compromised('move acme', 1);
SELECT count(*) AS in_two FROM rewrap_all('move_kek', 'move_other', keep_old => true) \gset
SELECT envelope_encrypt('of acme', 'move acme') AS acme, envelope_encrypt('of beta', 'move beta', 'row 1') AS beta \gset
\set VERBOSITY default

-- who may export what
GRANT EXECUTE ON FUNCTION envelope_export_keyring, envelope_import_keyring TO regress_pge_manager;
SET ROLE regress_pge_mover;
SELECT envelope_export_keyring('{move acme}');
SET ROLE regress_pge_manager;
SELECT envelope_export_keyring('{move acme}');
SELECT envelope_export_keyring();
RESET ROLE;
SELECT envelope_grant('move acme', 'regress_pge_manager', '{encrypt,decrypt}');
SET ROLE regress_pge_manager;
SELECT envelope_export_keyring('{move acme}');
RESET ROLE;
SELECT envelope_grant('move acme', 'regress_pge_manager', '{manage}');
SET ROLE regress_pge_manager;
SELECT jsonb_array_length(envelope_export_keyring('{move acme}') -> 'keys') AS keys;
SELECT envelope_export_keyring('{move acme,move beta}');
SELECT envelope_export_keyring();
RESET ROLE;
SELECT envelope_grant('*', 'regress_pge_manager', '{manage}');
SET ROLE regress_pge_manager;
SELECT jsonb_array_length(envelope_export_keyring() -> 'keys') > 2 AS all_keys;
RESET ROLE;
SELECT envelope_export_keyring('{move acme,move nobody}');
SELECT envelope_export_keyring('{move acme,NULL}');
SELECT envelope_export_keyring('{}') - 'keyring' AS of_no_key;

-- the document: all fields, in an order of its own, and no word more
SELECT envelope_export_keyring('{move gone,move beta,move acme,move acme}') AS document \gset
SELECT k ->> 'key_id' AS key_id, k ->> 'kek' AS kek, k ->> 'algorithm' AS algorithm,
	   k ->> 'require_associated_data' AS ad, k ->> 'state' AS state,
	   d ->> 'version' AS version, d ->> 'state' AS dek_state, jsonb_array_length(d -> 'wrappings') AS wrappings
  FROM jsonb_array_elements(:'document'::jsonb -> 'keys') k, jsonb_array_elements(k -> 'deks') d;
SELECT k ->> 'name' AS name, k ->> 'uri' LIKE 'local:%' AS local, k ->> 'state' AS state, k -> 'versions' AS versions
  FROM jsonb_array_elements(:'document'::jsonb -> 'keks') k;
SELECT (SELECT array_agg(x ORDER BY x) FROM jsonb_object_keys(d) x) AS document_fields,
	   (SELECT array_agg(x ORDER BY x) FROM jsonb_object_keys(d #> '{keys,0}') x) AS key_fields,
	   (SELECT array_agg(x ORDER BY x) FROM jsonb_object_keys(d #> '{keys,0,deks,0}') x) AS dek_fields,
	   (SELECT array_agg(x ORDER BY x) FROM jsonb_object_keys(d #> '{keys,0,deks,0,wrappings,0}') x) AS wrapping_fields
  FROM (SELECT :'document'::jsonb AS d) s \gx
SELECT :'document'::jsonb = envelope_export_keyring('{move acme,move beta,move gone}') AS the_same_again;
BEGIN READ ONLY;
SELECT :'document'::jsonb = envelope_export_keyring('{move acme,move beta,move gone}') AS read_only_too;
COMMIT;
-- what is not committed yet is its own transaction's
SELECT envelope_create_key('move late', 'move_kek');
BEGIN;
SELECT envelope_create_key('move uncommitted', 'move_kek');
SELECT envelope_export_keyring('{move uncommitted}') #> '{keys,0,deks,0,version}' AS its_own;
ROLLBACK;
-- half a key does not pass for one
BEGIN;
INSERT INTO envelope.dek SELECT (SELECT max(dek_id) + 1 FROM envelope.dek WHERE dek_id < 4294967295), key_id, 2, purpose, algorithm, keyring, check_value, 'retired', created
  FROM envelope.dek WHERE key_id = 'move late';
SELECT envelope_export_keyring('{move late}');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

CREATE DATABASE regress_pge_target;
\c regress_pge_target
CREATE EXTENSION pg_envelope;
-- who may import
SET ROLE regress_pge_manager;
SELECT * FROM envelope_import_keyring(:'document');
RESET ROLE;
GRANT EXECUTE ON FUNCTION envelope_export_keyring, envelope_import_keyring TO regress_pge_manager;

-- hostile documents: each is refused with what is wrong, and leaves nothing
CREATE TABLE hostile (n serial, label text, document jsonb);
INSERT INTO hostile (label, document) SELECT label, document::jsonb FROM (VALUES
	('no object', '[]'), ('a text', '"pg_envelope keyring"'), ('null', 'null'), ('empty', '{}')) v(label, document);
INSERT INTO hostile (label, document) SELECT label, jsonb_set(:'document', path::text[], value::jsonb) FROM (VALUES
	('another format', '{format}', '"keyset"'),
	('format of a number', '{format}', '1'),
	('a later version', '{version}', '2'),
	('version 0', '{version}', '0'),
	('version of half', '{version}', '1.5'),
	('a keyring that is none', '{keyring}', '"main"'),
	('an unknown field', '{more}', '1'),
	('keks of a text', '{keks}', '"x"'),
	('keks null', '{keks}', 'null'),
	('no keks', '{keks}', '[]'),
	('keks of numbers', '{keks}', '[1]'),
	('a KEK name of nothing', '{keks,0,name}', '""'),
	('a KEK name too long', '{keks,0,name}', to_json(repeat('x', 64))::text),
	('a KEK name with a line', '{keks,0,name}', '"a\nb"'),
	('a KEK name that is a URI', '{keks,0,name}', '"local:x"'),
	('a KEK twice', '{keks,1,name}', '"move_kek"'),
	('a URI with a space', '{keks,0,uri}', '"local: x"'),
	('a URI too long', '{keks,0,uri}', to_json(repeat('x', 1025))::text),
	('a KEK state', '{keks,0,state}', '"active"'),
	('a KEK destroyed', '{keks,0,state}', '"destroyed"'),
	('versions of a text', '{keks,0,versions}', '"1"'),
	('an unknown field of a KEK', '{keks,0,key}', '"secret"'),
	('keys of an object', '{keys}', '{}'),
	('keys of null', '{keys}', '[null]'),
	('a key_id null', '{keys,0,key_id}', 'null'),
	('a key_id of nothing', '{keys,0,key_id}', '""'),
	('a key_id with a line', '{keys,0,key_id}', '"a\nb"'),
	('a key_id unseen', '{keys,0,key_id}', '"acme\u200b"'),
	('a key_id too long', '{keys,0,key_id}', to_json(repeat('x', 256))::text),
	('a key_id of all', '{keys,0,key_id}', '"*"'),
	('a key twice', '{keys,0,key_id}', '"move beta"'),
	('a KEK that is not there', '{keys,0,kek}', '"other"'),
	('an algorithm', '{keys,0,algorithm}', '"AES128"'),
	('associated data of a text', '{keys,0,require_associated_data}', '"true"'),
	('a key state', '{keys,0,state}', '"active"'),
	('a key destroyed', '{keys,0,state}', '"destroyed"'),
	('no deks', '{keys,0,deks}', '[]'),
	('deks null', '{keys,0,deks}', 'null'),
	('dek_id 0', '{keys,0,deks,0,dek_id}', '0'),
	('dek_id -1', '{keys,0,deks,0,dek_id}', '-1'),
	('dek_id 2^32', '{keys,0,deks,0,dek_id}', '4294967296'),
	('dek_id 1e30', '{keys,0,deks,0,dek_id}', '1e30'),
	('dek_id of a text', '{keys,0,deks,0,dek_id}', '"1"'),
	('dek version 0', '{keys,0,deks,0,version}', '0'),
	('dek version 2^32', '{keys,0,deks,0,version}', '4294967296'),
	('dek version twice', '{keys,0,deks,0,version}', '2'),
	('dek version backwards', '{keys,0,deks,0,version}', '3'),
	('two active', '{keys,0,deks,0,state}', '"active"'),
	('a dek state', '{keys,0,deks,0,state}', '"enabled"'),
	('a dek destroyed', '{keys,0,deks,0,state}', '"destroyed"'),
	('a destroyed one alive', '{keys,2,deks,0,state}', '"retired"'),
	('a live one unwrapped', '{keys,0,deks,0,wrappings}', '[]'),
	('a purpose', '{keys,0,deks,0,purpose}', '"mac"'),
	('a dek algorithm', '{keys,0,deks,0,algorithm}', 'true'),
	('a dek keyring', '{keys,0,deks,0,keyring}', '"00000000-0000-0000-0000-00000000000g"'),
	('a dek keyring in braces', '{keys,0,deks,0,keyring}', '"{00000000-0000-0000-0000-0000000000}"'),
	('a check value too short', '{keys,0,deks,0,check_value}', '"00"'),
	('a check value of letters', '{keys,0,deks,0,check_value}', to_json(repeat('zz', 32))::text),
	('created never', '{keys,0,deks,0,created}', '"infinity"'),
	('created some day', '{keys,0,deks,0,created}', '"2026-13-41T25:00:00.000000Z"'),
	('an unknown field of a dek', '{keys,0,deks,0,dek}', '"00"'),
	('wrappings of a text', '{keys,0,deks,0,wrappings}', '"x"'),
	('seq 0', '{keys,0,deks,0,wrappings,0,seq}', '0'),
	('seq twice', '{keys,0,deks,0,wrappings,1,seq}', '1'),
	('wrapped twice by one KEK', '{keys,0,deks,0,wrappings,1,kek}', '"move_kek"'),
	('wrapped by nobody', '{keys,0,deks,0,wrappings,0,kek}', '"nobody"'),
	('a KEK version too long', '{keys,0,deks,0,wrappings,0,kek_version}', to_json(repeat('1', 129))::text),
	('a KEK version with a line', '{keys,0,deks,0,wrappings,0,kek_version}', '"1\n"'),
	('wrapped in nothing', '{keys,0,deks,0,wrappings,0,wrapped}', '""'),
	('wrapped too long', '{keys,0,deks,0,wrappings,0,wrapped}', to_json(repeat('00', 8193))::text),
	('wrapped oddly', '{keys,0,deks,0,wrappings,0,wrapped}', '"0101000"'),
	('wrapped null', '{keys,0,deks,0,wrappings,0,wrapped}', 'null')
	) v(label, path, value);
INSERT INTO hostile (label, document) SELECT 'without ' || path, :'document'::jsonb #- path::text[] FROM unnest(ARRAY[
	'{format}', '{version}', '{keyring}', '{keks}', '{keys}', '{keks,0,uri}', '{keks,0,versions}', '{keys,0,kek}', '{keys,0,deks}',
	'{keys,0,require_associated_data}', '{keys,0,deks,0,created}', '{keys,0,deks,0,wrappings}', '{keys,0,deks,0,wrappings,0,seq}']) path;
INSERT INTO hostile (label, document) SELECT 'a dek_id twice', jsonb_set(:'document', '{keys,0,deks,0,dek_id}', :'document'::jsonb #> '{keys,1,deks,0,dek_id}');
INSERT INTO hostile (label, document) SELECT 'many wrappings', jsonb_set(:'document', '{keys,0,deks,0,wrappings}',
	(SELECT jsonb_agg(jsonb_set(:'document'::jsonb #> '{keys,0,deks,0,wrappings,0}', '{seq}', to_jsonb(i))) FROM generate_series(1, 9) i));
INSERT INTO hostile (label, document) SELECT 'deep', (repeat('[', 5000) || repeat(']', 5000))::jsonb;
INSERT INTO hostile (label, document) SELECT 'very many ' || field, jsonb_set(:'document', path, ('[' || repeat('{},', 50000) || '{}]')::jsonb)
  FROM (VALUES ('keys', '{keys}'::text[]), ('deks', '{keys,0,deks}')) v(field, path);
-- what opens only as it was
INSERT INTO hostile (label, document) SELECT 'changed ' || path, jsonb_set(:'document', path::text[], value::jsonb) FROM (VALUES
	('{keys,0,key_id}', '"move mine"'),
	('{keys,0,deks,0,dek_id}', '4294967295'),
	('{keys,0,deks,1,version}', '7'),
	('{keys,1,deks,0,algorithm}', '"XAES_256_GCM"'),
	('{keys,0,deks,1,keyring}', '"00000000-0000-4000-8000-000000000000"'),
	('{keys,1,deks,0,check_value}', to_json(repeat('00', 32))::text),
	('{keys,0,deks,0,wrappings,0,wrapped}', '"01010000"'),
	('{keys,0,deks,0,wrappings,0,wrapped}', to_json(repeat('00', 8192))::text),
	('{keks,0,uri}', '"local:00000000-0000-4000-8000-000000000000"'),
	('{keks,0,uri}', '"vault://nowhere.example/transit/keys/x"'),
	('{keks,0,uri}', '"gopher://x"')) v(path, value);
INSERT INTO hostile (label, document) SELECT 'wrapped by another', jsonb_set(jsonb_set(:'document',
	'{keks,0,uri}', :'document'::jsonb #> '{keks,1,uri}'), '{keks,1,uri}', :'document'::jsonb #> '{keks,0,uri}');
INSERT INTO hostile (label, document) SELECT 'another wrapping', jsonb_set(:'document',
	'{keys,0,deks,0,wrappings,0,wrapped}', :'document'::jsonb #> '{keys,0,deks,1,wrappings,0,wrapped}');
CREATE FUNCTION refusal(document jsonb, OUT code text, OUT message text, OUT detail text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM envelope_import_keyring(document);
	code := '00000';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	-- the agent's words are its own
	IF code LIKE 'KE%' OR message LIKE 'could not%' THEN detail := ''; END IF;
END $$;
\pset format unaligned
SELECT label, code, message, regexp_replace(detail, 'dek_id \d+', 'dek_id N') AS detail FROM hostile, refusal(document) r ORDER BY n;
\pset format aligned
-- a long one is left off when told so, and takes no more memory than it is long
CREATE TABLE long AS SELECT jsonb_build_object('format', 'pg_envelope keyring', 'version', 1, 'keyring', NULL, 'keys', '[]'::jsonb, 'keks',
	(SELECT jsonb_agg(jsonb_build_object('name', 'k' || i, 'uri', 'u', 'state', 'destroyed', 'versions', '[]'::jsonb)) FROM generate_series(1, 200000) i)) AS document;
SET statement_timeout = '20ms';
SELECT * FROM long, envelope_import_keyring(document);
\c
SELECT count(*) FROM long, envelope_import_keyring(document);
SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+) kB')::int < 300 * 1024 AS below_300_mb;
DROP TABLE long;
SELECT * FROM envelope_import_keyring(NULL);
SELECT (SELECT count(*) FROM envelope.key) AS keys, (SELECT count(*) FROM envelope.dek) AS deks,
	   (SELECT count(*) FROM envelope.wrapping) AS wrappings, (SELECT count(*) FROM envelope.kek) AS keks,
	   (SELECT count(*) FROM envelope.keyring) AS keyrings, (SELECT count(*) FROM envelope.key_grant) AS grants;
BEGIN READ ONLY;
SELECT * FROM envelope_import_keyring(:'document');
ROLLBACK;

-- all or nothing, and then all, for who imports it
BEGIN;
SELECT * FROM envelope_import_keyring(:'document');
ROLLBACK;
SELECT count(*) AS left_by_a_rollback FROM envelope.dek;
SET ROLE regress_pge_manager;
SELECT * FROM envelope_import_keyring(:'document');
SELECT envelope_decrypt(:'acme', 'move acme') AS acme, envelope_decrypt(:'beta', 'move beta', 'row 1') AS beta;
RESET ROLE;
SELECT :'document'::jsonb - 'keyring' = envelope_export_keyring() - 'keyring' AS the_same_document;
SELECT (SELECT uuid FROM envelope.keyring) <> (:'document'::jsonb ->> 'keyring')::uuid AS keyring_of_its_own;
SELECT key_id, role_name, rights FROM envelope.key_grant ORDER BY 1, 2;
-- again, it changes nothing; for others it needs the right
CREATE TEMP TABLE rows_before AS
  SELECT 'dek' AS name, dek_id::text AS id, xmin::text AS writer FROM envelope.dek UNION ALL
  SELECT 'wrapping', dek_id::text || seq, xmin::text FROM envelope.wrapping UNION ALL
  SELECT 'key', key_id, xmin::text FROM envelope.key UNION ALL SELECT 'kek', name, xmin::text FROM envelope.kek UNION ALL
  SELECT 'key_grant', key_id || role_name, xmin::text FROM envelope.key_grant;
SELECT * FROM envelope_import_keyring(:'document');
SELECT count(*) AS changed FROM (
  SELECT 'dek' AS name, dek_id::text AS id, xmin::text AS writer FROM envelope.dek UNION ALL
  SELECT 'wrapping', dek_id::text || seq, xmin::text FROM envelope.wrapping UNION ALL
  SELECT 'key', key_id, xmin::text FROM envelope.key UNION ALL SELECT 'kek', name, xmin::text FROM envelope.kek UNION ALL
  SELECT 'key_grant', key_id || role_name, xmin::text FROM envelope.key_grant EXCEPT SELECT * FROM rows_before) s;
GRANT EXECUTE ON FUNCTION envelope_import_keyring TO regress_pge_mover;
SET ROLE regress_pge_mover;
SELECT * FROM envelope_import_keyring(:'document');
RESET ROLE;

-- a new version is of this keyring, and the document still changes nothing
SELECT envelope_rotate_key('move acme');
SELECT version, state, keyring = (SELECT uuid FROM envelope.keyring) AS of_here FROM envelope.dek WHERE key_id = 'move acme' ORDER BY 1;
SELECT envelope_disable_key('move beta');
SELECT * FROM envelope_import_keyring(:'document');
SELECT envelope_enable_key('move beta');

-- a data key that has lost its wrappings here gets those of the document, if they open
SELECT set_config('pg_envelope.allow_key_loss', uuid::text, false) IS NOT NULL AS leave FROM envelope.keyring;
DELETE FROM envelope.wrapping w USING envelope.dek d WHERE d.dek_id = w.dek_id AND key_id = 'move acme' AND version = 1;
UPDATE envelope.wrapping w SET wrapped = NULL, superseded = now() FROM envelope.dek d WHERE d.dek_id = w.dek_id AND key_id = 'move acme' AND version = 2;
DELETE FROM envelope.wrapping w USING envelope.dek d WHERE d.dek_id = w.dek_id AND key_id = 'move beta' AND kek = 'move_other';
RESET pg_envelope.allow_key_loss;
SELECT envelope_cache_flush() >= 0 AS flushed;
SELECT envelope_decrypt(:'acme', 'move acme');
SELECT code, message FROM refusal(jsonb_set(:'document', '{keys,0,deks,1,wrappings,0,wrapped}', :'document'::jsonb #> '{keys,0,deks,0,wrappings,0,wrapped}'));
SELECT * FROM envelope_import_keyring(:'document');
SELECT d.key_id, version, seq, kek, wrapped IS NOT NULL AS live FROM envelope.dek d JOIN envelope.wrapping w USING (dek_id) ORDER BY 1, 2, 3;
SELECT envelope_decrypt(:'acme', 'move acme') AS acme;
SELECT outcome, detail FROM envelope_import_keyring(:'document');

-- what has the name or the number of another
\c :source
SELECT envelope_rotate_key('move acme');
SELECT envelope_rotate_key('move beta');
SELECT envelope_export_keyring('{move acme}') AS acme_rotated, envelope_export_keyring('{move beta}') AS beta_rotated \gset
SELECT envelope_create_key('move clash', 'move_kek');
SELECT envelope_export_keyring('{move clash}') AS clash \gset
\c regress_pge_target
\set VERBOSITY terse
SELECT * FROM envelope_import_keyring(:'acme_rotated');
\echo :LAST_ERROR_SQLSTATE
SELECT jsonb_set(:'clash', '{keys,0,deks,0,dek_id}', to_jsonb(dek_id)) AS clash FROM envelope.dek WHERE key_id = 'move beta' \gset
SELECT regexp_replace(concat_ws('|', code, message, detail), 'dek_id \d+', 'dek_id N') AS refused FROM refusal(:'clash');
SET ROLE regress_pge_mover;
SELECT regexp_replace(concat_ws('|', code, message, detail), 'dek_id \d+', 'dek_id N') AS refused_and_less_told FROM refusal(:'clash');
RESET ROLE;
\set VERBOSITY default
-- a version that was made at the source since comes along, and seals
SELECT * FROM envelope_import_keyring(:'beta_rotated');
SELECT version, state FROM envelope.dek WHERE key_id = 'move beta' ORDER BY 1;
-- and none to a key that was destroyed here
\c :source
SELECT envelope_rotate_key('move beta');
SELECT envelope_export_keyring('{move beta}') AS beta_rotated \gset
\c regress_pge_target
SELECT envelope_disable_key('move beta');
SET client_min_messages = warning;
SELECT envelope_destroy_key('move beta');
RESET client_min_messages;
SELECT * FROM envelope_import_keyring(:'document') WHERE key_id = 'move beta';
SELECT concat_ws('|', code, message) AS refused FROM refusal(:'beta_rotated');

-- KEKs: by their URI, whatever their name; a name that is taken is not guessed about
CREATE DATABASE regress_pge_second;
\c regress_pge_second
CREATE EXTENSION pg_envelope;
SET client_min_messages = error;
SELECT envelope_create_kek('move_kek') IS NOT NULL AS made;
SELECT envelope_create_kek('elsewhere', :'other_uri') = :'other_uri' AS named;
RESET client_min_messages;
CREATE FUNCTION refusal(document jsonb, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM envelope_import_keyring(document);
	code := '00000';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
SELECT code, message, regexp_replace(hint, 'local:[-0-9a-f]+', 'URI') AS hint FROM refusal(:'document') \gx
SELECT :'document'::jsonb #>> '{keks,0,uri}' AS kek_uri \gset
SELECT envelope_create_kek('its other name', :'kek_uri') = :'kek_uri' AS named;
SELECT key_id, version, outcome FROM envelope_import_keyring(:'document');
SELECT d.key_id, k.kek, version, w.seq, w.kek AS wrapped_by FROM envelope.dek d JOIN envelope.key k USING (key_id)
	LEFT JOIN envelope.wrapping w USING (dek_id) ORDER BY 1, 3, 4;
SELECT envelope_decrypt(:'acme', 'move acme') AS acme;
-- many KEKs are found by a look or two at the table, and not each by its own
BEGIN;
INSERT INTO envelope.kek (name, uri) SELECT 'many' || i, 'local:' || gen_random_uuid() FROM generate_series(1, 500) i;
CREATE TEMP TABLE many AS SELECT jsonb_build_object('format', 'pg_envelope keyring', 'version', 1, 'keyring', NULL,
	'keks', jsonb_agg(jsonb_build_object('name', name, 'uri', uri, 'state', state, 'versions', '[]'::jsonb)),
	'keys', jsonb_agg(jsonb_build_object('key_id', 'of ' || name, 'kek', name, 'algorithm', 'AES256_GCM', 'require_associated_data', false, 'state', 'destroyed',
		'deks', jsonb_build_array(jsonb_build_object('dek_id', n, 'version', 1, 'purpose', 'aead', 'algorithm', 'AES256_GCM', 'keyring', gen_random_uuid(),
			'check_value', repeat('00', 32), 'state', 'destroyed', 'created', '2026-01-01T00:00:00.000000Z', 'wrappings', '[]'::jsonb))))) AS document
  FROM (SELECT *, row_number() OVER () AS n FROM envelope.kek WHERE name LIKE 'many%') k;
SELECT idx_tup_fetch + seq_tup_read AS before FROM pg_stat_xact_all_tables WHERE relid = 'envelope.kek'::regclass \gset
SELECT outcome, count(*) FROM many, envelope_import_keyring(document) GROUP BY 1;
SELECT count(*) AS as_named FROM envelope.key WHERE key_id = 'of ' || kek;
SELECT idx_tup_fetch + seq_tup_read - :before < 500 * 20 AS few_looks FROM pg_stat_xact_all_tables WHERE relid = 'envelope.kek'::regclass;
ROLLBACK;

\c :source
DROP DATABASE regress_pge_target;
DROP DATABASE regress_pge_second;
SELECT envelope_revoke('move acme', 'regress_pge_manager'), envelope_revoke('*', 'regress_pge_manager');
REVOKE EXECUTE ON FUNCTION envelope_export_keyring, envelope_import_keyring FROM regress_pge_manager;
DROP ROLE regress_pge_mover, regress_pge_manager;
