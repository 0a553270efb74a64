/*-------------------------------------------------------------------------
 *
 * mac.c
 *	  HMAC-SHA-256 and SHA-256 over parts.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/secret.h"
#include "crypto/mac.h"

/* An empty part may have no address, and EVP takes NULL for "not given". */
static const uint8_t nothing[1];

static bool
hmac_parts(EVP_MAC_CTX *ctx, PgeBytes key, const PgeBytes *parts, int nparts,
		   uint8_t mac[PGE_MAC_LEN])
{
	char		digest[] = "SHA256";
	OSSL_PARAM	params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end()
	};
	size_t		len = 0;

	if (EVP_MAC_init(ctx, key.len > 0 ? key.data : nothing, key.len, params) != 1)
		return false;
	for (int i = 0; i < nparts; i++)
		if (parts[i].len > 0 &&
			EVP_MAC_update(ctx, parts[i].data, parts[i].len) != 1)
			return false;
	return EVP_MAC_final(ctx, mac, &len, PGE_MAC_LEN) == 1 && len == PGE_MAC_LEN;
}

PgeStatus
pge_hmac_sha256(PgeBytes key, const PgeBytes *parts, int nparts,
				uint8_t mac[PGE_MAC_LEN])
{
	EVP_MAC    *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = hmac == NULL ? NULL : EVP_MAC_CTX_new(hmac);
	bool		ok = ctx != NULL && hmac_parts(ctx, key, parts, nparts, mac);

	EVP_MAC_CTX_free(ctx);		/* wipes the key */
	EVP_MAC_free(hmac);
	if (ok)
		return PGE_OK;
	ERR_clear_error();
	pge_secret_wipe(mac, PGE_MAC_LEN);
	return PGE_CRYPTO_FAILED;
}

static bool
digest_parts(EVP_MD_CTX *ctx, const PgeBytes *parts, int nparts,
			 uint8_t digest[PGE_MAC_LEN])
{
	unsigned	len = 0;

	if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		return false;
	for (int i = 0; i < nparts; i++)
		if (parts[i].len > 0 &&
			EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) != 1)
			return false;
	return EVP_DigestFinal_ex(ctx, digest, &len) == 1 && len == PGE_MAC_LEN;
}

PgeStatus
pge_sha256(const PgeBytes *parts, int nparts, uint8_t digest[PGE_MAC_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool		ok = ctx != NULL && digest_parts(ctx, parts, nparts, digest);

	EVP_MD_CTX_free(ctx);
	if (ok)
		return PGE_OK;
	ERR_clear_error();
	pge_secret_wipe(digest, PGE_MAC_LEN);
	return PGE_CRYPTO_FAILED;
}
