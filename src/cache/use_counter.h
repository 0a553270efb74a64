/*
 * use_counter.h -- how often each AES256_GCM data key of this server has
 * sealed.
 *
 * A 96-bit nonce drawn at random carries 2^32 values under one key.  Contexts
 * count their seals by themselves and hand the number in here when they end,
 * so no value touches shared memory.  The keeper keeps the numbers on disk and
 * warns.
 *
 * It cannot be exact: standbys and clones seal under the same key and count
 * apart, and a crash loses what was not saved yet.  So nothing is refused.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CACHE_USE_COUNTER_H
#define PGE_CACHE_USE_COUNTER_H

#include "postgres.h"

#include "format/uses_file.h"

/* A first warning here, another at each doubling: four before 2^32. */
#ifdef PGE_TEST_BUILD
#define PGE_USES_WARN	UINT64CONST(1000)
#else
#define PGE_USES_WARN	(UINT64CONST(1) << 28)
#endif

typedef struct PgeUseSummary
{
	int			tracked;		/* data keys that have sealed */
	int			warned;			/* those at PGE_USES_WARN and above */
	uint64		highest;
	uint64		untracked;		/* seals that found the table full */
} PgeUseSummary;

/* Called by pg_envelope.c's hooks. */
extern Size pge_use_counter_shmem_size(void);
extern void pge_use_counter_shmem_startup(void);

/* Cannot throw: runs in commit, abort and exit callbacks. */
extern void pge_use_counter_add(uint32 database, uint32 dek_id, uint64 seals);

extern void pge_use_counter_summarize(PgeUseSummary *summary);

/* All numbers; uses has room for PGE_USES_MAX. */
extern int	pge_use_counter_read(PgeUses *uses);

/*
 * For the keeper alone: adds what an earlier life of the shared memory had
 * saved, which happens once in each; and says whether the number of a data key
 * calls for a warning that was not given yet.
 */
extern bool pge_use_counter_loaded(void);
extern void pge_use_counter_load(const PgeUses *uses, int count);
extern bool pge_use_counter_must_warn(const PgeUses *one);

#endif							/* PGE_CACHE_USE_COUNTER_H */
