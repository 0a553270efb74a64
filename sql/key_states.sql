-- Every function that names a key or takes a sealed value, on a key in every
-- state: what works, and what is said where it does not.
SET client_min_messages = error;
SELECT envelope_create_kek('ks') IS NOT NULL AS made;
CREATE TABLE ks (place int, state text, key_id text, sealed bytea, bound bytea);
INSERT INTO ks (place, state, key_id) VALUES (1, 'enabled', 'ks-enabled'), (2, 'rotated', 'ks-rotated'), (3, 'compromised', 'ks-compromised'),
	(4, 'compr. + rotated', 'ks-comprot'), (5, 'disabled', 'ks-disabled'), (6, 'destroyed', 'ks-destroyed');
SELECT count(envelope_create_key(key_id, 'ks')) FROM ks;
UPDATE ks SET sealed = envelope_encrypt('v', key_id), bound = envelope_encrypt('v', key_id, 'row 1');
-- values may outlive a key that is rolled back
BEGIN;
SELECT envelope_create_key('ks-unknown', 'ks');
SELECT envelope_encrypt('v', 'ks-unknown') AS sealed, envelope_encrypt('v', 'ks-unknown', 'row 1') AS bound \gset
ROLLBACK;
INSERT INTO ks VALUES (7, 'unknown', 'ks-unknown', :'sealed', :'bound');
SELECT envelope_rotate_key('ks-rotated');
SELECT envelope_mark_compromised('ks-compromised', 1), envelope_mark_compromised('ks-comprot', 1);
SELECT envelope_rotate_key('ks-comprot');
SELECT envelope_disable_key('ks-disabled'), envelope_disable_key('ks-destroyed');
SELECT envelope_destroy_key('ks-destroyed');
CREATE TABLE ks_answers (place int, f text, state text, answer text, said text);
CREATE FUNCTION ks_try(f text, k ks) RETURNS void LANGUAGE plpgsql AS $$
DECLARE answer text; message text; detail text; hint text;
BEGIN
	BEGIN
		EXECUTE format('SELECT (%s)::text', f) INTO answer USING k.key_id, k.sealed, k.bound;
		RAISE EXCEPTION USING ERRCODE = 'UN000';
	EXCEPTION WHEN SQLSTATE 'UN000' THEN
		-- the sealed ones are never the same twice
		INSERT INTO ks_answers VALUES (k.place, f, k.state, CASE WHEN length(answer) > 60 THEN 'sealed' ELSE coalesce(nullif(answer, ''), 'done') END);
	END;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	INSERT INTO ks_answers VALUES (k.place, f, k.state, SQLSTATE,
		format('%s %s%s / %s', SQLSTATE, regexp_replace(replace(message, k.key_id, '#'), 'data key \d+', 'data key #'), coalesce(' / ' || nullif(detail, ''), ''), coalesce(nullif(hint, ''), 'NO HINT')));
END $$;
SELECT count(ks_try(f, ks)) FROM unnest(ARRAY[
	'envelope_encrypt(''v'', $1)', 'envelope_encrypt(''v'', $1, ''row 1'')', 'envelope_encrypt_bytea(''v'', $1)', 'envelope_encrypt_bytea(''v'', $1, ''row 1'')',
	'envelope_decrypt($2)', 'envelope_decrypt($2, $1)', 'envelope_decrypt($3, $1, ''row 1'')',
	'envelope_decrypt_bytea($2)', 'envelope_decrypt_bytea($2, $1)', 'envelope_decrypt_bytea($3, $1, ''row 1'')',
	'envelope_reencrypt($2, $1)', 'envelope_reencrypt($3, $1, ''row 1'')',
	'(envelope_key_info($2)).state', 'envelope_is_encrypted($2)',
	'envelope_create_key($1, ''ks'')', 'envelope_rotate_key($1)', 'envelope_disable_key($1)', 'envelope_enable_key($1)', 'envelope_destroy_key($1)', 'envelope_mark_compromised($1, 1)',
	'envelope_grant($1, current_user, ''{decrypt}'')', 'envelope_revoke($1, current_user)', 'envelope_revoke($1, current_user, ''{decrypt}'')',
	'envelope_cache_flush($1) >= 0', 'envelope_prewarm(ARRAY[$1])']) f, ks;
SELECT f, state, answer, place FROM ks_answers ORDER BY f COLLATE "C", place \crosstabview f state answer place
\pset format unaligned
\pset tuples_only on
-- what is said in each case
SELECT DISTINCT said COLLATE "C" FROM ks_answers WHERE said IS NOT NULL ORDER BY 1;
\pset format aligned
\pset tuples_only off
DROP FUNCTION ks_try;
DROP TABLE ks, ks_answers;
