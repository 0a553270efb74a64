/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  Wiping and comparing key bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <openssl/crypto.h>

#include "base/secret.h"

void
pge_secret_wipe(void *p, size_t len)
{
	if (p != NULL && len > 0)
		OPENSSL_cleanse(p, len);
}

bool
pge_secret_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
