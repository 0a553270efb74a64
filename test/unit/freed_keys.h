/*
 * freed_keys.h -- sees key bytes that are freed without having been wiped.
 *
 * Every free() of the process comes by here, that of OpenSSL, libcurl, jansson and the C
 * library too, since the program's own takes the place of theirs; so does a
 * realloc() that moves a block, which frees what it leaves.  A block that holds
 * bytes that were given to mark_key() is counted.  Under the sanitizers, which have an
 * allocator of their own, only what our code frees is seen.  Link with $(FREED_KEYS).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_FREED_KEYS_H
#define PGE_TEST_FREED_KEYS_H

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MARKS_MAX		16
#define MARKED_LEN		16

static uint8_t marked_keys[MARKS_MAX][MARKED_LEN];
static atomic_int nmarked;
static atomic_int freed_keys;

/* MARKED_LEN bytes, from now on.  One thread marks. */
static inline void
mark_key(const void *bytes)
{
	int			n = atomic_load(&nmarked);

	if (n == MARKS_MAX)
		abort();
	memcpy(marked_keys[n], bytes, MARKED_LEN);
	atomic_store(&nmarked, n + 1);
}

static inline bool
holds_marked_key(void *block)
{
	for (int i = 0; block != NULL && i < atomic_load(&nmarked); i++)
		if (memmem(block, malloc_usable_size(block), marked_keys[i], MARKED_LEN) != NULL)
			return true;
	return false;
}

#ifdef FREED_KEYS_WRAPPED
extern void __real_free(void *p);
extern void __wrap_free(void *p);

void
__wrap_free(void *p)
{
	if (holds_marked_key(p))
		atomic_fetch_add(&freed_keys, 1);
	__real_free(p);
}
#else
extern void __libc_free(void *p);
extern void *__libc_realloc(void *p, size_t len);

void
free(void *p)
{
	if (holds_marked_key(p))
		atomic_fetch_add(&freed_keys, 1);
	__libc_free(p);
}

void *
realloc(void *p, size_t len)
{
	bool		held = holds_marked_key(p);
	void	   *moved = __libc_realloc(p, len);

	if (held && moved != p && (moved != NULL || len == 0))
		atomic_fetch_add(&freed_keys, 1);
	return moved;
}
#endif

/* Of each marked key a copy is freed, by OpenSSL if that is seen. */
static inline bool
planted_keys_are_seen(void)
{
	int			before = atomic_load(&freed_keys);

	for (int i = 0; i < atomic_load(&nmarked); i++)
	{
#ifdef FREED_KEYS_WRAPPED
		uint8_t    *volatile planted = malloc(100);
#else
		uint8_t    *volatile planted = OPENSSL_malloc(100);
#endif

		if (planted == NULL)
			abort();
		for (int k = 0; k < MARKED_LEN; k++)
			((volatile uint8_t *) planted)[70 + k] = marked_keys[i][k];
#ifdef FREED_KEYS_WRAPPED
		free(planted);
#else
		OPENSSL_free(planted);
#endif
	}
	return nmarked > 0 && atomic_load(&freed_keys) == before + nmarked;
}

#endif							/* PGE_TEST_FREED_KEYS_H */
