/*-------------------------------------------------------------------------
 *
 * kdf.c
 *	  HKDF-SHA-256 and scrypt through EVP_KDF.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "crypto/kdf.h"

#define SCRYPT_MEMORY_MAX	((uint64_t) 256 << 20)
#define SCRYPT_P_MAX		16
#define HKDF_LEN_MAX		(255 * 32)
#define STACK_USED_MAX		8192	/* by EVP_KDF_derive, with room to spare */

/* OSSL_PARAM wants addresses that are not const, and not NULL; it reads only. */
static OSSL_PARAM
octets(const char *name, PgeBytes bytes)
{
	static uint8_t nothing[1];

	return OSSL_PARAM_construct_octet_string(name,
											 bytes.len > 0 ? (void *) bytes.data : nothing,
											 bytes.len);
}

/*
 * PBKDF2's last block stays where OpenSSL had it on the stack: with 3.5, half of
 * what scrypt gives is still there afterwards.
 */
__attribute__((noinline))
static void
wipe_stack_below(void)
{
	uint8_t		used[STACK_USED_MAX];

	pge_secret_wipe(used, sizeof(used));
}

static PgeStatus
derive(const char *name, const OSSL_PARAM *params, uint8_t *out, size_t len)
{
	EVP_KDF    *kdf = EVP_KDF_fetch(NULL, name, NULL);
	EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
	bool		ok = ctx != NULL && EVP_KDF_derive(ctx, out, len, params) == 1;

	EVP_KDF_CTX_free(ctx);		/* wipes the key or passphrase */
	EVP_KDF_free(kdf);
	wipe_stack_below();
	if (ok)
		return PGE_OK;
	ERR_clear_error();
	pge_secret_wipe(out, len);
	return PGE_CRYPTO_FAILED;
}

PgeStatus
pge_hkdf_sha256(PgeBytes key, PgeBytes info, uint8_t *out, size_t out_len)
{
	char		digest[] = "SHA256";
	OSSL_PARAM	params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		octets(OSSL_KDF_PARAM_KEY, key),
		octets(OSSL_KDF_PARAM_INFO, info),
		OSSL_PARAM_construct_end()
	};

	if (out_len == 0 || out_len > HKDF_LEN_MAX)
	{
		pge_secret_wipe(out, out_len);
		return PGE_INVALID;
	}
	return derive("HKDF", params, out, out_len);
}

PgeStatus
pge_scrypt(PgeBytes passphrase, PgeBytes salt, unsigned log2_n, unsigned r,
		   unsigned p, PgeSecret *key)
{
	uint64_t	n = log2_n < 32 ? (uint64_t) 1 << log2_n : 0;
	uint64_t	r64 = r;
	uint64_t	p64 = p;
	uint64_t	maxmem = SCRYPT_MEMORY_MAX;
	OSSL_PARAM	params[] = {
		octets(OSSL_KDF_PARAM_PASSWORD, passphrase),
		octets(OSSL_KDF_PARAM_SALT, salt),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_R, &r64),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_P, &p64),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &maxmem),
		OSSL_PARAM_construct_end()
	};

	/* The costs may come from a file: refuse before memory is taken. */
	if (n < 2 || r == 0 || r > 1024 || p == 0 || p > SCRYPT_P_MAX ||
		128 * r64 * n > SCRYPT_MEMORY_MAX)
	{
		pge_secret_wipe(key, sizeof(*key));
		return PGE_INVALID;
	}

	/*
	 * OpenSSL counts its small buffers too; ours is the bound on the large
	 * one.
	 */
	maxmem += 128 * r64 * (p64 + 2);
	return derive("SCRYPT", params, key->bytes, sizeof(key->bytes));
}
