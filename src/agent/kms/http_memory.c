/*-------------------------------------------------------------------------
 *
 * http_memory.c
 *	  libcurl's allocator: what it frees has been wiped.
 *
 * Requests, answers and headers pass through buffers of libcurl's own, which
 * hold tokens and keys, and which it frees as they are.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kms/http_private.h"
#include "base/secret.h"

static void start_libcurl(void);
static void *resize(void *block, size_t len);
static void wipe_and_free(void *block);

static PgeStatus started;

PgeStatus
pge_http_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	return pthread_once(&once, start_libcurl) == 0 ? started : PGE_OUT_OF_MEMORY;
}

/*
 * A callback of ours is called with OpenSSL's own types (http_transfer.c).  The
 * environment shall not have libcurl write down the keys of our sessions.
 */
static void
start_libcurl(void)
{
	const curl_version_info_data *info;

	started = PGE_CRYPTO_FAILED;
	if (unsetenv("SSLKEYLOGFILE") != 0)
		return;
	if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_and_free, resize,
							 strdup, calloc) != CURLE_OK)
		return;
	info = curl_version_info(CURLVERSION_NOW);
	if (info->ssl_version != NULL && strncmp(info->ssl_version, "OpenSSL/", 8) == 0)
		started = PGE_OK;
}

static void
wipe_and_free(void *block)
{
	if (block != NULL)
		pge_secret_wipe(block, malloc_usable_size(block));
	free(block);
}

/* realloc() would leave the old block behind as it was. */
static void *
resize(void *block, size_t len)
{
	size_t		old = block != NULL ? malloc_usable_size(block) : 0;
	void	   *larger;

	if (block != NULL && len > 0 && len <= old)
		return block;
	larger = len > 0 ? malloc(len) : NULL;
	if (larger == NULL && len > 0)
		return NULL;
	if (larger != NULL && old > 0)
		memcpy(larger, block, old);
	wipe_and_free(block);
	return larger;
}
