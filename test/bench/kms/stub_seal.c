/*-------------------------------------------------------------------------
 *
 * stub_seal.c
 *	  The stub's ciphertexts: no secret, but bound.
 *
 * The DEK under a pad of SHA-256(key, version, context), behind the first half of
 * SHA-256(the same, DEK); in base64.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "stub.h"

#define TAG_LEN		16

static void digest(const char *key, int version, const char *context, const unsigned char *dek, unsigned char out[32]);

void
stub_seal(const char *key, int version, const char *context, const unsigned char dek[STUB_DEK_LEN],
		  char text[STUB_SEALED_LEN + 1])
{
	unsigned char bytes[TAG_LEN + STUB_DEK_LEN];
	unsigned char pad[32];
	unsigned char tag[32];

	digest(key, version, context, NULL, pad);
	digest(key, version, context, dek, tag);
	memcpy(bytes, tag, TAG_LEN);
	for (int i = 0; i < STUB_DEK_LEN; i++)
		bytes[TAG_LEN + i] = dek[i] ^ pad[i];
	EVP_EncodeBlock((unsigned char *) text, bytes, sizeof(bytes));
}

bool
stub_open(const char *key, int version, const char *context, const char *text,
		  unsigned char dek[STUB_DEK_LEN])
{
	unsigned char bytes[TAG_LEN + STUB_DEK_LEN];
	unsigned char pad[32];
	unsigned char tag[32];

	if (strlen(text) != STUB_SEALED_LEN ||
		EVP_DecodeBlock(bytes, (const unsigned char *) text, STUB_SEALED_LEN) != sizeof(bytes))
		return false;
	digest(key, version, context, NULL, pad);
	for (int i = 0; i < STUB_DEK_LEN; i++)
		dek[i] = bytes[TAG_LEN + i] ^ pad[i];
	digest(key, version, context, dek, tag);
	return memcmp(tag, bytes, TAG_LEN) == 0;
}

bool
stub_decode_dek(const char *text, unsigned char dek[STUB_DEK_LEN])
{
	unsigned char bytes[STUB_DEK_LEN + 1];

	if (text == NULL || strlen(text) != STUB_DEK_TEXT_LEN ||
		EVP_DecodeBlock(bytes, (const unsigned char *) text, STUB_DEK_TEXT_LEN) != STUB_DEK_LEN + 1)
		return false;
	memcpy(dek, bytes, STUB_DEK_LEN);
	return true;
}

void
stub_encode_dek(const unsigned char dek[STUB_DEK_LEN], char text[STUB_DEK_TEXT_LEN + 1])
{
	EVP_EncodeBlock((unsigned char *) text, dek, STUB_DEK_LEN);
}

static void
digest(const char *key, int version, const char *context, const unsigned char *dek, unsigned char out[32])
{
	char		head[1024];
	int			len = snprintf(head, sizeof(head), "%s %d %s ", key, version, context);
	unsigned char all[sizeof(head) + STUB_DEK_LEN];

	if (len < 0 || (size_t) len >= sizeof(head))
		stub_die("a context that is too long");
	memcpy(all, head, (size_t) len);
	if (dek != NULL)
		memcpy(all + len, dek, STUB_DEK_LEN);
	if (EVP_Digest(all, (size_t) len + (dek != NULL ? STUB_DEK_LEN : 0), out, NULL, EVP_sha256(), NULL) != 1)
		stub_die("SHA-256");
}
