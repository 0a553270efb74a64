/*-------------------------------------------------------------------------
 *
 * planted_crash.c
 *	  The control: a parser that reads one byte too many behind a magic number.
 *	  A run that does not find and report this has looked at nothing.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "exact_copy.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);

	if (size >= 4 && memcmp(in.data, "PGE1", 4) == 0)
		require(in.data[size] != in.data[0] || in.data[1] == 'G');
	free(in.data);
	return 0;
}
