/*
 * sealed_value.h -- the five bytes before a sealed value: Google Tink's prefix.
 *
 *	01 (Tink's version), dek_id (u32, big endian, never 0), body of crypto/aead.h
 *
 * Pure.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_FORMAT_SEALED_VALUE_H
#define PGE_FORMAT_SEALED_VALUE_H

#include "base/bytes.h"
#include "base/status.h"

#define PGE_SEALED_HEADER_LEN	5
#define PGE_SEALED_VERSION		0x01
#define PGE_SEALED_LEN_MIN		(PGE_SEALED_HEADER_LEN + 12 + 16)	/* empty value,
																	 * AES256_GCM */

/* PGE_MALFORMED: too short for any algorithm, another first byte, or id 0. */
static inline PgeStatus
pge_sealed_parse(PgeBytes sealed, uint32_t *dek_id, PgeBytes *body)
{
	uint32_t	id;

	if (sealed.len < PGE_SEALED_LEN_MIN || sealed.data[0] != PGE_SEALED_VERSION)
		return PGE_MALFORMED;
	id = pge_get_u32(sealed.data + 1);
	if (id == 0)
		return PGE_MALFORMED;
	*dek_id = id;
	*body = pge_bytes(sealed.data + PGE_SEALED_HEADER_LEN,
					  sealed.len - PGE_SEALED_HEADER_LEN);
	return PGE_OK;
}

/* Writes PGE_SEALED_HEADER_LEN bytes. */
static inline void
pge_sealed_write_header(uint8_t *out, uint32_t dek_id)
{
	out[0] = PGE_SEALED_VERSION;
	pge_put_u32(out + 1, dek_id);
}

#endif							/* PGE_FORMAT_SEALED_VALUE_H */
