/*-------------------------------------------------------------------------
 *
 * control.c
 *	  The shared words that are no secret.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "cache/control.h"
#include "cache/secret_region.h"

PgeControl *pge_shared_control = NULL;

Size
pge_control_shmem_size(void)
{
	/* room to put the struct on a cache line of its own */
	return sizeof(PgeControl) + PG_CACHE_LINE_SIZE;
}

/*
 * An epoch that no message of an earlier life of this server can carry: the
 * high half travels in frames, so it starts anywhere but at zero.
 */
static uint64
draw_epoch(void)
{
	uint32		flush;

	if (!pg_strong_random(&flush, sizeof(flush)))
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not draw a random number for pg_envelope")));
	return ((uint64) (flush | 1) << 32) | 1;
}

static void
initialize(PgeControl *c)
{
	memset(c, 0, sizeof(*c));
	pg_atomic_init_u64(&c->epoch, draw_epoch());
	pg_atomic_init_u32(&c->clock_hand, 0);
	pg_atomic_init_u32(&c->keeper_pid, 0);
	pg_atomic_init_u32(&c->agent_pid, 0);
	pg_atomic_init_u32(&c->agent_ready, 0);
	pg_atomic_init_u32(&c->agent_missing, 0);
	pg_atomic_init_u64(&c->agent_starts, 0);
	pg_atomic_init_u64(&c->unwraps, 0);
	pg_atomic_init_u32(&c->context_holders, 0);
	if (!pg_strong_random(c->life, sizeof(c->life)))
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not draw a random number for pg_envelope")));
	pg_atomic_init_u64(&c->graces, 0);
	for (int i = 0; i < PGE_REFUSALS; i++)
	{
		pg_atomic_init_u64(&c->refusals[i], 0);
		pg_atomic_init_u32(&c->crowded[i], 0);
	}
}

/* A test build says what it did, since secret memory opens to no test. */
static void
wipe_region(void)
{
#ifdef PGE_TEST_BUILD
	Size		before = pge_secret_region_not_zero();
#endif

	pge_secret_region_wipe();
#ifdef PGE_TEST_BUILD
	ereport(LOG,
			(errmsg("pg_envelope test: bytes of the secret region that are not zero: %zu before the wipe, %zu after it",
					before, pge_secret_region_not_zero())));
#endif
}

/*
 * Runs in the postmaster, also after a crash: shared memory is new then but the
 * secret region is the old one, with the keys and the half-written slots of
 * processes that are gone.
 */
void
pge_control_shmem_startup(void)
{
	bool		found;
	char	   *room;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	room = ShmemInitStruct("pg_envelope", pge_control_shmem_size(), &found);
	pge_shared_control = (PgeControl *) TYPEALIGN(PG_CACHE_LINE_SIZE, room);
	if (!found)
	{
		wipe_region();
		initialize(pge_shared_control);
	}
	LWLockRelease(AddinShmemInitLock);
}

uint64
pge_now_ms(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_BOOTTIME, &now) != 0)
		elog(PANIC, "clock_gettime failed: %m");
	return (uint64) now.tv_sec * 1000 + (uint64) now.tv_nsec / 1000000;
}
