/*
 * exact_copy.h -- input at its exact size on the heap, so that ASan sees a read
 * of one byte more; and a claim that stops the fuzzer.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_EXACT_COPY_H
#define PGE_TEST_EXACT_COPY_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An assert that no build can turn off. */
#define require(holds) \
	do { \
		if (!(holds)) \
			abort(); \
	} while (0)

static inline PgeBuffer
exact_buffer(size_t size)
{
	PgeBuffer	b = {malloc(size), 0, size};

	require(b.data != NULL || size == 0);
	return b;
}

static inline PgeBuffer
exact_copy(const uint8_t *data, size_t size)
{
	PgeBuffer	b = exact_buffer(size);

	if (size > 0)
		memcpy(b.data, data, size);
	b.len = size;
	return b;
}

#endif							/* PGE_TEST_EXACT_COPY_H */
