/*
 * dek.h -- from a value's request to a ready cipher context: the reader of
 * test/model/protocol.md, steps R1 to R8.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_DEK_H
#define PGE_OPS_DEK_H

#include "postgres.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "cache/dek_cache.h"
#include "crypto/aead.h"
#include "keyring/memo.h"

/* What one value asks for. */
typedef struct DekRequest
{
	bool		seal;			/* the active version of key_id; else dek_id */
	uint32		dek_id;			/* of the value's header */
	PgeBytes	key_id;			/* database encoding; {NULL, 0}: not named */
	PgeBytes	associated;		/* UTF-8 */
	uint32		need;			/* rights */
} DekRequest;

/* What it gets; good until the next value. */
typedef struct DekReady
{
	PgeAead    *aead;
	uint32		dek_id;
	uint8		algorithm;
} DekReady;

/* ereports every refusal. */
extern void pge_dek_ready(const DekRequest *request, DekReady *ready);

/* R1, R2: the row and the decision alone; the memo is good until the next call. */
extern const KeyringMemo *pge_dek_decide(const DekRequest *request, uint64 w);
extern uint64 pge_dek_load_epoch(void);

/* The cache's name for the DEK of this row of the current database. */
extern DekCacheTag pge_dek_tag(const KeyringDek *row);

#endif							/* PGE_OPS_DEK_H */
