/*-------------------------------------------------------------------------
 *
 * selftest.c
 *	  Known answers for everything that touches a key or a value.
 *
 * A provider that was replaced, or built wrong, must be noticed before it has
 * sealed anything that nobody else can open.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "crypto/aead_private.h"
#include "crypto/kdf.h"
#include "crypto/mac.h"
#include "crypto/selftest_private.h"

#define ANSWER_MAX	64

typedef struct KnownAnswer
{
	const char *what;
	PgeStatus	(*compute) (uint8_t *out, PgeBytes expected);
	size_t		len;
	uint8_t		expected[ANSWER_MAX];
} KnownAnswer;

static PgeStatus compute_xaes_1(uint8_t *out, PgeBytes expected);
static PgeStatus compute_xaes_2(uint8_t *out, PgeBytes expected);
static PgeStatus compute_gcm(uint8_t *out, PgeBytes expected);
static PgeStatus compute_hmac(uint8_t *out, PgeBytes expected);
static PgeStatus compute_hkdf(uint8_t *out, PgeBytes expected);
static PgeStatus compute_sha256(uint8_t *out, PgeBytes expected);

static const KnownAnswer answers[PGE_SELFTEST_COUNT] = {
	{"XAES-256-GCM", compute_xaes_1, 28, {	/* C2SP XAES-256-GCM, first vector */
			0xce, 0x54, 0x6e, 0xf6, 0x3c, 0x9c, 0xc6, 0x07, 0x65, 0x92, 0x36, 0x09, 0xb3, 0x3a,
			0x9a, 0x19, 0x74, 0xe9, 0x6e, 0x52, 0xda, 0xf2, 0xfc, 0xf7, 0x07, 0x5e, 0x22, 0x71
	}},
	{"XAES-256-GCM with associated data", compute_xaes_2, 28, { /* the second */
			0x98, 0x6e, 0xc1, 0x83, 0x25, 0x93, 0xdf, 0x54, 0x43, 0xa1, 0x79, 0x43, 0x7f, 0xd0,
			0x83, 0xbf, 0x3f, 0xdb, 0x41, 0xab, 0xd7, 0x40, 0xa2, 0x1f, 0x71, 0xeb, 0x76, 0x9d
	}},
	{"AES-256-GCM", compute_gcm, 32, {	/* McGrew and Viega, test case 14 */
			0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e, 0xc5, 0xd3, 0xba, 0xf3, 0x9d, 0x18,
			0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0, 0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19
	}},
	{"HMAC-SHA-256", compute_hmac, 32, {	/* RFC 4231, test case 1 */
			0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b,
			0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7
	}},
	{"HKDF-SHA-256", compute_hkdf, 42, {	/* RFC 5869, test case 3 */
			0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f, 0x71, 0x5f, 0x80, 0x2a, 0x06, 0x3c,
			0x5a, 0x31, 0xb8, 0xa1, 0x1f, 0x5c, 0x5e, 0xe1, 0x87, 0x9e, 0xc3, 0x45, 0x4e, 0x5f,
			0x3c, 0x73, 0x8d, 0x2d, 0x9d, 0x20, 0x13, 0x95, 0xfa, 0xa4, 0xb6, 0x1a, 0x96, 0xc8
	}},
	{"SHA-256", compute_sha256, 32, {	/* FIPS 180, "abc" */
			0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
			0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad
	}},
};

PgeStatus
pge_crypto_selftest(const char **what)
{
	return pge_crypto_selftest_with(-1, what);
}

PgeStatus
pge_crypto_selftest_with(int wrong, const char **what)
{
	PgeStatus	status = PGE_OK;

	*what = NULL;
	for (int i = 0; i < PGE_SELFTEST_COUNT && status == PGE_OK; i++)
	{
		uint8_t		expected[ANSWER_MAX];
		uint8_t		out[ANSWER_MAX] = {0};

		memcpy(expected, answers[i].expected, sizeof(expected));
		if (i == wrong)
			expected[answers[i].len - 1] ^= 0x01;
		status = answers[i].compute(out, pge_bytes(expected, answers[i].len));
		if (status == PGE_OK && !pge_secret_equal(out, expected, answers[i].len))
			status = PGE_CRYPTO_FAILED;
		if (status != PGE_OK)
			*what = answers[i].what;
	}
	pge_aead_drop_ciphers();
	return status;
}

/*
 * Seals under a known nonce into "out" (nonce left off), opens the expected
 * answer, and sees that it does not open with one bit changed.
 */
static PgeStatus
seal_and_open(PgeAlgorithm algorithm, uint8_t key_byte, PgeBytes nonce,
			  PgeBytes associated, PgeBytes plain, uint8_t *out, PgeBytes expected)
{
	uint8_t		body[ANSWER_MAX * 2];
	uint8_t		opened[ANSWER_MAX];
	PgeBuffer	sealed = {body, 0, sizeof(body)};
	PgeBuffer	back = {opened, 0, sizeof(opened)};
	PgeAead    *aead;
	PgeSecret	key;
	PgeStatus	status;

	memset(key.bytes, key_byte, sizeof(key.bytes));
	status = pge_aead_new(algorithm, &key, &aead);
	if (status != PGE_OK)
		return status;
	status = pge_aead_seal_with_nonce(aead, nonce, associated, plain, &sealed);
	if (status == PGE_OK)
	{
		memcpy(out, body + nonce.len, sealed.len - nonce.len);
		memcpy(body + nonce.len, expected.data, expected.len);
		status = pge_aead_open(aead, associated, pge_buffer_bytes(&sealed), &back);
	}
	if (status == PGE_OK &&
		(back.len != plain.len || !pge_secret_equal(opened, plain.data, plain.len)))
		status = PGE_CRYPTO_FAILED;
	if (status == PGE_OK)
	{
		body[sealed.len - 1] ^= 0x80;
		if (pge_aead_open(aead, associated, pge_buffer_bytes(&sealed), &back) != PGE_NOT_AUTHENTIC)
			status = PGE_CRYPTO_FAILED;
	}
	pge_aead_free(aead);
	return status == PGE_OK ? PGE_OK : PGE_CRYPTO_FAILED;
}

static const char xaes_nonce[] = "ABCDEFGHIJKLMNOPQRSTUVWX";
static const char xaes_plain[] = "XAES-256-GCM";
static const char xaes_associated[] = "c2sp.org/XAES-256-GCM";

static PgeStatus
compute_xaes_1(uint8_t *out, PgeBytes expected)
{
	return seal_and_open(PGE_XAES_256_GCM, 0x01, pge_bytes(xaes_nonce, 24),
						 pge_bytes(NULL, 0),
						 pge_bytes(xaes_plain, sizeof(xaes_plain) - 1), out, expected);
}

static PgeStatus
compute_xaes_2(uint8_t *out, PgeBytes expected)
{
	return seal_and_open(PGE_XAES_256_GCM, 0x03, pge_bytes(xaes_nonce, 24),
						 pge_bytes(xaes_associated, sizeof(xaes_associated) - 1),
						 pge_bytes(xaes_plain, sizeof(xaes_plain) - 1), out, expected);
}

static PgeStatus
compute_gcm(uint8_t *out, PgeBytes expected)
{
	static const uint8_t zero[16];

	return seal_and_open(PGE_AES_256_GCM, 0x00, pge_bytes(zero, 12),
						 pge_bytes(NULL, 0), pge_bytes(zero, 16), out, expected);
}

static PgeStatus
compute_hmac(uint8_t *out, PgeBytes expected)
{
	PgeBytes	parts[2] = {pge_bytes("Hi ", 3), pge_bytes("There", 5)};
	uint8_t		key[20];

	(void) expected;
	memset(key, 0x0b, sizeof(key));
	return pge_hmac_sha256(pge_bytes(key, sizeof(key)), parts, 2, out);
}

static PgeStatus
compute_hkdf(uint8_t *out, PgeBytes expected)
{
	uint8_t		key[22];

	memset(key, 0x0b, sizeof(key));
	return pge_hkdf_sha256(pge_bytes(key, sizeof(key)), pge_bytes(NULL, 0), out,
						   expected.len);
}

static PgeStatus
compute_sha256(uint8_t *out, PgeBytes expected)
{
	PgeBytes	parts[2] = {pge_bytes("a", 1), pge_bytes("bc", 2)};

	(void) expected;
	return pge_sha256(parts, 2, out);
}
