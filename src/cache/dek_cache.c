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

#include "base/crash_point.h"
#include "base/settings.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "cache/secret_region.h"

/* What the generation protects. */
typedef struct DekCacheContent
{
	DekCacheTag tag;
	uint32		flush;			/* F its request carried */
	uint32		refusals;		/* R before it was sent */
	uint64		deadline_ms;	/* to be asked for again from then on */
	uint64		ttl_ms;			/* cache_ttl is over, and cache_grace begins */
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

/* cache_grace is read when it counts: who lowers it means the keys there are, too. */
static uint64
grace_end(const DekCacheContent *content)
{
	return content->ttl_ms + (uint64) pge_cache_grace * 1000;
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

/*
 * D3, F2, N2, and R8 for what it has just written; dek_id 0: any.  Odd: skipped, for
 * its writer looks at W and R (R8).  Lost: it may only have been outdated (X0),
 * with the key still in it, so it is looked at again.
 */
static void
wipe_slot_of(int i, Oid database, uint32 dek_id)
{
	for (;;)
	{
		uint64		g = load_generation(i);
		const DekCacheContent *content = &slots[i].content;

		if (is_odd(g) || !content->used ||
			(dek_id != 0 && (content->tag.dek_id != dek_id ||
							 content->tag.database != database)) ||
			wipe_slot(i, g))
			return;
	}
}

/* What a reader looks for. */
typedef struct Search
{
	const DekCacheTag *tag;
	uint32		flush;
	uint32		refusals;
	uint64		now;
	bool		late;			/* G2: the deadline may have passed */
	bool		busy;			/* a slot of the DEK was being written */
	uint64		ttl_ms;			/* of the slot that was found */
} Search;

/* R4, G2 for one slot. */
static bool
copy_slot(int i, Search *search, PgeSecret *dek, DekCacheRef *ref)
{
	DekCacheSlot *slot = &slots[i];
	uint64		g = load_generation(i);
	uint64		end;
	bool		same;
	bool		usable;

	if (is_odd(g))
	{
		search->busy = true;
		return false;			/* as if absent: nobody waits */
	}
	ref->slot = i;
	ref->dek_id = search->tag->dek_id;
	ref->slot_generation = &generations[i];
	ref->generation = g;
	ref->flush = slot->content.flush;
	ref->refusals = slot->content.refusals;
	ref->deadline_ms = slot->content.deadline_ms;
	search->ttl_ms = slot->content.ttl_ms;
	end = search->late ? grace_end(&slot->content) : ref->deadline_ms;
	usable = slot->content.used && same_tag(&slot->content.tag, search->tag);
	if (usable)
		pge_secret_copy(dek, &slot->content.dek, sizeof(PgeSecret));
	pg_read_barrier();
	same = pg_atomic_read_u64(&generations[i]) == g;
	search->busy = search->busy || !same;
	usable = usable && same && ref->flush == search->flush &&
		ref->refusals == search->refusals && search->now < end;
	if (usable)
		pg_atomic_write_u64(&slot->touched_ms, search->now);
	else
		pge_secret_wipe(dek, sizeof(PgeSecret));
	return usable;
}

static bool
find_slot(Search *search, PgeSecret *dek, DekCacheRef *ref)
{
	const DekCacheTag *tag = search->tag;
	int			home;

	if (!attach())
		return false;
	search->refusals = pge_dek_cache_refusals(tag->dek_id);
	search->now = pge_now_ms();
	home = home_of(tag->database, tag->dek_id);
	for (int n = 0, i = home; n < nslots; n++, i = (i + 1 == nslots) ? 0 : i + 1)
	{
		if (pg_atomic_read_u32(&hints[i]) == tag->dek_id && copy_slot(i, search, dek, ref))
			return true;
	}
	return false;
}

bool
pge_dek_cache_get(const DekCacheTag *tag, uint32 flush,
				  PgeSecret *dek, DekCacheRef *ref)
{
	Search		search = {.tag = tag, .flush = flush};

	return find_slot(&search, dek, ref);
}

bool
pge_dek_cache_get_late(const DekCacheTag *tag, uint32 flush, PgeSecret *dek,
					   DekCacheRef *ref, uint64 *ttl_ms, bool *busy)
{
	Search		search = {.tag = tag, .flush = flush, .late = true};
	bool		found = find_slot(&search, dek, ref);

	*ttl_ms = search.ttl_ms;
	*busy = search.busy;
	return found;
}

/* If the slot changes hands meanwhile, another DEK stays a little longer. */
void
pge_dek_cache_touch(const DekCacheRef *ref, uint64 now)
{
	if (ref->slot >= 0 && load_generation(ref->slot) == ref->generation)
		pg_atomic_write_u64(&slots[ref->slot].touched_ms, now);
}

/* An outdated one of the same DEK: in grace it would fill the cache with itself. */
static bool
is_outdated_one_of(int i, const DekCacheTag *tag, uint64 now)
{
	const DekCacheContent *content = &slots[i].content;

	/* if it is torn, the compare-and-swap will fail */
	return content->used && same_tag(&content->tag, tag) && now >= content->deadline_ms;
}

/*
 * A slot to write over and its even generation.  An outdated one of the same
 * DEK or a free one near home if there is one, else the first that the clock finds not lately used, else whatever
 * the hand stands on after a full turn.
 */
static int
find_victim(const DekCacheTag *tag, uint64 now, uint64 *generation)
{
	int			home = home_of(tag->database, tag->dek_id);
	int			victim = -1;

	for (int n = 0, i = home; n < nslots; n++, i = (i + 1 == nslots) ? 0 : i + 1)
	{
		uint32		hint = pg_atomic_read_u32(&hints[i]);

		if (hint != 0 && hint != tag->dek_id)
			continue;
		*generation = load_generation(i);
		if (!is_odd(*generation) && (hint == 0 || is_outdated_one_of(i, tag, now)))
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
		   uint64 ttl_ms, const DekCacheRef *ref, uint64 now)
{
	DekCacheSlot *slot = &slots[i];

	slot->content.tag = *tag;
	slot->content.flush = ref->flush;
	slot->content.refusals = ref->refusals;
	slot->content.deadline_ms = ref->deadline_ms;
	slot->content.ttl_ms = ttl_ms;
	pge_secret_copy(&slot->content.dek, dek, sizeof(PgeSecret));
	slot->content.used = true;
	pg_atomic_write_u64(&slot->touched_ms, now);
	pg_atomic_write_u32(&hints[i], tag->dek_id);
	unlock_slot(i, g);
}

bool
pge_dek_cache_put(const DekCacheTag *tag, const PgeSecret *dek,
				  uint64 w, uint64 ttl_ms, DekCacheRef *ref)
{
	uint64		now = pge_now_ms();
	uint64		g = 0;
	int			i;

	ref->slot = -1;
	ref->dek_id = tag->dek_id;
	ref->slot_generation = NULL;
	ref->generation = 0;
	ref->flush = PGE_EPOCH_FLUSH(w);
	if (!attach())
		return false;

	HOLD_INTERRUPTS();			/* an odd slot that nobody finishes is lost */

	/* R7 */
	i = find_victim(tag, now, &g);
	if (i >= 0 && lock_slot(i, g))
	{
		PGE_CRASH_POINT_NO_THROW("publish.locked");
		write_slot(i, g, tag, dek, ttl_ms, ref, now);
		PGE_CRASH_POINT_NO_THROW("publish.written");

		/*
		 * R8: the slot is visible; who bumped W or R before this load may
		 * have passed the slot while it was odd.  Without the full barrier
		 * the load could overtake the store that made the slot visible.
		 */
		pg_memory_barrier();
		if (load_epoch() == w && pge_dek_cache_refusals(tag->dek_id) == ref->refusals)
		{
			ref->slot = i;
			ref->slot_generation = &generations[i];
			ref->generation = g + 2;
		}
		else
			wipe_slot_of(i, tag->database, tag->dek_id);
	}

	RESUME_INTERRUPTS();
	return ref->slot >= 0;
}

/* D3.  All slots, because two backends that missed at once have published two. */
void
pge_dek_cache_wipe_dek(Oid database, uint32 dek_id)
{
	if (!attach())
		return;
	for (int i = 0; i < nslots; i++)
		wipe_slot_of(i, database, dek_id);
}

/*
 * N1: bytes from before this are not used again, wherever they are.  N2 takes
 * them out of memory, and makes contexts of their slots void.
 */
void
pge_dek_cache_refused(Oid database, uint32 dek_id)
{
	if (!attach())
		return;
	pge_control_refuse(dek_id); /* N1 */
	pge_dek_cache_wipe_dek(database, dek_id);	/* N2 */
}

void
pge_dek_cache_flush(void)
{
	if (!attach())
		return;
	pg_atomic_fetch_add_u64(&pge_control()->epoch, PGE_EPOCH_FLUSH_BUMP);	/* F1 */
	PGE_CRASH_POINT_NO_THROW("flush.bumped");
	for (int i = 0; i < nslots; i++)	/* F2 */
		wipe_slot_of(i, InvalidOid, 0);
	PGE_CRASH_POINT_NO_THROW("flush.wiped");
}								/* F3 */

/* Caller has loaded the slot's generation and wipes by it, so a torn read is harmless. */
static bool
has_expired(DekCacheSlot *slot, uint64 now, uint32 flush)
{
	uint64		touched = pg_atomic_read_u64(&slot->touched_ms);

	if (!slot->content.used)
		return false;
	return now >= grace_end(&slot->content) ||
		slot->content.flush != flush ||
		slot->content.refusals != pge_dek_cache_refusals(slot->content.tag.dek_id) ||
		(pge_cache_idle > 0 && now >= touched + (uint64) pge_cache_idle * 1000);
}

/*
 * X0: the deadline has passed, and the key is kept for those who will have asked in
 * vain.  Contexts made from the slot become void, and nothing is written,
 * so who would wipe it finds it at the next look.
 */
static void
outdate_slot(int i, uint64 g)
{
	(void) pg_atomic_compare_exchange_u64(&generations[i], &g, g + 2);
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

		if (is_odd(g) || !slots[i].content.used)
			continue;
		if (has_expired(&slots[i], now, PGE_EPOCH_FLUSH(load_epoch())))
			wiped += wipe_slot(i, g);
		else if (now >= slots[i].content.deadline_ms)
			outdate_slot(i, g);
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
