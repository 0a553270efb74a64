-- A KEK is destroyed only by whoever repeats its URI, only while this database
-- needs the key under no name, and only where the configuration lets SQL do it (by
-- default not: t/715 destroys).  It gets another URI only of the same key.
\set VERBOSITY terse
SET client_min_messages = error;
SELECT envelope_create_kek('doom') AS uri \gset
SELECT envelope_create_kek('doom_alias', :'uri') = :'uri' AS same;
SELECT envelope_create_kek('doom_other') AS other \gset
RESET client_min_messages;
CREATE FUNCTION doom_says(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text;
BEGIN
	EXECUTE sql;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || regexp_replace(m || E'\n  ' || d || E'\n  ' || h, 'local:[0-9a-f-]{36}', 'local:#', 'g');
END $$;
\pset format unaligned
\pset tuples_only on

-- arguments
SELECT doom_says($$SELECT envelope_destroy_kek('nowhere', 'local:x')$$);
SELECT doom_says($$SELECT envelope_destroy_kek('doom', 'local:x')$$);
SELECT doom_says($$SELECT envelope_destroy_kek('doom', '')$$);
SELECT doom_says($$SELECT envelope_destroy_kek('doom', 'vault://user:password@vault.example/transit/keys/k')$$);
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L)', 'doom', :'other'));
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L)', 'doom', :'uri' || '?instance=x'));

-- the configuration does not let SQL do it, and nothing has changed
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, %L)', 'doom', :'uri', immediate)) FROM (VALUES (false), (true)) v(immediate);
SELECT count(*) FROM envelope.kek WHERE name LIKE 'doom%' AND (state <> 'enabled' OR unused_since IS NOT NULL);

-- a key that is to be wrapped by it, and a version that is, under any of its names
SELECT envelope_create_key('doomed', 'doom_alias');
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', name, :'uri')) FROM (VALUES ('doom'), ('doom_alias')) v(name);
UPDATE envelope.key SET kek = 'doom_other' WHERE key_id = 'doomed';
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', 'doom', :'uri'));
SET client_min_messages = error;
SELECT outcome FROM rewrap_all('doom_alias', 'doom_other', keep_old => true);
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', 'doom', :'uri'));
SELECT outcome FROM rewrap_all('doom_alias', 'doom_other');
UPDATE envelope.key SET kek = 'doom_alias' WHERE key_id = 'doomed';
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', 'doom', :'uri'));
-- a key that is destroyed needs it no more
SELECT envelope_disable_key('doomed');
SELECT envelope_destroy_key('doomed');
SELECT left(doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', 'doom', :'uri')), 5);
-- a wrapping whose data key is not there (yet) does
-- (what is done by hand here loses keys, so it takes the leave to do so)
SELECT uuid FROM envelope.keyring \gset
SET pg_envelope.allow_key_loss = :'uuid';
ALTER TABLE envelope.wrapping DISABLE TRIGGER envelope_guard;
INSERT INTO envelope.wrapping (dek_id, seq, kek, kek_version, wrapped) VALUES (4242424242, 1, 'doom_alias', '1', '\x01010000');
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', 'doom', :'uri'));
DELETE FROM envelope.wrapping WHERE dek_id = 4242424242;
ALTER TABLE envelope.wrapping ENABLE ALWAYS TRIGGER envelope_guard;

-- what could still be rolled back does not count
SELECT envelope_create_key('doomed too', 'doom');
BEGIN;
SELECT outcome FROM rewrap_all('doom', 'doom_other');
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', 'doom', :'uri'));
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT envelope_disable_key('doomed too'), envelope_destroy_key('doomed too');
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', 'doom', :'uri'));
ROLLBACK;
WITH moved AS MATERIALIZED (SELECT count(*) AS n FROM rewrap_all('doom', 'doom_other'))
  SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, %L)', 'doom', :'uri', n > 0)) FROM moved;
BEGIN READ ONLY;
SELECT doom_says(format('SELECT envelope_destroy_kek(%L, %L, true)', 'doom', :'uri'));
ROLLBACK;

-- another URI: of the same key only, as seen by what each version has wrapped
RESET client_min_messages;
SELECT envelope_alter_kek('doom', :'uri') = :'uri' AS same;
SELECT doom_says(format('SELECT envelope_alter_kek(%L, %L)', 'doom_other', :'uri'));
SELECT doom_says($$SELECT envelope_alter_kek('doom_other', 'local:00000000-0000-4000-8000-000000000000')$$);
SELECT doom_says($$SELECT envelope_alter_kek('doom_other', 'nowhere:1')$$);
SELECT doom_says($$SELECT envelope_alter_kek('nowhere', 'local:x')$$);
SELECT doom_says($$SELECT envelope_alter_kek('doom_other', 'vault://user:password@vault.example/transit/keys/k')$$);
SELECT uri = :'other' AS unchanged FROM envelope.kek WHERE name = 'doom_other';
SELECT envelope_rotate_kek('doom_other');
SELECT envelope_create_key('doomed version 2', 'doom_other');
SELECT DISTINCT kek_version FROM envelope.wrapping WHERE kek = 'doom_other' AND superseded IS NULL ORDER BY 1;
SELECT envelope_alter_kek('doom_other', :'other') = :'other' AS same;
BEGIN;
UPDATE envelope.wrapping SET wrapped = set_byte(wrapped, 40, 255 - get_byte(wrapped, 40)) WHERE kek = 'doom_other' AND kek_version = '1' AND superseded IS NULL;
SELECT doom_says(format('SELECT envelope_alter_kek(%L, %L)', 'doom_other', :'other'));
ROLLBACK;
BEGIN;
UPDATE envelope.wrapping SET wrapped = set_byte(wrapped, 40, 255 - get_byte(wrapped, 40)) WHERE kek = 'doom_other' AND kek_version = '2' AND superseded IS NULL;
SELECT doom_says(format('SELECT envelope_alter_kek(%L, %L)', 'doom_other', :'other'));
ROLLBACK;
-- of what wraps nothing any more nothing shows that, and backups need the key that it was
SELECT doom_says(format('SELECT envelope_alter_kek(%L, %L)', 'doom_alias', :'other'));
SELECT uri = :'uri' AS unchanged FROM envelope.kek WHERE name = 'doom_alias';
-- and what never wrapped may be any
SELECT envelope_create_kek('doom_fresh', :'uri') = :'uri' AS same;
SELECT envelope_alter_kek('doom_fresh', :'other') = :'other' AS altered;
DELETE FROM envelope.kek WHERE name = 'doom_fresh';

-- a destroyed KEK is destroyed: here by hand
UPDATE envelope.kek SET state = 'destroyed' WHERE name = 'doom';
SELECT doom_says(format('SELECT envelope_alter_kek(%L, %L)', 'doom', :'uri'));
SELECT doom_says($$SELECT envelope_enable_kek('doom')$$);
SELECT doom_says($$SELECT envelope_create_key('doomed three', 'doom')$$);

-- whose service the agent does not know (a newer version's) may be there: nobody was asked
INSERT INTO envelope.kek (name, uri) VALUES ('doom_newer', 'nowhere:1');
SELECT doom_says($$SELECT envelope_destroy_kek('doom_newer', 'nowhere:1', true)$$);
SELECT state, unused_since FROM envelope.kek WHERE name = 'doom_newer';
UPDATE envelope.kek SET state = 'destroyed' WHERE name = 'doom_newer';
SELECT doom_says($$SELECT envelope_enable_kek('doom_newer')$$);

-- rights
CREATE ROLE regress_pge_doom;
SET ROLE regress_pge_doom;
SELECT envelope_destroy_kek('doom', :'uri', true);
SELECT envelope_alter_kek('doom', :'uri');
RESET ROLE;
DROP ROLE regress_pge_doom;
DROP FUNCTION doom_says;
