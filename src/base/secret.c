/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  Wiping, copying and comparing key bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include <openssl/crypto.h>

#include "base/secret.h"

void
pge_secret_wipe(void *p, size_t len)
{
	if (p != NULL && len > 0)
		OPENSSL_cleanse(p, len);
}

void
pge_secret_copy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

bool
pge_secret_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
