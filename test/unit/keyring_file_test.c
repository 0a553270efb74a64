/*-------------------------------------------------------------------------
 *
 * keyring_file_test.c
 *	  The bytes of a keyring file: src/agent/kms/README.md, byte by byte.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/keyring_file.h"
#include "check.h"
#include "crypto/mac.h"
#include "freed_keys.h"

#define AT_PROTECTION	8
#define AT_FLAGS		9
#define AT_SERIAL		10
#define AT_SALT			18
#define AT_COUNT		34
#define AT_ENTRIES		38
#define ENTRY			61
#define AT_VERSION		16
#define AT_STATE		20
#define AT_CREATED		21

static const PgeSecret file_key = {"this key opens a whole keyring"};
static const PgeSecret other_key = {"this key opens no keyring ever"};

static KeyringEntry
entry_of(uint8_t first_byte, uint32_t version)
{
	KeyringEntry entry = {.version = version, .state = 1, .created = 1700000000};

	memset(entry.uuid, 0x11, PGE_UUID_LEN);
	entry.uuid[0] = first_byte;
	memset(entry.key.bytes, (int) (0x40 + version), PGE_DEK_LEN);
	return entry;
}

/* Three versions of two KEKs, added in no order. */
static void
fill(Keyring *keyring, KeyringProtection protection)
{
	static const struct
	{
		uint8_t		first_byte;
		uint32_t	version;
	}			order[] = {{2, 1}, {1, 2}, {1, 1}};

	pge_keyring_init(keyring);
	for (int i = 0; i < 3; i++)
	{
		KeyringEntry entry = entry_of(order[i].first_byte, order[i].version);

		check_status(pge_keyring_add(keyring, &entry), PGE_OK, "entry %d is added", i);
	}
	keyring->header.serial = 7;
	keyring->header.protection = protection;
	if (protection == KEYRING_SCRYPT)
	{
		memset(keyring->header.salt, 0x5a, KEYRING_SALT_LEN);
		keyring->file_key = file_key;
	}
}

static PgeBuffer
encoded(KeyringProtection protection)
{
	Keyring		keyring;
	PgeBuffer	file;

	fill(&keyring, protection);
	file = new_buffer(pge_keyring_encoded_len(&keyring));
	check_status(pge_keyring_encode(&keyring, &file), PGE_OK, "a keyring is written");
	check(file.len == file.capacity, "with the length that was foretold");
	pge_keyring_wipe(&keyring);
	return file;
}

/* Plain files hold keys; these are ours to wipe. */
static void
free_file(PgeBuffer *file)
{
	pge_secret_wipe(file->data, file->capacity);
	free(file->data);
}

/* The status, and that nothing is left behind where it is not OK. */
static PgeStatus
decode(PgeBytes file, const PgeSecret *key)
{
	Keyring		keyring;
	PgeStatus	status = pge_keyring_decode(file, key, &keyring);

	if (status != PGE_OK && !all_zero((const uint8_t *) &keyring, sizeof(keyring)))
		check(false, "a keyring that was refused is not empty");
	pge_keyring_wipe(&keyring);
	return status;
}

/* As somebody would who knows the format: the digest is right again. */
static void
seal_plain(PgeBuffer *file)
{
	PgeBytes	before = pge_bytes(file->data, file->len - 32);

	if (pge_sha256(&before, 1, file->data + before.len) != PGE_OK)
		abort();
}

static void
check_bytes(void)
{
	PgeBuffer	file = encoded(KEYRING_PLAIN);
	const uint8_t *p = file.data;

	check(file.len == 38 + 3 * 61 + 32, "a plain file has 38 + 61 n + 32 bytes");
	check(memcmp(p, "PGEKEYR\1", 8) == 0, "it starts with its name and version");
	check(p[AT_PROTECTION] == 0 && p[AT_FLAGS] == 0, "plain, no flags");
	check(memcmp(p + AT_SERIAL, "\0\0\0\0\0\0\0\7", 8) == 0, "serial 7, big-endian");
	check(all_zero(p + AT_SALT, 16), "no salt");
	check(memcmp(p + AT_COUNT, "\0\0\0\3", 4) == 0, "3 entries");
	check(p[AT_ENTRIES] == 1 && p[AT_ENTRIES + ENTRY] == 1 && p[AT_ENTRIES + 2 * ENTRY] == 2, "in order of uuid");
	check(memcmp(p + AT_ENTRIES + AT_VERSION, "\0\0\0\1", 4) == 0, "then of version: 1");
	check(memcmp(p + AT_ENTRIES + ENTRY + AT_VERSION, "\0\0\0\2", 4) == 0, "2");
	check(p[AT_ENTRIES + AT_STATE] == 1, "enabled");
	check(memcmp(p + AT_ENTRIES + AT_CREATED, "\0\0\0\0\x65\x53\xf1\0", 8) == 0, "seconds since 1970");
	check(p[AT_ENTRIES + 29] == 0x41 && p[AT_ENTRIES + 60] == 0x41, "the key's 32 bytes");
	free_file(&file);

	file = encoded(KEYRING_SCRYPT);
	check(file.len == 38 + 3 * 61 + 40, "a sealed file has 38 + 61 n + 40 bytes");
	check(file.data[AT_PROTECTION] == 1, "scrypt");
	for (size_t i = AT_ENTRIES; i + 8 <= file.len; i++)
		if (memcmp(file.data + i, "\x41\x41\x41\x41\x41\x41\x41\x41", 8) == 0)
			check(false, "a key shows at byte %zu", i);
	free_file(&file);
}

static void
check_round_trip(KeyringProtection protection)
{
	PgeBuffer	file = encoded(protection);
	Keyring		keyring;
	Keyring		copy;

	check_status(pge_keyring_decode(pge_buffer_bytes(&file), &file_key, &keyring), PGE_OK, "what was written is read");
	check(keyring.header.serial == 7 && keyring.header.count == 3 && !keyring.header.test &&
		  keyring.header.protection == protection, "header and all");
	check_status(pge_keyring_copy(&keyring, &copy), PGE_OK, "it can be copied");
	for (uint8_t i = 0; i < 3; i++)
	{
		KeyringEntry entry = entry_of(i < 2 ? 1 : 2, i == 1 ? 2 : 1);
		const KeyringEntry *found = pge_keyring_find(&copy, entry.uuid, entry.version);

		check(found != NULL && same_bytes(pge_bytes(found->key.bytes, 32), pge_bytes(entry.key.bytes, 32)) &&
			  found->created == entry.created, "entry %d is there", i);
	}
	pge_keyring_wipe(&copy);
	check(all_zero((const uint8_t *) &copy, sizeof(copy)), "a wiped keyring is empty");
	pge_keyring_wipe(&keyring);
	free_file(&file);
}

/* Every length but the right one; every bit. */
static void
check_damage(KeyringProtection protection)
{
	PgeBuffer	file = encoded(protection);
	const char *name = protection == KEYRING_PLAIN ? "plain" : "scrypt";

	for (size_t len = 0; len < file.len; len++)
	{
		uint8_t    *exact = malloc(len + 1);	/* so that ASan sees a read
												 * behind it */

		memcpy(exact + 1, file.data, len);
		check_status(decode(pge_bytes(exact + 1, len), &file_key), PGE_MALFORMED, "%s: %zu of %zu bytes are refused", name, len, file.len);
		pge_secret_wipe(exact, len + 1);
		free(exact);
	}
	{
		uint8_t    *longer = calloc(1, file.len + 1);

		memcpy(longer, file.data, file.len);
		check_status(decode(pge_bytes(longer, file.len + 1), &file_key), PGE_MALFORMED, "%s: one byte more is refused", name);
		pge_secret_wipe(longer, file.len + 1);
		free(longer);
	}
	for (size_t i = 0; i < file.len; i++)
		for (int bit = 0; bit < 8; bit++)
		{
			PgeStatus	status;

			file.data[i] ^= (uint8_t) (1 << bit);
			status = decode(pge_buffer_bytes(&file), &file_key);
			check(status == PGE_NOT_AUTHENTIC || (status == PGE_MALFORMED && i < AT_ENTRIES),
				  "%s: byte %zu bit %d flipped is refused", name, i, bit);
			file.data[i] ^= (uint8_t) (1 << bit);
		}
	check_status(decode(pge_buffer_bytes(&file), &file_key), PGE_OK, "%s: the undamaged file is read", name);
	free_file(&file);
}

/* What only a program with errors of its own could write: one form is taken. */
static void
check_strictness(void)
{
	static const struct
	{
		const char *claim;
		size_t		at;
		uint8_t		value;
	}			cases[] = {
		{"an unknown version of the format", 7, 2},
		{"an unknown protection", AT_PROTECTION, 2},
		{"an unknown flag", AT_FLAGS, 2},
		{"serial 0", AT_SERIAL + 7, 0},
		{"a salt in a plain file", AT_SALT + 3, 1},
		{"more entries than bytes", AT_COUNT + 3, 4},
		{"fewer entries than bytes", AT_COUNT + 3, 2},
		{"an absurd count", AT_COUNT, 0xff},
		{"version 0", AT_ENTRIES + AT_VERSION + 3, 0},
		{"a version that stands twice", AT_ENTRIES + AT_VERSION + 3, 2},
		{"versions out of order", AT_ENTRIES + AT_VERSION + 3, 3},
		{"uuids out of order", AT_ENTRIES, 3},
		{"an unknown state", AT_ENTRIES + AT_STATE, 2},
		{"state 0", AT_ENTRIES + AT_STATE, 0},
		{"made before 1970", AT_ENTRIES + AT_CREATED, 0x80},
		{"made after 9999", AT_ENTRIES + AT_CREATED + 2, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		PgeBuffer	file = encoded(KEYRING_PLAIN);

		file.data[cases[i].at] = cases[i].value;
		seal_plain(&file);
		check_status(decode(pge_buffer_bytes(&file), NULL), PGE_MALFORMED, "%s is refused, digest or not", cases[i].claim);
		free_file(&file);
	}
	{
		PgeBuffer	file = encoded(KEYRING_PLAIN);

		memset(file.data + AT_ENTRIES, 0, PGE_UUID_LEN);
		seal_plain(&file);
		check_status(decode(pge_buffer_bytes(&file), NULL), PGE_MALFORMED, "the zero uuid is refused");
		free_file(&file);
		file = encoded(KEYRING_PLAIN);
		file.data[AT_FLAGS] = 1;
		seal_plain(&file);
		check_status(decode(pge_buffer_bytes(&file), NULL), PGE_OK, "flag 1, a test keyring, is known");
		free_file(&file);
		file = encoded(KEYRING_SCRYPT);
		memset(file.data + AT_SALT, 0, KEYRING_SALT_LEN);
		check_status(decode(pge_buffer_bytes(&file), &file_key), PGE_MALFORMED, "a sealed file without salt is refused");
		free_file(&file);
	}
}

static void
check_count_limit(void)
{
	size_t		len = KEYRING_HEADER_LEN + (size_t) (KEYRING_COUNT_MAX + 1) * KEYRING_ENTRY_LEN + KEYRING_DIGEST_LEN;
	PgeBuffer	file = {calloc(1, len), len, len};
	PgeBuffer	small = encoded(KEYRING_PLAIN);
	KeyringHeader header;

	memcpy(file.data, small.data, KEYRING_HEADER_LEN);
	pge_put_u32(file.data + AT_COUNT, KEYRING_COUNT_MAX + 1);
	check_status(pge_keyring_decode_header(pge_buffer_bytes(&file), &header), PGE_MALFORMED, "more than %d entries are refused", KEYRING_COUNT_MAX);
	pge_put_u32(file.data + AT_COUNT, KEYRING_COUNT_MAX);
	check_status(pge_keyring_decode_header(pge_bytes(file.data, len - KEYRING_ENTRY_LEN), &header), PGE_OK, "that many are not");
	free_file(&file);
	free_file(&small);
}

static void
check_keys(void)
{
	PgeBuffer	file = encoded(KEYRING_SCRYPT);

	check_status(decode(pge_buffer_bytes(&file), &other_key), PGE_NOT_AUTHENTIC, "another key does not open a sealed file");
	check_status(decode(pge_buffer_bytes(&file), NULL), PGE_INVALID, "nor does none");
	free_file(&file);
}

static void
check_entries(void)
{
	Keyring		keyring;
	KeyringEntry entry = entry_of(1, 2);
	PgeBuffer	file;

	fill(&keyring, KEYRING_PLAIN);
	check_status(pge_keyring_add(&keyring, &entry), PGE_INVALID, "a version is not added twice");
	entry.version = 0;
	check_status(pge_keyring_add(&keyring, &entry), PGE_INVALID, "nor is version 0 added");
	check(keyring.header.count == 3, "and nothing has changed");
	check(pge_keyring_newest(&keyring, entry.uuid)->version == 2, "the newest version of a KEK is found");
	entry.version = UINT32_MAX;
	check_status(pge_keyring_add(&keyring, &entry), PGE_OK, "the last version is added");
	check(pge_keyring_newest(&keyring, entry.uuid)->version == UINT32_MAX, "and is the newest then");
	check(pge_keyring_find(&keyring, entry.uuid, 3) == NULL, "a version that is not there is not found");
	entry.uuid[0] = 9;
	check(pge_keyring_newest(&keyring, entry.uuid) == NULL, "nor a KEK behind the last");
	entry.uuid[0] = 0;
	check(pge_keyring_newest(&keyring, entry.uuid) == NULL, "nor one before the first");

	file = new_buffer(pge_keyring_encoded_len(&keyring) - 1);
	check_status(pge_keyring_encode(&keyring, &file), PGE_TOO_LARGE, "a buffer one byte short is refused");
	free_file(&file);
	pge_keyring_wipe(&keyring);

	pge_keyring_init(&keyring);
	keyring.header.serial = 1;
	file = new_buffer(pge_keyring_encoded_len(&keyring));
	check_status(pge_keyring_encode(&keyring, &file), PGE_OK, "an empty keyring is written");
	check_status(decode(pge_buffer_bytes(&file), NULL), PGE_OK, "and read");
	free_file(&file);
}

/* All versions of one KEK go, the others stay in their order, and no key is left behind them. */
static void
check_removal(void)
{
	Keyring		keyring;
	KeyringEntry entry = entry_of(1, 3);
	KeyringEntry other = entry_of(3, 1);
	KeyringEntry stranger = entry_of(4, 1);
	const PgeSecret none = {{0}};
	PgeBuffer	file;

	fill(&keyring, KEYRING_PLAIN);
	check_status(pge_keyring_add(&keyring, &entry), PGE_OK, "a third version");
	check_status(pge_keyring_add(&keyring, &other), PGE_OK, "and another KEK behind the second");
	check(pge_keyring_remove(&keyring, stranger.uuid) == 0 && keyring.header.count == 5, "a KEK that is not there is not removed");
	stranger.uuid[0] = 0;
	check(pge_keyring_remove(&keyring, stranger.uuid) == 0 && keyring.header.count == 5, "nor one before the first");
	check(pge_keyring_remove(&keyring, entry.uuid) == 3 && keyring.header.count == 2, "a KEK is removed with all its versions");
	check(pge_keyring_newest(&keyring, entry.uuid) == NULL, "and is not found");
	check(keyring.entries[0].uuid[0] == 2 && keyring.entries[1].uuid[0] == 3, "the others are what they were");
	for (int i = 2; i < 5; i++)
		check(memcmp(keyring.entries[i].key.bytes, none.bytes, PGE_DEK_LEN) == 0, "place %d is wiped", i);
	file = new_buffer(pge_keyring_encoded_len(&keyring));
	check_status(pge_keyring_encode(&keyring, &file), PGE_OK, "the rest is written");
	check_status(decode(pge_buffer_bytes(&file), NULL), PGE_OK, "and read");
	free_file(&file);
	check(pge_keyring_remove(&keyring, other.uuid) == 1 && keyring.header.count == 1, "the last KEK of all is removed");
	check_status(pge_keyring_add(&keyring, &other), PGE_OK, "and there is room again");
	pge_keyring_wipe(&keyring);
}

static void
check_uris(void)
{
	static const char *const wrong[] = {
		"", "local:", "local:01020304-0506-0708-090a-0b0c0d0e0f1", "local:01020304-0506-0708-090a-0b0c0d0e0f100",
		"local:01020304-0506-0708-090A-0b0c0d0e0f10", "local:0102030400506-0708-090a-0b0c0d0e0f10",
		"Local:01020304-0506-0708-090a-0b0c0d0e0f10", "local:g1020304-0506-0708-090a-0b0c0d0e0f10",
	};
	uint8_t		uuid[PGE_UUID_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	uint8_t		parsed[PGE_UUID_LEN];
	char		uri[KEYRING_URI_LEN + 1];

	pge_keyring_uri(uuid, uri);
	check(strcmp(uri, "local:01020304-0506-0708-090a-0b0c0d0e0f10") == 0, "a KEK's URI is local:<uuid>");
	check_status(pge_keyring_parse_uri(text_bytes(uri), parsed), PGE_OK, "which is read");
	check(memcmp(uuid, parsed, PGE_UUID_LEN) == 0, "as that uuid");
	check_status(pge_keyring_parse_uri(pge_bytes(NULL, 0), parsed), PGE_INVALID, "nothing at all is not");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check_status(pge_keyring_parse_uri(text_bytes(wrong[i]), parsed), PGE_INVALID, "\"%s\" is not", wrong[i]);
}

int
main(void)
{
	uint8_t		key[MARKED_LEN];

	memset(key, 0x41, sizeof(key)); /* of version 1 */
	mark_key(key);
	check_bytes();
	check_round_trip(KEYRING_PLAIN);
	check_round_trip(KEYRING_SCRYPT);
	check_damage(KEYRING_PLAIN);
	check_damage(KEYRING_SCRYPT);
	check_strictness();
	check_count_limit();
	check_keys();
	check_entries();
	check_removal();
	check_uris();
	check(freed_keys == 0, "no key was freed unwiped: %d", freed_keys);
	return check_done();
}
