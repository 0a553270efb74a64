/*
 * freed_keys.h -- sees key bytes that are freed without having been wiped.
 *
 * Link with -Wl,--wrap=free: every free() of our code comes
 * by here, and a block that holds "marked_key" is counted.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_FREED_KEYS_H
#define PGE_TEST_FREED_KEYS_H

#include <malloc.h>
#include <stdatomic.h>
#include <string.h>

#define MARKED_LEN		16

static uint8_t marked_key[MARKED_LEN];	/* all zero: none is marked */
static atomic_int freed_keys;

extern void __real_free(void *p);
extern void __wrap_free(void *p);

void
__wrap_free(void *p)
{
	static const uint8_t none[MARKED_LEN];

	if (p != NULL && memcmp(marked_key, none, MARKED_LEN) != 0 &&
		memmem(p, malloc_usable_size(p), marked_key, MARKED_LEN) != NULL)
		atomic_fetch_add(&freed_keys, 1);
	__real_free(p);
}

#endif							/* PGE_TEST_FREED_KEYS_H */
