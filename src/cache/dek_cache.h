/*
 * dek_cache.h -- slots of unwrapped DEKs in the secret region.
 *
 * Steps R4, R7, R8, D3, F1-F3, N1, N2, G2, X0 and X1 of test/model/protocol.md.  No lock: each
 * slot is a seqlock whose writer wins it by compare-and-swap; nobody ever waits
 * for a slot that is being written.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CACHE_DEK_CACHE_H
#define PGE_CACHE_DEK_CACHE_H

#include "postgres.h"

#include "port/atomics.h"

#include "base/secret.h"
#include "cache/control.h"

/* Unchanged by a rewrap, so rotating a KEK empties no cache. */
typedef struct DekCacheTag
{
	Oid			database;
	uint32		dek_id;
	uint8		check_value[PGE_CHECK_VALUE_LEN];
} DekCacheTag;

/* Where a ready context's DEK came from; slot < 0: private to this backend. */
typedef struct DekCacheRef
{
	int			slot;
	uint32		dek_id;
	pg_atomic_uint64 *slot_generation;	/* of the slot, now */
	uint64		generation;		/* of the slot, then */
	uint32		flush;			/* F its request carried */
	uint32		refusals;		/* R before it was sent */
	uint64		deadline_ms;
} DekCacheRef;

extern Size pge_dek_cache_size(int nslots);

/* R4: copies a readable, unexpired slot of this tag and flush. */
extern bool pge_dek_cache_get(const DekCacheTag *tag, uint32 flush,
							  PgeSecret *dek, DekCacheRef *ref);

/* R of this DEK; loaded before it is asked for. */
static inline uint32
pge_dek_cache_refusals(uint32 dek_id)
{
	uint32		r = pge_control_refusals(dek_id);

	pg_read_barrier();			/* acquire */
	return r;
}

/*
 * G2: as get, but the deadline may have passed, if cache_grace has not; for who
 * has asked in vain.  *ttl_ms is when cache_ttl was over.  *busy: a slot of this
 * DEK was being written, so it may be found the next time.
 */
extern bool pge_dek_cache_get_late(const DekCacheTag *tag, uint32 flush, PgeSecret *dek,
								   DekCacheRef *ref, uint64 *ttl_ms, bool *busy);

/* R3: may a context made from ref still be used? */
static inline bool
pge_dek_cache_ref_valid(const DekCacheRef *ref, uint32 flush)
{
	uint64		g;

	if (ref->flush != flush)
		return false;
	if (unlikely(ref->slot < 0))
		return pge_now_ms() < ref->deadline_ms &&
			pge_dek_cache_refusals(ref->dek_id) == ref->refusals;
	g = pg_atomic_read_u64(ref->slot_generation);
	pg_read_barrier();			/* acquire */
	return g == ref->generation;
}

/* The context made from ref is in use: no idle expiry, a second chance. */
extern void pge_dek_cache_touch(const DekCacheRef *ref, uint64 now);

/*
 * R7, R8: publishes under the epoch "w" that the row was read under, with
 * ref->deadline_ms and ref->refusals.  "ttl_ms" is the deadline but for one that
 * is published again in grace.  On false the DEK stays private (ref->slot = -1);
 * nothing of it is left in a slot.
 */
extern bool pge_dek_cache_put(const DekCacheTag *tag, const PgeSecret *dek,
							  uint64 w, uint64 ttl_ms, DekCacheRef *ref);

/* N1, N2: its key service has refused it. */
extern void pge_dek_cache_refused(Oid database, uint32 dek_id);

/* D3: wipes every slot of this DEK (all databases' tags are distinct). */
extern void pge_dek_cache_wipe_dek(Oid database, uint32 dek_id);

/* F1-F3. */
extern void pge_dek_cache_flush(void);

/* X0, X1: the keeper's tick; returns how many slots were wiped. */
extern int	pge_dek_cache_expire(void);

extern int	pge_dek_cache_used(void);

#endif							/* PGE_CACHE_DEK_CACHE_H */
