/*-------------------------------------------------------------------------
 *
 * wrapped_key_fuzz.c
 *	  Whatever decodes as a wrapped key encodes to the same bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "base/limits.h"
#include "exact_copy.h"
#include "format/wrapped_key.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);
	PgeWrapForm form;
	PgeWrapHalf half;
	PgeBytes	service;

	if (pge_wrapped_decode(pge_buffer_bytes(&in), &form, &half, &service) == PGE_OK)
	{
		PgeBuffer	out = exact_buffer(size);

		require(size <= PGE_WRAPPED_MAX);
		require(pge_wrapped_encode(form, half, service, &out) == PGE_OK);
		require(out.len == size && memcmp(out.data, data, size) == 0);
		free(out.data);
	}
	free(in.data);
	return 0;
}
