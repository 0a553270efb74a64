/*-------------------------------------------------------------------------
 *
 * wipe_test.c
 *	  No key is left behind: in freed heap, on the stack, after any failure.
 *
 * OpenSSL's allocator is replaced by one that looks at each block before it is
 * freed, and that can refuse the n-th request.  The stack is looked at from
 * outside: the code runs on a stack of ours.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <dlfcn.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "check.h"
#include "crypto/aead_private.h"
#include "crypto/kdf.h"
#include "crypto/mac.h"
#include "crypto/random.h"
#include "crypto/selftest.h"
#include "format/binding.h"
#include "own_stack.h"

#define SECRETS_MAX	5

/* Half a key is as much as an attacker needs to be told. */
#define PIECE		16

#define K1			2			/* its place among the secrets */

static const char binding_bytes[] = "any binding";

/* Complemented, so that our own copies are never what is found. */
static uint8_t hidden[SECRETS_MAX][PGE_DEK_LEN];
static int	nhidden;

static int	found_in_freed;
static long blocks;
static long requests;
static long fail_at;			/* 0: never */

static bool
contains_one_of(int first, int end, const uint8_t *p, size_t len)
{
	for (int s = first; s < end; s++)
		for (int piece = 0; piece < PGE_DEK_LEN; piece += PIECE)
			for (size_t at = 0; at + PIECE <= len; at++)
			{
				int			i = 0;

				while (i < PIECE && (p[at + i] ^ hidden[s][piece + i]) == 0xff)
					i++;
				if (i == PIECE)
					return true;
			}
	return false;
}

static bool
contains_secret(const uint8_t *p, size_t len)
{
	return contains_one_of(0, nhidden, p, len);
}

static void
hide(const uint8_t *secret)
{
	for (int i = 0; i < PGE_DEK_LEN; i++)
		hidden[nhidden][i] = (uint8_t) ~secret[i];
	nhidden++;
}

/* Not by value: that would put a copy on the stack that we look at. */
static void
reveal(int n, PgeSecret *secret)
{
	for (int i = 0; i < PGE_DEK_LEN; i++)
		secret->bytes[i] = (uint8_t) ~hidden[n][i];
}

/* The length stands before each block. */
static void *
watched_malloc(size_t len, const char *file, int line)
{
	size_t	   *p;

	(void) file;
	(void) line;
	if (fail_at > 0 && ++requests == fail_at)
		return NULL;
	p = malloc(len + 16);
	if (p == NULL)
		return NULL;
	*p = len;
	blocks++;
	return (uint8_t *) p + 16;
}

static void
watched_free(void *block, const char *file, int line)
{
	uint8_t    *p = block;

	(void) file;
	(void) line;
	if (p == NULL)
		return;
	if (contains_secret(p, *(size_t *) (p - 16)))
		found_in_freed++;
	blocks--;
	free(p - 16);
}

static void *
watched_realloc(void *block, size_t len, const char *file, int line)
{
	void	   *larger = watched_malloc(len, file, line);

	if (larger != NULL && block != NULL)
	{
		size_t		old = *(size_t *) ((uint8_t *) block - 16);

		memcpy(larger, block, old < len ? old : len);
		watched_free(block, file, line);
	}
	return larger;
}

/*
 * One of everything that touches a key.  Static, so that what the stack holds
 * afterwards is what the code under test left there.
 */
static PgeStatus
use_aead(PgeAlgorithm algorithm)
{
	static PgeSecret dek;
	static uint8_t body[64];
	static uint8_t nonce[] = "ABCDEFGHIJKLMNOPQRSTUVWX";
	static uint8_t other_nonce[] = "another salt, another IV";
	size_t		nonce_len = algorithm == PGE_XAES_256_GCM ? 24 : 12;
	static uint8_t opened[64];
	PgeBuffer	sealed = {body, 0, sizeof(body)};
	PgeBuffer	back = {opened, 0, sizeof(opened)};
	PgeAead    *aead;
	PgeStatus	status;

	memset(opened, 0, sizeof(opened));
	reveal(0, &dek);
	status = pge_aead_new(algorithm, &dek, &aead);
	/* Twice, so that the second key meets a context that is there already. */
	if (status == PGE_OK)
		status = pge_aead_seal_with_nonce(aead, pge_bytes(other_nonce, nonce_len), pge_bytes(NULL, 0),
										  pge_bytes(NULL, 0), &sealed);
	if (status == PGE_OK)
		status = pge_aead_seal_with_nonce(aead, pge_bytes(nonce, nonce_len),
										  text_bytes("associated"), text_bytes("plain"), &sealed);
	if (status == PGE_OK)
		status = pge_aead_open(aead, text_bytes("associated"), pge_buffer_bytes(&sealed), &back);
	if (status == PGE_OK && !same_bytes(pge_buffer_bytes(&back), text_bytes("plain")))
		status = PGE_INVALID;
	if (status != PGE_OK && (back.len != 0 || !all_zero(opened, sizeof(opened)) ||
							 memmem(body, sizeof(body), "plain", 5) != NULL))
		status = PGE_INVALID;
	pge_aead_free(aead);
	pge_secret_wipe(&dek, sizeof(dek));
	return status;
}

/* So many that the pool of nonces is filled by every means that it has. */
static PgeStatus
use_drawn_nonces(void)
{
	static PgeSecret dek;
	static uint8_t body[64];
	PgeBuffer	sealed = {body, 0, sizeof(body)};
	PgeAead    *aead;
	PgeStatus	status;

	pge_random_drop_pool();
	reveal(0, &dek);
	status = pge_aead_new(PGE_XAES_256_GCM, &dek, &aead);
	for (int i = 0; i < 100 && status == PGE_OK; i++)
		status = pge_aead_seal(aead, pge_bytes(NULL, 0), text_bytes("plain"), &sealed);
	if (status != PGE_OK && sealed.len != 0)
		status = PGE_INVALID;
	pge_aead_free(aead);
	pge_random_drop_pool();
	pge_secret_wipe(&dek, sizeof(dek));
	return status;
}

static PgeStatus
use_check_value(void)
{
	static PgeSecret dek;
	static uint8_t check_value[PGE_CHECK_VALUE_LEN];
	PgeStatus	status;

	reveal(0, &dek);
	status = pge_check_value(&dek, text_bytes(binding_bytes), check_value);
	pge_secret_wipe(&dek, sizeof(dek));
	if (status != PGE_OK && !all_zero(check_value, sizeof(check_value)))
		return PGE_INVALID;
	return status;
}

static PgeStatus
use_scrypt(void)
{
	static PgeSecret key;
	PgeStatus	status;

	status = pge_scrypt(text_bytes("passphrase"), text_bytes("salt"), 4, 1, 1, &key);
	if (status != PGE_OK && !all_zero(key.bytes, sizeof(key.bytes)))
		status = PGE_INVALID;
	pge_secret_wipe(&key, sizeof(key));
	return status;
}

static PgeStatus
use_sha256(void)
{
	static uint8_t digest[PGE_MAC_LEN];
	PgeBytes	part = text_bytes("part");
	PgeStatus	status = pge_sha256(&part, 1, digest);

	if (status != PGE_OK && !all_zero(digest, sizeof(digest)))
		return PGE_INVALID;
	return status;
}

static PgeStatus
use_xaes(void)
{
	return use_aead(PGE_XAES_256_GCM);
}

static PgeStatus
use_gcm(void)
{
	return use_aead(PGE_AES_256_GCM);
}

static PgeStatus
use_selftest(void)
{
	const char *what;

	return pge_crypto_selftest(&what);
}

static const struct
{
	const char *name;
	PgeStatus	(*run) (void);
}			uses[] = {
	{"XAES-256-GCM", use_xaes}, {"AES-256-GCM", use_gcm}, {"drawn nonces", use_drawn_nonces},
	{"check value", use_check_value},
	{"scrypt", use_scrypt}, {"SHA-256", use_sha256}, {"self-test", use_selftest}
};

#define NUSES	((int) (sizeof(uses) / sizeof(uses[0])))

static PgeStatus
fail_once(int use, long n)
{
	PgeStatus	status;

	requests = 0;
	fail_at = n;
	pge_aead_drop_ciphers();
	status = uses[use].run();
	fail_at = 0;
	pge_aead_drop_ciphers();
	return status;
}

/* Provider state that OpenSSL keeps once may stay; a context is lost each time. */
static bool
loses_memory(int use, long n)
{
	for (int i = 0; i < 8; i++)
	{
		long		before = blocks;

		(void) fail_once(use, n);
		if (blocks <= before)
			return false;
	}
	return true;
}

/* Every request for memory fails once: an error, no crash, no leak, no key left. */
static void
check_failures(int use)
{
	long		n = 1;
	bool		good = true;
	bool		lost = false;
	int			refused = 0;

	found_in_freed = 0;
	for (; good && !lost; n++)
	{
		PgeStatus	status = fail_once(use, n);

		if (requests < n)		/* it asked for less than that: all have
								 * failed */
			break;
		refused += status != PGE_OK;
		good = status == PGE_OK || status == PGE_OUT_OF_MEMORY || status == PGE_CRYPTO_FAILED;
		lost = loses_memory(use, n);
	}
	check(good, "%s: an error for each of %ld failed allocations", uses[use].name, n - 1);
	check(refused > 0, "%s: %d of them were felt", uses[use].name, refused);
	check(!lost, "%s: and no memory is lost", uses[use].name);
	check(found_in_freed == 0, "%s: no key in freed memory after failures", uses[use].name);
	check_status(uses[use].run(), PGE_OK, "%s: works again", uses[use].name);
}

static int	running;
static PgeStatus result;

static bool watching_stack;
static int	found_on_stack;

static void
run_inside(void)
{
	watching_stack = true;
	result = uses[running].run();
	watching_stack = false;
}

/*
 * We stand before some of OpenSSL's functions, to look at the stack while the
 * code under test is on its way: later calls would write over what it left.
 * When associated data comes (the first that follows the keys), every key must
 * be gone again; when the derived key is set, what it was derived from.
 */
static int	looks;

int
EVP_EncryptUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *len, const unsigned char *in, int in_len)
{
	int			(*real) (EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);

	if (watching_stack && out == NULL)
	{
		looks++;
		found_on_stack += contains_secret(stack, sizeof(stack));
	}
	*(void **) &real = dlsym(RTLD_NEXT, "EVP_EncryptUpdate");
	return real(ctx, out, len, in, in_len);
}

int
EVP_DecryptUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *len, const unsigned char *in, int in_len)
{
	int			(*real) (EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);

	if (watching_stack && out == NULL)
	{
		looks++;
		found_on_stack += contains_secret(stack, sizeof(stack));
	}
	*(void **) &real = dlsym(RTLD_NEXT, "EVP_DecryptUpdate");
	return real(ctx, out, len, in, in_len);
}

int
EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const unsigned char *key,
				   const unsigned char *iv, int enc, const OSSL_PARAM params[])
{
	int			(*real) (EVP_CIPHER_CTX *, const EVP_CIPHER *, const unsigned char *, const unsigned char *, int, const OSSL_PARAM *);

	if (watching_stack)
	{
		looks++;
		found_on_stack += contains_one_of(K1, K1 + 1, stack, sizeof(stack));
	}
	*(void **) &real = dlsym(RTLD_NEXT, "EVP_CipherInit_ex2");
	return real(ctx, cipher, key, iv, enc, params);
}

static void
check_stack(int use)
{
#ifndef NO_STACK_SCAN
	running = use;
	found_on_stack = looks = 0;
	run_on_stack(run_inside);
	check_status(result, PGE_OK, "%s: runs on a stack of ours", uses[use].name);
	check(!all_zero(stack, sizeof(stack)), "%s: which was used", uses[use].name);
	check(found_on_stack == 0, "%s: no key on it on the way", uses[use].name);
	if (use <= 1)
		check(looks >= 4, "%s: where we looked %d times", uses[use].name, looks);
	check(!contains_secret(stack, sizeof(stack)), "%s: nor at the end", uses[use].name);
#else
	(void) use;
	(void) run_inside;
#endif
}

static void
check_heap(int use)
{
	long		before;

	if (uses[use].run() != PGE_OK)	/* what OpenSSL keeps, it keeps now */
		abort();
	before = blocks;
	found_in_freed = 0;
	check_status(uses[use].run(), PGE_OK, "%s: runs", uses[use].name);
	check(found_in_freed == 0, "%s: no key in freed memory", uses[use].name);
	check(blocks == before, "%s: no context left", uses[use].name);
}

/*
 * The secrets: a DEK, the key that XAES derives for our nonce, CMAC's subkey K1
 * and K1 XOR the block M1, the check value's key, scrypt's output.  C2SP's
 * first vector gives the first four.
 */
static void
find_secrets(void)
{
	PgeSecret	secret;
	static const uint8_t derived[PGE_DEK_LEN] = {
		0xc8, 0x61, 0x2c, 0x9e, 0xd5, 0x3f, 0xe4, 0x3e, 0x8e, 0x00, 0x5b, 0x82, 0x8a, 0x16, 0x31, 0xa0,
		0xbb, 0xcb, 0x6a, 0xb2, 0xf4, 0x65, 0x14, 0xec, 0x4f, 0x43, 0x9f, 0xcf, 0xd0, 0xfa, 0x96, 0x9b
	};

	static const uint8_t k1[PGE_DEK_LEN] = {
		0xe5, 0x31, 0x95, 0x4a, 0xca, 0x06, 0x3d, 0x5b, 0x8d, 0x9c, 0x47, 0xa4, 0x7d, 0x4c, 0xc6, 0xf0,
		0xe5, 0x30, 0xcd, 0x4a, 0x8b, 0x44, 0x7e, 0x1f, 0xc8, 0xda, 0x00, 0xec, 0x34, 0x06, 0x8d, 0xbc
	};

	memset(secret.bytes, 0x01, sizeof(secret.bytes));
	hide(secret.bytes);
	hide(derived);
	hide(k1);
	if (pge_hkdf_sha256(pge_bytes(secret.bytes, 32), text_bytes("pg_envelope check v1"), secret.bytes, 32) != PGE_OK)
		abort();
	hide(secret.bytes);
	if (pge_scrypt(text_bytes("passphrase"), text_bytes("salt"), 4, 1, 1, &secret) != PGE_OK)
		abort();
	hide(secret.bytes);
	pge_secret_wipe(&secret, sizeof(secret));
}

/* The watchman sees: a key left in a block, and one left on the stack. */
static void
check_control(void)
{
	PgeSecret	dek;
	uint8_t    *block = OPENSSL_malloc(100);

	reveal(0, &dek);
	memcpy(block + 7, dek.bytes + PIECE, PIECE);
	found_in_freed = 0;
	OPENSSL_free(block);
	check(found_in_freed == 1, "control: half a key in a freed block is found");
	pge_secret_wipe(&dek, sizeof(dek));
	check(all_zero(dek.bytes, sizeof(dek.bytes)), "a wiped secret is zero");
}

int
main(void)
{
	if (CRYPTO_set_mem_functions(watched_malloc, watched_realloc, watched_free) != 1)
		abort();
	find_secrets();
	check_control();
	for (int use = 0; use < NUSES; use++)
		check_heap(use);
	/* All but the self-test, whose keys are in this file. */
	for (int use = 0; use < NUSES - 1; use++)
		check_stack(use);
	for (int use = 0; use < NUSES; use++)
		check_failures(use);
	return check_done();
}
