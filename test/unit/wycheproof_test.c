/*-------------------------------------------------------------------------
 *
 * wycheproof_test.c
 *	  Wycheproof's AES-GCM and HMAC-SHA-256, wrong tags included.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "base/secret.h"
#include "crypto/aead_private.h"
#include "crypto/mac.h"
#include "vectors.h"

static PgeBuffer
joined(const PgeBuffer *a, const PgeBuffer *b, const PgeBuffer *c)
{
	PgeBuffer	out = new_buffer(a->len + b->len + c->len);

	memcpy(out.data, a->data, a->len);
	memcpy(out.data + a->len, b->data, b->len);
	memcpy(out.data + a->len + b->len, c->data, c->len);
	out.len = out.capacity;
	return out;
}

static void
check_gcm(const Vector *v)
{
	const char *id = vector_text(v, "id");
	bool		valid = strcmp(vector_text(v, "result"), "valid") == 0;
	PgeBuffer	key = vector_bytes(v, "key");
	PgeBuffer	iv = vector_bytes(v, "iv");
	PgeBuffer	aad = vector_bytes(v, "aad");
	PgeBuffer	msg = vector_bytes(v, "msg");
	PgeBuffer	ct = vector_bytes(v, "ct");
	PgeBuffer	tag = vector_bytes(v, "tag");
	PgeBuffer	body = joined(&iv, &ct, &tag);
	PgeBuffer	sealed = new_buffer(msg.len + 28);
	PgeBuffer	opened = new_buffer(ct.len);
	PgeSecret	dek;
	PgeAead    *aead;

	memcpy(dek.bytes, key.data, sizeof(dek.bytes));
	if (pge_aead_new(PGE_AES_256_GCM, &dek, &aead) != PGE_OK)
		abort();
	check_status(pge_aead_seal_with_nonce(aead, pge_buffer_bytes(&iv), pge_buffer_bytes(&aad),
										  pge_buffer_bytes(&msg), &sealed),
				 PGE_OK, "AES-GCM %s seals", id);
	check(same_bytes(pge_buffer_bytes(&sealed), pge_buffer_bytes(&body)) == valid,
		  "AES-GCM %s is %s", id, valid ? "what sealing gives" : "not what sealing gives");
	check_status(pge_aead_open(aead, pge_buffer_bytes(&aad), pge_buffer_bytes(&body), &opened),
				 valid ? PGE_OK : PGE_NOT_AUTHENTIC, "AES-GCM %s %s", id, valid ? "opens" : "is refused");
	check(valid ? same_bytes(pge_buffer_bytes(&opened), pge_buffer_bytes(&msg))
		  : opened.len == 0 && all_zero(opened.data, ct.len),
		  "AES-GCM %s leaves %s", id, valid ? "the plaintext" : "nothing");
	pge_aead_free(aead);
	free(key.data);
	free(iv.data);
	free(aad.data);
	free(msg.data);
	free(ct.data);
	free(tag.data);
	free(body.data);
	free(sealed.data);
	free(opened.data);
}

/* Tags of 16 bytes are HMACs cut short. */
static void
check_hmac(const Vector *v)
{
	const char *id = vector_text(v, "id");
	bool		valid = strcmp(vector_text(v, "result"), "valid") == 0;
	PgeBuffer	key = vector_bytes(v, "key");
	PgeBuffer	msg = vector_bytes(v, "msg");
	PgeBuffer	tag = vector_bytes(v, "tag");
	PgeBytes	parts[3] = {
		pge_bytes(msg.data, msg.len / 3), pge_bytes(NULL, 0),
		pge_bytes(msg.data + msg.len / 3, msg.len - msg.len / 3)
	};
	uint8_t		mac[PGE_MAC_LEN];

	check_status(pge_hmac_sha256(pge_buffer_bytes(&key), parts, 3, mac), PGE_OK, "HMAC %s computes", id);
	check(pge_secret_equal(mac, tag.data, tag.len) == valid,
		  "HMAC %s is %s", id, valid ? "right" : "refused");
	free(key.data);
	free(msg.data);
	free(tag.data);
}

static void
check_file(const char *file, void (*one) (const Vector *), int expected)
{
	FILE	   *f = open_vectors(file);
	int			count = 0;
	Vector		v;

	for (; next_vector(f, &v); count++)
	{
		one(&v);
		free_vector(&v);
	}
	fclose(f);
	check(count == expected, "%s has %d cases", file, expected);
}

int
main(void)
{
	check_file("wycheproof/aes_256_gcm.txt", check_gcm, 66);
	check_file("wycheproof/hmac_sha256.txt", check_hmac, 174);
	return check_done();
}
