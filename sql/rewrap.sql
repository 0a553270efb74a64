-- A KEK is rotated: every data key gets a wrapping under the new one, and not
-- one sealed value is touched.
\set VERBOSITY terse
SET client_min_messages = error;
SELECT envelope_create_kek('rw_' || n) IS NOT NULL AS made FROM unnest('{old,new,third}'::text[]) n;
RESET client_min_messages;
SELECT envelope_create_key('rw_' || n, 'rw_old') AS version FROM unnest('{a,b,c}'::text[]) n;
SELECT envelope_rotate_key('rw_a');
SELECT envelope_mark_compromised('rw_a', 1);
-- (what is done by hand here loses keys, so it takes the leave to do so)
SELECT uuid FROM envelope.keyring \gset
SET pg_envelope.allow_key_loss = :'uuid';
SELECT envelope_disable_key('rw_c');
SELECT envelope_create_key('rw_gone', 'rw_old');
SELECT envelope_disable_key('rw_gone');
SET client_min_messages = error;
SELECT envelope_destroy_key('rw_gone');
RESET client_min_messages;
CREATE VIEW rw_wrappings AS
	SELECT d.key_id, d.version, w.seq, w.kek, w.wrapped IS NOT NULL AS wrapped, w.superseded IS NOT NULL AS superseded
	FROM envelope.dek d JOIN envelope.wrapping w USING (dek_id) WHERE d.key_id LIKE 'rw\_%' ORDER BY 1, 2, 3;
CREATE VIEW rw_keks AS
	SELECT name, state, unused_since IS NOT NULL AS unused, unused_since_lsn IS NOT NULL AS lsn
	FROM envelope.kek WHERE name LIKE 'rw\_%' ORDER BY 1;

-- values, their places, and the digest of all of it
CREATE TABLE rw_customers (id int PRIMARY KEY, tenant text, ssn bytea);
INSERT INTO rw_customers
	SELECT i, t, envelope_encrypt('ssn ' || i, t) FROM generate_series(1, 20) i, LATERAL (SELECT 'rw_' || (ARRAY['a', 'b'])[1 + i % 2]) k(t);
CREATE FUNCTION rw_digest() RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(concat_ws(' ', ctid, xmin, xmax, encode(ssn, 'hex')), ',' ORDER BY id))
		|| pg_relation_filenode('rw_customers')
	FROM rw_customers $$;
SELECT rw_digest() AS before \gset
SELECT count(*) FROM rw_customers WHERE envelope_decrypt(ssn, tenant) = 'ssn ' || id;

-- a dry run proves it, and writes nothing, not even in a read-only transaction
CREATE TABLE rw_before AS TABLE envelope.wrapping;
BEGIN READ ONLY;
SELECT key_id, version, outcome, detail, duration > '0' AS asked FROM rewrap_all('rw_old', 'rw_new', dry_run => true);
COMMIT;
SELECT count(*) AS changed FROM (TABLE rw_before EXCEPT TABLE envelope.wrapping) x;
SELECT kek, count(*) FROM envelope.key WHERE key_id LIKE 'rw\_%' GROUP BY 1;
SELECT * FROM rw_keks;

-- a rollback gives the old KEK its place back
BEGIN;
SELECT count(*) FROM rewrap_all('rw_old', 'rw_new') WHERE outcome = 'rewrapped';
SELECT state FROM rw_keks WHERE name = 'rw_old';
SELECT count(*) FROM rw_customers WHERE envelope_decrypt(ssn, tenant) = 'ssn ' || id;
ROLLBACK;
SELECT count(*) AS changed FROM (TABLE rw_before EXCEPT TABLE envelope.wrapping) x;
SELECT state FROM rw_keks WHERE name = 'rw_old';

-- an error half way leaves nothing half written
CREATE FUNCTION rw_stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT count(*) FROM envelope.wrapping WHERE kek = NEW.kek) >= 3 THEN
		RAISE 'stopped half way';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER rw_stop AFTER INSERT ON envelope.wrapping FOR EACH ROW EXECUTE FUNCTION rw_stop();
SELECT count(*) FROM rewrap_all('rw_old', 'rw_new');
DROP TRIGGER rw_stop ON envelope.wrapping;
SELECT count(*) AS changed FROM (TABLE rw_before EXCEPT TABLE envelope.wrapping) x;
SELECT state FROM rw_keks WHERE name = 'rw_old';
-- nor is one written where a trigger or rule of somebody else's could keep it out, or change it
CREATE FUNCTION rw_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_WHEN = 'AFTER' THEN
		DELETE FROM envelope.wrapping WHERE dek_id = NEW.dek_id AND seq = NEW.seq;
	END IF;
	NEW.wrapped := set_byte(NEW.wrapped, 40, 255 - get_byte(NEW.wrapped, 40));
	RETURN NEW;
END $$;
CREATE TRIGGER z_rw_change BEFORE INSERT ON envelope.wrapping FOR EACH ROW EXECUTE FUNCTION rw_change();
SELECT count(*) FROM rewrap_all('rw_old', 'rw_new');
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER z_rw_change ON envelope.wrapping;
CREATE TRIGGER z_rw_change AFTER INSERT ON envelope.wrapping FOR EACH ROW EXECUTE FUNCTION rw_change();
SELECT count(*) FROM rewrap_all('rw_old', 'rw_new');
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER z_rw_change ON envelope.wrapping;
CREATE RULE rw_out AS ON INSERT TO envelope.wrapping DO INSTEAD NOTHING;
SELECT count(*) FROM rewrap_all('rw_old', 'rw_new');
\echo :LAST_ERROR_SQLSTATE
DROP RULE rw_out ON envelope.wrapping;
SELECT count(*) AS changed FROM (TABLE rw_before EXCEPT TABLE envelope.wrapping) x;

-- the rotation
\set VERBOSITY default
SELECT key_id, version, outcome, detail, duration > '0' AS asked FROM rewrap_all('rw_old', 'rw_new');
\set VERBOSITY terse
SELECT * FROM rw_wrappings;
SELECT * FROM rw_keks;
SELECT key_id, kek FROM envelope.key WHERE key_id LIKE 'rw\_%' ORDER BY 1;
-- rows, files and values are what they were, and the cache is as warm as before
SELECT rw_digest() = :'before' AS untouched;
SELECT envelope_prewarm(ARRAY['rw_b']) AS unwrapped_anew;
SELECT count(*) FROM rw_customers WHERE envelope_decrypt(ssn, tenant) = 'ssn ' || id;
-- and they open through the new wrappings too
SELECT envelope_cache_flush() >= 0 AS flushed;
SELECT count(*) FROM rw_customers WHERE envelope_decrypt(ssn, tenant) = 'ssn ' || id;
-- the disabled key came along, still disabled
SELECT envelope_enable_key('rw_c');
SELECT envelope_decrypt(envelope_encrypt('c', 'rw_c'), 'rw_c');
-- what comes later is wrapped by the new one
SELECT envelope_rotate_key('rw_b');
SELECT kek FROM rw_wrappings WHERE key_id = 'rw_b' AND version = 2;
-- again: nothing is left, and since when it is unused stays
SELECT unused_since AS since FROM envelope.kek WHERE name = 'rw_old' \gset
SET client_min_messages = warning;
SELECT * FROM rewrap_all('rw_old', 'rw_new');
SELECT unused_since = :'since' AS same FROM envelope.kek WHERE name = 'rw_old';

-- keep_old adds a wrapping, retires nothing, and finds its work done the next time
SELECT key_id, version, outcome FROM rewrap_all('rw_new', 'rw_third', keep_old => true);
SELECT key_id, version, outcome FROM rewrap_all('rw_new', 'rw_third', keep_old => true);
SELECT * FROM rw_wrappings WHERE key_id = 'rw_b';
SELECT * FROM rw_keks;
-- a new version is then wrapped under each
SELECT envelope_rotate_key('rw_b');
SELECT kek FROM rw_wrappings WHERE key_id = 'rw_b' AND version = 3 ORDER BY 1;
-- the second wrapping takes over only after it was proved
UPDATE envelope.wrapping w SET wrapped = set_byte(wrapped, 40, get_byte(wrapped, 40) # 1)
	FROM envelope.dek d WHERE d.dek_id = w.dek_id AND d.key_id = 'rw_c' AND w.kek = 'rw_third';
SELECT key_id, version, outcome, split_part(detail, ':', 1) AS detail FROM rewrap_all('rw_new', 'rw_third');
SELECT * FROM rw_wrappings WHERE key_id IN ('rw_b', 'rw_c') AND wrapped;
-- not all came along, so the old one is retired but not unused
SELECT * FROM rw_keks;
SELECT envelope_decrypt(envelope_encrypt('c', 'rw_c'), 'rw_c');
-- repaired, running again does what is left
DELETE FROM envelope.wrapping w USING envelope.dek d
	WHERE d.dek_id = w.dek_id AND d.key_id = 'rw_c' AND w.kek = 'rw_third';
SELECT key_id, version, outcome FROM rewrap_all('rw_new', 'rw_third');
SELECT * FROM rw_keks;
SELECT envelope_cache_flush() >= 0 AS flushed;
SELECT count(*) FROM rw_customers WHERE envelope_decrypt(ssn, tenant) = 'ssn ' || id;

-- onto the newest version of the same KEK: retires nothing
SELECT DISTINCT outcome FROM rewrap_all('rw_third', 'rw_third');
SELECT envelope_rotate_kek('rw_third');
SELECT key_id, version, outcome FROM rewrap_all('rw_third', 'rw_third');
SELECT DISTINCT outcome FROM rewrap_all('rw_third', 'rw_third');
SELECT DISTINCT kek_version FROM envelope.wrapping WHERE kek = 'rw_third' AND superseded IS NULL;
SELECT * FROM rw_keks;
SELECT envelope_cache_flush() >= 0 AS flushed;
SELECT count(*) FROM rw_customers WHERE envelope_decrypt(ssn, tenant) = 'ssn ' || id;

-- what cannot be done for one data key is a row, and does not stop the others
SELECT envelope_enable_kek('rw_old');
BEGIN;
UPDATE envelope.wrapping w SET wrapped = '\x01010000'
	FROM envelope.dek d WHERE d.dek_id = w.dek_id AND d.key_id = 'rw_b' AND w.superseded IS NULL;
SELECT key_id, version, outcome, split_part(detail, ':', 1) AS detail FROM rewrap_all('rw_third', 'rw_old');
ROLLBACK;

-- what failed and was then destroyed is no need of the old KEK any more
SELECT envelope_create_kek('rw_spoilt') IS NOT NULL AS made;
SELECT envelope_create_key('rw_spoilt', 'rw_spoilt');
UPDATE envelope.wrapping SET wrapped = '\x01010000' WHERE kek = 'rw_spoilt';
SELECT key_id, outcome FROM rewrap_all('rw_spoilt', 'rw_old');
SELECT * FROM rw_keks WHERE name = 'rw_spoilt';
SELECT envelope_disable_key('rw_spoilt');
SELECT envelope_destroy_key('rw_spoilt');
SELECT key_id, outcome FROM rewrap_all('rw_spoilt', 'rw_old');
SELECT * FROM rw_keks WHERE name = 'rw_spoilt';

-- errors
SELECT * FROM rewrap_all('rw_third', 'rw_nowhere');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rewrap_all('rw_nowhere', 'rw_third');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rewrap_all('rw_third', 'rw_new');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rewrap_all('rw_third', 'rw_new', dry_run => true);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rewrap_all('rw_new', 'rw_new');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rewrap_all('rw_third', 'rw_third', keep_old => true);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rewrap_all(NULL, 'rw_third');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rewrap_all('rw_third', 'rw_old', NULL);
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT * FROM rewrap_all('rw_third', 'rw_old');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
UPDATE envelope.kek SET state = 'destroyed' WHERE name = 'rw_old';
SAVEPOINT s;
SELECT * FROM rewrap_all('rw_third', 'rw_old');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
SELECT * FROM rewrap_all('rw_old', 'rw_third');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
CREATE ROLE rw_nobody;
SET ROLE rw_nobody;
SELECT * FROM rewrap_all('rw_third', 'rw_old');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- EXECUTE is the right, on the tables none is needed
SELECT oid::regprocedure AS f FROM pg_proc WHERE proname = 'rewrap_all' \gset
GRANT EXECUTE ON FUNCTION :f TO rw_nobody;
SET ROLE rw_nobody;
SELECT DISTINCT outcome FROM rewrap_all('rw_third', 'rw_old');
RESET ROLE;
SELECT * FROM rw_keks;

DROP VIEW rw_wrappings, rw_keks;
DROP TABLE rw_customers, rw_before;
DROP FUNCTION rw_digest, rw_stop;
DROP OWNED BY rw_nobody;
DROP ROLE rw_nobody;
