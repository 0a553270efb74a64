-- envelope_reencrypt moves a value onto the active version, and only then.
SET client_min_messages = error;
SELECT envelope_create_kek('reencrypt') IS NOT NULL AS made;
SELECT envelope_create_key('re', 'reencrypt'), envelope_create_key('re-other', 'reencrypt');
RESET client_min_messages;

CREATE TABLE re_t (id int, sealed bytea);
INSERT INTO re_t SELECT i, envelope_encrypt('value ' || i, 're', 'row ' || i) FROM generate_series(1, 3) i;
INSERT INTO re_t VALUES (4, NULL);
CREATE TABLE re_before AS SELECT * FROM re_t;

-- there already: the same bytes
SELECT bool_and(envelope_reencrypt(sealed, 're', 'row ' || id) = sealed) FROM re_t;
SELECT envelope_rotate_key('re');
UPDATE re_t SET sealed = envelope_reencrypt(sealed, 're', 'row ' || id);
SELECT id, envelope_decrypt(t.sealed, 're', 'row ' || id), (envelope_key_info(t.sealed)).version,
	envelope_decrypt(b.sealed, 're', 'row ' || id) AS before, (envelope_key_info(b.sealed)).version AS version_before
FROM re_t t JOIN re_before b USING (id) ORDER BY id;
SELECT envelope_reencrypt(sealed, 're', 'another row') FROM re_before WHERE id = 1;
SELECT envelope_reencrypt(sealed, 're-other', 'row 1') FROM re_before WHERE id = 1;
SELECT envelope_reencrypt('\x01', 're');
DROP TABLE re_t, re_before;
