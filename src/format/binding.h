/*
 * binding.h -- what a wrapped DEK is bound to, and the check value.
 *
 * Binding v1, big-endian: 01, keyring uuid 16, dek_id u32, version u32, purpose
 * u8, algorithm u8, length u16, key_id UTF-8.  It is the associated data of
 * every wrap, so a wrapped DEK moved to another row does not unwrap.
 *
 * check_value = HMAC-SHA-256(HKDF-SHA-256(DEK, empty salt,
 *	"pg_envelope check v1", 32), binding): compared after every unwrap.
 *
 * Pure.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_FORMAT_BINDING_H
#define PGE_FORMAT_BINDING_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/status.h"

typedef enum PgePurpose
{
	PGE_PURPOSE_AEAD = 1
} PgePurpose;

typedef struct PgeBinding
{
	uint8_t		keyring[PGE_UUID_LEN];
	uint32_t	dek_id;
	uint32_t	version;
	uint8_t		purpose;
	uint8_t		algorithm;
	PgeBytes	key_id;			/* 1 .. PGE_KEY_ID_MAX bytes */
} PgeBinding;

/* The buffer's capacity is at least PGE_BINDING_MAX. */
extern PgeStatus pge_binding_encode(const PgeBinding *binding, PgeBuffer *out);

/* binding->key_id points into "bytes".  Strict: anything else is PGE_MALFORMED. */
extern PgeStatus pge_binding_decode(PgeBytes bytes, PgeBinding *binding);

extern PgeStatus pge_check_value(const PgeSecret *dek, PgeBytes binding,
								 uint8_t check[PGE_CHECK_VALUE_LEN]);

#endif							/* PGE_FORMAT_BINDING_H */
