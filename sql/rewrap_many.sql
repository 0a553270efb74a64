-- Past 10,000 data keys a notice names the procedure; each bad one is a row.
SET client_min_messages = error;
SELECT envelope_create_kek('rm_new') IS NOT NULL AS made;
BEGIN;
INSERT INTO envelope.kek (name, uri) SELECT 'rm_many', uri FROM envelope.kek WHERE name = 'rm_new';
INSERT INTO envelope.key (key_id, kek, algorithm) VALUES ('rm_many', 'rm_many', 'XAES_256_GCM');
SELECT g * 20000 AS base FROM generate_series(1, 1000) g
	WHERE NOT EXISTS (SELECT FROM envelope.dek WHERE dek_id BETWEEN g * 20000 AND g * 20000 + 10001) LIMIT 1 \gset
INSERT INTO envelope.dek (dek_id, key_id, version, purpose, algorithm, keyring, check_value, state)
	SELECT :base + i, 'rm_many', i, 'aead', 'XAES_256_GCM', uuid, sha256(''), 'retired' FROM generate_series(1, 10001) i, envelope.keyring;
INSERT INTO envelope.wrapping (dek_id, seq, kek, kek_version, wrapped)
	SELECT :base + i, 1, 'rm_many', '1', '\x01010000' FROM generate_series(1, 10001) i;
\set VERBOSITY default
SET LOCAL client_min_messages = notice;
SELECT outcome, split_part(detail, ':', 1) AS detail, count(*), sum(version) FROM rewrap_all('rm_many', 'rm_new', dry_run => true) GROUP BY 1, 2;
ROLLBACK;
