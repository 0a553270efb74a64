-- Statements of ours are planned once and kept: whatever changes meanwhile counts.
SET client_min_messages = error;
SELECT envelope_create_kek('kept') IS NOT NULL AS made;
SELECT count(envelope_create_key('kept ' || n, 'kept')) FROM generate_series(1, 5) n;

-- another search_path, in which our names mean something else
CREATE SCHEMA kept_traps;
CREATE FUNCTION kept_traps.now() RETURNS timestamptz LANGUAGE sql RETURN timestamptz '-infinity';
CREATE FUNCTION kept_traps.eq(bigint, bigint) RETURNS boolean LANGUAGE sql RETURN true;
CREATE OPERATOR kept_traps.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = kept_traps.eq);
SET search_path = kept_traps, public, pg_catalog;
SELECT count(envelope_rotate_key('kept ' || n)) FROM generate_series(1, 5) n;
RESET search_path;
SELECT count(*), bool_and(w.created > '2000-01-01') AS no_trap FROM envelope.wrapping w JOIN envelope.dek USING (dek_id) WHERE key_id ~ '^kept ';
DROP SCHEMA kept_traps CASCADE;

-- a trigger of somebody else's that runs the same statement while it runs, more often than a plan is kept
CREATE FUNCTION kept_more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 AND NEW.key_id = 'kept outer' THEN
		PERFORM envelope_create_key('kept inner ' || n, 'kept') FROM generate_series(1, 1100) n;
	END IF;
	RETURN NEW;
END $$;
BEGIN;
CREATE TRIGGER kept_more AFTER INSERT ON envelope.key FOR EACH ROW EXECUTE FUNCTION kept_more();
SELECT envelope_create_key('kept outer', 'kept');
DROP TRIGGER kept_more ON envelope.key;
SELECT count(*) FROM envelope.key WHERE key_id ~ '^kept inner ';
SELECT envelope_decrypt(envelope_encrypt('v', 'kept inner 1100'), 'kept inner 1100');
ROLLBACK;
DROP FUNCTION kept_more;

-- one that fails in the middle leaves the plan fit for the next
CREATE FUNCTION kept_fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE TRIGGER kept_fails AFTER INSERT ON envelope.key FOR EACH ROW EXECUTE FUNCTION kept_fails();
SELECT envelope_create_key('kept failed', 'kept');
DROP TRIGGER kept_fails ON envelope.key;
DROP FUNCTION kept_fails;
SELECT envelope_create_key('kept failed', 'kept');

-- a rule of somebody else's that does nothing, for all rows or for some: no right is said to be given or taken that is not
CREATE ROLE regress_kept_reader;
CREATE RULE kept_out AS ON INSERT TO envelope.key_grant DO INSTEAD NOTHING;
SELECT envelope_grant('kept 1', 'regress_kept_reader', '{decrypt}');
DROP RULE kept_out ON envelope.key_grant;
SELECT envelope_grant('kept 1', 'regress_kept_reader', '{decrypt}');
CREATE RULE kept_out AS ON DELETE TO envelope.key_grant DO INSTEAD NOTHING;
SELECT envelope_revoke('kept 1', 'regress_kept_reader');
DROP RULE kept_out ON envelope.key_grant;
CREATE RULE kept_out AS ON DELETE TO envelope.key_grant WHERE old.role_name = 'regress_kept_reader' DO INSTEAD NOTHING;
SELECT envelope_revoke('kept 1', 'regress_kept_reader');
ALTER TABLE envelope.key_grant DISABLE RULE kept_out;
SELECT envelope_revoke('kept 1', 'regress_kept_reader');
SELECT count(*) FROM envelope.key_grant WHERE role_name = 'regress_kept_reader';
DROP RULE kept_out ON envelope.key_grant;
DROP ROLE regress_kept_reader;

-- tables that are others by now
BEGIN;
DO $$BEGIN PERFORM set_config('pg_envelope.allow_key_loss', uuid::text, true) FROM envelope.keyring; END$$;
CREATE INDEX kept_index ON envelope.wrapping (created);
ALTER TABLE envelope.wrapping ADD COLUMN kept integer DEFAULT 7;
SELECT envelope_rotate_key('kept 1');
SELECT outcome, count(*) FROM rewrap_all('kept', 'kept') GROUP BY 1;
SELECT count(*), max(kept) FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id = 'kept 1';
ROLLBACK;
SELECT count(envelope_create_key('kept again ' || n, 'kept')) FROM generate_series(1, 5) n;
SELECT count(*) FROM envelope.key WHERE key_id ~ '^kept again';
