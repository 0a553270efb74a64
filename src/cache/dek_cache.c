/*-------------------------------------------------------------------------
 *
 * dek_cache.c
 *	  Slots of unwrapped DEKs in the secret region.
 *
 * Every slot is a seqlock: "generation" is even while the slot may be read and
 * odd while one process, the one whose compare-and-swap made it odd, writes it.
 * It only grows, so a copy, or a context made from a copy, is good exactly as
 * long as the generation that was read before the copy still stands.  Nobody
 * waits for an odd slot: a reader takes it for absent, a writer takes another,
 * a wiper skips it because its writer looks at W again (R8).
 *
 * Beside the slots lies an array of hints, the dek_id of each slot, so that
 * a reader passes 16 slots per cache line.  A hint may be wrong at any
 * moment; what it costs then is a miss.
 *
 * No ereport, no palloc and no lock in this file: it runs in commit callbacks.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"

#include "base/settings.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "cache/secret_region.h"

/* What the generation protects. */
typedef struct DekCacheContent
{
	DekCacheTag tag;
	uint32		flush;			/* F its request carried */
	uint64		deadline_ms;
	PgeSecret	dek;
	bool		used;
} DekCacheContent;

typedef struct DekCacheSlot
{
	pg_atomic_uint64 touched_ms;	/* last use known: clock eviction, idle
									 * expiry */
	DekCacheContent content;
} DekCacheSlot;

/*
 * Clock eviction without a bit of its own: a slot that was used within
 * this time gets its second chance.
 */
#define SECOND_CHANCE_MS	1000

/* What a slot takes of the region, in three arrays. */
#define SLOT_SIZE		(sizeof(DekCacheSlot) + sizeof(pg_atomic_uint64) + sizeof(pg_atomic_uint32))

/*
 * The generations stand by themselves, eight to a cache line: each value looks
 * at that of its DEK, and with many keys in turn that would be a cold line each.
 */
static DekCacheSlot *slots;
static pg_atomic_uint64 *generations;	/* even: readable, odd: being written */
static pg_atomic_uint32 *hints;
static int	nslots;

Size
pge_dek_cache_size(int count)
{
	return (Size) count * SLOT_SIZE;
}

/* The region's bytes start as zeros: every slot readable and not used. */
static bool
attach(void)
{
	Size		size;
	void	   *memory;

	if (likely(slots != NULL))
		return true;
	memory = pge_secret_region_slots(&size);
	if (memory == NULL || pge_control() == NULL)
		return false;
	nslots = Min((Size) pge_cache_size, size / SLOT_SIZE);
	generations = (pg_atomic_uint64 *) ((char *) memory + nslots * sizeof(DekCacheSlot));
	hints = (pg_atomic_uint32 *) (generations + nslots);
	slots = memory;
	return nslots > 0;
}

static uint64
load_epoch(void)
{
	uint64		w = pg_atomic_read_u64(&pge_control()->epoch);

	pg_read_barrier();
	return w;
}

static uint64
load_generation(int i)
{
	uint64		g = pg_atomic_read_u64(&generations[i]);

	pg_read_barrier();			/* acquire */
	return g;
}

static bool
is_odd(uint64 generation)
{
	return (generation & 1) != 0;
}

/* Tags are names, no secrets: an early way out tells nobody anything. */
static bool
same_tag(const DekCacheTag *a, const DekCacheTag *b)
{
	return a->dek_id == b->dek_id && a->database == b->database &&
		memcmp(a->check_value, b->check_value, PGE_CHECK_VALUE_LEN) == 0;
}

static int
home_of(Oid database, uint32 dek_id)
{
	/* dek_ids are random; the database only keeps copies of one apart. */
	return (int) ((dek_id ^ (database * 0x9E3779B1U)) % (uint32) nslots);
}

/* Takes the slot from "g" to odd; a full barrier.  False: somebody was faster. */
static bool
lock_slot(int i, uint64 g)
{
	return pg_atomic_compare_exchange_u64(&generations[i], &g, g + 1);
}

static void
unlock_slot(int i, uint64 g)
{
	pg_write_barrier();
	pg_atomic_write_u64(&generations[i], g + 2);
}

/* Wipes a slot whose generation was "g"; false if it moved. */
static bool
wipe_slot(int i, uint64 g)
{
	if (!lock_slot(i, g))
		return false;
	pge_secret_wipe(&slots[i].content, sizeof(DekCacheContent));
	pg_atomic_write_u32(&hints[i], 0);
	unlock_slot(i, g);
	return true;
}

/* R4 for one slot. */
static bool
copy_slot(int i, const DekCacheTag *tag, uint32 flush, uint64 now,
		  PgeSecret *dek, DekCacheRef *ref)
{
	DekCacheSlot *slot = &slots[i];
	uint64		g = load_generation(i);
	bool		usable;

	if (is_odd(g))
		return false;			/* as if absent: nobody waits */
	ref->slot = i;
	ref->slot_generation = &generations[i];
	ref->generation = g;
	ref->flush = slot->content.flush;
	ref->deadline_ms = slot->content.deadline_ms;
	usable = slot->content.used && same_tag(&slot->content.tag, tag);
	if (usable)
		*dek = slot->content.dek;
	pg_read_barrier();
	usable = usable &&
		pg_atomic_read_u64(&generations[i]) == g &&
		ref->flush == flush && now < ref->deadline_ms;
	if (usable)
		pg_atomic_write_u64(&slot->touched_ms, now);
	else
		pge_secret_wipe(dek, sizeof(PgeSecret));
	return usable;
}

bool
pge_dek_cache_get(const DekCacheTag *tag, uint32 flush,
				  PgeSecret *dek, DekCacheRef *ref)
{
	uint64		now;
	int			home;

	if (!attach())
		return false;
	now = pge_now_ms();
	home = home_of(tag->database, tag->dek_id);
	for (int n = 0, i = home; n < nslots; n++, i = (i + 1 == nslots) ? 0 : i + 1)
	{
		if (pg_atomic_read_u32(&hints[i]) == tag->dek_id &&
			copy_slot(i, tag, flush, now, dek, ref))
			return true;
	}
	return false;
}

/* If the slot changes hands meanwhile, another DEK stays a little longer. */
void
pge_dek_cache_touch(const DekCacheRef *ref, uint64 now)
{
	if (ref->slot >= 0 && load_generation(ref->slot) == ref->generation)
		pg_atomic_write_u64(&slots[ref->slot].touched_ms, now);
}

/*
 * A slot to write over and its even generation.  A free one near home if there
 * is one, else the first that the clock finds not lately used, else whatever
 * the hand stands on after a full turn.
 */
static int
find_victim(const DekCacheTag *tag, uint64 now, uint64 *generation)
{
	int			home = home_of(tag->database, tag->dek_id);
	int			victim = -1;

	for (int n = 0, i = home; n < nslots; n++, i = (i + 1 == nslots) ? 0 : i + 1)
	{
		if (pg_atomic_read_u32(&hints[i]) != 0)
			continue;
		*generation = load_generation(i);
		if (!is_odd(*generation))
			return i;
	}
	for (int n = 0; n < nslots; n++)
	{
		uint32		hand = pg_atomic_fetch_add_u32(&pge_control()->clock_hand, 1);
		int			i = (int) (hand % (uint32) nslots);
		uint64		g = load_generation(i);

		if (is_odd(g))
			continue;
		victim = i;
		*generation = g;
		if (pg_atomic_read_u64(&slots[i].touched_ms) + SECOND_CHANCE_MS <= now)
			break;
	}
	return victim;
}

static void
write_slot(int i, uint64 g, const DekCacheTag *tag, const PgeSecret *dek,
		   const DekCacheRef *ref, uint64 now)
{
	DekCacheSlot *slot = &slots[i];

	slot->content.tag = *tag;
	slot->content.flush = ref->flush;
	slot->content.deadline_ms = ref->deadline_ms;
	slot->content.dek = *dek;
	slot->content.used = true;
	pg_atomic_write_u64(&slot->touched_ms, now);
	pg_atomic_write_u32(&hints[i], tag->dek_id);
	unlock_slot(i, g);
}

bool
pge_dek_cache_put(const DekCacheTag *tag, const PgeSecret *dek,
				  uint64 w, uint64 deadline_ms, DekCacheRef *ref)
{
	uint64		now = pge_now_ms();
	uint64		g = 0;
	int			i;

	ref->slot = -1;
	ref->slot_generation = NULL;
	ref->generation = 0;
	ref->flush = PGE_EPOCH_FLUSH(w);
	ref->deadline_ms = deadline_ms;
	if (!attach())
		return false;

	HOLD_INTERRUPTS();			/* an odd slot that nobody finishes is lost */

	/* R7 */
	i = find_victim(tag, now, &g);
	if (i >= 0 && lock_slot(i, g))
	{
		write_slot(i, g, tag, dek, ref, now);

		/*
		 * R8: the slot is visible; who bumped W before this load may have
		 * passed the slot while it was odd.  Without the full barrier the
		 * load could overtake the store that made the slot visible.
		 */
		pg_memory_barrier();
		if (load_epoch() == w)
		{
			ref->slot = i;
			ref->slot_generation = &generations[i];
			ref->generation = g + 2;
		}
		else
			wipe_slot(i, g + 2);	/* lost: another writer has overwritten it */
	}

	RESUME_INTERRUPTS();
	return ref->slot >= 0;
}

/*
 * D3.  All slots, because two backends that missed at once have published two.
 * Odd or a lost race: skipped, the writer's R8 comes after our D2.
 */
void
pge_dek_cache_wipe_dek(Oid database, uint32 dek_id)
{
	if (!attach())
		return;
	for (int i = 0; i < nslots; i++)
	{
		uint64		g = load_generation(i);

		if (!is_odd(g) && slots[i].content.used &&
			slots[i].content.tag.dek_id == dek_id &&
			slots[i].content.tag.database == database)
			wipe_slot(i, g);
	}
}

void
pge_dek_cache_flush(void)
{
	if (!attach())
		return;
	pg_atomic_fetch_add_u64(&pge_control()->epoch, PGE_EPOCH_FLUSH_BUMP);	/* F1 */
	for (int i = 0; i < nslots; i++)	/* F2 */
	{
		uint64		g = load_generation(i);

		if (!is_odd(g) && slots[i].content.used)
			wipe_slot(i, g);
	}
}								/* F3 */

/* Caller has loaded the slot's generation and wipes by it, so a torn read is harmless. */
static bool
has_expired(DekCacheSlot *slot, uint64 now, uint32 flush)
{
	uint64		touched = pg_atomic_read_u64(&slot->touched_ms);

	if (!slot->content.used)
		return false;
	return now >= slot->content.deadline_ms ||
		slot->content.flush != flush ||
		(pge_cache_idle > 0 && now >= touched + (uint64) pge_cache_idle * 1000);
}

/* X1.  W is not bumped: contexts made from the slot see its generation moved. */
int
pge_dek_cache_expire(void)
{
	uint64		now = pge_now_ms();
	int			wiped = 0;

	if (!attach())
		return 0;
	for (int i = 0; i < nslots; i++)
	{
		uint64		g = load_generation(i);

		if (!is_odd(g) &&
			has_expired(&slots[i], now, PGE_EPOCH_FLUSH(load_epoch())) &&
			wipe_slot(i, g))
			wiped++;
	}
	return wiped;
}

int
pge_dek_cache_used(void)
{
	int			used = 0;

	if (!attach())
		return 0;
	for (int i = 0; i < nslots; i++)
		used += pg_atomic_read_u32(&hints[i]) != 0;
	return used;
}
