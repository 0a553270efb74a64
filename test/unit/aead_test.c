/*-------------------------------------------------------------------------
 *
 * aead_test.c
 *	  What sealing and opening promise beyond the vectors.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "crypto/aead_private.h"
#include "crypto/random.h"
#include "crypto/selftest.h"

static const PgeAlgorithm algorithms[] = {PGE_XAES_256_GCM, PGE_AES_256_GCM};
static const PgeSecret dek = {{1, 2, 3, 4}};
static const PgeSecret other_dek = {{1, 2, 3, 5}};

static int	fetches;

/* We stand before OpenSSL's, to count. */
EVP_CIPHER *
EVP_CIPHER_fetch(OSSL_LIB_CTX *library, const char *name, const char *properties)
{
	EVP_CIPHER *(*real) (OSSL_LIB_CTX *, const char *, const char *);

	fetches++;
	*(void **) &real = dlsym(RTLD_NEXT, "EVP_CIPHER_fetch");
	return real(library, name, properties);
}

static bool no_random;

/* And before the C library's, to have none. */
ssize_t
getrandom(void *bytes, size_t len, unsigned flags)
{
	ssize_t		(*real) (void *, size_t, unsigned);

	if (no_random)
	{
		errno = ENOSYS;
		return -1;
	}
	*(void **) &real = dlsym(RTLD_NEXT, "getrandom");
	return real(bytes, len, flags);
}

static PgeAead *
context(PgeAlgorithm algorithm, const PgeSecret *key)
{
	PgeAead    *aead;

	if (pge_aead_new(algorithm, key, &aead) != PGE_OK)
		abort();
	return aead;
}

static PgeBuffer
sealed_value(PgeAead *aead, PgeAlgorithm algorithm, PgeBytes associated, PgeBytes plain)
{
	PgeBuffer	body = new_buffer(plain.len + pge_aead_overhead(algorithm));

	if (pge_aead_seal(aead, associated, plain, &body) != PGE_OK)
		abort();
	return body;
}

static void
check_sizes(PgeAlgorithm algorithm)
{
	static const size_t sizes[] = {0, 1, 11, 15, 16, 17, 255, 4096, 70000, 1000003};
	size_t		overhead = pge_aead_overhead(algorithm);
	PgeAead    *aead = context(algorithm, &dek);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (size_t a = 0; a < 2; a++)
		{
			PgeBuffer	plain = new_buffer(sizes[i]);
			PgeBuffer	opened = new_buffer(sizes[i]);
			PgeBytes	associated = pge_bytes("row 42", a * 6);
			PgeBuffer	body;

			plain.len = sizes[i];
			body = sealed_value(aead, algorithm, associated, pge_buffer_bytes(&plain));
			check(body.len == sizes[i] + overhead, "%zu bytes take %zu more", sizes[i], overhead);
			check_status(pge_aead_open(aead, associated, pge_buffer_bytes(&body), &opened),
						 PGE_OK, "%zu bytes open", sizes[i]);
			check(same_bytes(pge_buffer_bytes(&opened), pge_buffer_bytes(&plain)), "%zu bytes are back", sizes[i]);
			free(plain.data);
			free(opened.data);
			free(body.data);
		}
	pge_aead_free(aead);
}

/* Without addresses at all: nothing sealed under nothing. */
static void
check_nothing(PgeAlgorithm algorithm)
{
	PgeAead    *aead = context(algorithm, &dek);
	PgeBuffer	body = sealed_value(aead, algorithm, pge_bytes(NULL, 0), pge_bytes(NULL, 0));
	PgeBuffer	opened = {NULL, 1, 0};

	check_status(pge_aead_open(aead, pge_bytes(NULL, 0), pge_buffer_bytes(&body), &opened),
				 PGE_OK, "an empty value without addresses opens");
	check(opened.len == 0, "and is empty");
	free(body.data);
	pge_aead_free(aead);
}

static bool
is_refused_and_wiped(PgeAead *aead, PgeBytes associated, PgeBytes body, size_t plain_len)
{
	PgeBuffer	opened = new_buffer(plain_len);
	PgeStatus	status = pge_aead_open(aead, associated, body, &opened);
	bool		good = status == PGE_NOT_AUTHENTIC && opened.len == 0 &&
	all_zero(opened.data, plain_len);

	free(opened.data);
	return good;
}

static void
check_forgeries(PgeAlgorithm algorithm)
{
	PgeBytes	plain = text_bytes("123-45-6789");
	PgeBytes	associated = text_bytes("customers.ssn");
	PgeAead    *aead = context(algorithm, &dek);
	PgeAead    *other = context(algorithm, &other_dek);
	PgeBuffer	body = sealed_value(aead, algorithm, associated, plain);
	PgeBuffer	opened = new_buffer(plain.len);
	bool		all = true;

	for (size_t bit = 0; bit < body.len * 8; bit++)
	{
		body.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
		all = all && is_refused_and_wiped(aead, associated, pge_buffer_bytes(&body), plain.len);
		body.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	check(all, "each single flipped bit is refused and leaves no plaintext");
	check(is_refused_and_wiped(other, associated, pge_buffer_bytes(&body), plain.len), "another key is refused");
	check(is_refused_and_wiped(aead, text_bytes("customers.ssm"), pge_buffer_bytes(&body), plain.len),
		  "other associated data is refused");
	check(is_refused_and_wiped(aead, pge_bytes(NULL, 0), pge_buffer_bytes(&body), plain.len),
		  "missing associated data is refused");
	check(is_refused_and_wiped(aead, associated, pge_bytes(body.data, body.len - 1), plain.len - 1),
		  "a value cut short is refused");
	check_status(pge_aead_open(aead, associated, pge_buffer_bytes(&body), &opened), PGE_OK,
				 "the value itself still opens after all that");
	check(same_bytes(pge_buffer_bytes(&opened), plain), "with its plaintext");
	free(body.data);
	free(opened.data);
	pge_aead_free(aead);
	pge_aead_free(other);
}

static void
check_lengths(PgeAlgorithm algorithm)
{
	size_t		overhead = pge_aead_overhead(algorithm);
	PgeAead    *aead = context(algorithm, &dek);
	PgeBuffer	small = new_buffer(overhead + 10);
	PgeBuffer	opened = new_buffer(10);
	PgeBytes	eleven = text_bytes("hello world");

	check_status(pge_aead_seal(aead, pge_bytes(NULL, 0), eleven, &small), PGE_TOO_LARGE,
				 "a buffer one byte short is refused");
	check(small.len == 0, "and stays empty");
	/* No such memory is there: the lengths are refused before it is touched. */
	small.capacity = SIZE_MAX;
	check_status(pge_aead_seal(aead, pge_bytes(NULL, 0), pge_bytes(small.data, (size_t) INT_MAX - overhead + 1), &small),
				 PGE_TOO_LARGE, "a value over EVP's int is refused");
	check_status(pge_aead_seal(aead, pge_bytes(NULL, 0), pge_bytes(small.data, SIZE_MAX), &small),
				 PGE_TOO_LARGE, "a length near SIZE_MAX does not wrap");
	check_status(pge_aead_seal(aead, pge_bytes(small.data, (size_t) INT_MAX + 1), pge_bytes(NULL, 0), &small),
				 PGE_TOO_LARGE, "so is such associated data");
	small.capacity = overhead + 10;
	check_status(pge_aead_open(aead, pge_bytes(NULL, 0), pge_bytes(small.data, overhead - 1), &opened),
				 PGE_MALFORMED, "a body shorter than the overhead is malformed");
	check_status(pge_aead_open(aead, pge_bytes(NULL, 0), pge_bytes(small.data, 0), &opened),
				 PGE_MALFORMED, "so is an empty one");
	check_status(pge_aead_open(aead, pge_bytes(NULL, 0), pge_bytes(small.data, overhead + 11), &opened),
				 PGE_TOO_LARGE, "an output buffer one byte short is refused");
	opened.capacity = SIZE_MAX;
	check_status(pge_aead_open(aead, pge_bytes(NULL, 0), pge_bytes(small.data, (size_t) INT_MAX + 1), &opened),
				 PGE_TOO_LARGE, "a body over EVP's int is refused");
	check_status(pge_aead_open(aead, pge_bytes(small.data, (size_t) INT_MAX + 1), pge_bytes(small.data, overhead), &opened),
				 PGE_TOO_LARGE, "so is such associated data");
	check_status(pge_aead_seal_with_nonce(aead, pge_bytes(small.data, overhead - 17), pge_bytes(NULL, 0),
										  pge_bytes(NULL, 0), &small),
				 PGE_INVALID, "a nonce one byte short is refused");
	free(small.data);
	free(opened.data);
	pge_aead_free(aead);
}

static bool
same_salt(const PgeBuffer *a, const PgeBuffer *b)
{
	return memcmp(a->data, b->data, PGE_XAES_SALT_LEN) == 0;
}

/* One salt serves a transaction or 2^20 values, and each value has its own IV. */
static void
check_salts(void)
{
	PgeAead    *aead = context(PGE_XAES_256_GCM, &dek);
	PgeBytes	none = pge_bytes(NULL, 0);
	PgeBuffer	v[6];
	PgeBuffer	opened = new_buffer(0);

	v[0] = sealed_value(aead, PGE_XAES_256_GCM, none, none);
	v[1] = sealed_value(aead, PGE_XAES_256_GCM, none, none);
	check(same_salt(&v[0], &v[1]), "a salt serves a second value");
	check(memcmp(v[0].data + 12, v[1].data + 12, 12) != 0, "under an IV of its own");
	pge_aead_set_salt_uses(aead, PGE_XAES_SALT_USES - 1);
	v[2] = sealed_value(aead, PGE_XAES_256_GCM, none, none);
	check(same_salt(&v[0], &v[2]), "a salt serves value 2^20");
	v[3] = sealed_value(aead, PGE_XAES_256_GCM, none, none);
	check(!same_salt(&v[0], &v[3]), "and no further one");
	v[4] = sealed_value(aead, PGE_XAES_256_GCM, none, none);
	check(same_salt(&v[3], &v[4]), "the next salt counts from the start");
	pge_aead_new_salt(aead);
	v[5] = sealed_value(aead, PGE_XAES_256_GCM, none, none);
	check(!same_salt(&v[4], &v[5]), "pge_aead_new_salt ends the salt");
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 6; i++)
			check_status(pge_aead_open(aead, none, pge_buffer_bytes(&v[i]), &opened), PGE_OK,
						 "value %d opens, whichever salt was last", i);
	for (int i = 0; i < 6; i++)
		free(v[i].data);
	free(opened.data);
	pge_aead_free(aead);
}

/* A nonce that could not be drawn when a salt had served its time does not renew it. */
static void
check_salt_ends_without_nonce(void)
{
	PgeAead    *aead = context(PGE_XAES_256_GCM, &dek);
	PgeBytes	none = pge_bytes(NULL, 0);
	PgeBuffer	before = sealed_value(aead, PGE_XAES_256_GCM, none, none);
	PgeBuffer	body = new_buffer(pge_aead_overhead(PGE_XAES_256_GCM));
	PgeBuffer	after;

	pge_aead_set_salt_uses(aead, PGE_XAES_SALT_USES);
	pge_random_drop_pool();
	no_random = true;
	check_status(pge_aead_seal(aead, none, none, &body), PGE_CRYPTO_FAILED, "without random bytes nothing is sealed");
	no_random = false;
	after = sealed_value(aead, PGE_XAES_256_GCM, none, none);
	check(!same_salt(&before, &after), "the value after that has a new salt");
	free(before.data);
	free(body.data);
	free(after.data);
	pge_aead_free(aead);
}

static int
compare_ivs(const void *a, const void *b)
{
	return memcmp(a, b, PGE_AEAD_IV_LEN);
}

/* GCM's one unforgivable mistake. */
static void
check_ivs(PgeAlgorithm algorithm)
{
	static uint8_t ivs[5000][PGE_AEAD_IV_LEN];
	PgeAead    *aead = context(algorithm, &dek);
	size_t		at = pge_aead_overhead(algorithm) - PGE_AEAD_TAG_LEN - PGE_AEAD_IV_LEN;
	int			same = 0;

	for (int i = 0; i < 5000; i++)
	{
		PgeBuffer	body = sealed_value(aead, algorithm, pge_bytes(NULL, 0), pge_bytes(NULL, 0));

		memcpy(ivs[i], body.data + at, PGE_AEAD_IV_LEN);
		free(body.data);
	}
	qsort(ivs, 5000, PGE_AEAD_IV_LEN, compare_ivs);
	for (int i = 1; i < 5000; i++)
		same += compare_ivs(ivs[i - 1], ivs[i]) == 0;
	check(same == 0, "5,000 values have 5,000 IVs");
	pge_aead_free(aead);
}

/* A forged value must not poison the context for the salt that it claims. */
static void
check_forged_salt(void)
{
	PgeAead    *aead = context(PGE_XAES_256_GCM, &dek);
	PgeBytes	plain = text_bytes("x");
	PgeBuffer	a = sealed_value(aead, PGE_XAES_256_GCM, pge_bytes(NULL, 0), plain);
	PgeBuffer	b;

	pge_aead_new_salt(aead);
	b = sealed_value(aead, PGE_XAES_256_GCM, pge_bytes(NULL, 0), plain);
	for (int i = 0; i < 2; i++)
	{
		PgeBuffer	opened = new_buffer(1);
		uint8_t		kept = b.data[20];

		check_status(pge_aead_open(aead, pge_bytes(NULL, 0), pge_buffer_bytes(&a), &opened), PGE_OK, "first salt opens");
		b.data[20] ^= 1;
		check(is_refused_and_wiped(aead, pge_bytes(NULL, 0), pge_buffer_bytes(&b), 1), "a forgery under the second is refused");
		b.data[20] = kept;
		check_status(pge_aead_open(aead, pge_bytes(NULL, 0), pge_buffer_bytes(&b), &opened), PGE_OK, "second salt opens");
		free(opened.data);
	}
	free(a.data);
	free(b.data);
	pge_aead_free(aead);
}

/* Ciphers fetched before a fork are not used after it. */
static void
check_fork(PgeAlgorithm algorithm)
{
	PgeAead    *aead = context(algorithm, &dek);
	PgeBytes	plain = text_bytes("parent");
	PgeBuffer	body = sealed_value(aead, algorithm, pge_bytes(NULL, 0), plain);
	int			status = 1;
	pid_t		child = fork();

	if (child == 0)
	{
		int			before = fetches;
		PgeAead    *own = context(algorithm, &dek);
		PgeBuffer	opened = new_buffer(plain.len);
		bool		good = pge_aead_open(own, pge_bytes(NULL, 0), pge_buffer_bytes(&body), &opened) == PGE_OK &&
		same_bytes(pge_buffer_bytes(&opened), plain) && fetches == before + 2;

		_exit(good ? 0 : 1);
	}
	check(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child opens what its parent sealed, with ciphers of its own");
	free(body.data);
	pge_aead_free(aead);
}

/* A fetch costs more than a value: one per process, none left by the self-test. */
static void
check_fetches(void)
{
	const char *what;
	int			before = fetches;

	pge_aead_free(context(PGE_XAES_256_GCM, &dek));
	pge_aead_free(context(PGE_AES_256_GCM, &dek));
	check(fetches == before, "contexts share what was fetched");
	check_status(pge_crypto_selftest(&what), PGE_OK, "the self-test passes");
	before = fetches;
	pge_aead_free(context(PGE_XAES_256_GCM, &dek));
	check(fetches == before + 2, "and leaves nothing fetched");
}

static void *
seal_many(void *arg)
{
	bool	   *good = arg;

	for (int i = 0; i < 500; i++)
	{
		PgeAead    *aead = context(algorithms[i % 2], &dek);
		PgeBytes	plain = text_bytes("thread");
		PgeBuffer	body = sealed_value(aead, algorithms[i % 2], pge_bytes(NULL, 0), plain);
		PgeBuffer	opened = new_buffer(plain.len);

		*good = *good && pge_aead_open(aead, pge_bytes(NULL, 0), pge_buffer_bytes(&body), &opened) == PGE_OK;
		free(body.data);
		free(opened.data);
		pge_aead_free(aead);
	}
	return NULL;
}

/* The agent's workers: contexts of their own, ciphers in common. */
static void
check_threads(void)
{
	pthread_t	threads[4];
	bool		good[4] = {true, true, true, true};

	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, seal_many, &good[i]) != 0)
			abort();
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	check(good[0] && good[1] && good[2] && good[3], "four threads seal and open at once");
}

int
main(void)
{
	PgeAead    *aead = (PgeAead *) &dek;

	/* First, while no cipher has been fetched: the threads meet there. */
	check_threads();
	check(pge_aead_overhead(PGE_XAES_256_GCM) == 40, "XAES adds 40 bytes");
	check(pge_aead_overhead(PGE_AES_256_GCM) == 28, "AES-GCM adds 28 bytes");
	check(pge_aead_overhead((PgeAlgorithm) 3) == 0, "an unknown algorithm has no overhead");
	check_status(pge_aead_new((PgeAlgorithm) 3, &dek, &aead), PGE_INVALID, "nor a context");
	check(aead == NULL, "and the result is NULL");
	pge_aead_free(NULL);
	for (int i = 0; i < 2; i++)
	{
		check_sizes(algorithms[i]);
		check_nothing(algorithms[i]);
		check_forgeries(algorithms[i]);
		check_lengths(algorithms[i]);
		check_ivs(algorithms[i]);
		check_fork(algorithms[i]);
	}
	check_salts();
	check_salt_ends_without_nonce();
	check_forged_salt();
	check_fetches();
	return check_done();
}
