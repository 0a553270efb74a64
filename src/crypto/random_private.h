/*
 * random_private.h -- the nonce pool, open to the crypto room, so that a nonce
 * costs a value no call.
 *
 * A pool belongs to one thread: who keeps its address stays in that thread.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CRYPTO_RANDOM_PRIVATE_H
#define PGE_CRYPTO_RANDOM_PRIVATE_H

#include <string.h>

#include "crypto/random.h"

#define PGE_NONCE_POOL_MAX	4096

typedef struct PgeNoncePool
{
	unsigned	forks;			/* pge_fork_count when it was filled */
	size_t		next;			/* first byte not yet given */
	size_t		size;			/* bytes filled; 0: empty */
	uint8_t		bytes[PGE_NONCE_POOL_MAX];
} PgeNoncePool;

/* Counted by a fork handler, in the child. */
extern volatile unsigned pge_fork_count;

/* Of this thread. */
extern PgeNoncePool *pge_nonce_pool(void);

/* The pool is empty, of a parent process, or has too little left. */
extern PgeStatus pge_nonce_refill(PgeNoncePool *pool, uint8_t *out, size_t len);

/* "len" is a constant of at most 32. */
static inline PgeStatus
pge_nonce_take(PgeNoncePool *pool, uint8_t *out, size_t len)
{
	static const uint8_t given[32];
	uint8_t    *next = pool->bytes + pool->next;

	if (__builtin_expect(pool->forks != pge_fork_count ||
						 pool->size - pool->next < len, 0))
		return pge_nonce_refill(pool, out, len);
	memcpy(out, next, len);
	memcpy(next, given, len);	/* were it ever given again, it would show */
	pool->next += len;
	return PGE_OK;
}

#endif							/* PGE_CRYPTO_RANDOM_PRIVATE_H */
