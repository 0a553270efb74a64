/*-------------------------------------------------------------------------
 *
 * xaes_test.c
 *	  XAES-256-GCM against C2SP's vectors, the accumulated ones too.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <openssl/evp.h>

#include "crypto/aead_private.h"
#include "vectors.h"

static void
check_vector(const Vector *v)
{
	PgeBuffer	key = vector_bytes(v, "key");
	PgeBuffer	nonce = vector_bytes(v, "nonce");
	PgeBuffer	associated = vector_bytes(v, "associated");
	PgeBuffer	plain = vector_bytes(v, "plain");
	PgeBuffer	expected = vector_bytes(v, "sealed");
	PgeBuffer	body = new_buffer(plain.len + 40);
	PgeBuffer	opened = new_buffer(plain.len);
	PgeSecret	dek;
	PgeAead    *aead;

	memcpy(dek.bytes, key.data, sizeof(dek.bytes));
	check_status(pge_aead_new(PGE_XAES_256_GCM, &dek, &aead), PGE_OK, "a context");
	check_status(pge_aead_seal_with_nonce(aead, pge_buffer_bytes(&nonce), pge_buffer_bytes(&associated),
										  pge_buffer_bytes(&plain), &body),
				 PGE_OK, "seals C2SP's vector");
	check(body.len == 40 + plain.len && same_bytes(pge_bytes(body.data, 24), pge_buffer_bytes(&nonce)),
		  "the nonce comes first");
	check(same_bytes(pge_bytes(body.data + 24, body.len - 24), pge_buffer_bytes(&expected)),
		  "gives the bytes of the specification");
	check_status(pge_aead_open(aead, pge_buffer_bytes(&associated), pge_buffer_bytes(&body), &opened),
				 PGE_OK, "opens it");
	check(same_bytes(pge_buffer_bytes(&opened), pge_buffer_bytes(&plain)), "gives the plaintext");
	pge_aead_free(aead);
	free(key.data);
	free(nonce.data);
	free(associated.data);
	free(plain.data);
	free(expected.data);
	free(body.data);
	free(opened.data);
}

/* SHAKE128 of nothing, as one long string: OpenSSL 3.0 cannot squeeze twice. */
static uint8_t *
random_stream(size_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t    *stream = malloc(len);

	if (ctx == NULL || stream == NULL ||
		EVP_DigestInit_ex(ctx, EVP_shake128(), NULL) != 1 ||
		EVP_DigestFinalXOF(ctx, stream, len) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
	return stream;
}

/* One step: everything is drawn from the stream; what was sealed is hashed. */
static bool
accumulate(const uint8_t **stream, EVP_MD_CTX *hash)
{
	uint8_t		body[40 + 255];
	uint8_t		opened[255];
	PgeBuffer	sealed = {body, 0, sizeof(body)};
	PgeBuffer	back = {opened, 0, sizeof(opened)};
	const uint8_t *s = *stream;
	PgeBytes	nonce;
	PgeBytes	plain;
	PgeBytes	associated;
	PgeSecret	dek;
	PgeAead    *aead;
	bool		good;

	memcpy(dek.bytes, s, 32);
	nonce = pge_bytes(s + 32, 24);
	plain = pge_bytes(s + 57, s[56]);
	s = plain.data + plain.len;
	associated = pge_bytes(s + 1, s[0]);
	*stream = associated.data + associated.len;
	if (pge_aead_new(PGE_XAES_256_GCM, &dek, &aead) != PGE_OK)
		return false;
	good = pge_aead_seal_with_nonce(aead, nonce, associated, plain, &sealed) == PGE_OK &&
		pge_aead_open(aead, associated, pge_buffer_bytes(&sealed), &back) == PGE_OK &&
		same_bytes(pge_buffer_bytes(&back), plain) &&
		EVP_DigestUpdate(hash, body + 24, sealed.len - 24) == 1;
	pge_aead_free(aead);
	return good;
}

static void
check_accumulated(const Vector *v)
{
	uint32_t	iterations = vector_number(v, "iterations");
	PgeBuffer	expected = vector_bytes(v, "digest");
	uint8_t    *stream = random_stream((size_t) iterations * 330 + 10000);
	const uint8_t *next = stream;
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	uint8_t		digest[32];
	bool		good = hash != NULL && EVP_DigestInit_ex(hash, EVP_shake128(), NULL) == 1;

	for (uint32_t i = 0; i < iterations && good; i++)
		good = accumulate(&next, hash);
	check(good, "%u random values seal and open", iterations);
	check(good && EVP_DigestFinalXOF(hash, digest, sizeof(digest)) == 1 &&
		  same_bytes(pge_bytes(digest, 32), pge_buffer_bytes(&expected)),
		  "the accumulated hash of %u values is C2SP's", iterations);
	EVP_MD_CTX_free(hash);
	free(stream);
	free(expected.data);
}

int
main(void)
{
	FILE	   *f = open_vectors("xaes_256_gcm.txt");
	const char *wants_long = getenv("LONG");
	Vector		v;

	while (next_vector(f, &v))
	{
		if (strcmp(v.name[0], "key") == 0)
			check_vector(&v);
		else if (vector_number(&v, "iterations") <= 10000 || (wants_long && wants_long[0] == '1'))
			check_accumulated(&v);
		free_vector(&v);
	}
	fclose(f);
	return check_done();
}
