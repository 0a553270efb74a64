/*
 * wrapped_key.h -- the stored form of a wrapped DEK.
 *
 *	01, form u8, half u8, the service's bytes (1 .. PGE_WRAPPED_MAX - 3)
 *
 * Pure.  Forms and halves of services that come later are refused as
 * PGE_MALFORMED by this version.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_FORMAT_WRAPPED_KEY_H
#define PGE_FORMAT_WRAPPED_KEY_H

#include "base/bytes.h"
#include "base/status.h"

typedef enum PgeWrapForm
{
	PGE_WRAP_LOCAL = 1,			/* local keyring: KEK version u32, then
								 * XAES-256-GCM body */
	PGE_WRAP_AWS = 2,			/* AWS KMS: its CiphertextBlob, the binding as
								 * the encryption context */
	PGE_WRAP_VAULT_CONTEXT = 3, /* Vault's Transit: its ciphertext, the
								 * binding as the context of a derived key */
	PGE_WRAP_VAULT_AAD = 4		/* the same, the binding as associated data */
} PgeWrapForm;

typedef enum PgeWrapHalf
{
	PGE_HALF_NONE = 0			/* the service authenticates the binding
								 * itself */
} PgeWrapHalf;

#define PGE_WRAPPED_HEADER_LEN	3

extern PgeStatus pge_wrapped_encode(PgeWrapForm form, PgeWrapHalf half,
									PgeBytes service_bytes, PgeBuffer *out);
extern PgeStatus pge_wrapped_decode(PgeBytes wrapped, PgeWrapForm *form,
									PgeWrapHalf *half, PgeBytes *service_bytes);

#endif							/* PGE_FORMAT_WRAPPED_KEY_H */
