-- A key is made, rotated, disabled, enabled and destroyed, in that order only.
SET client_min_messages = error;
SELECT envelope_create_kek('life_kek') IS NOT NULL AS made;
SELECT envelope_create_kek('life_kek2') IS NOT NULL AS made;
RESET client_min_messages;
\set VERBOSITY terse
CREATE VIEW life AS
	SELECT d.key_id, d.version, d.algorithm, d.state,
		   array_agg(w.kek ORDER BY w.seq) FILTER (WHERE w.superseded IS NULL) AS live,
		   array_agg(w.kek ORDER BY w.seq) FILTER (WHERE w.superseded IS NOT NULL) AS superseded
	FROM envelope.dek d JOIN envelope.wrapping w USING (dek_id)
	WHERE d.key_id LIKE 'life%' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2;
SELECT envelope_create_key('life', 'life_kek');
SELECT envelope_create_key('life_compact', 'life_kek', 'AES256_GCM', require_associated_data => true);
SELECT key_id, kek, algorithm, require_associated_data, state
  FROM envelope.key WHERE key_id LIKE 'life%' ORDER BY 1;
SELECT role_name = current_user AS creator, rights FROM envelope.key_grant WHERE key_id = 'life';
-- every rotation retires what was active
SELECT envelope_rotate_key('life');
SELECT envelope_rotate_key('life');
SELECT * FROM life;
SELECT count(DISTINCT check_value) AS different_keys, bool_and(keyring = uuid) AS bound_here,
       bool_and(dek_id BETWEEN 1 AND 4294967295) AS ids
  FROM envelope.dek, envelope.keyring WHERE key_id = 'life';
-- a second live wrapping, as keep_old of a rewrap makes it: the next version
-- is wrapped under both
INSERT INTO envelope.wrapping (dek_id, seq, kek, kek_version, wrapped)
	SELECT dek_id, 2, 'life_kek2', '1', '\x01010000' FROM envelope.dek
	WHERE key_id = 'life' AND state = 'active';
SELECT envelope_rotate_key('life');
SELECT live FROM life WHERE key_id = 'life' AND version = 4;
-- but not under one that is retired
UPDATE envelope.kek SET state = 'retired' WHERE name = 'life_kek2';
SELECT envelope_rotate_key('life');
SELECT live FROM life WHERE key_id = 'life' AND version = 5;
-- compromised: never seals, so the next rotation finds nothing to retire
SELECT envelope_mark_compromised('life', 5);
SELECT version, state FROM life WHERE key_id = 'life' AND state IN ('active', 'compromised');
SELECT envelope_rotate_key('life');
SELECT version, state FROM life WHERE key_id = 'life' AND state IN ('active', 'compromised');
SELECT envelope_mark_compromised('life', 7);
\echo :LAST_ERROR_SQLSTATE
-- disabled
SELECT envelope_destroy_key('life');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_disable_key('life');
SELECT envelope_rotate_key('life');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_enable_key('life');
SELECT envelope_rotate_key('life');
-- destroyed: for good, and the name is never given again
SELECT envelope_disable_key('life');
\set VERBOSITY default
SELECT envelope_destroy_key('life');
\set VERBOSITY terse
SELECT version, state, live, superseded FROM life WHERE key_id = 'life';
SELECT count(*) AS wrapped_left FROM envelope.wrapping JOIN envelope.dek USING (dek_id)
  WHERE key_id = 'life' AND wrapped IS NOT NULL;
SELECT envelope_enable_key('life');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_disable_key('life');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_rotate_key('life');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_mark_compromised('life', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_key('life', 'life_kek');
\echo :LAST_ERROR_SQLSTATE
-- made and undone leaves nothing
BEGIN;
SELECT envelope_create_key('life_undone', 'life_kek');
SAVEPOINT s;
SELECT envelope_rotate_key('life_undone');
ROLLBACK TO s;
SELECT version, state FROM life WHERE key_id = 'life_undone';
ROLLBACK;
SELECT count(*) FROM envelope.key WHERE key_id = 'life_undone';
-- an error inside leaves the caller's handler its own subtransaction
DO $$
BEGIN
	PERFORM envelope_create_key('life_handled', 'life_kek');
	BEGIN
		PERFORM envelope_create_key('life_handled', 'life_kek');
	EXCEPTION WHEN duplicate_object THEN
		PERFORM envelope_rotate_key('life_handled');
	END;
END
$$;
SELECT version, state FROM life WHERE key_id = 'life_handled';
-- nothing is begun that could not be written
BEGIN READ ONLY;
SELECT envelope_create_key('life_read_only', 'life_kek');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- a new version is on disk when COMMIT returns, whatever the session prefers
SET synchronous_commit = off;
BEGIN;
SELECT envelope_rotate_key('life_handled');
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT pg_current_wal_flush_lsn() > :'lsn' AS flushed;
RESET synchronous_commit;
DROP VIEW life;
