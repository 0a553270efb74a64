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
 * The kernel's generator gives a byte in about 4 ns, which for a scan is a
 * seventh of the cipher.  So a large pool is the key stream of AES-256-CTR
 * under a key that the kernel gave for this pool alone and that is wiped before
 * the first nonce leaves it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/random.h>

#include "base/secret.h"
#include "crypto/random_private.h"

#define POOL_MIN	64
#define POOL_DIRECT	512			/* up to here the kernel is the cheaper source */

#define SEED_KEY	32
#define SEED_LEN	(SEED_KEY + 16) /* AES-256's key, CTR's first block */

/* Of a thread: the agent wraps on worker threads. */
static _Thread_local PgeNoncePool thread_pool;

static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static bool handler_set;
volatile unsigned pge_fork_count;

static PgeStatus fill_pool(PgeNoncePool *pool);

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

PgeNoncePool *
pge_nonce_pool(void)
{
	return &thread_pool;
}

PgeStatus
pge_nonce_refill(PgeNoncePool *pool, uint8_t *out, size_t len)
{
	PgeStatus	status = fill_pool(pool);

	if (status != PGE_OK)
		return status;
	memcpy(out, pool->bytes, len);
	pge_secret_wipe(pool->bytes, len);
	pool->next = len;
	return PGE_OK;
}

static void
drop(PgeNoncePool *pool)
{
	pge_secret_wipe(pool->bytes, pool->size);
	pool->next = 0;
	pool->size = 0;
}

void
pge_random_drop_pool(void)
{
	drop(&thread_pool);
}

static void
count_fork(void)
{
	pge_fork_count++;
}

static void
set_fork_handler(void)
{
	handler_set = pthread_atfork(NULL, NULL, count_fork) == 0;
}

/* Overwrites zeros with the key stream of this seed. */
static bool
stretch(const uint8_t *seed, uint8_t *zeros, size_t len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int			n = 0;
	bool		done;

	done = ctx != NULL &&
		EVP_EncryptInit_ex(ctx, EVP_aes_256_ctr(), NULL, seed, seed + SEED_KEY) == 1 &&
		EVP_EncryptUpdate(ctx, zeros, &n, zeros, (int) len) == 1 &&
		(size_t) n == len;
	EVP_CIPHER_CTX_free(ctx);	/* wipes the key schedule */
	return done;
}

static PgeStatus
fill_stretched(uint8_t *zeros, size_t len)
{
	uint8_t		seed[SEED_LEN];
	PgeStatus	status = pge_random_bytes(seed, sizeof(seed));

	if (status == PGE_OK && !stretch(seed, zeros, len))
	{
		ERR_clear_error();
		status = PGE_CRYPTO_FAILED;
	}
	pge_secret_wipe(seed, sizeof(seed));
	if (status != PGE_OK)
		pge_secret_wipe(zeros, len);
	return status;
}

/* Few bytes for one value, more for each fill of a transaction, 4 KiB for a scan. */
static size_t
next_size(const PgeNoncePool *pool)
{
	if (pool->size == 0 || pool->forks != pge_fork_count)
		return POOL_MIN;
	return pool->size < POOL_DIRECT ? pool->size * 2 : PGE_NONCE_POOL_MAX;
}

static PgeStatus
fill_pool(PgeNoncePool *pool)
{
	size_t		size;
	PgeStatus	status;

	if (pthread_once(&handler_once, set_fork_handler) != 0 || !handler_set)
		return PGE_CRYPTO_FAILED;
	size = next_size(pool);
	drop(pool);					/* all of it is zero now, as stretching needs
								 * it */
	if (size <= POOL_DIRECT)
		status = pge_random_bytes(pool->bytes, size);
	else
		status = fill_stretched(pool->bytes, size);
	if (status != PGE_OK)
		return status;
	pool->forks = pge_fork_count;
	pool->size = size;
	return PGE_OK;
}
