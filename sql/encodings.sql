-- Text is sealed as UTF-8 whatever the database's encoding, and errors show
-- nothing of it.
SELECT current_database() AS home \gset
SET client_min_messages = error;
SET client_encoding = 'UTF8';
SELECT envelope_create_kek('encodings') IS NOT NULL AS made;
SELECT envelope_create_key('enc', 'encodings');
SELECT envelope_decrypt_bytea(envelope_encrypt('Zoë', 'enc'), 'enc') AS utf8_bytes;
-- bytes that are no text of this database
SELECT envelope_decrypt(envelope_encrypt_bytea('\x5a6fff', 'enc'), 'enc');
SELECT envelope_decrypt(envelope_encrypt_bytea('\x5a6f00', 'enc'), 'enc');
-- Wherever such a byte stands in texts of lengths around a machine's words: none opens.
CREATE FUNCTION enc_opens(value bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RETURN octet_length(envelope_decrypt(envelope_encrypt_bytea(value, 'enc'), 'enc')) = length(value);
EXCEPTION WHEN character_not_in_repertoire THEN
	RETURN false;
END $$;
SELECT with_what, count(*) AS tried, count(*) FILTER (WHERE enc_opens(overlay(text PLACING with_what FROM at))) AS opened
	FROM unnest(ARRAY[1, 2, 7, 8, 9, 16, 63, 64, 65, 72, 127, 128, 129, 200]) length,
		convert_to(repeat('~', length), 'UTF8') text, generate_series(1, length) at,
		unnest(ARRAY['\x00', '\x80', '\xff', '\x01', '\x7f']::bytea[]) with_what
	GROUP BY 1 ORDER BY 1;
SELECT count(*) AS tried, count(*) FILTER (WHERE enc_opens(overlay(text PLACING '\xc3ab' FROM at))) AS opened
	FROM unnest(ARRAY[2, 8, 64, 65, 129]) length,
		convert_to(repeat('~', length), 'UTF8') text, generate_series(1, length - 1) at;

CREATE DATABASE pge_regress_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';
CREATE DATABASE pge_regress_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C';

\c pge_regress_latin1
SET client_min_messages = error;
SET client_encoding = 'UTF8';
CREATE EXTENSION pg_envelope;
SELECT envelope_create_kek('encodings') IS NOT NULL AS made;
SELECT envelope_create_key('clé', 'encodings');
SELECT envelope_decrypt_bytea(envelope_encrypt('Zoë', 'clé', 'ligne é'), 'clé', 'ligne é') AS utf8_bytes;
SELECT envelope_decrypt(envelope_encrypt('Zoë', 'clé', 'ligne é'), 'clé', 'ligne é');
SELECT octet_length(envelope_decrypt(envelope_encrypt(repeat('é', 3000000), 'clé'), 'clé'));
SELECT envelope_decrypt(envelope_encrypt_bytea('\xe282ac', 'clé'), 'clé') AS euro;
SELECT envelope_decrypt(envelope_encrypt_bytea('\x5a6fff', 'clé'), 'clé');
SELECT envelope_decrypt(envelope_encrypt_bytea('\x5a00', 'clé'), 'clé');

\c pge_regress_ascii
SET client_min_messages = error;
CREATE EXTENSION pg_envelope;
SELECT envelope_create_kek('encodings') IS NOT NULL AS made;
SELECT envelope_create_key('enc', 'encodings');
SELECT envelope_decrypt(envelope_encrypt('Zoë', 'enc'), 'enc') = 'Zoë' AS same;
SELECT envelope_encrypt(E'Zo\xff', 'enc');
SELECT envelope_encrypt('x', 'enc', E'row \xff');
SELECT envelope_decrypt_bytea(envelope_encrypt_bytea('\x5a6fff', 'enc'), 'enc');

\c :home
DROP DATABASE pge_regress_latin1;
DROP DATABASE pge_regress_ascii;
