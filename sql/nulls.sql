-- A NULL value stays NULL, whatever stands beside it; a NULL beside a value is
-- an error, because it would destroy data in silence.
SET client_min_messages = error;
SELECT envelope_create_kek('nulls') IS NOT NULL AS made;
SELECT envelope_create_key('nulls', 'nulls');
RESET client_min_messages;
\pset null '(null)'

SELECT envelope_encrypt(NULL, 'nulls') AS a, envelope_encrypt(NULL, NULL) AS b,
	envelope_encrypt(NULL, 'no such key') AS c, envelope_encrypt(NULL, NULL, NULL) AS d,
	envelope_encrypt_bytea(NULL, NULL) AS e, envelope_encrypt_bytea(NULL, NULL, NULL) AS f;
SET pg_envelope.require_key_id = on;
SELECT envelope_decrypt(NULL) AS a, envelope_decrypt(NULL, NULL) AS b, envelope_decrypt(NULL, NULL, NULL) AS c,
	envelope_decrypt_bytea(NULL) AS d, envelope_decrypt_bytea(NULL, 'no such key') AS e,
	envelope_reencrypt(NULL, NULL) AS f, envelope_reencrypt(NULL, NULL, NULL) AS g,
	envelope_is_encrypted(NULL) AS h;
RESET pg_envelope.require_key_id;
SELECT * FROM envelope_key_info(NULL);

\set VERBOSITY sqlstate
SELECT envelope_encrypt('x', NULL);
SELECT envelope_encrypt('x', 'nulls', NULL);
SELECT envelope_encrypt_bytea('x', NULL);
SELECT envelope_encrypt_bytea('x', 'nulls', NULL);
SELECT envelope_encrypt('x', 'nulls') AS sealed \gset
SELECT envelope_decrypt(:'sealed', NULL);
SELECT envelope_decrypt(:'sealed', 'nulls', NULL);
SELECT envelope_decrypt_bytea(:'sealed', NULL);
SELECT envelope_reencrypt(:'sealed', NULL);
SELECT envelope_reencrypt(:'sealed', 'nulls', NULL);
SELECT envelope_cache_flush(NULL);
SELECT envelope_prewarm(NULL);
SELECT envelope_prewarm(ARRAY['nulls', NULL]);
SELECT envelope_destroy_kek(NULL, 'local:x');
SELECT envelope_destroy_kek('nulls', NULL);
SELECT envelope_destroy_kek('nulls', 'local:x', NULL);
SELECT envelope_alter_kek(NULL, 'local:x');
SELECT envelope_alter_kek('nulls', NULL);

-- the case that this is for
CREATE TABLE nulls_t (ssn text, tenant text, sealed bytea);
INSERT INTO nulls_t VALUES ('078-05-1120', NULL);
UPDATE nulls_t SET sealed = envelope_encrypt(ssn, tenant), ssn = NULL;
SELECT ssn FROM nulls_t;
DROP TABLE nulls_t;
