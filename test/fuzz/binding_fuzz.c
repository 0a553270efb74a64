/*-------------------------------------------------------------------------
 *
 * binding_fuzz.c
 *	  Whatever decodes as a binding encodes to the same bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "exact_copy.h"
#include "format/binding.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);
	PgeBinding	binding;

	if (pge_binding_decode(pge_buffer_bytes(&in), &binding) == PGE_OK)
	{
		PgeBuffer	out = exact_buffer(size);

		require(pge_binding_encode(&binding, &out) == PGE_OK);
		require(out.len == size && memcmp(out.data, data, size) == 0);
		free(out.data);
	}
	free(in.data);
	return 0;
}
