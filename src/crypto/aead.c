/*-------------------------------------------------------------------------
 *
 * aead.c
 *	  XAES-256-GCM and AES-256-GCM on OpenSSL's EVP.
 *
 * XAES-256-GCM (C2SP) derives a key from the DEK and a 12-byte salt with two
 * AES blocks, which is CMAC over a one-block message, and runs plain GCM under
 * it.  So both algorithms end in the same GCM code below, and differ only in
 * which key the context holds when it starts.
 *
 * What a value costs beside the cipher is kept out of its way: ciphers are
 * fetched once per process, contexts are re-keyed with cipher = NULL, and where
 * the key stays only the IV is set anew.  A new key, the IV and, to open, the
 * tag go in with one call, and the nonce is drawn where it will stand.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "crypto/aead_private.h"
#include "crypto/random_private.h"

#define AES_BLOCK_LEN	16
#define XAES_NONCE_LEN	(PGE_XAES_SALT_LEN + PGE_AEAD_IV_LEN)

#define NOT_KEYED		(-1)

/*
 * One GCM context serves both directions and is keyed again when the direction,
 * or with XAES the salt, is another than that of the value before: a second one
 * would save a little where one statement opens and seals under one key, and
 * cost each key a kilobyte.
 */
struct PgeAead
{
	PgeAlgorithm algorithm;
	int			direction;		/* that "gcm" is keyed for, as EVP's "enc" */
	EVP_CIPHER_CTX *gcm;		/* made when first needed */
	PgeNoncePool *nonces;		/* of the thread that made this */
	uint8_t		salt[PGE_XAES_SALT_LEN];	/* XAES: that "gcm" is keyed for */
	uint8_t		seal_salt[PGE_XAES_SALT_LEN];	/* XAES: of the next seals */
	uint32_t	salt_uses;		/* values sealed under it */
	bool		has_seal_salt;

	/* Above: what every value looks at, 64 bytes.  Below: for a new key. */
	PgeSecret	dek;
	uint8_t		k1[AES_BLOCK_LEN];	/* XAES: CMAC's first subkey */
};

/* "The tag is, or goes, here", and the end. */
#define TAG_PARAMS(where) { \
	{OSSL_CIPHER_PARAM_AEAD_TAG, OSSL_PARAM_OCTET_STRING, (where), \
		PGE_AEAD_TAG_LEN, OSSL_PARAM_UNMODIFIED}, \
	{NULL, 0, NULL, 0, 0}}

/*
 * AES-256-ECB under the DEK of the owner, who may be any of this thread: a
 * derivation wants it for two blocks.  Freed with its owner.
 */
static _Thread_local struct
{
	EVP_CIPHER_CTX *evp;
	const PgeAead *owner;
}			derive;

/*
 * Fetched once per process.  A child of fork fetches its own (and leaves the
 * parent's alone: after a fork nobody may rely on OpenSSL's locks).  The mutex
 * is for the agent's worker threads.
 */
static pthread_mutex_t fetch_lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t fetch_pid;
static EVP_CIPHER *gcm_cipher;
static EVP_CIPHER *ecb_cipher;

#ifdef PGE_TEST_BUILD
uint64_t	pge_aead_tag_checks;
#endif

static PgeStatus fetch_ciphers(EVP_CIPHER **gcm, EVP_CIPHER **ecb);
static PgeStatus set_up_xaes(PgeAead *aead);
static void forget_derive(void);
static inline PgeStatus begin(PgeAead *aead, const uint8_t *nonce, int enc,
							  const OSSL_PARAM *params);
static inline PgeStatus seal_gcm(PgeAead *aead, PgeBytes associated, PgeBytes plain,
								 uint8_t *out);
static inline PgeStatus open_gcm(PgeAead *aead, PgeBytes associated, PgeBytes sealed,
								 uint8_t *out);

/* OpenSSL's queue is per thread and others read it: leave nothing of ours. */
static PgeStatus
crypto_failed(void)
{
	ERR_clear_error();
	return PGE_CRYPTO_FAILED;
}

PgeStatus
pge_aead_new(PgeAlgorithm algorithm, const PgeSecret *dek, PgeAead **result)
{
	PgeAead    *aead;
	PgeStatus	status = PGE_OK;

	*result = NULL;
	if (pge_aead_overhead(algorithm) == 0)
		return PGE_INVALID;
	aead = OPENSSL_zalloc(sizeof(*aead));
	if (aead == NULL)
	{
		ERR_clear_error();
		return PGE_OUT_OF_MEMORY;
	}
	aead->algorithm = algorithm;
	aead->direction = NOT_KEYED;
	aead->nonces = pge_nonce_pool();
	pge_secret_copy(&aead->dek, dek, sizeof(PgeSecret));
	if (algorithm == PGE_XAES_256_GCM)
		status = set_up_xaes(aead);
	if (status != PGE_OK)
	{
		pge_aead_free(aead);
		return status;
	}
	*result = aead;
	return PGE_OK;
}

void
pge_aead_free(PgeAead *aead)
{
	if (aead == NULL)
		return;
	/* OpenSSL wipes the key schedules. */
	if (derive.owner == aead)
		forget_derive();
	EVP_CIPHER_CTX_free(aead->gcm);
	OPENSSL_clear_free(aead, sizeof(*aead));
}

void
pge_aead_new_salt(PgeAead *aead)
{
	aead->has_seal_salt = false;
}

void
pge_aead_set_salt_uses(PgeAead *aead, uint32_t uses)
{
	aead->salt_uses = uses;
}

/* Does a plaintext of this length fit EVP's int, and the caller's buffer? */
static PgeStatus
check_seal_lengths(const PgeAead *aead, PgeBytes associated, PgeBytes plain,
				   const PgeBuffer *body)
{
	size_t		overhead = pge_aead_overhead(aead->algorithm);

	if (plain.len > PGE_AEAD_BODY_MAX - overhead ||
		associated.len > PGE_AEAD_BODY_MAX ||
		body->capacity < plain.len + overhead)
		return PGE_TOO_LARGE;
	return PGE_OK;
}

/* The nonce stands at the start of the body already; lengths are checked. */
static inline __attribute__((always_inline))
PgeStatus
seal_body(PgeAead *aead, PgeBytes associated, PgeBytes plain, PgeBuffer *body)
{
	size_t		sealed_len = plain.len + pge_aead_overhead(aead->algorithm);
	size_t		nonce_len = pge_aead_overhead(aead->algorithm) - PGE_AEAD_TAG_LEN;
	PgeStatus	status;

	status = begin(aead, body->data, 1, NULL);
	if (status == PGE_OK)
		status = seal_gcm(aead, associated, plain, body->data + nonce_len);
	if (status == PGE_OK)
		body->len = sealed_len;
	else
		pge_secret_wipe(body->data, sealed_len);
	return status;
}

PgeStatus
pge_aead_seal_with_nonce(PgeAead *aead, PgeBytes nonce, PgeBytes associated,
						 PgeBytes plain, PgeBuffer *body)
{
	PgeStatus	status;

	body->len = 0;
	status = check_seal_lengths(aead, associated, plain, body);
	if (status != PGE_OK)
		return status;
	if (nonce.len + PGE_AEAD_TAG_LEN != pge_aead_overhead(aead->algorithm))
		return PGE_INVALID;
	memcpy(body->data, nonce.data, nonce.len);
	return seal_body(aead, associated, plain, body);
}

/*
 * A salt is drawn for the first value and then again after so many: the IVs
 * under one salt are random, so GCM's bound on random IVs holds for the
 * derived key with a wide margin.
 */
static PgeStatus
draw_nonce(PgeAead *aead, uint8_t *nonce)
{
	PgeStatus	status;

	if (aead->algorithm == PGE_AES_256_GCM)
		return pge_nonce_take(aead->nonces, nonce, PGE_AEAD_IV_LEN);
	if (aead->has_seal_salt && aead->salt_uses < PGE_XAES_SALT_USES)
	{
		memcpy(nonce, aead->seal_salt, PGE_XAES_SALT_LEN);
		status = pge_nonce_take(aead->nonces, nonce + PGE_XAES_SALT_LEN,
								PGE_AEAD_IV_LEN);
	}
	else
	{
		aead->salt_uses = 0;
		status = pge_nonce_take(aead->nonces, nonce, XAES_NONCE_LEN);
		aead->has_seal_salt = status == PGE_OK;
		if (aead->has_seal_salt)
			memcpy(aead->seal_salt, nonce, PGE_XAES_SALT_LEN);
	}
	aead->salt_uses++;
	return status;
}

PgeStatus
pge_aead_seal(PgeAead *aead, PgeBytes associated, PgeBytes plain, PgeBuffer *body)
{
	PgeStatus	status;

	body->len = 0;
	status = check_seal_lengths(aead, associated, plain, body);
	if (status == PGE_OK)
		status = draw_nonce(aead, body->data);
	if (status != PGE_OK)
		return status;
	return seal_body(aead, associated, plain, body);
}

PgeStatus
pge_aead_open(PgeAead *aead, PgeBytes associated, PgeBytes body, PgeBuffer *plain)
{
	size_t		overhead = pge_aead_overhead(aead->algorithm);
	size_t		nonce_len = overhead - PGE_AEAD_TAG_LEN;
	OSSL_PARAM	tag[2] = TAG_PARAMS(NULL);
	PgeStatus	status;

	plain->len = 0;
	if (body.len < overhead)
		return PGE_MALFORMED;
	if (body.len > PGE_AEAD_BODY_MAX || associated.len > PGE_AEAD_BODY_MAX ||
		plain->capacity < body.len - overhead)
		return PGE_TOO_LARGE;
	/* A parameter that is set is only read. */
	tag[0].data = (uint8_t *) body.data + body.len - PGE_AEAD_TAG_LEN;
	status = begin(aead, body.data, 0, tag);
	if (status == PGE_OK)
		status = open_gcm(aead, associated,
						  pge_bytes(body.data + nonce_len, body.len - overhead),
						  plain->data);
	if (status == PGE_OK)
		plain->len = body.len - overhead;
	else
		pge_secret_wipe(plain->data, body.len - overhead);
	return status;
}

static PgeStatus
fetch_ciphers(EVP_CIPHER **gcm, EVP_CIPHER **ecb)
{
	pid_t		pid = getpid();
	PgeStatus	status = PGE_OK;

	pthread_mutex_lock(&fetch_lock);
	if (fetch_pid != pid)
	{
		gcm_cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
		ecb_cipher = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
		if (gcm_cipher != NULL && ecb_cipher != NULL)
			fetch_pid = pid;
		else
		{
			EVP_CIPHER_free(gcm_cipher);
			EVP_CIPHER_free(ecb_cipher);
			status = crypto_failed();
		}
	}
	*gcm = gcm_cipher;
	*ecb = ecb_cipher;
	pthread_mutex_unlock(&fetch_lock);
	return status;
}

void
pge_aead_drop_ciphers(void)
{
	pthread_mutex_lock(&fetch_lock);
	if (fetch_pid == getpid())
	{
		EVP_CIPHER_free(gcm_cipher);
		EVP_CIPHER_free(ecb_cipher);
	}
	fetch_pid = 0;
	gcm_cipher = ecb_cipher = NULL;
	pthread_mutex_unlock(&fetch_lock);
}

static void
forget_derive(void)
{
	EVP_CIPHER_CTX_free(derive.evp);	/* wipes the key schedule */
	derive.evp = NULL;
	derive.owner = NULL;
}

/* In place of the key of the owner before. */
static PgeStatus
own_derive(const PgeAead *aead)
{
	EVP_CIPHER *gcm;
	EVP_CIPHER *ecb = NULL;		/* set to it once */
	PgeStatus	status = PGE_OK;

	if (derive.evp == NULL)
	{
		status = fetch_ciphers(&gcm, &ecb);
		if (status == PGE_OK && (derive.evp = EVP_CIPHER_CTX_new()) == NULL)
		{
			ERR_clear_error();
			status = PGE_OUT_OF_MEMORY;
		}
	}
	derive.owner = aead;
	if (status == PGE_OK &&
		(EVP_EncryptInit_ex(derive.evp, ecb, NULL, aead->dek.bytes, NULL) != 1 ||
		 EVP_CIPHER_CTX_set_padding(derive.evp, 0) != 1))
		status = crypto_failed();
	if (status != PGE_OK)
		forget_derive();
	return status;
}

/* Encrypts whole blocks with the DEK itself. */
static PgeStatus
encrypt_blocks(const PgeAead *aead, const uint8_t *in, uint8_t *out, int len)
{
	PgeStatus	status = PGE_OK;
	int			n = 0;

	if (derive.owner != aead)
		status = own_derive(aead);
	if (status != PGE_OK)
		return status;
	if (EVP_EncryptUpdate(derive.evp, out, &n, in, len) != 1 || n != len)
		return crypto_failed();
	return PGE_OK;
}

/* CMAC's subkey K1: the encrypted zero block doubled in GF(2^128). */
static PgeStatus
set_up_xaes(PgeAead *aead)
{
	static const uint8_t zero[AES_BLOCK_LEN];
	uint8_t    *k1 = aead->k1;
	uint8_t		carry;
	PgeStatus	status;

	status = encrypt_blocks(aead, zero, k1, AES_BLOCK_LEN);
	if (status != PGE_OK)
		return status;
	carry = k1[0] >> 7;
	for (int i = 0; i < AES_BLOCK_LEN - 1; i++)
		k1[i] = (uint8_t) (k1[i] << 1 | k1[i + 1] >> 7);
	k1[AES_BLOCK_LEN - 1] = (uint8_t) (k1[AES_BLOCK_LEN - 1] << 1);
	k1[AES_BLOCK_LEN - 1] ^= (uint8_t) (0x87 & -carry); /* no branch on a secret */
	return PGE_OK;
}

/*
 * The derived key: CMAC with the DEK over 00 01 'X' 00 salt, then over
 * 00 02 'X' 00 salt (the counter mode of NIST SP 800-108 with C2SP's label).
 */
static PgeStatus
derive_key(PgeAead *aead, const uint8_t *salt, PgeSecret *key)
{
	uint8_t		blocks[2 * AES_BLOCK_LEN] = {0};
	PgeStatus	status;

	for (int b = 0; b < 2; b++)
	{
		uint8_t    *m = blocks + b * AES_BLOCK_LEN;

		m[1] = (uint8_t) (b + 1);
		m[2] = 'X';
		memcpy(m + 4, salt, PGE_XAES_SALT_LEN);
		for (int i = 0; i < AES_BLOCK_LEN; i++)
			m[i] ^= aead->k1[i];
	}
	status = encrypt_blocks(aead, blocks, key->bytes, sizeof(blocks));
	pge_secret_wipe(blocks, sizeof(blocks));
	return status;
}

/* The context if there is none yet, and then the cipher that it is to have. */
static PgeStatus
make_gcm(PgeAead *aead, EVP_CIPHER **cipher)
{
	EVP_CIPHER *ecb;
	PgeStatus	status;

	*cipher = NULL;
	if (aead->gcm != NULL)
		return PGE_OK;
	status = fetch_ciphers(cipher, &ecb);
	if (status != PGE_OK)
		return status;
	aead->gcm = EVP_CIPHER_CTX_new();
	if (aead->gcm != NULL)
		return PGE_OK;
	ERR_clear_error();
	return PGE_OUT_OF_MEMORY;
}

/* Direction, key, IV and parameters; the key is the DEK or derived from it. */
static __attribute__((noinline))
PgeStatus
begin_with_key(PgeAead *aead, const uint8_t *nonce, int enc, const OSSL_PARAM *params)
{
	bool		xaes = aead->algorithm == PGE_XAES_256_GCM;
	EVP_CIPHER *cipher;
	PgeSecret	key;
	PgeStatus	status;

	aead->direction = NOT_KEYED;
	status = make_gcm(aead, &cipher);
	if (status != PGE_OK)
		return status;
	if (xaes)
		status = derive_key(aead, nonce, &key);
	else
		pge_secret_copy(&key, &aead->dek, sizeof(key));
	if (status == PGE_OK &&
		EVP_CipherInit_ex2(aead->gcm, cipher, key.bytes,
						   xaes ? nonce + PGE_XAES_SALT_LEN : nonce, enc, params) != 1)
		status = crypto_failed();
	pge_secret_wipe(&key, sizeof(key));
	if (status != PGE_OK)
	{
		/* Half set up: the next value starts with a new one. */
		EVP_CIPHER_CTX_free(aead->gcm);
		aead->gcm = NULL;
		return status;
	}
	if (xaes)
		memcpy(aead->salt, nonce, PGE_XAES_SALT_LEN);
	aead->direction = enc;
	return PGE_OK;
}

/* Key, IV and parameters of one value. */
static inline PgeStatus
begin(PgeAead *aead, const uint8_t *nonce, int enc, const OSSL_PARAM *params)
{
	if (aead->direction != enc)
		return begin_with_key(aead, nonce, enc, params);
	if (aead->algorithm == PGE_XAES_256_GCM)
	{
		/* A salt is no secret: it stands in the value. */
		if (memcmp(aead->salt, nonce, PGE_XAES_SALT_LEN) != 0)
			return begin_with_key(aead, nonce, enc, params);
		nonce += PGE_XAES_SALT_LEN;
	}
	if (EVP_CipherInit_ex2(aead->gcm, NULL, NULL, nonce, enc, params) != 1)
		return crypto_failed();
	return PGE_OK;
}

/* Writes plain.len + PGE_AEAD_TAG_LEN bytes; lengths are checked. */
static inline PgeStatus
seal_gcm(PgeAead *aead, PgeBytes associated, PgeBytes plain, uint8_t *out)
{
	EVP_CIPHER_CTX *evp = aead->gcm;
	OSSL_PARAM	tag[2] = TAG_PARAMS(out + plain.len);
	int			n = 0;
	int			rest = 0;

	if (associated.len > 0 &&
		EVP_EncryptUpdate(evp, NULL, &n, associated.data, (int) associated.len) != 1)
		return crypto_failed();
	n = 0;
	if (plain.len > 0 &&
		EVP_EncryptUpdate(evp, out, &n, plain.data, (int) plain.len) != 1)
		return crypto_failed();
	if (EVP_EncryptFinal_ex(evp, out + n, &rest) != 1 ||
		(size_t) n + (size_t) rest != plain.len)
		return crypto_failed();
	if (EVP_CIPHER_CTX_get_params(evp, tag) != 1 ||
		tag[0].return_size != PGE_AEAD_TAG_LEN)
		return crypto_failed();
	return PGE_OK;
}

/*
 * The context has the tag; lengths are checked.  Until the last call has
 * agreed, what stands in "out" is an attacker's: the caller wipes it.
 */
static inline PgeStatus
open_gcm(PgeAead *aead, PgeBytes associated, PgeBytes sealed, uint8_t *out)
{
	EVP_CIPHER_CTX *evp = aead->gcm;
	uint8_t		nothing[16];	/* GCM has no last block; "out" may be NULL */
	int			n = 0;
	int			rest = 0;

	if (associated.len > 0 &&
		EVP_DecryptUpdate(evp, NULL, &n, associated.data, (int) associated.len) != 1)
		return crypto_failed();
	n = 0;
	if (sealed.len > 0 &&
		EVP_DecryptUpdate(evp, out, &n, sealed.data, (int) sealed.len) != 1)
		return crypto_failed();
	if ((size_t) n != sealed.len)
		return crypto_failed();
#ifdef PGE_TEST_BUILD
	__atomic_fetch_add(&pge_aead_tag_checks, 1, __ATOMIC_RELAXED);
#endif
	if (EVP_DecryptFinal_ex(evp, nothing, &rest) != 1)
	{
		ERR_clear_error();
		return PGE_NOT_AUTHENTIC;
	}
	if (rest != 0)
		return crypto_failed();
	return PGE_OK;
}
