/*-------------------------------------------------------------------------
 *
 * frozen_test.c
 *	  Every value that a release wrote still opens.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <glob.h>

#include "crypto/aead.h"
#include "format/binding.h"
#include "format/sealed_value.h"
#include "format/wrapped_key.h"
#include "vectors.h"

static PgeAead *
context(PgeAlgorithm algorithm, const PgeBuffer *key)
{
	PgeSecret	secret;
	PgeAead    *aead;

	if (key->len != sizeof(secret.bytes))
		abort();
	memcpy(secret.bytes, key->data, sizeof(secret.bytes));
	if (pge_aead_new(algorithm, &secret, &aead) != PGE_OK)
		abort();
	return aead;
}

static void
check_sealed(const Vector *v)
{
	PgeBuffer	dek = vector_bytes(v, "dek");
	PgeBuffer	associated = vector_bytes(v, "associated");
	PgeBuffer	plain = vector_bytes(v, "plain");
	PgeBuffer	sealed = vector_bytes(v, "sealed");
	PgeBuffer	opened = new_buffer(plain.len);
	PgeAead    *aead = context((PgeAlgorithm) vector_number(v, "algorithm"), &dek);
	PgeBytes	body = {NULL, 0};
	uint32_t	id = 0;

	check_status(pge_sealed_parse(pge_buffer_bytes(&sealed), &id, &body), PGE_OK, "a value of %zu bytes parses", plain.len);
	check(id == vector_number(v, "dek_id"), "to its dek_id");
	check_status(pge_aead_open(aead, pge_buffer_bytes(&associated), body, &opened), PGE_OK, "it opens");
	check(same_bytes(pge_buffer_bytes(&opened), pge_buffer_bytes(&plain)), "to its plaintext");
	pge_aead_free(aead);
	free(dek.data);
	free(associated.data);
	free(plain.data);
	free(sealed.data);
	free(opened.data);
}

static void
check_unwraps(const PgeBuffer *kek, uint32_t kek_version, PgeBytes binding,
			  const PgeBuffer *wrapped, const PgeBuffer *dek)
{
	PgeBuffer	opened = new_buffer(dek->len);
	PgeAead    *aead = context(PGE_XAES_256_GCM, kek);
	PgeWrapForm form = 0;
	PgeWrapHalf half = 0;
	PgeBytes	service = {NULL, 0};

	check_status(pge_wrapped_decode(pge_buffer_bytes(wrapped), &form, &half, &service), PGE_OK, "the wrapped DEK parses");
	check(form == PGE_WRAP_LOCAL && half == PGE_HALF_NONE && service.len == 4 + 40 + PGE_DEK_LEN, "as form 1");
	check(service.len > 4 && pge_get_u32(service.data) == kek_version, "with its KEK's version");
	check_status(pge_aead_open(aead, binding, pge_bytes(service.data + 4, service.len - 4), &opened), PGE_OK, "it unwraps");
	check(same_bytes(pge_buffer_bytes(&opened), pge_buffer_bytes(dek)), "to its DEK");
	pge_aead_free(aead);
	free(opened.data);
}

static void
check_wrapped(const Vector *v)
{
	PgeBuffer	keyring = vector_bytes(v, "keyring");
	PgeBuffer	key_id = vector_bytes(v, "key_id");
	PgeBuffer	expected = vector_bytes(v, "binding");
	PgeBuffer	dek = vector_bytes(v, "dek");
	PgeBuffer	expected_check = vector_bytes(v, "check_value");
	PgeBuffer	kek = vector_bytes(v, "kek");
	PgeBuffer	wrapped = vector_bytes(v, "wrapped");
	PgeBuffer	binding = new_buffer(PGE_BINDING_MAX);
	PgeBinding	fields = {
		.dek_id = vector_number(v, "dek_id"), .version = vector_number(v, "version"),
		.purpose = (uint8_t) vector_number(v, "purpose"),
		.algorithm = (uint8_t) vector_number(v, "algorithm"), .key_id = pge_buffer_bytes(&key_id)
	};
	PgeSecret	secret;
	uint8_t		check_value[PGE_CHECK_VALUE_LEN];

	memcpy(fields.keyring, keyring.data, PGE_UUID_LEN);
	memcpy(secret.bytes, dek.data, PGE_DEK_LEN);
	check_status(pge_binding_encode(&fields, &binding), PGE_OK, "a binding encodes");
	check(same_bytes(pge_buffer_bytes(&binding), pge_buffer_bytes(&expected)), "to the same bytes");
	check_status(pge_binding_decode(pge_buffer_bytes(&expected), &fields), PGE_OK, "and is read");
	check_status(pge_check_value(&secret, pge_buffer_bytes(&binding), check_value), PGE_OK, "its check value");
	check(same_bytes(pge_bytes(check_value, sizeof(check_value)), pge_buffer_bytes(&expected_check)), "is the same");
	check_unwraps(&kek, vector_number(v, "kek_version"), pge_buffer_bytes(&binding), &wrapped, &dek);
	free(keyring.data);
	free(key_id.data);
	free(expected.data);
	free(dek.data);
	free(expected_check.data);
	free(kek.data);
	free(wrapped.data);
	free(binding.data);
}

int
main(void)
{
	glob_t		found;

	if (glob(VECTORS "/sealed-*.txt", 0, NULL, &found) != 0)
		abort();
	for (size_t i = 0; i < found.gl_pathc; i++)
	{
		FILE	   *f = open_vectors(strrchr(found.gl_pathv[i], '/') + 1);
		int			count = 0;
		Vector		v;

		for (; next_vector(f, &v); count++)
		{
			if (strcmp(vector_text(&v, "kind"), "sealed") == 0)
				check_sealed(&v);
			else
				check_wrapped(&v);
			free_vector(&v);
		}
		fclose(f);
		check(count >= 22, "%s has its values", found.gl_pathv[i]);
	}
	globfree(&found);
	return check_done();
}
