-- Nobody but a superuser changes the key tables by hand, and not even a
-- superuser changes what a data key is bound to.
SET client_min_messages = error;
SELECT envelope_create_kek('hand_kek') IS NOT NULL AS made;
RESET client_min_messages;
\set VERBOSITY terse
SELECT envelope_create_key('hand', 'hand_kek');
SELECT envelope_disable_key('hand');
CREATE ROLE regress_pge_writer IN ROLE pg_write_all_data, pg_read_all_data;
SET ROLE regress_pge_writer;
INSERT INTO envelope.key_grant VALUES ('hand', 'regress_pge_writer', 0, '{decrypt}');
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.key SET state = 'enabled' WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.wrapping SET wrapped = '\x01010000';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET state = 'active';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM envelope.dek WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.kek (name, uri) VALUES ('hand_planted', 'local:x');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.keyring VALUES ('00000000-0000-4000-8000-000000000000');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.rewrap_result (run, old, new, dek_id, outcome)
	VALUES ('00000000-0000-4000-8000-000000000000', 'a', 'b', 1, 'rewrapped');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
DELETE FROM envelope.key WHERE key_id = 'hand';
\set VERBOSITY terse
RESET ROLE;
-- not in the transaction of a function of ours either
GRANT EXECUTE ON FUNCTION envelope_create_key TO regress_pge_writer;
SET ROLE regress_pge_writer;
BEGIN;
SELECT envelope_create_key('hand_mine', 'hand_kek');
UPDATE envelope.key SET state = 'enabled' WHERE key_id = 'hand';
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT envelope_create_key('hand', 'hand_kek');
ROLLBACK TO s;
UPDATE envelope.key SET state = 'enabled' WHERE key_id = 'hand';
ROLLBACK;
RESET ROLE;
SELECT state FROM envelope.key WHERE key_id = 'hand';
-- no row of a living data key goes or changes, also where no foreign key is looked at
SET session_replication_role = replica;
DELETE FROM envelope.dek WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET state = 'destroyed' WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM envelope.wrapping WHERE kek = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.wrapping SET wrapped = '\x01010000' WHERE kek = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.wrapping SET wrapped = NULL, superseded = now() WHERE kek = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.wrapping SET dek_id = dek_id # 1 WHERE kek = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.wrapping SET kek = 'hand_kick' WHERE kek = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.wrapping SET kek_version = '7' WHERE kek = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM envelope.kek WHERE name = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.kek SET name = 'hand_kick' WHERE name = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
DELETE FROM envelope.keyring;
UPDATE envelope.keyring SET uuid = '00000000-0000-4000-8000-000000000000';
\set VERBOSITY terse
RESET session_replication_role;
-- nor by another table's foreign key, a cursor, a prepared statement, or in a block that catches it
CREATE TABLE hand_parent (key_id text COLLATE "C" PRIMARY KEY);
INSERT INTO hand_parent SELECT key_id FROM envelope.key;
ALTER TABLE envelope.dek ADD CONSTRAINT hand_parent FOREIGN KEY (key_id) REFERENCES hand_parent ON DELETE CASCADE ON UPDATE CASCADE;
DELETE FROM hand_parent WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE hand_parent SET key_id = 'hind' WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
TRUNCATE hand_parent CASCADE;
\set VERBOSITY terse
ALTER TABLE envelope.dek DROP CONSTRAINT hand_parent;
DROP TABLE hand_parent;
BEGIN;
DECLARE hand_cursor CURSOR FOR SELECT * FROM envelope.wrapping WHERE kek = 'hand_kek' FOR UPDATE;
FETCH hand_cursor \g /dev/null
DELETE FROM envelope.wrapping WHERE CURRENT OF hand_cursor;
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
PREPARE hand_delete AS DELETE FROM envelope.wrapping WHERE kek = 'hand_kek';
EXECUTE hand_delete;
\echo :LAST_ERROR_SQLSTATE
DEALLOCATE hand_delete;
DO $$
DECLARE attack text;
BEGIN
	FOREACH attack IN ARRAY ARRAY['DELETE FROM envelope.wrapping', 'TRUNCATE envelope.dek', 'DROP EXTENSION pg_envelope CASCADE',
		'ALTER TABLE envelope.wrapping DISABLE TRIGGER ALL', 'DELETE FROM envelope.wrapping'] LOOP
		BEGIN
			EXECUTE attack;
		EXCEPTION WHEN SQLSTATE 'KE014' THEN
			RAISE INFO '%', SQLSTATE;
		END;
	END LOOP;
END $$;
SELECT count(*) AS still_there FROM envelope.wrapping WHERE kek = 'hand_kek' AND superseded IS NULL;
-- of two wrappings one may go, but not both, in one statement either
SET client_min_messages = error;
SELECT envelope_create_kek('hand_second') IS NOT NULL AS made;
RESET client_min_messages;
SELECT key_id, outcome FROM rewrap_all('hand_kek', 'hand_second', keep_old => true);
DELETE FROM envelope.wrapping WHERE kek LIKE 'hand%';
\echo :LAST_ERROR_SQLSTATE
-- nor may one be changed, which would leave the other for the next statement
UPDATE envelope.wrapping SET wrapped = '\x01010000' WHERE kek LIKE 'hand%';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.wrapping SET kek = kek || '_x' WHERE kek LIKE 'hand%';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.kek SET uri = 'local:x' WHERE name = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
BEGIN;
DELETE FROM envelope.wrapping WHERE kek = 'hand_kek';
DELETE FROM envelope.wrapping WHERE kek = 'hand_second';
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
UPDATE envelope.wrapping SET wrapped = NULL, superseded = now() WHERE kek = 'hand_second';
DELETE FROM envelope.wrapping WHERE kek = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
-- a superuser restores a dump: rows go in as they are, but the oid of a role
-- is that of this cluster
SELECT uuid FROM envelope.keyring \gset
SET pg_envelope.allow_key_loss = :'uuid';
BEGIN;
CREATE TEMP TABLE saved_grant AS SELECT * FROM envelope.key_grant WHERE key_id = 'hand';
CREATE TEMP TABLE saved_dek AS SELECT * FROM envelope.dek WHERE key_id = 'hand';
CREATE TEMP TABLE saved_wrapping AS SELECT w.* FROM envelope.wrapping w JOIN saved_dek USING (dek_id);
DELETE FROM envelope.key_grant WHERE key_id = 'hand';
DELETE FROM envelope.wrapping w USING saved_dek d WHERE w.dek_id = d.dek_id;
DELETE FROM envelope.dek WHERE key_id = 'hand';
INSERT INTO envelope.dek SELECT * FROM saved_dek;
INSERT INTO envelope.wrapping SELECT * FROM saved_wrapping;
INSERT INTO envelope.key_grant SELECT key_id, role_name, 4242, rights FROM saved_grant;
INSERT INTO envelope.key_grant VALUES ('hand', 'regress_pge_nobody', 4242, '{decrypt}');
SELECT g.role_oid = coalesce(r.oid, 0) AS resolved, g.rights
  FROM envelope.key_grant g LEFT JOIN pg_roles r ON r.rolname = g.role_name
  WHERE key_id = 'hand' ORDER BY g.role_name = 'regress_pge_nobody';
COMMIT;
RESET pg_envelope.allow_key_loss;
-- what a data key is bound to
UPDATE envelope.dek SET dek_id = dek_id + 1 WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET key_id = 'other' WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET version = 2 WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET purpose = 'index' WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET algorithm = 'AES256_GCM' WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET keyring = '00000000-0000-4000-8000-000000000000' WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET check_value = sha256(check_value) WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.dek SET check_value = NULL WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
SET session_replication_role = replica;
UPDATE envelope.dek SET version = 2 WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
RESET session_replication_role;
-- a state is no identity
UPDATE envelope.dek SET state = 'retired', dek_id = dek_id WHERE key_id = 'hand';
UPDATE envelope.dek SET state = 'active' WHERE key_id = 'hand';
-- rows that could never be right
INSERT INTO envelope.key (key_id, kek, algorithm) VALUES (E'hand\u0085', 'hand_kek', 'AES256_GCM');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.dek SELECT dek_id # 1, key_id, 2, purpose, algorithm, keyring, check_value, state
  FROM envelope.dek WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.wrapping SELECT dek_id, 3, kek, kek_version, wrapped
  FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id = 'hand' AND superseded IS NULL;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.wrapping SELECT dek_id, 3, 'hand_none', kek_version, NULL
  FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.keyring VALUES ('00000000-0000-4000-8000-000000000000');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.key_grant VALUES ('hand', 'regress_pge_writer', 0, '{}');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO envelope.key_grant VALUES ('hand', 'regress_pge_writer', 0, '{search}');
\echo :LAST_ERROR_SQLSTATE
-- a name from before that was asked still leaves the key to be disabled
BEGIN;
SET LOCAL pg_envelope.allow_key_loss = :'uuid';
ALTER TABLE envelope.key DISABLE TRIGGER envelope_guard;
ALTER TABLE envelope.kek DISABLE TRIGGER envelope_guard;
INSERT INTO envelope.kek (name, uri) VALUES (U&'hand\00ad', U&'local:\00ad');
INSERT INTO envelope.key (key_id, kek, algorithm) VALUES (U&'hand\00ad', 'hand_kek', 'AES256_GCM');
ALTER TABLE envelope.key ENABLE ALWAYS TRIGGER envelope_guard;
ALTER TABLE envelope.kek ENABLE ALWAYS TRIGGER envelope_guard;
SELECT envelope_disable_key(U&'hand\00ad');
UPDATE envelope.kek SET state = 'retired' WHERE name = U&'hand\00ad';
SAVEPOINT s;
UPDATE envelope.key SET key_id = U&'hand\00ad!' WHERE key_id = U&'hand\00ad';
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
UPDATE envelope.kek SET uri = U&'local:\00ad!' WHERE name = U&'hand\00ad';
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- the trigger's function is no function to call
SELECT envelope_guard_row();
DROP OWNED BY regress_pge_writer;
DROP ROLE regress_pge_writer;
-- what others need neither goes nor gets another name
DELETE FROM envelope.kek WHERE name = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.kek SET name = 'hand_kick' WHERE name = 'hand_kek';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM envelope.key WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
UPDATE envelope.key SET key_id = 'hind' WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM envelope.dek WHERE key_id = 'hand';
\echo :LAST_ERROR_SQLSTATE
-- of a destroyed one they go in this order: wrappings, data keys, key, KEK
\set VERBOSITY default
SET client_min_messages = error;
SELECT envelope_create_kek('hand_gone') IS NOT NULL AS made;
SELECT envelope_create_key('hand_gone', 'hand_gone');
SELECT envelope_disable_key('hand_gone');
SELECT envelope_destroy_key('hand_gone');
RESET client_min_messages;
DELETE FROM envelope.kek WHERE name = 'hand_gone';
DELETE FROM envelope.key WHERE key_id = 'hand_gone';
DELETE FROM envelope.dek WHERE key_id = 'hand_gone';
SET session_replication_role = replica;
DELETE FROM envelope.kek WHERE name = 'hand_gone';
RESET session_replication_role;
DELETE FROM envelope.wrapping WHERE kek = 'hand_gone';
DELETE FROM envelope.dek WHERE key_id = 'hand_gone';
DELETE FROM envelope.key WHERE key_id = 'hand_gone';
DELETE FROM envelope.kek WHERE name = 'hand_gone';
-- rows that arrived in another order, as on a subscriber, where no foreign key
-- is looked at
\set VERBOSITY sqlstate
SET client_min_messages = error;
SELECT envelope_create_kek('hand_late') IS NOT NULL AS made;
RESET client_min_messages;
SELECT envelope_create_key('hand_late', 'hand_late');
SELECT envelope_encrypt('late', 'hand_late') AS late \gset
SELECT envelope_cache_flush() >= 0 AS flushed;
SET session_replication_role = replica;
SET pg_envelope.allow_key_loss = :'uuid';
BEGIN;
DELETE FROM envelope.kek WHERE name = 'hand_late';
SELECT envelope_decrypt(:'late', 'hand_late');
ROLLBACK;
BEGIN;
DELETE FROM envelope.key WHERE key_id = 'hand_late';
SELECT envelope_decrypt(:'late', 'hand_late');
ROLLBACK;
BEGIN;
DELETE FROM envelope.wrapping WHERE kek = 'hand_late';
SELECT envelope_decrypt(:'late', 'hand_late');
ROLLBACK;
BEGIN;
DELETE FROM envelope.keyring;
SELECT envelope_decrypt(:'late', 'hand_late');
SELECT envelope_create_key('hand_later', 'hand_late');
ROLLBACK;
RESET session_replication_role;
-- a wrapping of another data key never opens as this one
SELECT envelope_create_key('hand_thief', 'hand_late');
SELECT envelope_cache_flush() >= 0 AS flushed;
BEGIN;
UPDATE envelope.wrapping SET wrapped = (SELECT wrapped FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id = 'hand_thief')
  WHERE dek_id = (SELECT dek_id FROM envelope.dek WHERE key_id = 'hand_late');
SELECT envelope_decrypt(:'late', 'hand_late');
ROLLBACK;
SELECT envelope_decrypt(:'late', 'hand_late');
