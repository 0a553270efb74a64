-- What a header says, and to whom.
SET client_min_messages = error;
SELECT envelope_create_kek('info') IS NOT NULL AS made;
SELECT envelope_create_key('info', 'info'), envelope_create_key('info-gcm', 'info', 'AES256_GCM');
DROP ROLE IF EXISTS regress_info_holder, regress_info_none;
CREATE ROLE regress_info_holder;
CREATE ROLE regress_info_none;
RESET client_min_messages;
\pset null '(null)'
SELECT envelope_grant('info', 'regress_info_holder', ARRAY['encrypt']);
SELECT envelope_encrypt('x', 'info') AS sealed, envelope_encrypt('', 'info-gcm') AS gcm \gset

SELECT i.dek_id = d.dek_id AS same_id, i.algorithm, i.key_id, i.version, i.state
FROM envelope_key_info(:'sealed') i, envelope.dek d WHERE d.key_id = 'info';
SELECT algorithm, key_id FROM envelope_key_info(:'gcm');
SET ROLE regress_info_holder;
SELECT algorithm, key_id, version, state FROM envelope_key_info(:'sealed');
-- a right to encrypt does not open, and the name of the key is not for everybody
SELECT envelope_decrypt(:'sealed', 'info');
SELECT envelope_decrypt(:'gcm');
SELECT envelope_decrypt(:'gcm', 'info');
SET ROLE regress_info_none;
SELECT dek_id IS NOT NULL AS has_id, algorithm, key_id, version, state FROM envelope_key_info(:'sealed');
SELECT envelope_encrypt('x', 'info');
SELECT envelope_decrypt(:'sealed');
SELECT envelope_cache_flush();
RESET ROLE;

SELECT envelope_rotate_key('info');
SELECT version, state FROM envelope_key_info(:'sealed');
SELECT version, state FROM envelope_key_info(envelope_encrypt('x', 'info'));
SELECT envelope_disable_key('info');
SELECT version, state FROM envelope_key_info(:'sealed');
SELECT envelope_decrypt(:'sealed', 'info');
SELECT envelope_encrypt('x', 'info');
SELECT envelope_enable_key('info');
SELECT envelope_decrypt(:'sealed', 'info');
SELECT envelope_key_info('\x0102');
SELECT dek_id, algorithm FROM envelope_key_info(overlay(:'sealed'::bytea PLACING '\x00000001'::bytea FROM 2 FOR 4));

-- a compromised version opens and never seals
SELECT envelope_mark_compromised('info', 2);
SELECT envelope_encrypt('x', 'info');
SELECT envelope_decrypt(:'sealed', 'info');

SELECT envelope_is_encrypted(:'sealed') AS sealed, envelope_is_encrypted(:'gcm') AS shortest,
	envelope_is_encrypted(substr(:'gcm'::bytea, 1, 32)) AS shorter,
	envelope_is_encrypted('\x') AS empty, envelope_is_encrypted('078-05-1120') AS text,
	envelope_is_encrypted('\x0100000000' || decode(repeat('00', 40), 'hex')) AS id_0;
CREATE TABLE info_t (sealed bytea CHECK (envelope_is_encrypted(sealed)));
ALTER TABLE info_t ALTER sealed SET STORAGE EXTERNAL;
INSERT INTO info_t VALUES (NULL), (:'sealed'), (envelope_encrypt(repeat('x', 100000), 'info-gcm'));
INSERT INTO info_t VALUES ('078-05-1120');
SELECT envelope_is_encrypted(sealed), (envelope_key_info(sealed)).key_id FROM info_t;
DROP TABLE info_t;
SELECT envelope_revoke('info', 'regress_info_holder', ARRAY['encrypt']);
DROP ROLE regress_info_holder, regress_info_none;
