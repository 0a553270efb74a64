/*-------------------------------------------------------------------------
 *
 * keyring_file_fuzz.c
 *	  The parser of keyring files: whatever it takes it writes again, byte for
 *	  byte, because it takes one form only.
 *
 * A random file never has the right digest, so behind the header's checks a
 * plain one is given it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/keyring_file.h"
#include "crypto/mac.h"
#include "exact_copy.h"

static void
check_written_again(const Keyring *keyring, PgeBytes file)
{
	PgeBuffer	again = exact_buffer(file.len);

	require(pge_keyring_encoded_len(keyring) == file.len);
	require(pge_keyring_encode(keyring, &again) == PGE_OK && again.len == file.len);
	/* a sealed body has a nonce of its own each time */
	require(keyring->header.protection == KEYRING_SCRYPT ||
			memcmp(again.data, file.data, file.len) == 0);
	free(again.data);
}

static void
try_file(PgeBytes file)
{
	static const PgeSecret file_key;
	Keyring		keyring;

	if (pge_keyring_decode(file, &file_key, &keyring) == PGE_OK)
		check_written_again(&keyring, file);
	pge_keyring_wipe(&keyring);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);
	PgeBytes	before;

	try_file(pge_buffer_bytes(&in));
	if (size >= KEYRING_HEADER_LEN + KEYRING_DIGEST_LEN)
	{
		before = pge_bytes(in.data, size - KEYRING_DIGEST_LEN);
		require(pge_sha256(&before, 1, in.data + before.len) == PGE_OK);
		try_file(pge_buffer_bytes(&in));
	}
	free(in.data);
	return 0;
}
