/*-------------------------------------------------------------------------
 *
 * random.c
 *	  Random bytes from getrandom(2), and a pool of them for nonces.
 *
 * Two processes must never take nonces from one pool.  Asking getpid for each
 * value would cost as much as everything else we add to the cipher, so a
 * fork handler counts forks, and a pool is good only under the count that it
 * was filled under.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "base/secret.h"
#include "crypto/random.h"

#define POOL_MIN	64
#define POOL_MAX	4096

typedef struct NoncePool
{
	unsigned	forks;			/* fork_count when it was filled */
	size_t		next;			/* first byte not yet given */
	size_t		size;			/* bytes filled; 0: empty */
	uint8_t		bytes[POOL_MAX];
} NoncePool;

/* Of a thread: the agent wraps on worker threads. */
static _Thread_local NoncePool pool;

static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static bool handler_set;
static volatile unsigned fork_count;

static PgeStatus fill_pool(void);

PgeStatus
pge_random_bytes(void *out, size_t len)
{
	uint8_t    *p = out;
	size_t		left = len;

	while (left > 0)
	{
		ssize_t		n = getrandom(p, left, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			pge_secret_wipe(out, len);
			return PGE_CRYPTO_FAILED;
		}
		p += n;
		left -= (size_t) n;
	}
	return PGE_OK;
}

PgeStatus
pge_random_nonce(uint8_t *out, size_t len)
{
	if (len > POOL_MIN)
		return pge_random_bytes(out, len);
	if (pool.forks != fork_count || pool.size - pool.next < len)
	{
		PgeStatus	status = fill_pool();

		if (status != PGE_OK)
			return status;
	}
	memcpy(out, pool.bytes + pool.next, len);
	pge_secret_wipe(pool.bytes + pool.next, len);
	pool.next += len;
	return PGE_OK;
}

void
pge_random_drop_pool(void)
{
	pge_secret_wipe(pool.bytes, pool.size);
	pool.next = 0;
	pool.size = 0;
}

static void
count_fork(void)
{
	fork_count++;
}

static void
set_fork_handler(void)
{
	handler_set = pthread_atfork(NULL, NULL, count_fork) == 0;
}

/* Twice as much as the last time: few bytes for one value, 4 KiB for a scan. */
static PgeStatus
fill_pool(void)
{
	size_t		size = POOL_MIN;
	PgeStatus	status;

	if (pthread_once(&handler_once, set_fork_handler) != 0 || !handler_set)
		return PGE_CRYPTO_FAILED;
	if (pool.size > 0 && pool.forks == fork_count)
		size = pool.size < POOL_MAX ? pool.size * 2 : POOL_MAX;
	pge_random_drop_pool();
	status = pge_random_bytes(pool.bytes, size);
	if (status != PGE_OK)
		return status;
	pool.forks = fork_count;
	pool.size = size;
	return PGE_OK;
}
