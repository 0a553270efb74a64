-- Another tenant's bytes, other associated data and a flipped bit: one error.
SET client_min_messages = error;
SELECT envelope_create_kek('wrong_context') IS NOT NULL AS made;
SELECT envelope_create_key('wc-a', 'wrong_context'), envelope_create_key('wc-b', 'wrong_context');
SELECT envelope_create_key('wc-bound', 'wrong_context', require_associated_data => true);
RESET client_min_messages;

SELECT envelope_encrypt('4111-1111', 'wc-a', 'row 1') AS sealed \gset
SELECT envelope_decrypt(:'sealed', 'wc-a', 'row 1');
SELECT envelope_decrypt(:'sealed', 'wc-b', 'row 1');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_decrypt(:'sealed', 'wc-a', 'row 2');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_decrypt(:'sealed', 'wc-a');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_decrypt(:'sealed');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_decrypt(set_byte(:'sealed', 20, get_byte(:'sealed', 20) # 1), 'wc-a', 'row 1');
\echo :LAST_ERROR_SQLSTATE

-- every bit after the header is covered, and none opens to anything
CREATE FUNCTION wc_state(sealed bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM envelope_decrypt(sealed, 'wc-a', 'row 1');
	RETURN 'opened';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
SELECT wc_state(set_bit(:'sealed'::bytea, i, 1 - get_bit(:'sealed'::bytea, i))) AS state, count(*)
FROM generate_series(40, length(:'sealed'::bytea) * 8 - 1) i GROUP BY 1;
-- cut short and made longer
SELECT wc_state(substr(:'sealed'::bytea, 1, n)) AS state, count(*)
FROM generate_series(0, length(:'sealed'::bytea) - 1) n GROUP BY 1 ORDER BY 1;
SELECT wc_state(:'sealed'::bytea || '\x00');

-- not a sealed value, and a DEK that nobody made
SELECT envelope_decrypt('\x', 'wc-a');
SELECT envelope_decrypt('078-05-1120 in clear text, of some length', 'wc-a');
SELECT envelope_decrypt(set_byte(:'sealed', 0, 2), 'wc-a');
SELECT wc_state(overlay(:'sealed'::bytea PLACING '\x00000001'::bytea FROM 2 FOR 4));

-- a key may insist on associated data
SELECT envelope_encrypt('x', 'wc-bound');
SELECT envelope_encrypt('x', 'wc-bound', '');
SELECT envelope_encrypt('x', 'wc-bound', 'row 1') AS sealed \gset
SELECT envelope_decrypt(:'sealed', 'wc-bound');
SELECT envelope_decrypt(:'sealed', 'wc-bound', 'row 1');

-- a server may insist on key_id
SET pg_envelope.require_key_id = on;
SELECT envelope_decrypt(:'sealed');
SELECT envelope_decrypt_bytea(:'sealed');
SELECT envelope_decrypt(:'sealed', 'wc-bound', 'row 1');
RESET pg_envelope.require_key_id;
DROP FUNCTION wc_state;
