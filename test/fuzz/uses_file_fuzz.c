/*-------------------------------------------------------------------------
 *
 * uses_file_fuzz.c
 *	  Whatever decodes as use counts encodes to the same bytes.
 *
 * The digest is put right before, for a fuzzer would not find it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "crypto/mac.h"
#include "exact_copy.h"
#include "format/uses_file.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static PgeUses uses[PGE_USES_MAX];
	PgeBuffer	in = exact_copy(data, size);
	int			count;

	(void) pge_uses_decode(pge_buffer_bytes(&in), uses, &count);
	if (size >= PGE_USES_DIGEST_LEN)
	{
		PgeBytes	body = pge_bytes(in.data, size - PGE_USES_DIGEST_LEN);

		require(pge_sha256(&body, 1, in.data + body.len) == PGE_OK);
	}
	if (pge_uses_decode(pge_buffer_bytes(&in), uses, &count) == PGE_OK)
	{
		PgeBuffer	out = exact_buffer(size);

		require(size <= PGE_USES_FILE_MAX);
		require(pge_uses_encode(uses, count, &out) == PGE_OK);
		require(out.len == size && memcmp(out.data, in.data, size) == 0);
		free(out.data);
	}
	free(in.data);
	return 0;
}
