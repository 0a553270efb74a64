/* pg_envelope--0.1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_envelope" to load this file. \quit

-- The owner of a database may put objects into the schema that the functions go
-- to, and a superuser runs this: so functions are named with pg_catalog, and
-- operators too, but for those whose operands match one there exactly.

-- Plain CREATE: objects that somebody planted in a schema of this name must
-- never become ours.
CREATE SCHEMA envelope;
COMMENT ON SCHEMA envelope IS
	'wrapped keys, and who may use them, of the extension pg_envelope';

--
-- Tables.  Text that an index orders is COLLATE "C": a new version of the
-- system's collations must not make a key unfindable.
--
-- No foreign keys: pg_restore --jobs loads the tables of an extension in any
-- order, and would leave those out that came too early.  What others need is
-- kept by the guard below, and functions write only what is there.
--

-- The one row is drawn by the first envelope_create_kek, not here: a restore
-- would keep two.
CREATE TABLE envelope.keyring (
	uuid uuid CONSTRAINT keyring_pkey PRIMARY KEY
);
CREATE UNIQUE INDEX keyring_one_row ON envelope.keyring ((true));
COMMENT ON INDEX envelope.keyring_one_row IS 'there is one keyring';
COMMENT ON TABLE envelope.keyring IS
	'one row: the name that binds every wrapped data key to this keyring';
COMMENT ON COLUMN envelope.keyring.uuid IS
	'part of the binding of every data key that is made here';

CREATE TABLE envelope.kek (
	name text COLLATE "C" CONSTRAINT kek_pkey PRIMARY KEY
		CONSTRAINT kek_name_check CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 63),
	uri text COLLATE "C" NOT NULL
		CONSTRAINT kek_uri_check CHECK (pg_catalog.octet_length(uri) BETWEEN 1 AND 1024),
	state text COLLATE "C" NOT NULL DEFAULT 'enabled'
		CONSTRAINT kek_state_check CHECK (state IN ('enabled', 'retired', 'destroyed')),
	created timestamptz NOT NULL DEFAULT pg_catalog.now(),
	unused_since timestamptz,
	unused_since_lsn pg_lsn,
	CONSTRAINT kek_unused_check
		CHECK ((unused_since IS NULL) = (unused_since_lsn IS NULL))
);
COMMENT ON TABLE envelope.kek IS
	'key-encryption keys by name; never key material';
COMMENT ON COLUMN envelope.kek.uri IS
	'which key of which service, such as local:<uuid>';
COMMENT ON COLUMN envelope.kek.state IS
	'enabled: wraps and unwraps; retired: only unwraps; destroyed: neither';
COMMENT ON COLUMN envelope.kek.unused_since IS
	'since when no live wrapping needs it';
COMMENT ON COLUMN envelope.kek.unused_since_lsn IS
	'backups older than this still need it';

CREATE TABLE envelope.key (
	key_id text COLLATE "C" CONSTRAINT key_pkey PRIMARY KEY
		CONSTRAINT key_key_id_check
		CHECK (pg_catalog.octet_length(key_id) BETWEEN 1 AND 255
			   AND key_id !~ '[\x01-\x1f\x7f]' AND key_id <> '*'),
	kek text COLLATE "C" NOT NULL,
	algorithm text COLLATE "C" NOT NULL
		CONSTRAINT key_algorithm_check CHECK (algorithm IN ('XAES_256_GCM', 'AES256_GCM')),
	require_associated_data boolean NOT NULL DEFAULT false,
	state text COLLATE "C" NOT NULL DEFAULT 'enabled'
		CONSTRAINT key_state_check CHECK (state IN ('enabled', 'disabled', 'destroyed')),
	created timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX key_kek ON envelope.key (kek);
COMMENT ON INDEX envelope.key_kek IS 'the keys whose next version a KEK wraps';
COMMENT ON TABLE envelope.key IS
	'keys by name, such as one per tenant; a name is never given twice';
COMMENT ON COLUMN envelope.key.kek IS
	'the key-encryption key that wraps its next version';
COMMENT ON COLUMN envelope.key.algorithm IS
	'the algorithm of its next version';
COMMENT ON COLUMN envelope.key.require_associated_data IS
	'whether sealing and opening without associated data is refused';
COMMENT ON COLUMN envelope.key.state IS
	'enabled; disabled: neither seals nor opens; destroyed: for good';

CREATE TABLE envelope.dek (
	dek_id bigint CONSTRAINT dek_pkey PRIMARY KEY
		CONSTRAINT dek_dek_id_check CHECK (dek_id BETWEEN 1 AND 4294967295),
	key_id text COLLATE "C" NOT NULL,
	version integer NOT NULL CONSTRAINT dek_version_check CHECK (version > 0),
	purpose text COLLATE "C" NOT NULL
		CONSTRAINT dek_purpose_check CHECK (purpose IN ('aead')),
	algorithm text COLLATE "C" NOT NULL
		CONSTRAINT dek_algorithm_check CHECK (algorithm IN ('XAES_256_GCM', 'AES256_GCM')),
	keyring uuid NOT NULL,
	check_value bytea NOT NULL
		CONSTRAINT dek_check_value_check CHECK (pg_catalog.octet_length(check_value) = 32),
	state text COLLATE "C" NOT NULL
		CONSTRAINT dek_state_check CHECK (state IN ('active', 'retired', 'compromised', 'destroyed')),
	created timestamptz NOT NULL DEFAULT pg_catalog.now(),
	CONSTRAINT dek_key_version UNIQUE (key_id, version)
);
CREATE UNIQUE INDEX dek_active ON envelope.dek (key_id, purpose) WHERE state = 'active';
COMMENT ON INDEX envelope.dek_active IS 'one version of a key seals';
COMMENT ON TABLE envelope.dek IS
	'data keys, one per version of a key; stored only wrapped, in envelope.wrapping';
COMMENT ON COLUMN envelope.dek.dek_id IS
	'the number in the header of every value that it sealed';
COMMENT ON COLUMN envelope.dek.version IS
	'counts up within a key over all purposes';
COMMENT ON COLUMN envelope.dek.keyring IS
	'the keyring that it was bound to when it was made';
COMMENT ON COLUMN envelope.dek.check_value IS
	'a keyed digest that shows after each unwrap that this is the right key';
COMMENT ON COLUMN envelope.dek.state IS
	'active: seals and opens; retired, compromised: only opens; destroyed: neither';

CREATE TABLE envelope.wrapping (
	dek_id bigint,
	seq integer CONSTRAINT wrapping_seq_check CHECK (seq > 0),
	kek text COLLATE "C" NOT NULL,
	kek_version text COLLATE "C" NOT NULL
		CONSTRAINT wrapping_kek_version_check CHECK (pg_catalog.octet_length(kek_version) <= 128),
	wrapped bytea
		CONSTRAINT wrapping_wrapped_check CHECK (pg_catalog.octet_length(wrapped) BETWEEN 4 AND 8192),
	created timestamptz NOT NULL DEFAULT pg_catalog.now(),
	superseded timestamptz,
	CONSTRAINT wrapping_pkey PRIMARY KEY (dek_id, seq),
	CONSTRAINT wrapping_superseded_check
		CHECK ((wrapped IS NULL) = (superseded IS NOT NULL))
);
CREATE UNIQUE INDEX wrapping_live ON envelope.wrapping (dek_id, kek) WHERE superseded IS NULL;
CREATE INDEX wrapping_kek ON envelope.wrapping (kek, dek_id) WHERE superseded IS NULL;
COMMENT ON INDEX envelope.wrapping_live IS 'one live wrapping of a data key under each KEK';
COMMENT ON INDEX envelope.wrapping_kek IS 'the data keys that need a KEK';
COMMENT ON TABLE envelope.wrapping IS
	'data keys as wrapped by key-encryption keys: those that count, and which others there ever were';
COMMENT ON COLUMN envelope.wrapping.seq IS
	'live wrappings of one data key are tried in this order';
COMMENT ON COLUMN envelope.wrapping.kek_version IS
	'the version of the key-encryption key, as its service reported it';
COMMENT ON COLUMN envelope.wrapping.wrapped IS
	'the wrapped data key; NULL once superseded';

CREATE TABLE envelope.key_grant (
	key_id text COLLATE "C",
	role_name name,
	role_oid oid NOT NULL,
	rights text[] COLLATE "C" NOT NULL,
	CONSTRAINT key_grant_pkey PRIMARY KEY (key_id, role_name),
	CONSTRAINT key_grant_rights_check
		CHECK (rights OPERATOR(pg_catalog.<@) ARRAY['encrypt', 'decrypt', 'manage']
			   AND pg_catalog.cardinality(rights) > 0
			   AND pg_catalog.array_position(rights, NULL) IS NULL)
);
COMMENT ON TABLE envelope.key_grant IS
	'which role may use which key (* for all keys), and how';
COMMENT ON COLUMN envelope.key_grant.role_oid IS
	'effective only while the role of this name has this oid, so a re-created role inherits nothing';
COMMENT ON COLUMN envelope.key_grant.rights IS
	'of encrypt, decrypt, manage';

CREATE TABLE envelope.rewrap_result (
	run uuid,
	old text COLLATE "C" NOT NULL,
	new text COLLATE "C" NOT NULL,
	dek_id bigint,
	outcome text COLLATE "C" NOT NULL
		CONSTRAINT rewrap_result_outcome_check CHECK (outcome IN ('rewrapped', 'already', 'failed')),
	detail text NOT NULL DEFAULT '',
	finished timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT rewrap_result_pkey PRIMARY KEY (run, dek_id)
);
COMMENT ON TABLE envelope.rewrap_result IS
	'what CALL envelope_rewrap did with each data key; not dumped';
COMMENT ON COLUMN envelope.rewrap_result.run IS 'one per CALL';
COMMENT ON COLUMN envelope.rewrap_result.old IS 'the key-encryption key that was left';
COMMENT ON COLUMN envelope.rewrap_result.new IS 'the key-encryption key that wraps now';

SELECT pg_catalog.pg_extension_config_dump('envelope.keyring', '');
SELECT pg_catalog.pg_extension_config_dump('envelope.kek', '');
SELECT pg_catalog.pg_extension_config_dump('envelope.key', '');
SELECT pg_catalog.pg_extension_config_dump('envelope.dek', '');
SELECT pg_catalog.pg_extension_config_dump('envelope.wrapping', '');
SELECT pg_catalog.pg_extension_config_dump('envelope.key_grant', '');

-- A database owner's pg_dump reads these; wrapped keys are no secret.
GRANT USAGE ON SCHEMA envelope TO pg_database_owner, pg_read_all_data;
GRANT SELECT ON envelope.keyring, envelope.kek, envelope.key, envelope.dek,
	envelope.wrapping, envelope.key_grant, envelope.rewrap_result
	TO pg_database_owner, pg_read_all_data;

--
-- The guard.  Row triggers, because the logical apply worker fires no others;
-- ALWAYS, because a replica role or a subscriber would skip them.
--
CREATE FUNCTION envelope_guard_row()
RETURNS trigger
AS 'MODULE_PATHNAME', 'envelope_guard_row'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_guard_row() FROM PUBLIC;
COMMENT ON FUNCTION envelope_guard_row() IS
	'refuses changes of the key tables that the functions of pg_envelope did not make';

CREATE TRIGGER envelope_guard BEFORE INSERT OR UPDATE OR DELETE ON envelope.keyring
	FOR EACH ROW EXECUTE FUNCTION envelope_guard_row();
CREATE TRIGGER envelope_guard BEFORE INSERT OR UPDATE OR DELETE ON envelope.kek
	FOR EACH ROW EXECUTE FUNCTION envelope_guard_row();
CREATE TRIGGER envelope_guard BEFORE INSERT OR UPDATE OR DELETE ON envelope.key
	FOR EACH ROW EXECUTE FUNCTION envelope_guard_row();
CREATE TRIGGER envelope_guard BEFORE INSERT OR UPDATE OR DELETE ON envelope.dek
	FOR EACH ROW EXECUTE FUNCTION envelope_guard_row();
CREATE TRIGGER envelope_guard BEFORE INSERT OR UPDATE OR DELETE ON envelope.wrapping
	FOR EACH ROW EXECUTE FUNCTION envelope_guard_row();
CREATE TRIGGER envelope_guard BEFORE INSERT OR UPDATE OR DELETE ON envelope.key_grant
	FOR EACH ROW EXECUTE FUNCTION envelope_guard_row();
CREATE TRIGGER envelope_guard BEFORE INSERT OR UPDATE OR DELETE ON envelope.rewrap_result
	FOR EACH ROW EXECUTE FUNCTION envelope_guard_row();
ALTER TABLE envelope.keyring ENABLE ALWAYS TRIGGER envelope_guard;
ALTER TABLE envelope.kek ENABLE ALWAYS TRIGGER envelope_guard;
ALTER TABLE envelope.key ENABLE ALWAYS TRIGGER envelope_guard;
ALTER TABLE envelope.dek ENABLE ALWAYS TRIGGER envelope_guard;
ALTER TABLE envelope.wrapping ENABLE ALWAYS TRIGGER envelope_guard;
ALTER TABLE envelope.key_grant ENABLE ALWAYS TRIGGER envelope_guard;
ALTER TABLE envelope.rewrap_result ENABLE ALWAYS TRIGGER envelope_guard;
COMMENT ON TRIGGER envelope_guard ON envelope.keyring IS 'only the functions of pg_envelope write here';
COMMENT ON TRIGGER envelope_guard ON envelope.kek IS 'only the functions of pg_envelope write here';
COMMENT ON TRIGGER envelope_guard ON envelope.key IS 'only the functions of pg_envelope write here';
COMMENT ON TRIGGER envelope_guard ON envelope.dek IS 'only the functions of pg_envelope write here';
COMMENT ON TRIGGER envelope_guard ON envelope.wrapping IS 'only the functions of pg_envelope write here';
COMMENT ON TRIGGER envelope_guard ON envelope.key_grant IS 'only the functions of pg_envelope write here';
COMMENT ON TRIGGER envelope_guard ON envelope.rewrap_result IS 'only the functions of pg_envelope write here';

-- No row trigger is told of a TRUNCATE.
CREATE FUNCTION envelope_guard_truncate()
RETURNS trigger
AS 'MODULE_PATHNAME', 'envelope_guard_truncate'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_guard_truncate() FROM PUBLIC;
COMMENT ON FUNCTION envelope_guard_truncate() IS
	'refuses to empty a key table while a data key lives, and tells all sessions of it';

CREATE TRIGGER envelope_guard_truncate BEFORE TRUNCATE ON envelope.keyring
	FOR EACH STATEMENT EXECUTE FUNCTION envelope_guard_truncate();
CREATE TRIGGER envelope_guard_truncate BEFORE TRUNCATE ON envelope.kek
	FOR EACH STATEMENT EXECUTE FUNCTION envelope_guard_truncate();
CREATE TRIGGER envelope_guard_truncate BEFORE TRUNCATE ON envelope.key
	FOR EACH STATEMENT EXECUTE FUNCTION envelope_guard_truncate();
CREATE TRIGGER envelope_guard_truncate BEFORE TRUNCATE ON envelope.dek
	FOR EACH STATEMENT EXECUTE FUNCTION envelope_guard_truncate();
CREATE TRIGGER envelope_guard_truncate BEFORE TRUNCATE ON envelope.wrapping
	FOR EACH STATEMENT EXECUTE FUNCTION envelope_guard_truncate();
CREATE TRIGGER envelope_guard_truncate BEFORE TRUNCATE ON envelope.key_grant
	FOR EACH STATEMENT EXECUTE FUNCTION envelope_guard_truncate();
ALTER TABLE envelope.keyring ENABLE ALWAYS TRIGGER envelope_guard_truncate;
ALTER TABLE envelope.kek ENABLE ALWAYS TRIGGER envelope_guard_truncate;
ALTER TABLE envelope.key ENABLE ALWAYS TRIGGER envelope_guard_truncate;
ALTER TABLE envelope.dek ENABLE ALWAYS TRIGGER envelope_guard_truncate;
ALTER TABLE envelope.wrapping ENABLE ALWAYS TRIGGER envelope_guard_truncate;
ALTER TABLE envelope.key_grant ENABLE ALWAYS TRIGGER envelope_guard_truncate;
COMMENT ON TRIGGER envelope_guard_truncate ON envelope.keyring IS 'refuses a TRUNCATE that would lose keys';
COMMENT ON TRIGGER envelope_guard_truncate ON envelope.kek IS 'refuses a TRUNCATE that would lose keys';
COMMENT ON TRIGGER envelope_guard_truncate ON envelope.key IS 'refuses a TRUNCATE that would lose keys';
COMMENT ON TRIGGER envelope_guard_truncate ON envelope.dek IS 'refuses a TRUNCATE that would lose keys';
COMMENT ON TRIGGER envelope_guard_truncate ON envelope.wrapping IS 'refuses a TRUNCATE that would lose keys';
COMMENT ON TRIGGER envelope_guard_truncate ON envelope.key_grant IS 'tells all sessions of a TRUNCATE';

--
-- KEKs.  All administration: volatile, because it writes; parallel unsafe, for
-- the same reason; not strict, because a NULL is an error here.
--
CREATE FUNCTION envelope_create_kek(name text, uri text DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME', 'envelope_create_kek'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_create_kek(text, text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_create_kek(text, text) IS
	'name a key-encryption key: the one of this URI, or else a new one in the local keyring; returns its URI';

CREATE FUNCTION envelope_alter_kek(name text, uri text)
RETURNS text
AS 'MODULE_PATHNAME', 'envelope_alter_kek'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_alter_kek(text, text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_alter_kek(text, text) IS
	'give a key-encryption key whose service moved its new URI, if that opens what it wrapped; returns its URI';

CREATE FUNCTION envelope_enable_kek(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_enable_kek'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_enable_kek(text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_enable_kek(text) IS
	'let a retired key-encryption key wrap again; call the destruction of a destroyed one off, while its service can';

CREATE FUNCTION envelope_rotate_kek(name text)
RETURNS text
AS 'MODULE_PATHNAME', 'envelope_rotate_kek'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_rotate_kek(text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_rotate_kek(text) IS
	'make a new version of a key-encryption key in its service; returns that version';

CREATE FUNCTION envelope_destroy_kek(name text, uri text, immediate boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_destroy_kek'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_destroy_kek(text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION envelope_destroy_kek(text, text, boolean) IS
	'have its service destroy a key-encryption key that wraps nothing here any more; the URI is repeated';

--
-- Keys.
--
CREATE FUNCTION envelope_create_key(key_id text, kek text,
	algorithm text DEFAULT 'XAES_256_GCM', require_associated_data boolean DEFAULT false)
RETURNS integer
AS 'MODULE_PATHNAME', 'envelope_create_key'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_create_key(text, text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION envelope_create_key(text, text, text, boolean) IS
	'make a key and its version 1, wrapped by a key-encryption key; the caller gets all rights on it';

CREATE FUNCTION envelope_rotate_key(key_id text)
RETURNS integer
AS 'MODULE_PATHNAME', 'envelope_rotate_key'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_rotate_key(text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_rotate_key(text) IS
	'make the next version of a key, which seals from now on; older ones still open; returns the version';

CREATE FUNCTION envelope_disable_key(key_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_disable_key'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_disable_key(text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_disable_key(text) IS
	'stop a key from sealing and opening, until it is enabled again';

CREATE FUNCTION envelope_enable_key(key_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_enable_key'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_enable_key(text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_enable_key(text) IS
	'let a disabled key seal and open again';

CREATE FUNCTION envelope_destroy_key(key_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_destroy_key'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_destroy_key(text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_destroy_key(text) IS
	'forget all wrapped versions of a disabled key; its values never open here again';

CREATE FUNCTION envelope_mark_compromised(key_id text, version integer)
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_mark_compromised'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_mark_compromised(text, integer) FROM PUBLIC;
COMMENT ON FUNCTION envelope_mark_compromised(text, integer) IS
	'stop a version of a key from sealing; it still opens, so that its values can be sealed anew';

--
-- Rights.
--
CREATE FUNCTION envelope_grant(key_id text, role_name name, rights text[])
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_grant'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_grant(text, name, text[]) FROM PUBLIC;
COMMENT ON FUNCTION envelope_grant(text, name, text[]) IS
	'give a role rights (encrypt, decrypt, manage) on a key, or on all keys as *';

CREATE FUNCTION envelope_revoke(key_id text, role_name name)
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_revoke_all'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_revoke(text, name) FROM PUBLIC;
COMMENT ON FUNCTION envelope_revoke(text, name) IS
	'take all rights on a key, or on all keys as *, from a role';

CREATE FUNCTION envelope_revoke(key_id text, role_name name, rights text[])
RETURNS void
AS 'MODULE_PATHNAME', 'envelope_revoke'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_revoke(text, name, text[]) FROM PUBLIC;
COMMENT ON FUNCTION envelope_revoke(text, name, text[]) IS
	'take some rights on a key, or on all keys as *, from a role';

--
-- Values.
--
-- Immutable: the same elements give the same text for ever.
CREATE FUNCTION envelope_bind(VARIADIC elements text[])
RETURNS text
AS 'MODULE_PATHNAME', 'envelope_bind'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_bind(text[]) IS
	'several values as one unambiguous associated data';

-- Volatile: every call draws a fresh nonce, so two calls never agree.  Not
-- strict: a NULL key or NULL associated data beside a value is an error.
-- EXECUTE is PUBLIC's: the right is on the key, not on the function.
CREATE FUNCTION envelope_encrypt(value text, key_id text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_encrypt_text'
LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_encrypt(text, text) IS
	'seal a text under the active version of a key';

CREATE FUNCTION envelope_encrypt(value text, key_id text, associated_data text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_encrypt_text'
LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_encrypt(text, text, text) IS
	'seal a text under the active version of a key, bound to associated data';

-- Another name, not an overload on the value: an untyped parameter would seal
-- the text of a bytea.
CREATE FUNCTION envelope_encrypt_bytea(value bytea, key_id text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_encrypt_bytea'
LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_encrypt_bytea(bytea, text) IS
	'seal bytes under the active version of a key';

CREATE FUNCTION envelope_encrypt_bytea(value bytea, key_id text, associated_data text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_encrypt_bytea'
LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_encrypt_bytea(bytea, text, text) IS
	'seal bytes under the active version of a key, bound to associated data';

-- Stable, never immutable: the answer depends on rights and states, and a
-- folded constant would put the plaintext into plans.
CREATE FUNCTION envelope_decrypt(sealed bytea)
RETURNS text
AS 'MODULE_PATHNAME', 'envelope_decrypt_text'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_decrypt(bytea) IS
	'open a text under whatever key its header names, as the caller''s rights allow';

CREATE FUNCTION envelope_decrypt(sealed bytea, key_id text)
RETURNS text
AS 'MODULE_PATHNAME', 'envelope_decrypt_text'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_decrypt(bytea, text) IS
	'open a text that was sealed under this key';

CREATE FUNCTION envelope_decrypt(sealed bytea, key_id text, associated_data text)
RETURNS text
AS 'MODULE_PATHNAME', 'envelope_decrypt_text'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_decrypt(bytea, text, text) IS
	'open a text that was sealed under this key with this associated data';

CREATE FUNCTION envelope_decrypt_bytea(sealed bytea)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_decrypt_bytea'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_decrypt_bytea(bytea) IS
	'open bytes under whatever key their header names, as the caller''s rights allow';

CREATE FUNCTION envelope_decrypt_bytea(sealed bytea, key_id text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_decrypt_bytea'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_decrypt_bytea(bytea, text) IS
	'open bytes that were sealed under this key';

CREATE FUNCTION envelope_decrypt_bytea(sealed bytea, key_id text, associated_data text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_decrypt_bytea'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_decrypt_bytea(bytea, text, text) IS
	'open bytes that were sealed under this key with this associated data';

-- Volatile: what it seals anew has a fresh nonce.
CREATE FUNCTION envelope_reencrypt(sealed bytea, key_id text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_reencrypt'
LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_reencrypt(bytea, text) IS
	'move a sealed value onto the active version of its key; unchanged if it is there';

CREATE FUNCTION envelope_reencrypt(sealed bytea, key_id text, associated_data text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'envelope_reencrypt'
LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_reencrypt(bytea, text, text) IS
	'move a sealed value with associated data onto the active version of its key; unchanged if it is there';

-- Stable: reads the tables.  Strict: there is nothing beside the value.
CREATE FUNCTION envelope_key_info(sealed bytea,
	OUT dek_id bigint, OUT algorithm text,
	OUT key_id text, OUT version integer, OUT state text)
RETURNS record
AS 'MODULE_PATHNAME', 'envelope_key_info'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION envelope_key_info(bytea) IS
	'what the header of a sealed value names; key_id, version and state only for roles with a right to the key';

-- Stable: one snapshot.  Restricted: it runs a query of its own, which reads
-- temporary tables too and may have workers.  Nothing is anybody's but the
-- caller's, so EXECUTE is PUBLIC's.
CREATE FUNCTION envelope_verify(relation regclass, column_name name)
RETURNS TABLE (key_id text, version integer, dek_id bigint, state text, sealed_values bigint)
AS 'MODULE_PATHNAME', 'envelope_verify'
LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION envelope_verify(regclass, name) IS
	'how many values of a column each data key sealed, by their headers; state unknown: of a data key that is not here';

-- Immutable: reads the header alone, for CHECK constraints.
CREATE FUNCTION envelope_is_encrypted(sealed bytea)
RETURNS boolean
AS 'MODULE_PATHNAME', 'envelope_is_encrypted'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION envelope_is_encrypted(bytea) IS
	'whether a value has the header and length of a sealed one; no key is asked';

-- Volatile: changes the cache of the node.
CREATE FUNCTION envelope_cache_flush()
RETURNS integer
AS 'MODULE_PATHNAME', 'envelope_cache_flush'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_cache_flush() FROM PUBLIC;
COMMENT ON FUNCTION envelope_cache_flush() IS
	'wipe all unwrapped data keys of this node; returns how many sessions still hold contexts of their running transaction';

CREATE FUNCTION envelope_cache_flush(key_id text)
RETURNS integer
AS 'MODULE_PATHNAME', 'envelope_cache_flush'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_cache_flush(text) FROM PUBLIC;
COMMENT ON FUNCTION envelope_cache_flush(text) IS
	'wipe the unwrapped data keys of a key on this node (and, in this version, those of the others)';

-- Volatile: changes the cache of the node.
CREATE FUNCTION envelope_prewarm()
RETURNS integer
AS 'MODULE_PATHNAME', 'envelope_prewarm'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_prewarm() FROM PUBLIC;
COMMENT ON FUNCTION envelope_prewarm() IS
	'unwrap the data keys of all keys that the caller manages into the cache; returns how many came in';

CREATE FUNCTION envelope_prewarm(key_ids text[])
RETURNS integer
AS 'MODULE_PATHNAME', 'envelope_prewarm'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_prewarm(text[]) FROM PUBLIC;
COMMENT ON FUNCTION envelope_prewarm(text[]) IS
	'unwrap the data keys of these keys into the cache; returns how many came in';

-- Volatile: it tells of this moment.  It names files and processes of the
-- server, so it is for those who may monitor it.
CREATE FUNCTION envelope_status(OUT name text, OUT value text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'envelope_status'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION envelope_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION envelope_status() TO pg_monitor;
COMMENT ON FUNCTION envelope_status() IS
	'how keeper, agent, secret memory and cache are doing';

-- rewrap
--
-- Volatile and parallel unsafe, because they write; not strict, because a NULL
-- is an error here.
CREATE FUNCTION rewrap_all(old_kek text, new_kek text,
	dry_run boolean DEFAULT false, keep_old boolean DEFAULT false)
RETURNS TABLE (key_id text, version integer, outcome text, detail text, duration interval)
AS 'MODULE_PATHNAME', 'envelope_rewrap_all'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION rewrap_all(text, text, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION rewrap_all(text, text, boolean, boolean) IS
	'wrap every data key of one key-encryption key under another, and retire the first; no value is touched';

-- No SET and no SECURITY DEFINER: either would keep it from committing.
CREATE PROCEDURE envelope_rewrap(old_kek text, new_kek text, batch integer DEFAULT 1000)
AS 'MODULE_PATHNAME', 'envelope_rewrap'
LANGUAGE C;
REVOKE ALL ON PROCEDURE envelope_rewrap(text, text, integer) FROM PUBLIC;
COMMENT ON PROCEDURE envelope_rewrap(text, text, integer) IS
	'as rewrap_all, but commits after each batch of data keys; outcomes are kept in envelope.rewrap_result';


-- Moving keys to another database
--
-- Reads under a snapshot of its own, which no parallel query has.
CREATE FUNCTION envelope_export_keyring(key_ids text[] DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'envelope_export_keyring'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_export_keyring(text[]) FROM PUBLIC;
COMMENT ON FUNCTION envelope_export_keyring(text[]) IS
	'these keys, or all, with their data keys as they are wrapped, for envelope_import_keyring';

CREATE FUNCTION envelope_import_keyring(document jsonb)
RETURNS TABLE (key_id text, version integer, outcome text, detail text)
AS 'MODULE_PATHNAME', 'envelope_import_keyring'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION envelope_import_keyring(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION envelope_import_keyring(jsonb) IS
	'take in keys that envelope_export_keyring gave, once each opens here; all or nothing; the caller gets all rights on them';
