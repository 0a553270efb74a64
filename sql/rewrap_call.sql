-- CALL envelope_rewrap commits the retirement, then batch by batch, and keeps
-- what became of each data key.
\set VERBOSITY terse
SET client_min_messages = error;
SELECT count(envelope_create_kek('rc_' || n)) FROM unnest('{old,new}'::text[]) n;
SET client_min_messages = warning;
SELECT sum(envelope_create_key('rc_' || i, 'rc_old')) FROM generate_series(1, 7) i;
CREATE TABLE rc_values AS SELECT i, envelope_encrypt('v' || i, 'rc_' || i) AS sealed FROM generate_series(1, 7) i;
CREATE VIEW rc_live AS
	SELECT w.kek, count(*), count(DISTINCT dek_id) AS deks FROM envelope.wrapping w JOIN envelope.dek USING (dek_id)
	WHERE key_id LIKE 'rc\_%' AND superseded IS NULL GROUP BY 1 ORDER BY 1;
CREATE VIEW rc_keks AS
	SELECT name, state, unused_since IS NOT NULL AS unused FROM envelope.kek WHERE name LIKE 'rc\_%' ORDER BY 1;
CREATE VIEW rc_results AS
	SELECT old, new, outcome, count(*), count(DISTINCT run) AS runs FROM envelope.rewrap_result
	WHERE old LIKE 'rc\_%' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- where it cannot commit it does not begin
BEGIN;
CALL envelope_rewrap('rc_old', 'rc_new');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
\set VERBOSITY default
DO $$ BEGIN
	BEGIN
		CALL envelope_rewrap('rc_old', 'rc_new');
	EXCEPTION WHEN active_sql_transaction THEN RAISE WARNING '%', SQLERRM;
	END;
END $$;
\set VERBOSITY terse
CALL envelope_rewrap('rc_old', 'rc_new', 0);
\echo :LAST_ERROR_SQLSTATE
CALL envelope_rewrap('rc_old', 'rc_new', NULL);
\echo :LAST_ERROR_SQLSTATE
CALL envelope_rewrap('rc_old', NULL);
\echo :LAST_ERROR_SQLSTATE
CALL envelope_rewrap('rc_old', 'rc_nowhere');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rc_keks;
-- stopped in the third batch: the retirement and two whole batches stay
CREATE FUNCTION rc_stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT count(*) FROM envelope.rewrap_result WHERE run = NEW.run) >= 6 THEN
		RAISE 'stopped in the third batch';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER rc_stop AFTER INSERT ON envelope.rewrap_result FOR EACH ROW EXECUTE FUNCTION rc_stop();
CALL envelope_rewrap('rc_old', 'rc_new', 2);
DROP TRIGGER rc_stop ON envelope.rewrap_result;
SELECT * FROM rc_keks;
SELECT * FROM rc_live;
SELECT * FROM rc_results;
SELECT kek, count(*) FROM envelope.key WHERE key_id LIKE 'rc\_%' GROUP BY 1;
SELECT envelope_cache_flush() >= 0 AS flushed;
SELECT count(*) FROM rc_values WHERE envelope_decrypt(sealed, 'rc_' || i) = 'v' || i;
-- the next run does what is left; batches need not divide it
SET client_min_messages = notice;
CALL envelope_rewrap('rc_old', 'rc_new', 2);
SET client_min_messages = warning;
SELECT * FROM rc_keks;
SELECT * FROM rc_live;
SELECT * FROM rc_results;
SELECT envelope_cache_flush() >= 0 AS flushed;
SELECT count(*) FROM rc_values WHERE envelope_decrypt(sealed, 'rc_' || i) = 'v' || i;
-- and the one after that has nothing to do
SELECT unused_since AS since FROM envelope.kek WHERE name = 'rc_old' \gset
CALL envelope_rewrap('rc_old', 'rc_new', 2);
SELECT unused_since = :'since' AS same FROM envelope.kek WHERE name = 'rc_old';
SELECT sum(count) FROM rc_results;
-- one that fails is a row and a warning, and does not stop the others
SELECT envelope_enable_kek('rc_old');
-- (what is done by hand here loses keys, so it takes the leave to do so)
SELECT uuid FROM envelope.keyring \gset
SET pg_envelope.allow_key_loss = :'uuid';
UPDATE envelope.wrapping w SET wrapped = '\x01010000'
	FROM envelope.dek d WHERE d.dek_id = w.dek_id AND d.key_id = 'rc_4' AND w.superseded IS NULL;
CALL envelope_rewrap('rc_new', 'rc_old', 7);
SELECT key_id, outcome, split_part(detail, ':', 1) AS detail
	FROM envelope.rewrap_result JOIN envelope.dek USING (dek_id) WHERE old = 'rc_new' ORDER BY 1;
SELECT * FROM rc_keks;
SELECT * FROM rc_live;
-- onto the newest version, in batches
SELECT envelope_rotate_kek('rc_old');
CALL envelope_rewrap('rc_old', 'rc_old', 4);
CALL envelope_rewrap('rc_old', 'rc_old', 4);
SELECT outcome, count(*), count(DISTINCT run) AS runs FROM envelope.rewrap_result
	WHERE old = 'rc_old' AND new = 'rc_old' GROUP BY 1 ORDER BY 1;
SELECT * FROM rc_keks;
-- EXECUTE is the right
CREATE ROLE rc_nobody;
SET ROLE rc_nobody;
CALL envelope_rewrap('rc_old', 'rc_new');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
DROP ROLE rc_nobody;
SELECT envelope_disable_key('rc_4');
SELECT envelope_destroy_key('rc_4');
DROP VIEW rc_live, rc_keks, rc_results;
DROP TABLE rc_values;
DROP FUNCTION rc_stop;
