/*
 * control.h -- what all processes share and may be seen: the epoch, counters,
 * who is alive.  Main shared memory; no key bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CACHE_CONTROL_H
#define PGE_CACHE_CONTROL_H

#include "postgres.h"

#include "port/atomics.h"

#define PGE_SERVER_LIFE_LEN	24
#define PGE_REFUSALS	4096	/* a power of 2 */
#define PGE_REFUSAL_PROBES	8	/* places that a DEK may have */

typedef struct PgeControl
{
	/*
	 * W, the revocation epoch: low half E, +1 by every commit that changed
	 * one of our tables; high half F, +1 by every flush.  Alone on its cache
	 * line: every value of every backend loads it.
	 */
	pg_atomic_uint64 epoch;
	char		pad[PG_CACHE_LINE_SIZE - sizeof(pg_atomic_uint64)];

	pg_atomic_uint32 clock_hand;	/* of dek_cache.c */
	pg_atomic_uint32 keeper_pid;	/* 0: not running */
	pg_atomic_uint32 agent_pid; /* 0: not running */
	pg_atomic_uint32 agent_ready;	/* READY was heard from this agent */
	pg_atomic_uint32 agent_missing; /* its program was not there at preload */
	pg_atomic_uint64 agent_starts;
	pg_atomic_uint64 unwraps;	/* DEKs that the agent unwrapped for this node */
	pg_atomic_uint32 context_holders;	/* backends that hold ready contexts */
	uint8		life[PGE_SERVER_LIFE_LEN];	/* random: tells this shared
											 * memory's flush counts from
											 * those of others, to an external
											 * agent. Set once. */
	pg_atomic_uint64 graces;	/* times that a DEK was taken from the cache
								 * after cache_ttl, its service being away */

	/*
	 * R: how often a key service has refused a DEK.  Not F, which would purge
	 * every tenant's keys when one tenant's KEK is revoked.  Its first
	 * refusal gives a DEK a place of its own near its home, for good: dek_id
	 * << 32 | count.  Only those that find none there share a counter.
	 */
	pg_atomic_uint64 refusals[PGE_REFUSALS];
	pg_atomic_uint32 crowded[PGE_REFUSALS];
} PgeControl;

/* NULL when not preloaded; by pge_control() everywhere. */
extern PgeControl *pge_shared_control;

static inline PgeControl *
pge_control(void)
{
	return pge_shared_control;
}

/* Called by pg_envelope.c's hooks. */
extern Size pge_control_shmem_size(void);
extern void pge_control_shmem_startup(void);	/* also wipes the secret
												 * region */

#define PGE_EPOCH_STATE_BUMP	UINT64CONST(1)
#define PGE_EPOCH_FLUSH_BUMP	(UINT64CONST(1) << 32)
#define PGE_EPOCH_FLUSH(w)		((uint32) ((w) >> 32))

static inline pg_atomic_uint64 *
pge_control_refusal_place(uint32 dek_id, int probe)
{
	return &pge_shared_control->refusals[(dek_id + probe) & (PGE_REFUSALS - 1)];
}

static inline pg_atomic_uint32 *
pge_control_crowded(uint32 dek_id)
{
	return &pge_shared_control->crowded[dek_id & (PGE_REFUSALS - 1)];
}

/* R: two numbers that only grow, so their sum is equal only if both are. */
static inline uint32
pge_control_refusals(uint32 dek_id)
{
	uint32		crowded = pg_atomic_read_u32(pge_control_crowded(dek_id));

	for (int i = 0; i < PGE_REFUSAL_PROBES; i++)
	{
		uint64		place = pg_atomic_read_u64(pge_control_refusal_place(dek_id, i));

		if (place == 0)
			break;				/* none behind it was ever taken */
		if ((uint32) (place >> 32) == dek_id)
			return crowded + (uint32) place;
	}
	return crowded;
}

/* Adds 1 to R; a full barrier. */
static inline void
pge_control_refuse(uint32 dek_id)
{
	for (int i = 0; i < PGE_REFUSAL_PROBES; i++)
	{
		pg_atomic_uint64 *place = pge_control_refusal_place(dek_id, i);
		uint64		was = pg_atomic_read_u64(place);

		while (was == 0 || (uint32) (was >> 32) == dek_id)
		{
			if (pg_atomic_compare_exchange_u64(place, &was, (uint64) dek_id << 32 | (uint32) (was + 1)))
				return;
		}
	}
	pg_atomic_fetch_add_u32(pge_control_crowded(dek_id), 1);
}

/* Milliseconds of CLOCK_BOOTTIME: suspend counts, nobody can turn it back. */
extern uint64 pge_now_ms(void);

#endif							/* PGE_CACHE_CONTROL_H */
