-- A value opens to what was sealed, as text and as bytes, whatever its length.
SET client_min_messages = error;
SELECT envelope_create_kek('seal_open') IS NOT NULL AS made;
SELECT envelope_create_key('so-x', 'seal_open'), envelope_create_key('so-g', 'seal_open', 'AES256_GCM');
RESET client_min_messages;

SELECT key_id, v = envelope_decrypt(envelope_encrypt(v, key_id), key_id) AS same,
	octet_length(envelope_encrypt(v, key_id)) - octet_length(v) AS overhead
FROM (VALUES (''), ('078-05-1120'), ('Zoë Łuksza 🔑'), (repeat('x', 1000000))) AS values(v),
	(VALUES ('so-x'), ('so-g')) AS keys(key_id)
ORDER BY key_id, v;

SELECT envelope_decrypt_bytea(envelope_encrypt_bytea('\x00ff00', 'so-x'), 'so-x');
SELECT envelope_decrypt(envelope_encrypt('with', 'so-x', 'row 7'), 'so-x', 'row 7');
-- the header alone says which key, for a caller with the right to it
SELECT envelope_decrypt(envelope_encrypt('plain', 'so-g'));
-- empty associated data and none are the same
SELECT envelope_decrypt(envelope_encrypt('none', 'so-x', ''), 'so-x');

-- a nonce of its own for each value
SELECT count(DISTINCT envelope_encrypt('same', 'so-x')) FROM generate_series(1, 1000);

-- stored, toasted, in short headers, and read back
CREATE TABLE so (id int, sealed bytea);
INSERT INTO so SELECT i, envelope_encrypt(repeat('v', i * i), 'so-x') FROM generate_series(0, 200) i;
SELECT count(*) FROM so WHERE envelope_decrypt(sealed, 'so-x') = repeat('v', id * id);

-- made and used in one transaction; gone with it
BEGIN;
SELECT envelope_create_key('so-new', 'seal_open');
SELECT envelope_decrypt(envelope_encrypt('mine', 'so-new'), 'so-new');
ROLLBACK;
SELECT envelope_encrypt('x', 'so-new');
BEGIN;
SAVEPOINT a;
SELECT envelope_create_key('so-new', 'seal_open');
SELECT length(envelope_encrypt('mine', 'so-new'));
ROLLBACK TO a;
SELECT envelope_encrypt('x', 'so-new');
ROLLBACK;
-- made again: another DEK, so the old one's context must not serve it
BEGIN;
SELECT envelope_create_key('so-new', 'seal_open');
SELECT envelope_encrypt('again', 'so-new') AS sealed \gset
COMMIT;
SELECT envelope_decrypt(:'sealed', 'so-new');

-- a transaction that changed keys cannot be prepared
BEGIN;
SELECT envelope_create_key('so-2pc', 'seal_open');
PREPARE TRANSACTION 'so';
DROP TABLE so;
