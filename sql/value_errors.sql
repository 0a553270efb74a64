-- No error of a value says anything of its bytes, least of all where they are
-- not valid in the database's encoding.
SELECT current_database() AS home \gset
SET client_min_messages = error;
SET client_encoding = 'UTF8';
-- The SQLSTATE, and whether any field shows some of the bytes that were passed.
SELECT $def$CREATE FUNCTION told(statement text, argument bytea) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE state text; said text; detail text; hint text; context text;
BEGIN
	EXECUTE statement USING argument;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	said = concat_ws(' ', said, detail, hint, context);
	RETURN state || CASE WHEN said ~* 'canary|63616e617279|Y2FuYXJ5|0x[0-9a-f][0-9a-f]|\\x'
		THEN ' shows bytes' ELSE ' clean' END;
END $f$;
SET client_min_messages = error;
SELECT envelope_create_kek('value_errors') IS NOT NULL AS made;
SELECT envelope_create_key('ve', 'value_errors'), envelope_create_key('ve-bound', 'value_errors', require_associated_data => true);
$def$ AS def \gset
:def

-- the control: what the server says of such bytes
SELECT told('SELECT convert_from($1, ''UTF8'')', '\x63616e617279ff'),
	told('SELECT convert_from($1, ''UTF8'')::int', 'canary');

-- opened bytes that are no text
SELECT told('SELECT envelope_decrypt(envelope_encrypt_bytea($1, ''ve''), ''ve'')', v)
FROM (VALUES ('\x63616e617279ff'::bytea), ('\x63616e61727900'), ('\xe282'::bytea || 'canary'), ('\x63616e617279f0'), ('\xeda080'::bytea || 'canary')) AS values(v);
-- values that are damaged, cut, another key's, or not sealed at all
SELECT told('SELECT envelope_decrypt(set_byte(v, length(v) - 1, get_byte(v, length(v) - 1) # 1), ''ve'') FROM envelope_encrypt_bytea($1, ''ve'') v', 'canary'),
	told('SELECT envelope_decrypt(substr(v, 1, length(v) - 1), ''ve'') FROM envelope_encrypt_bytea($1, ''ve'') v', 'canary'),
	told('SELECT envelope_decrypt(substr(v, 1, 20), ''ve'') FROM envelope_encrypt_bytea($1, ''ve'') v', 'canary'),
	told('SELECT envelope_decrypt(envelope_encrypt_bytea($1, ''ve''), ''ve-bound'', ''x'')', 'canary'),
	told('SELECT envelope_decrypt(envelope_encrypt_bytea($1, ''ve''), ''ve'', ''x'')', 'canary'),
	told('SELECT envelope_decrypt(envelope_encrypt_bytea($1, ''ve-bound'', ''x''), ''ve-bound'')', 'canary'),
	told('SELECT envelope_decrypt($1, ''ve'')', 'canary'),
	told('SELECT envelope_key_info($1)', 'canary'),
	told('SELECT envelope_reencrypt($1, ''ve'')', 'canary');
-- values that are not sealed
SELECT told('SELECT envelope_encrypt_bytea($1, NULL)', 'canary'),
	told('SELECT envelope_encrypt_bytea($1, ''ve'', NULL)', 'canary'),
	told('SELECT envelope_encrypt_bytea($1, ''ve-none'')', 'canary'),
	told('SELECT envelope_encrypt_bytea($1, ''ve-bound'')', 'canary');

CREATE DATABASE pge_regress_latin1_errors TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';
CREATE DATABASE pge_regress_euc_jp_errors TEMPLATE template0 ENCODING 'EUC_JP' LOCALE 'C';
CREATE DATABASE pge_regress_ascii_errors TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C';

\c pge_regress_latin1_errors
CREATE EXTENSION pg_envelope;
:def
SELECT told('SELECT envelope_decrypt(envelope_encrypt_bytea($1, ''ve''), ''ve'')', v)
FROM (VALUES ('\xe282ac'::bytea || 'canary'), ('\x63616e617279ff'), ('\x63616e61727900'), ('\x63616e617279e282')) AS values(v);

\c pge_regress_euc_jp_errors
CREATE EXTENSION pg_envelope;
:def
-- characters of this encoding that UTF-8 has no counterpart for, and the reverse
SELECT told('SELECT envelope_encrypt(convert_from($1, ''EUC_JP''), ''ve'')', '\x63616e617279a9a1'),
	told('SELECT envelope_encrypt(''x'', ''ve'', convert_from($1, ''EUC_JP''))', '\x63616e617279a9a1'),
	told('SELECT envelope_bind(convert_from($1, ''EUC_JP''))', '\x63616e617279a9a1');
SELECT told('SELECT envelope_decrypt(envelope_encrypt_bytea($1, ''ve''), ''ve'')', v)
FROM (VALUES ('\x63616e617279f09f9491'::bytea), ('\x63616e617279ff')) AS values(v);

\c pge_regress_ascii_errors
CREATE EXTENSION pg_envelope;
:def
SELECT told('SELECT envelope_encrypt(convert_from($1, ''SQL_ASCII''), ''ve'')', '\x63616e617279ff'),
	told('SELECT envelope_encrypt(''x'', ''ve'', convert_from($1, ''SQL_ASCII''))', '\x63616e617279ff'),
	told('SELECT envelope_bind(convert_from($1, ''SQL_ASCII''))', '\x63616e617279ff'),
	told('SELECT envelope_decrypt(envelope_encrypt_bytea($1, ''ve''), ''ve'')', '\x63616e617279ff');

\c :home
DROP DATABASE pge_regress_latin1_errors;
DROP DATABASE pge_regress_euc_jp_errors;
DROP DATABASE pge_regress_ascii_errors;
DROP FUNCTION told;
