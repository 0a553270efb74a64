/*
 * keyring_file.h -- the bytes of a keyring file (README.md is their
 * specification) and the keyring in memory.
 *
 * Pure: bytes in, bytes out; no file is touched here.
 *
 * A Keyring holds key bytes: start it with pge_keyring_init, or let
 * pge_keyring_decode fill it, and end it with pge_keyring_wipe on every path.
 * Its entries are always in ascending order of (uuid, version), no pair twice.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KEYRING_FILE_H
#define PGE_AGENT_KEYRING_FILE_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/status.h"

#define KEYRING_SALT_LEN		16
#define KEYRING_HEADER_LEN		38
#define KEYRING_ENTRY_LEN		61
#define KEYRING_DIGEST_LEN		32	/* plain: SHA-256 over all before it */
#define KEYRING_SEAL_LEN		40	/* scrypt: what XAES-256-GCM adds */
#define KEYRING_COUNT_MAX		100000
#define KEYRING_FILE_MAX		(KEYRING_HEADER_LEN + KEYRING_COUNT_MAX * KEYRING_ENTRY_LEN + KEYRING_SEAL_LEN)
#define KEYRING_CREATED_MAX		INT64_C(253402300799)	/* 9999-12-31 23:59:59 */

/* Cost of the passphrase: fixed by the format, so that no file can ask for more. */
#define KEYRING_SCRYPT_LOG2_N	17
#define KEYRING_SCRYPT_R		8
#define KEYRING_SCRYPT_P		1

typedef enum KeyringProtection
{
	KEYRING_PLAIN = 0,
	KEYRING_SCRYPT = 1
} KeyringProtection;

/* The only state of this format: wraps (if it is the newest) and unwraps. */
#define KEYRING_STATE_ENABLED	1

typedef struct KeyringEntry
{
	uint8_t		uuid[PGE_UUID_LEN]; /* of the KEK */
	uint32_t	version;		/* 1, 2, ... */
	uint8_t		state;
	int64_t		created;		/* seconds since 1970, UTC */
	PgeSecret	key;
} KeyringEntry;

typedef struct KeyringHeader
{
	KeyringProtection protection;
	bool		test;			/* made by "keyring create --test" */
	uint64_t	serial;			/* 1 at first, one more with each change */
	uint8_t		salt[KEYRING_SALT_LEN]; /* zero when plain */
	uint32_t	count;
} KeyringHeader;

typedef struct Keyring
{
	KeyringHeader header;
	PgeSecret	file_key;		/* from the passphrase; unused when plain */
	KeyringEntry *entries;		/* header.count of them */
} Keyring;

/* Plain, empty, serial 0: the first change makes it 1. */
extern void pge_keyring_init(Keyring *keyring);
extern void pge_keyring_wipe(Keyring *keyring);

extern PgeStatus pge_keyring_copy(const Keyring *source, Keyring *copy);

/* Reads the header; the file's whole length is checked against it. */
extern PgeStatus pge_keyring_decode_header(PgeBytes file, KeyringHeader *header);

/*
 * Strict.  PGE_MALFORMED: these cannot be the bytes of a keyring;
 * PGE_NOT_AUTHENTIC: the digest differs, or the seal does not open under
 * file_key.  file_key may be NULL for a plain file.  On any failure *keyring is
 * wiped and empty.
 */
extern PgeStatus pge_keyring_decode(PgeBytes file, const PgeSecret *file_key,
									Keyring *keyring);

extern size_t pge_keyring_encoded_len(const Keyring *keyring);

/* out->capacity is at least pge_keyring_encoded_len; wiped on failure. */
extern PgeStatus pge_keyring_encode(const Keyring *keyring, PgeBuffer *out);

/* PGE_INVALID: that version is there already, or no such entry can be written. */
extern PgeStatus pge_keyring_add(Keyring *keyring, const KeyringEntry *entry);

/* All versions of a KEK, wiped; returns how many there were. */
extern uint32_t pge_keyring_remove(Keyring *keyring, const uint8_t uuid[PGE_UUID_LEN]);

/* NULL: there is none.  Valid until the next change. */
extern const KeyringEntry *pge_keyring_find(const Keyring *keyring,
											const uint8_t uuid[PGE_UUID_LEN], uint32_t version);
extern const KeyringEntry *pge_keyring_newest(const Keyring *keyring,
											  const uint8_t uuid[PGE_UUID_LEN]);

/* "local:<uuid>" and back; "uri" has room for KEYRING_URI_LEN + 1 bytes. */
#define KEYRING_URI_LEN		(6 + 36)
extern void pge_keyring_uri(const uint8_t uuid[PGE_UUID_LEN], char *uri);
extern PgeStatus pge_keyring_parse_uri(PgeBytes uri, uint8_t uuid[PGE_UUID_LEN]);

#endif							/* PGE_AGENT_KEYRING_FILE_H */
