/*-------------------------------------------------------------------------
 *
 * binding.c
 *	  The binding of a wrapped DEK, and the check value over it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/mac.h"
#include "format/binding.h"

#define BINDING_VERSION	0x01
#define FIXED_LEN		(PGE_BINDING_MAX - PGE_KEY_ID_MAX)

static const char check_info[] = "pg_envelope check v1";

/* One rule for both directions: nobody writes what nobody reads. */
static bool
is_valid(const PgeBinding *binding)
{
	return binding->dek_id != 0 && binding->version != 0 &&
		binding->purpose == PGE_PURPOSE_AEAD &&
		pge_aead_overhead((PgeAlgorithm) binding->algorithm) != 0 &&
		binding->key_id.len >= 1 && binding->key_id.len <= PGE_KEY_ID_MAX;
}

PgeStatus
pge_binding_encode(const PgeBinding *binding, PgeBuffer *out)
{
	uint8_t    *p = out->data;

	out->len = 0;
	if (!is_valid(binding))
		return PGE_MALFORMED;
	if (out->capacity < FIXED_LEN + binding->key_id.len)
		return PGE_TOO_LARGE;
	*p++ = BINDING_VERSION;
	memcpy(p, binding->keyring, PGE_UUID_LEN);
	p += PGE_UUID_LEN;
	pge_put_u32(p, binding->dek_id);
	pge_put_u32(p + 4, binding->version);
	p[8] = binding->purpose;
	p[9] = binding->algorithm;
	pge_put_u16(p + 10, (uint16_t) binding->key_id.len);
	memcpy(p + 12, binding->key_id.data, binding->key_id.len);
	out->len = FIXED_LEN + binding->key_id.len;
	return PGE_OK;
}

PgeStatus
pge_binding_decode(PgeBytes bytes, PgeBinding *binding)
{
	const uint8_t *p = bytes.data;

	if (bytes.len < FIXED_LEN || *p++ != BINDING_VERSION)
		return PGE_MALFORMED;
	memcpy(binding->keyring, p, PGE_UUID_LEN);
	p += PGE_UUID_LEN;
	binding->dek_id = pge_get_u32(p);
	binding->version = pge_get_u32(p + 4);
	binding->purpose = p[8];
	binding->algorithm = p[9];
	binding->key_id = pge_bytes(p + 12, pge_get_u16(p + 10));
	if (bytes.len != FIXED_LEN + binding->key_id.len || !is_valid(binding))
		return PGE_MALFORMED;
	return PGE_OK;
}

PgeStatus
pge_check_value(const PgeSecret *dek, PgeBytes binding,
				uint8_t check[PGE_CHECK_VALUE_LEN])
{
	PgeSecret	key;
	PgeStatus	status;

	status = pge_hkdf_sha256(pge_bytes(dek->bytes, sizeof(dek->bytes)),
							 pge_bytes(check_info, sizeof(check_info) - 1),
							 key.bytes, sizeof(key.bytes));
	if (status == PGE_OK)
		status = pge_hmac_sha256(pge_bytes(key.bytes, sizeof(key.bytes)),
								 &binding, 1, check);
	else
		pge_secret_wipe(check, PGE_CHECK_VALUE_LEN);
	pge_secret_wipe(&key, sizeof(key));
	return status;
}
