/*-------------------------------------------------------------------------
 *
 * keyring_file.c
 *	  Parses and writes the bytes of a keyring file.
 *
 * The parser takes one form only of everything (order of entries, zero salt of
 * a plain file, exact length), so that any two programs agree on what a file
 * holds and a damaged one is never half understood.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "agent/kms/key_memory.h"
#include "agent/kms/keyring_file.h"
#include "crypto/aead.h"
#include "crypto/mac.h"

static const uint8_t magic[8] = {'P', 'G', 'E', 'K', 'E', 'Y', 'R', 0x01};
static const uint8_t no_salt[KEYRING_SALT_LEN];
static const uint8_t no_uuid[PGE_UUID_LEN];

/* Where the fields of the header stand. */
#define AT_PROTECTION	8
#define AT_FLAGS		9
#define AT_SERIAL		10
#define AT_SALT			18
#define AT_COUNT		34

#define FLAG_TEST		0x01

static size_t file_len(KeyringProtection protection, uint32_t count);
static PgeStatus open_entries(PgeBytes file, const PgeSecret *file_key,
							  const KeyringHeader *header, uint8_t *plain);
static PgeStatus check_digest(PgeBytes file);
static PgeStatus parse_entries(const uint8_t *p, Keyring *keyring);
static bool entry_is_valid(const KeyringEntry *entry);
static int	compare_entries(const KeyringEntry *entry, const uint8_t *uuid, uint32_t version);
static void write_header(const KeyringHeader *header, uint8_t *p);
static void write_entries(const Keyring *keyring, uint8_t *p);
static PgeStatus seal_entries(const Keyring *keyring, PgeBuffer *out);
static PgeStatus append_digest(PgeBuffer *out);
static uint32_t lower_bound(const Keyring *keyring, const uint8_t *uuid, uint32_t version);
static int	hex_digit(uint8_t c);

void
pge_keyring_init(Keyring *keyring)
{
	memset(keyring, 0, sizeof(*keyring));
}

void
pge_keyring_wipe(Keyring *keyring)
{
	if (keyring->entries != NULL)
		pge_secret_wipe(keyring->entries, keyring->header.count * sizeof(KeyringEntry));
	free(keyring->entries);
	pge_secret_wipe(keyring, sizeof(*keyring));
}

PgeStatus
pge_keyring_copy(const Keyring *source, Keyring *copy)
{
	KeyringEntry *entries = pge_key_calloc((size_t) source->header.count + 1, sizeof(KeyringEntry));

	pge_keyring_init(copy);
	if (entries == NULL)
		return PGE_OUT_OF_MEMORY;
	pge_secret_copy(copy, source, sizeof(*copy));
	copy->entries = entries;
	if (source->header.count > 0)
		memcpy(entries, source->entries, source->header.count * sizeof(KeyringEntry));
	return PGE_OK;
}

PgeStatus
pge_keyring_decode_header(PgeBytes file, KeyringHeader *header)
{
	const uint8_t *p = file.data;

	if (file.len < KEYRING_HEADER_LEN || memcmp(p, magic, sizeof(magic)) != 0)
		return PGE_MALFORMED;
	if (p[AT_PROTECTION] > KEYRING_SCRYPT || (p[AT_FLAGS] & ~FLAG_TEST) != 0)
		return PGE_MALFORMED;
	header->protection = (KeyringProtection) p[AT_PROTECTION];
	header->test = (p[AT_FLAGS] & FLAG_TEST) != 0;
	header->serial = pge_get_u64(p + AT_SERIAL);
	memcpy(header->salt, p + AT_SALT, KEYRING_SALT_LEN);
	header->count = pge_get_u32(p + AT_COUNT);

	if (header->serial == 0 || header->count > KEYRING_COUNT_MAX)
		return PGE_MALFORMED;
	if ((header->protection == KEYRING_PLAIN) !=
		(memcmp(header->salt, no_salt, KEYRING_SALT_LEN) == 0))
		return PGE_MALFORMED;
	if (file.len != file_len(header->protection, header->count))
		return PGE_MALFORMED;
	return PGE_OK;
}

PgeStatus
pge_keyring_decode(PgeBytes file, const PgeSecret *file_key, Keyring *keyring)
{
	KeyringHeader header;
	PgeStatus	status;
	size_t		plain_len;
	uint8_t    *plain;

	pge_keyring_init(keyring);
	status = pge_keyring_decode_header(file, &header);
	if (status != PGE_OK)
		return status;
	plain_len = (size_t) header.count * KEYRING_ENTRY_LEN;
	plain = malloc(plain_len + 1);
	keyring->entries = pge_key_calloc((size_t) header.count + 1, sizeof(KeyringEntry));
	if (plain == NULL || keyring->entries == NULL)
		status = PGE_OUT_OF_MEMORY;
	else
	{
		keyring->header = header;
		status = open_entries(file, file_key, &header, plain);
	}
	if (status == PGE_OK)
		status = parse_entries(plain, keyring);
	if (status == PGE_OK && header.protection == KEYRING_SCRYPT)
		pge_secret_copy(&keyring->file_key, file_key, sizeof(PgeSecret));
	pge_secret_wipe(plain, plain_len);
	free(plain);
	if (status != PGE_OK)
		pge_keyring_wipe(keyring);
	return status;
}

static size_t
file_len(KeyringProtection protection, uint32_t count)
{
	return KEYRING_HEADER_LEN + (size_t) count * KEYRING_ENTRY_LEN +
		(protection == KEYRING_PLAIN ? KEYRING_DIGEST_LEN : KEYRING_SEAL_LEN);
}

/* Writes count * KEYRING_ENTRY_LEN bytes of plain entries. */
static PgeStatus
open_entries(PgeBytes file, const PgeSecret *file_key,
			 const KeyringHeader *header, uint8_t *plain)
{
	size_t		plain_len = (size_t) header->count * KEYRING_ENTRY_LEN;
	PgeBuffer	out = {plain, 0, plain_len};
	PgeAead    *aead = NULL;
	PgeStatus	status;

	if (header->protection == KEYRING_PLAIN)
	{
		status = check_digest(file);
		if (status == PGE_OK)
			memcpy(plain, file.data + KEYRING_HEADER_LEN, plain_len);
		return status;
	}
	if (file_key == NULL)
		return PGE_INVALID;
	status = pge_aead_new(PGE_XAES_256_GCM, file_key, &aead);
	if (status != PGE_OK)
		return status;
	status = pge_aead_open(aead, pge_bytes(file.data, KEYRING_HEADER_LEN),
						   pge_bytes(file.data + KEYRING_HEADER_LEN, file.len - KEYRING_HEADER_LEN),
						   &out);
	pge_aead_free(aead);
	if (status == PGE_OK && out.len != plain_len)
		status = PGE_MALFORMED;
	return status;
}

static PgeStatus
check_digest(PgeBytes file)
{
	PgeBytes	before = pge_bytes(file.data, file.len - KEYRING_DIGEST_LEN);
	uint8_t		digest[PGE_MAC_LEN];
	PgeStatus	status = pge_sha256(&before, 1, digest);

	if (status == PGE_OK &&
		!pge_secret_equal(digest, file.data + before.len, KEYRING_DIGEST_LEN))
		status = PGE_NOT_AUTHENTIC;
	return status;
}

/* Strictly ascending order is what refuses a pair that stands twice. */
static PgeStatus
parse_entries(const uint8_t *p, Keyring *keyring)
{
	for (uint32_t i = 0; i < keyring->header.count; i++, p += KEYRING_ENTRY_LEN)
	{
		KeyringEntry *entry = &keyring->entries[i];

		memcpy(entry->uuid, p, PGE_UUID_LEN);
		entry->version = pge_get_u32(p + 16);
		entry->state = p[20];
		entry->created = (int64_t) pge_get_u64(p + 21);
		pge_secret_copy(entry->key.bytes, p + 29, PGE_DEK_LEN);
		if (!entry_is_valid(entry))
			return PGE_MALFORMED;
		if (i > 0 && compare_entries(entry - 1, entry->uuid, entry->version) >= 0)
			return PGE_MALFORMED;
	}
	return PGE_OK;
}

static bool
entry_is_valid(const KeyringEntry *entry)
{
	return memcmp(entry->uuid, no_uuid, PGE_UUID_LEN) != 0 &&
		entry->version != 0 &&
		entry->state == KEYRING_STATE_ENABLED &&
		entry->created >= 0 && entry->created <= KEYRING_CREATED_MAX;
}

static int
compare_entries(const KeyringEntry *entry, const uint8_t *uuid, uint32_t version)
{
	int			cmp = memcmp(entry->uuid, uuid, PGE_UUID_LEN);

	if (cmp != 0)
		return cmp;
	return entry->version < version ? -1 : entry->version > version;
}

size_t
pge_keyring_encoded_len(const Keyring *keyring)
{
	return file_len(keyring->header.protection, keyring->header.count);
}

PgeStatus
pge_keyring_encode(const Keyring *keyring, PgeBuffer *out)
{
	PgeStatus	status;

	if (out->capacity < pge_keyring_encoded_len(keyring))
		return PGE_TOO_LARGE;
	write_header(&keyring->header, out->data);
	out->len = KEYRING_HEADER_LEN;
	if (keyring->header.protection == KEYRING_SCRYPT)
		status = seal_entries(keyring, out);
	else
	{
		write_entries(keyring, out->data + out->len);
		out->len += (size_t) keyring->header.count * KEYRING_ENTRY_LEN;
		status = append_digest(out);
	}
	if (status == PGE_OK && out->len != pge_keyring_encoded_len(keyring))
		status = PGE_CRYPTO_FAILED;
	if (status != PGE_OK)
	{
		pge_secret_wipe(out->data, out->capacity);
		out->len = 0;
	}
	return status;
}

static void
write_header(const KeyringHeader *header, uint8_t *p)
{
	memcpy(p, magic, sizeof(magic));
	p[AT_PROTECTION] = (uint8_t) header->protection;
	p[AT_FLAGS] = header->test ? FLAG_TEST : 0;
	pge_put_u64(p + AT_SERIAL, header->serial);
	memcpy(p + AT_SALT, header->salt, KEYRING_SALT_LEN);
	pge_put_u32(p + AT_COUNT, header->count);
}

static void
write_entries(const Keyring *keyring, uint8_t *p)
{
	for (uint32_t i = 0; i < keyring->header.count; i++, p += KEYRING_ENTRY_LEN)
	{
		const KeyringEntry *entry = &keyring->entries[i];

		memcpy(p, entry->uuid, PGE_UUID_LEN);
		pge_put_u32(p + 16, entry->version);
		p[20] = entry->state;
		pge_put_u64(p + 21, (uint64_t) entry->created);
		pge_secret_copy(p + 29, entry->key.bytes, PGE_DEK_LEN);
	}
}

/* Behind the header in out, which is the associated data. */
static PgeStatus
seal_entries(const Keyring *keyring, PgeBuffer *out)
{
	size_t		plain_len = (size_t) keyring->header.count * KEYRING_ENTRY_LEN;
	uint8_t    *plain = malloc(plain_len + 1);
	PgeBuffer	body = {out->data + out->len, 0, out->capacity - out->len};
	PgeAead    *aead = NULL;
	PgeStatus	status;

	if (plain == NULL)
		return PGE_OUT_OF_MEMORY;
	write_entries(keyring, plain);
	status = pge_aead_new(PGE_XAES_256_GCM, &keyring->file_key, &aead);
	if (status == PGE_OK)
		status = pge_aead_seal(aead, pge_bytes(out->data, KEYRING_HEADER_LEN),
							   pge_bytes(plain, plain_len), &body);
	pge_aead_free(aead);
	pge_secret_wipe(plain, plain_len);
	free(plain);
	out->len += body.len;
	return status;
}

static PgeStatus
append_digest(PgeBuffer *out)
{
	PgeBytes	before = pge_buffer_bytes(out);
	PgeStatus	status = pge_sha256(&before, 1, out->data + out->len);

	out->len += KEYRING_DIGEST_LEN;
	return status;
}

/* A new array each time: realloc would leave the old keys in freed memory. */
PgeStatus
pge_keyring_add(Keyring *keyring, const KeyringEntry *entry)
{
	uint32_t	count = keyring->header.count;
	uint32_t	at = lower_bound(keyring, entry->uuid, entry->version);
	KeyringEntry *entries;

	if (count >= KEYRING_COUNT_MAX)
		return PGE_TOO_LARGE;
	if (!entry_is_valid(entry) ||
		pge_keyring_find(keyring, entry->uuid, entry->version) != NULL)
		return PGE_INVALID;
	entries = pge_key_calloc((size_t) count + 1, sizeof(KeyringEntry));
	if (entries == NULL)
		return PGE_OUT_OF_MEMORY;
	if (count > 0)
	{
		memcpy(entries, keyring->entries, at * sizeof(KeyringEntry));
		memcpy(entries + at + 1, keyring->entries + at, (count - at) * sizeof(KeyringEntry));
		pge_secret_wipe(keyring->entries, count * sizeof(KeyringEntry));
	}
	free(keyring->entries);
	pge_secret_copy(&entries[at], entry, sizeof(*entry));
	keyring->entries = entries;
	keyring->header.count = count + 1;
	return PGE_OK;
}

uint32_t
pge_keyring_remove(Keyring *keyring, const uint8_t uuid[PGE_UUID_LEN])
{
	uint32_t	count = keyring->header.count;
	uint32_t	from = lower_bound(keyring, uuid, 0);
	uint32_t	to = from;

	while (to < count && memcmp(keyring->entries[to].uuid, uuid, PGE_UUID_LEN) == 0)
		to++;
	if (to == from)
		return 0;
	memmove(keyring->entries + from, keyring->entries + to, (count - to) * sizeof(KeyringEntry));
	keyring->header.count = count - (to - from);
	pge_secret_wipe(keyring->entries + keyring->header.count, (to - from) * sizeof(KeyringEntry));
	return to - from;
}

const KeyringEntry *
pge_keyring_find(const Keyring *keyring, const uint8_t uuid[PGE_UUID_LEN], uint32_t version)
{
	uint32_t	at = lower_bound(keyring, uuid, version);

	if (at < keyring->header.count &&
		compare_entries(&keyring->entries[at], uuid, version) == 0)
		return &keyring->entries[at];
	return NULL;
}

const KeyringEntry *
pge_keyring_newest(const Keyring *keyring, const uint8_t uuid[PGE_UUID_LEN])
{
	const KeyringEntry *last = pge_keyring_find(keyring, uuid, UINT32_MAX);
	uint32_t	at;

	if (last != NULL)
		return last;
	at = lower_bound(keyring, uuid, UINT32_MAX);
	if (at > 0 && memcmp(keyring->entries[at - 1].uuid, uuid, PGE_UUID_LEN) == 0)
		return &keyring->entries[at - 1];
	return NULL;
}

/* The first entry that is not before (uuid, version), or count. */
static uint32_t
lower_bound(const Keyring *keyring, const uint8_t *uuid, uint32_t version)
{
	uint32_t	low = 0;
	uint32_t	high = keyring->header.count;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (compare_entries(&keyring->entries[middle], uuid, version) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void
pge_keyring_uri(const uint8_t uuid[PGE_UUID_LEN], char *uri)
{
	static const char digits[] = "0123456789abcdef";
	char	   *p = uri + 6;

	memcpy(uri, "local:", 6);
	for (int i = 0; i < PGE_UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[uuid[i] >> 4];
		*p++ = digits[uuid[i] & 0x0f];
	}
	*p = '\0';
}

/* One spelling only, the one that we print: equal KEKs have equal URIs. */
PgeStatus
pge_keyring_parse_uri(PgeBytes uri, uint8_t uuid[PGE_UUID_LEN])
{
	const uint8_t *p;

	if (uri.len != KEYRING_URI_LEN || memcmp(uri.data, "local:", 6) != 0)
		return PGE_INVALID;
	p = uri.data + 6;
	for (int i = 0; i < PGE_UUID_LEN; i++, p += 2)
	{
		if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
			return PGE_INVALID;
		if (hex_digit(p[0]) < 0 || hex_digit(p[1]) < 0)
			return PGE_INVALID;
		uuid[i] = (uint8_t) (hex_digit(p[0]) << 4 | hex_digit(p[1]));
	}
	return PGE_OK;
}

static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}
