-- A superuser who drops the checks and writes nonsense into the key tables gets
-- an error that names table, column and row; no value opens under a wrong key.
SET client_min_messages = error;
SELECT envelope_create_kek('dr_kek') IS NOT NULL AS made, envelope_create_kek('dr_other') IS NOT NULL AS made;
SELECT envelope_create_key('dr_a', 'dr_kek'), envelope_create_key('dr_b', 'dr_other');
-- (what is done by hand here loses keys, so it takes the leave to do so)
SELECT uuid FROM envelope.keyring \gset
SET pg_envelope.allow_key_loss = :'uuid';
CREATE ROLE regress_dr;
SELECT envelope_grant('dr_a', 'regress_dr', '{encrypt,decrypt,manage}'), envelope_grant('dr_b', 'regress_dr', '{encrypt,decrypt}');
GRANT EXECUTE ON FUNCTION envelope_rotate_key TO regress_dr;
CREATE TABLE dr AS SELECT envelope_encrypt('of a', 'dr_a') AS a, envelope_encrypt('of b', 'dr_b') AS b;
GRANT SELECT ON dr TO regress_dr;

CREATE FUNCTION dr_answer(reader text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; message text; detail text;
BEGIN
	answer := CASE reader
		WHEN 'open a' THEN (SELECT envelope_decrypt(a, 'dr_a') FROM dr)
		WHEN 'open a as b' THEN (SELECT envelope_decrypt(a, 'dr_b') FROM dr)
		WHEN 'open b' THEN (SELECT envelope_decrypt(b, 'dr_b') FROM dr)
		WHEN 'open b as a' THEN (SELECT envelope_decrypt(b, 'dr_a') FROM dr)
		WHEN 'info of a' THEN (SELECT (envelope_key_info(a)).key_id FROM dr)
		WHEN 'seal under a' THEN envelope_decrypt(envelope_encrypt('of a', 'dr_a'), 'dr_a')
		WHEN 'rotate a' THEN envelope_rotate_key('dr_a')::text END;
	RETURN CASE WHEN reader = 'open a as b' OR reader = 'open b as a' THEN 'OPENED ' || answer
		WHEN reader ~ ' a$' AND answer IN ('of a', 'dr_a') OR reader = 'open b' AND answer = 'of b' OR reader = 'rotate a' THEN 'right'
		WHEN reader = 'info of a' THEN 'it says ' || answer
		ELSE 'WRONG ' || answer END;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	message := regexp_replace(message, 'data key \d+', 'data key #');
	RETURN SQLSTATE || ' ' || message || coalesce(' / ' || nullif(regexp_replace(detail, '[0-9a-f]{8}-[0-9a-f-]{27}|\(\d+,\d+\)', '#', 'g'), ''), '');
END $$;

CREATE TABLE dr_answers (what text, reader text, answer text);

-- What a superuser does, and what each reader says then; all of it is undone.
CREATE FUNCTION dr_do(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	readers text[] := ARRAY['open a', 'open a as b', 'open b', 'open b as a', 'info of a', 'seal under a', 'rotate a'];
	answers text[];
BEGIN
	BEGIN
		ALTER TABLE envelope.dek DISABLE TRIGGER ALL;
		ALTER TABLE envelope.kek DISABLE TRIGGER ALL;
		ALTER TABLE envelope.key DISABLE TRIGGER ALL;
		EXECUTE what;
		PERFORM envelope_cache_flush();
		SET LOCAL ROLE regress_dr;
		answers := ARRAY(SELECT dr_answer(r) FROM unnest(readers) WITH ORDINALITY u(r, n) ORDER BY n);
		RAISE EXCEPTION USING ERRCODE = 'DR000';
	EXCEPTION WHEN SQLSTATE 'DR000' THEN
		NULL;
	END;
	INSERT INTO dr_answers SELECT what, r, a FROM unnest(readers, answers) u(r, a);
END $$;

-- the control: nothing is done
SELECT dr_do('SELECT');
SELECT reader, answer FROM dr_answers ORDER BY 1;

CREATE FUNCTION dr_say(whats text[]) RETURNS TABLE (what text, readers text, answer text) LANGUAGE plpgsql AS $$
DECLARE w text;
BEGIN
	FOREACH w IN ARRAY whats LOOP
		PERFORM dr_do(w);
	END LOOP;
	RETURN QUERY SELECT regexp_replace(d.what, '^(ALTER TABLE [^;]*; )+', ''), string_agg(d.reader, ', ' ORDER BY d.reader), d.answer FROM dr_answers d
		WHERE d.what = ANY (whats) AND d.answer <> 'right' AND NOT (d.reader ~ ' as ' AND d.answer LIKE 'KE001 %')
		GROUP BY d.what, d.answer ORDER BY array_position(whats, d.what), 2;
END $$;
\pset format unaligned
\pset tuples_only on

-- wrong lengths, NULLs, numbers and words that mean nothing: data keys
SELECT * FROM dr_say(ARRAY(SELECT format('ALTER TABLE envelope.dek DROP CONSTRAINT dek_check_value_check, ALTER check_value DROP NOT NULL; UPDATE envelope.dek SET check_value = %s WHERE key_id = ''dr_a''', v)
	FROM unnest(ARRAY['substr(check_value, 2)', 'check_value || ''\x00''', '''''', 'NULL', 'convert_to(repeat(''x'', 100000000), ''UTF8'')']) v));
SELECT * FROM dr_say(ARRAY(SELECT format('ALTER TABLE envelope.dek DROP CONSTRAINT dek_dek_id_check; UPDATE envelope.dek SET dek_id = %s WHERE key_id = ''dr_a''', v)
	FROM unnest(ARRAY['0', '-1', '(SELECT 4294967296 + dek_id FROM envelope.dek WHERE key_id = ''dr_b'')']) v));
SELECT * FROM dr_say(ARRAY(SELECT format('ALTER TABLE envelope.dek DROP CONSTRAINT dek_version_check, ALTER version DROP NOT NULL; UPDATE envelope.dek SET version = %s WHERE key_id = ''dr_a''', v)
	FROM unnest(ARRAY['0', '-1', '2', '2147483647', 'NULL']) v));
SELECT * FROM dr_say(ARRAY(SELECT format('ALTER TABLE envelope.dek DROP CONSTRAINT dek_%1$s_check, ALTER %1$s DROP NOT NULL; UPDATE envelope.dek SET %1$s = %2$s WHERE key_id = ''dr_a''', c, v)
	FROM unnest('{purpose,algorithm,state}'::text[]) c, unnest(ARRAY['''ROT13''', E'''a\nLOG:  forged''', 'NULL', 'repeat(''x'', 10000)']) v));
SELECT * FROM dr_say(ARRAY['ALTER TABLE envelope.dek ALTER keyring DROP NOT NULL; UPDATE envelope.dek SET keyring = NULL WHERE key_id = ''dr_a''',
	'UPDATE envelope.dek SET keyring = ''00000000-0000-4000-8000-000000000000'' WHERE key_id = ''dr_a''',
	'UPDATE envelope.dek SET algorithm = ''AES256_GCM'' WHERE key_id = ''dr_a''',
	'UPDATE envelope.dek SET check_value = sha256(check_value) WHERE key_id = ''dr_a''',
	'ALTER TABLE envelope.dek ALTER key_id DROP NOT NULL; UPDATE envelope.dek SET key_id = NULL WHERE key_id = ''dr_a''',
	'UPDATE envelope.dek SET key_id = repeat(''x'', 10000) WHERE key_id = ''dr_a''',
	E'UPDATE envelope.dek SET key_id = E''x\nLOG:  forged'' WHERE key_id = ''dr_a''']);

-- another tenant's: rows, numbers, check values, wrapped keys
SELECT * FROM dr_say(ARRAY['UPDATE envelope.dek SET key_id = ''dr_b'', version = 7, state = ''retired'' WHERE key_id = ''dr_a''',
	'UPDATE envelope.dek SET key_id = ''dr_c'' WHERE key_id = ''dr_a''; UPDATE envelope.dek SET key_id = ''dr_a'' WHERE key_id = ''dr_b''; UPDATE envelope.dek SET key_id = ''dr_b'' WHERE key_id = ''dr_c''',
	'UPDATE envelope.dek d SET check_value = o.check_value FROM envelope.dek o WHERE (d.key_id, o.key_id) IN ((''dr_a'', ''dr_b''), (''dr_b'', ''dr_a''))',
	'UPDATE envelope.wrapping w SET wrapped = o.wrapped FROM envelope.dek d, envelope.wrapping o JOIN envelope.dek e USING (dek_id) WHERE d.dek_id = w.dek_id AND (d.key_id, e.key_id) IN ((''dr_a'', ''dr_b''), (''dr_b'', ''dr_a''))',
	'UPDATE envelope.wrapping w SET wrapped = o.wrapped, kek = o.kek FROM envelope.dek d, envelope.wrapping o JOIN envelope.dek e USING (dek_id) WHERE d.dek_id = w.dek_id AND (d.key_id, e.key_id) = (''dr_a'', ''dr_b'')',
	'CREATE TEMP TABLE t AS SELECT dek_id, key_id FROM envelope.dek WHERE key_id IN (''dr_a'', ''dr_b''); UPDATE envelope.dek SET dek_id = 0 - dek_id + 4294967296 WHERE key_id IN (''dr_a'', ''dr_b''); UPDATE envelope.dek d SET dek_id = t.dek_id FROM t WHERE (d.key_id, t.key_id) IN ((''dr_a'', ''dr_b''), (''dr_b'', ''dr_a''))']);

-- two of what there is one of
SELECT * FROM dr_say(ARRAY[
	'DROP INDEX envelope.dek_active',
	'DROP INDEX envelope.dek_active; CREATE INDEX dek_active ON envelope.dek (key_id, purpose) WHERE state = ''active''; INSERT INTO envelope.dek SELECT dek_id # 1, key_id, 7, purpose, algorithm, keyring, check_value, state FROM envelope.dek WHERE key_id = ''dr_a''',
	'ALTER TABLE envelope.dek DROP CONSTRAINT dek_pkey; CREATE INDEX dek_pkey ON envelope.dek (dek_id); INSERT INTO envelope.dek SELECT a.dek_id, b.key_id, 7, a.purpose, a.algorithm, a.keyring, a.check_value, ''retired'' FROM envelope.dek a, envelope.dek b WHERE (a.key_id, b.key_id) = (''dr_a'', ''dr_b'')',
	'ALTER TABLE envelope.key DROP CONSTRAINT key_pkey; CREATE INDEX key_pkey ON envelope.key (key_id); INSERT INTO envelope.key SELECT * FROM envelope.key WHERE key_id = ''dr_a''',
	'ALTER TABLE envelope.kek DROP CONSTRAINT kek_pkey; CREATE INDEX kek_pkey ON envelope.kek (name); INSERT INTO envelope.kek SELECT * FROM envelope.kek WHERE name = ''dr_kek''',
	'ALTER TABLE envelope.keyring DISABLE TRIGGER ALL; DROP INDEX envelope.keyring_one_row; INSERT INTO envelope.keyring VALUES (''00000000-0000-4000-8000-000000000000'')']);

-- wrapped keys
SELECT * FROM dr_say(ARRAY(SELECT format('ALTER TABLE envelope.wrapping DROP CONSTRAINT wrapping_%1$s_check, DROP CONSTRAINT wrapping_superseded_check; ALTER TABLE envelope.wrapping ALTER %1$s DROP NOT NULL; UPDATE envelope.wrapping SET %1$s = %2$s WHERE kek = ''dr_kek''', c, v)
	FROM (VALUES ('wrapped', 'NULL'), ('wrapped', ''''''), ('wrapped', '''\x010101'''), ('wrapped', '''\x01010000'''), ('wrapped', 'substr(wrapped, 1, length(wrapped) - 1)'),
		('wrapped', 'wrapped || ''\x00'''), ('wrapped', 'set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)'), ('wrapped', 'convert_to(repeat(''x'', 8192), ''UTF8'')'), ('wrapped', 'convert_to(repeat(''x'', 8193), ''UTF8'')'),
		('wrapped', 'convert_to(repeat(''x'', 100000000), ''UTF8'')'), ('kek_version', 'repeat(''x'', 129)'), ('kek_version', 'NULL')) v(c, v)));
SELECT * FROM dr_say(ARRAY['UPDATE envelope.wrapping SET kek = ''dr_other'' WHERE kek = ''dr_kek''',
	'UPDATE envelope.wrapping SET kek = ''dr_none'' WHERE kek = ''dr_kek''',
	E'UPDATE envelope.wrapping SET kek = E''x\nLOG:  forged'' WHERE kek = ''dr_kek''',
	'UPDATE envelope.wrapping SET kek = repeat(''x'', 10000) WHERE kek = ''dr_kek''',
	'ALTER TABLE envelope.wrapping DROP CONSTRAINT wrapping_seq_check; UPDATE envelope.wrapping SET seq = -1 WHERE kek = ''dr_kek''',
	'ALTER TABLE envelope.wrapping ALTER kek DROP NOT NULL; UPDATE envelope.wrapping SET kek = NULL WHERE kek = ''dr_kek''']);

-- KEKs
SELECT * FROM dr_say(ARRAY(SELECT format('ALTER TABLE envelope.kek DROP CONSTRAINT kek_%1$s_check, ALTER %1$s DROP NOT NULL; UPDATE envelope.kek SET %1$s = %2$s WHERE name = ''dr_kek''', c, v)
	FROM (VALUES ('uri', 'NULL'), ('uri', ''''''), ('uri', '''nowhere:1'''), ('uri', E'''local:\nLOG:  forged'''), ('uri', '''local:00000000-0000-4000-8000-000000000000'''),
		('uri', '(SELECT uri FROM envelope.kek WHERE name = ''dr_other'')'), ('uri', 'repeat(''x'', 1025)'), ('uri', 'repeat(''x'', 100000000)'),
		('state', 'NULL'), ('state', '''banana'''), ('state', 'repeat(''x'', 10000)')) v(c, v)));

-- keys
SELECT * FROM dr_say(ARRAY(SELECT format('ALTER TABLE envelope.key DROP CONSTRAINT key_%1$s_check, ALTER %2$s DROP NOT NULL; UPDATE envelope.key SET %2$s = %3$s WHERE key_id = ''dr_a''', CASE WHEN c IN ('kek', 'require_associated_data') THEN 'state' ELSE c END, c, v)
	FROM (VALUES ('state', 'NULL'), ('state', '''banana'''), ('state', 'repeat(''x'', 10000)'), ('algorithm', 'NULL'), ('algorithm', '''ROT13'''),
		('kek', 'NULL'), ('kek', 'repeat(''x'', 10000)'), ('kek', '''dr_none'''), ('kek', E'E''x\nLOG:  forged'''), ('require_associated_data', 'NULL')) v(c, v)));

-- grants
SELECT * FROM dr_say(ARRAY(SELECT format('ALTER TABLE envelope.key_grant DISABLE TRIGGER ALL, DROP CONSTRAINT key_grant_rights_check, ALTER %1$s DROP NOT NULL; UPDATE envelope.key_grant SET %1$s = %2$s WHERE key_id = ''dr_a''', c, v)
	FROM (VALUES ('rights', 'NULL'), ('rights', '''{}'''), ('rights', '''{search}'''), ('rights', '''{NULL}'''), ('rights', '''{{encrypt,decrypt,manage}}'''),
		('rights', 'ARRAY[repeat(''x'', 1000000)]'), ('rights', 'array_fill(''decrypt''::text, ''{100000}'')'), ('role_oid', '0'), ('role_oid', '10'), ('role_oid', 'NULL')) v(c, v)));

\pset format aligned
\pset tuples_only off
-- of all that: nothing opened that must not, and no error says "cannot happen"
SELECT count(DISTINCT what) > 80 AS many, count(*) FILTER (WHERE answer ~ '^(OPENED|WRONG)') AS wrong,
	count(*) FILTER (WHERE answer LIKE 'XX%') AS internal, count(*) FILTER (WHERE answer ~ E'\n') AS forged,
	max(length(answer)) < 500 AS short FROM dr_answers;
SELECT dr_answer('open a'), dr_answer('open b') FROM dr;
-- a row without a name, once the primary key is dropped, can be deleted
BEGIN;
ALTER TABLE envelope.kek DROP CONSTRAINT kek_pkey;
ALTER TABLE envelope.kek ALTER name DROP NOT NULL;
INSERT INTO envelope.kek (uri) VALUES ('local:x');
UPDATE envelope.kek SET uri = 'local:y' WHERE name IS NULL;
DELETE FROM envelope.kek WHERE name IS NULL;
ROLLBACK;
-- names and URIs are looked at here too
\set VERBOSITY terse
INSERT INTO envelope.kek (name, uri) VALUES (E'dr\nLOG:  forged', 'local:x');
UPDATE envelope.kek SET name = E'dr_\u200bkek' WHERE name = 'dr_kek';
INSERT INTO envelope.kek (name, uri) VALUES ('dr_uri', E'local:\nLOG:  forged');
INSERT INTO envelope.key (key_id, kek, algorithm) VALUES (E'dr\u202e', 'dr_kek', 'AES256_GCM');
DROP FUNCTION dr_say, dr_do, dr_answer;
DROP TABLE dr, dr_answers;
SELECT envelope_revoke('dr_a', 'regress_dr'), envelope_revoke('dr_b', 'regress_dr');
DROP OWNED BY regress_dr;
DROP ROLE regress_dr;
