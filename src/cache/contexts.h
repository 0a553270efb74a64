/*
 * contexts.h -- ready cipher contexts of this process: the only key material
 * outside the secret region, and never older than the transaction.
 *
 * A context is made at first use of a DEK in a transaction and freed at every
 * kind of end of it, and at the abort of the subtransaction that made it.  At
 * most pg_envelope.context_cache are held; then one goes that was not used of late.
 *
 * pge_contexts_find (R3) -> else pge_contexts_add -> use at once.  A PgeAead
 * that was given out is good until the next call of this module.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CACHE_CONTEXTS_H
#define PGE_CACHE_CONTEXTS_H

#include "postgres.h"

#include "cache/dek_cache.h"
#include "crypto/aead.h"

/*
 * R3: the context of this DEK if its check value, its purge stamp, its slot's
 * generation or its own deadline still stand.  One that fails is freed.
 */
extern PgeAead *pge_contexts_find(uint32 dek_id, const uint8 *check_value,
								  uint32 flush);

/* Takes the place of an older context of the same DEK.  ereports. */
extern PgeAead *pge_contexts_add(uint32 dek_id, const uint8 *check_value,
								 uint8 algorithm, const PgeSecret *dek,
								 const DekCacheRef *ref);

/* A seal under the context that was given out last, for use_counter.h. */
extern void pge_contexts_count_seal(void);

/* Every kind of transaction end, and exit. */
extern void pge_contexts_free_all(void);

/* Subtransaction abort: those that it or its children made. */
extern void pge_contexts_free_since(SubTransactionId subid);

#endif							/* PGE_CACHE_CONTEXTS_H */
