/*
 * kms_vault_batch_messages.h -- many wraps, unwraps or rewraps in one request to
 * Transit, and its one answer.
 *
 * Pure.  The answers stand in the order of the items; each item has its number with
 * it as its "reference", which the service gives back (old ones do not): one answer that is not
 * where it belongs, one missing or one more, and none is taken.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_VAULT_BATCH_MESSAGES_H
#define PGE_AGENT_KMS_VAULT_BATCH_MESSAGES_H

#include "agent/kms/kms.h"
#include "agent/kms/kms_vault_messages.h"

/* What is asked, and where what came of it goes. */
typedef struct VaultItem
{
	const KmsCall *call;		/* its binding; VAULT_ENCRYPT: its dek */
	PgeWrapForm form;			/* of all items of a batch the same */
	PgeBytes	ciphertext;		/* VAULT_DECRYPT, VAULT_REWRAP */
	KmsResult  *result;			/* status, detail; VAULT_DECRYPT: dek, wiped
								 * unless PGE_OK; the others: wrapped,
								 * kek_version */
} VaultItem;

/*
 * VAULT_ENCRYPT, VAULT_DECRYPT or VAULT_REWRAP, which takes PGE_WRAP_VAULT_CONTEXT alone.
 * Freed with pge_json_text_free, which wipes it.
 */
extern PgeStatus pge_vault_batch_body(VaultOperation operation, const VaultItem *items, int n,
									  PgeBuffer *body);

/*
 * An answer that was classified as PGE_OK.  PGE_OK: each item has its result; else *detail
 * says why none has.
 */
extern PgeStatus pge_vault_read_batch(const HttpAnswer *answer, VaultOperation operation,
									  const VaultItem *items, int n, char detail[KMS_DETAIL_LEN]);

/* Has the service refused it because it is too much at once? */
extern bool pge_vault_is_too_much(const HttpAnswer *answer);

#endif							/* PGE_AGENT_KMS_VAULT_BATCH_MESSAGES_H */
