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
