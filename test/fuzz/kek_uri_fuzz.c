/*-------------------------------------------------------------------------
 *
 * kek_uri_fuzz.c
 *	  Whatever is taken as the URI of a local KEK is written as the same bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/keyring_file.h"
#include "exact_copy.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);
	uint8_t		uuid[PGE_UUID_LEN];
	char		uri[KEYRING_URI_LEN + 1];

	if (pge_keyring_parse_uri(pge_buffer_bytes(&in), uuid) == PGE_OK)
	{
		pge_keyring_uri(uuid, uri);
		require(size == KEYRING_URI_LEN && memcmp(uri, in.data, size) == 0);
	}
	free(in.data);
	return 0;
}
