/*-------------------------------------------------------------------------
 *
 * dek_cache_test.c
 *	  The slots: what is found, what is not, and races between processes.
 *
 * The server's part (shared memory, clock, settings) is played by this file;
 * processes share one anonymous mapping, as they do in the server.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

/* The server's printf is in a library that this program does without. */
#undef printf
#undef vprintf
#undef fprintf

#include "miscadmin.h"

#include "base/settings.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "cache/secret_region.h"
#include "check.h"

/* not linked, so that a step between two others can be taken here */
#include "cache/dek_cache.c"

#define SLOTS_MAX	16
#define ROUNDS		100000		/* per race, */
#define RACE_S		8			/* unless the machine has no time for us; */
#define LEAST		1000		/* but so many make a race, */
#define HANG_S		300			/* which is not waited for longer than this */
#define HOUR		3600000

typedef struct Shared
{
	PgeControl	control;
	pg_atomic_uint64 now;
	pg_atomic_uint32 stop;
	pg_atomic_uint32 bad;
	pg_atomic_uint64 hits;
	pg_atomic_uint64 turn[2];
	char		slots[SLOTS_MAX * 256];
} Shared;

static Shared *shared;

/* what dek_cache.c takes from the server */
volatile uint32 InterruptHoldoffCount;
int			pge_cache_grace;
int			pge_cache_idle;
int			pge_cache_size = SLOTS_MAX;

PgeControl *pge_shared_control;

uint64
pge_now_ms(void)
{
	return pg_atomic_read_u64(&shared->now);
}

void *
pge_secret_region_slots(Size *size)
{
	*size = pge_dek_cache_size(pge_cache_size);
	return shared->slots;
}

static uint64
epoch(void)
{
	return pg_atomic_read_u64(&shared->control.epoch);
}

static void
bump(void)
{
	pg_atomic_fetch_add_u64(&shared->control.epoch, PGE_EPOCH_STATE_BUMP);
}

static DekCacheTag
tag_of(uint32 dek_id)
{
	DekCacheTag tag = {.database = 5, .dek_id = dek_id};

	memset(tag.check_value, (int) dek_id, sizeof(tag.check_value));
	return tag;
}

/* Every byte tells whose it is, so that a torn one is seen. */
static PgeSecret
dek_of(uint32 dek_id)
{
	PgeSecret	dek;

	memset(dek.bytes, (int) (dek_id * 16 + 1), sizeof(dek.bytes));
	return dek;
}

static bool
put(uint32 dek_id, uint64 w, DekCacheRef *ref)
{
	DekCacheTag tag = tag_of(dek_id);
	PgeSecret	dek = dek_of(dek_id);

	memset(ref, 0, sizeof(*ref));
	ref->deadline_ms = pge_now_ms() + HOUR;
	ref->refusals = pge_dek_cache_refusals(dek_id);
	return pge_dek_cache_put(&tag, &dek, w, ref->deadline_ms, ref);
}

/* -1: not there; 0: there, but wrong bytes; 1: there. */
static int
get(uint32 dek_id, DekCacheRef *ref)
{
	DekCacheTag tag = tag_of(dek_id);
	PgeSecret	expected = dek_of(dek_id);
	PgeSecret	dek;

	memset(&dek, 0, sizeof(dek));
	if (!pge_dek_cache_get(&tag, PGE_EPOCH_FLUSH(epoch()), &dek, ref))
		return -1;
	return memcmp(&dek, &expected, sizeof(dek)) == 0;
}

static bool
holds_bytes_of(uint32 dek_id)
{
	PgeSecret	dek = dek_of(dek_id);

	return memmem(shared->slots, sizeof(shared->slots), &dek, sizeof(dek)) != NULL;
}

static void
test_find(void)
{
	DekCacheRef ref;
	DekCacheTag other = tag_of(1);
	PgeSecret	dek;

	check(get(1, &ref) == -1, "an empty cache has nothing");
	check(put(1, epoch(), &ref) && ref.slot >= 0, "a DEK is published");
	check(get(1, &ref) == 1, "and found whole");
	other.database++;
	check(!pge_dek_cache_get(&other, 0, &dek, &ref), "not from another database");
	other = tag_of(1);
	other.check_value[31] ^= 1;
	check(!pge_dek_cache_get(&other, 0, &dek, &ref), "not with another check value");
	check(all_zero(dek.bytes, sizeof(dek.bytes)), "and no bytes of it come out");
	other = tag_of(1);
	check(!pge_dek_cache_get(&other, 1, &dek, &ref), "not for another flush");
	check(pge_dek_cache_used() == 1, "one slot is used");
}

static void
test_revoke(void)
{
	DekCacheRef old;
	DekCacheRef ref;
	uint64		w = epoch();

	check(get(1, &old) == 1 && pge_dek_cache_ref_valid(&old, 0), "a context of the slot is good");
	put(2, w, &ref);
	pge_dek_cache_wipe_dek(6, 1);
	check(get(1, &ref) == 1, "wiping in another database leaves it");
	pge_dek_cache_wipe_dek(5, 1);
	check(get(1, &ref) == -1 && get(2, &ref) == 1, "a wiped DEK is gone, the other is not");
	check(!pge_dek_cache_ref_valid(&old, 0), "and contexts of it are void");
	check(!holds_bytes_of(1), "and its bytes are nowhere");

	bump();
	check(!put(3, w, &ref) && ref.slot < 0, "a row read before the bump publishes nothing");
	check(!holds_bytes_of(3) && get(3, &ref) == -1, "and leaves nothing");
}

/* What a reader gets of a slot that it may not use is zeros. */
static void
check_nothing_comes_out(const char *why, const DekCacheTag *tag, uint32 flush)
{
	DekCacheRef ref;
	PgeSecret	dek;

	memset(&dek, 0xaa, sizeof(dek));
	check(!pge_dek_cache_get(tag, flush, &dek, &ref), "%s: not found", why);
	check(all_zero(dek.bytes, sizeof(dek.bytes)), "%s: and no byte of it stays with who asked", why);
}

static void
test_unusable_copies(void)
{
	DekCacheTag tag = tag_of(8);
	DekCacheRef ref;
	uint64		now = pge_now_ms();

	put(8, epoch(), &ref);
	check_nothing_comes_out("for another flush", &tag, PGE_EPOCH_FLUSH(epoch()) + 1);
	pg_atomic_write_u64(&shared->now, now + HOUR);
	check_nothing_comes_out("when its time is over", &tag, PGE_EPOCH_FLUSH(epoch()));
	pg_atomic_write_u64(&shared->now, now);
	check(get(8, &ref) == 1, "before that it is found");
	pge_dek_cache_wipe_dek(5, 8);
}

/* R7: of those who have seen one generation, one gets the slot. */
static void
test_one_writer(void)
{
	uint64		seen = load_generation(0);
	uint64		before = seen;

	check(!is_odd(seen) && lock_slot(0, seen), "a slot that nobody writes is taken");
	check(!lock_slot(0, seen), "and by nobody else who saw it free");
	check(is_odd(load_generation(0)) && !wipe_slot(0, seen), "nor wiped by one");
	unlock_slot(0, seen);
	check(load_generation(0) == before + 2 && !lock_slot(0, seen), "nor later, by what was seen before");
}

static void
test_flush(void)
{
	DekCacheRef old;
	uint64		w = epoch();

	check(put(4, w, &old), "a DEK before the flush");
	pge_dek_cache_flush();
	check(PGE_EPOCH_FLUSH(epoch()) == PGE_EPOCH_FLUSH(w) + 1, "a flush adds to F");
	check((uint32) epoch() == (uint32) w, "and leaves E");
	check(pge_dek_cache_used() == 0 && !holds_bytes_of(4) && !holds_bytes_of(2),
		  "no slot is used after it, no byte is left");
	check(!pge_dek_cache_ref_valid(&old, PGE_EPOCH_FLUSH(epoch())), "contexts from before it are void");
	old.slot = -1;
	check(!pge_dek_cache_ref_valid(&old, PGE_EPOCH_FLUSH(epoch())), "private ones too");
}

static void
test_expiry(void)
{
	DekCacheRef old;
	DekCacheRef ref;

	put(5, epoch(), &old);
	check(pge_dek_cache_expire() == 0, "nothing expires at once");
	pg_atomic_fetch_add_u64(&shared->now, HOUR);
	check(get(5, &ref) == -1, "an expired DEK is not found, keeper or not");
	check(pge_dek_cache_expire() == 1 && !holds_bytes_of(5), "the keeper wipes it");
	check(!pge_dek_cache_ref_valid(&old, PGE_EPOCH_FLUSH(epoch())), "contexts of it are void");
	old.slot = -1;
	check(!pge_dek_cache_ref_valid(&old, PGE_EPOCH_FLUSH(epoch())), "private ones by their deadline");

	put(6, epoch(), &ref);
	pge_cache_idle = 10;
	pg_atomic_fetch_add_u64(&shared->now, 9000);
	check(get(6, &ref) == 1 && pge_dek_cache_expire() == 0, "a use keeps it from being idle");
	pg_atomic_fetch_add_u64(&shared->now, 9000);
	check(pge_dek_cache_expire() == 0, "for the whole time");
	pg_atomic_fetch_add_u64(&shared->now, 1000);
	check(pge_dek_cache_expire() == 1, "and then it goes");
	pge_cache_idle = 0;
}

/* As get(), by G2. */
static int
get_late(uint32 dek_id, DekCacheRef *ref, uint64 *ttl_ms)
{
	DekCacheTag tag = tag_of(dek_id);
	PgeSecret	expected = dek_of(dek_id);
	PgeSecret	dek;
	bool		busy;

	memset(&dek, 0, sizeof(dek));
	if (!pge_dek_cache_get_late(&tag, PGE_EPOCH_FLUSH(epoch()), &dek, ref, ttl_ms, &busy))
		return -1;
	return memcmp(&dek, &expected, sizeof(dek)) == 0;
}

static void
pass(uint64 ms)
{
	pg_atomic_fetch_add_u64(&shared->now, ms);
}

static void
test_grace(void)
{
	DekCacheTag tag = tag_of(9);
	PgeSecret	dek = dek_of(9);
	DekCacheRef old;
	DekCacheRef ref;
	uint64		ttl_ms;
	uint64		end;

	pge_cache_grace = 100;
	put(9, epoch(), &old);
	end = old.deadline_ms + 100000;
	pass(HOUR);
	check(get(9, &ref) == -1, "grace: when its time is over a DEK is not found without a question");
	check(pge_dek_cache_expire() == 0 && holds_bytes_of(9), "the keeper keeps it");
	check(!pge_dek_cache_ref_valid(&old, PGE_EPOCH_FLUSH(epoch())), "but contexts of it are void");
	check(get_late(9, &ref, &ttl_ms) == 1 && ttl_ms == old.deadline_ms, "who has asked in vain finds it, with its time");

	ref.deadline_ms = pge_now_ms() + 1000;
	check(pge_dek_cache_put(&tag, &dek, epoch(), ttl_ms, &ref), "and publishes it again");
	check(pge_dek_cache_used() == 1, "in its own slot");
	check(get(9, &old) == 1 && old.deadline_ms == ref.deadline_ms, "from which others have it for a while");
	pass(1000);
	check(get(9, &ref) == -1 && pge_dek_cache_expire() == 0 &&
		  !pge_dek_cache_ref_valid(&old, PGE_EPOCH_FLUSH(epoch())), "and then ask again");

	pg_atomic_write_u64(&shared->now, end - 1);
	check(get_late(9, &ref, &ttl_ms) == 1 && pge_dek_cache_expire() == 0, "until cache_grace is over, counted from cache_ttl");
	pass(1);
	check(get_late(9, &ref, &ttl_ms) == -1, "then it is not found");
	check(pge_dek_cache_expire() == 1 && !holds_bytes_of(9), "and wiped");

	put(9, epoch(), &ref);
	pass(HOUR);
	pge_cache_grace = 0;
	check(get_late(9, &ref, &ttl_ms) == -1, "a setting that went down counts for what is cached");
	check(pge_dek_cache_expire() == 1 && !holds_bytes_of(9), "and the keeper wipes it");

	pge_cache_grace = 100;
	put(9, epoch(), &ref);
	pass(HOUR);
	pge_dek_cache_flush();
	check(get_late(9, &ref, &ttl_ms) == -1 && !holds_bytes_of(9), "a flush ends grace, too");
	pge_cache_grace = 0;
}

static void
test_refusal(void)
{
	DekCacheRef own;
	DekCacheRef old;
	DekCacheRef ref;
	DekCacheTag tag = tag_of(1);
	PgeSecret	dek = dek_of(1);
	uint64		ttl_ms;

	put(1, epoch(), &old);
	put(2, epoch(), &ref);
	own = old;
	own.slot = -1;
	check(pge_dek_cache_ref_valid(&own, PGE_EPOCH_FLUSH(epoch())), "refusal: a private context is good");
	pge_dek_cache_refused(5, 1);
	check(get(1, &ref) == -1 && get(2, &ref) == 1, "what was refused is gone, the other is not");
	check(!holds_bytes_of(1), "and its bytes are nowhere");
	check(!pge_dek_cache_ref_valid(&old, PGE_EPOCH_FLUSH(epoch())), "contexts of the slot are void");
	check(!pge_dek_cache_ref_valid(&own, PGE_EPOCH_FLUSH(epoch())), "and private ones");

	ref = old;					/* asked for before the refusal, answered
								 * after */
	check(!pge_dek_cache_put(&tag, &dek, epoch(), ref.deadline_ms, &ref) && !holds_bytes_of(1),
		  "an answer from before it is not published");
	check(put(1, epoch(), &ref) && get(1, &ref) == 1, "one from after it is");

	/* N2 passes a slot that is being written; its content is from before */
	pge_control_refuse(1);
	pge_cache_grace = 100;
	check(get(1, &ref) == -1 && get_late(1, &ref, &ttl_ms) == -1, "what N2 has passed is not used");
	check(pge_dek_cache_expire() == 1 && !holds_bytes_of(1), "and the keeper wipes it");
	pge_cache_grace = 0;
	pge_dek_cache_flush();
}

/* A DEK whose number ends alike is none of a refusal's business, even in grace. */
static void
test_refusal_of_neighbours(void)
{
	DekCacheRef refs[2 * PGE_REFUSAL_PROBES];
	DekCacheRef ref;
	uint64		ttl_ms;
	bool		void_now = true;

	put(1, epoch(), &ref);
	pge_cache_grace = 100;
	for (int i = 0; i < 100; i++)
		pge_dek_cache_refused(5, 1 + PGE_REFUSALS);
	check(get(1, &ref) == 1, "neighbours: what another's refusals leave in the cache is found");
	check(pge_dek_cache_expire() == 0, "and stays");
	pass(HOUR);
	check(get_late(1, &ref, &ttl_ms) == 1, "in grace, too");
	pge_cache_grace = 0;
	pge_dek_cache_flush();

	/* more of them than there are places: each refusal still counts */
	for (uint32 i = 0; i < lengthof(refs); i++)
	{
		memset(&refs[i], 0, sizeof(refs[i]));
		refs[i].slot = -1;
		refs[i].dek_id = 3 + i * PGE_REFUSALS;
		refs[i].deadline_ms = PG_UINT64_MAX;
	}
	for (int round = 0; round < 2; round++)
		for (uint32 i = 0; i < lengthof(refs); i++)
		{
			refs[i].refusals = pge_dek_cache_refusals(refs[i].dek_id);
			void_now = void_now && pge_dek_cache_ref_valid(&refs[i], 0);
			pge_dek_cache_refused(5, refs[i].dek_id);
			void_now = void_now && !pge_dek_cache_ref_valid(&refs[i], 0);
		}
	check(void_now, "of many that have one home each refusal counts");
}

/* D3 that finds a slot outdated under it (X0) has to come again. */
static void
test_outdated_while_wiped(void)
{
	DekCacheRef ref;
	uint64		g;

	put(1, epoch(), &ref);
	g = load_generation(ref.slot);
	outdate_slot(ref.slot, g);
	check(load_generation(ref.slot) == g + 2 && holds_bytes_of(1), "X0 moves the generation and nothing else");
	check(!wipe_slot(ref.slot, g), "a wipe by what was seen before is lost");
	wipe_slot_of(ref.slot, 5, 1);
	check(!holds_bytes_of(1), "and done by what is seen now");
}

static void
test_eviction(void)
{
	DekCacheRef first;
	DekCacheRef ref;
	int			found = 0;

	put(1, epoch(), &first);
	for (uint32 id = 2; id <= 15; id++)
		put(id, epoch(), &ref);
	for (uint32 id = 1; id <= 15; id++)
		found += get(id, &ref) == 1;
	check(found == 15, "as many as there are slots stay");
	pg_atomic_fetch_add_u64(&shared->now, 5000);
	for (uint32 id = 2; id <= 15; id++)
		get(id, &ref);
	put(200, epoch(), &ref);
	check(put(201, epoch(), &ref), "one more finds a place");
	check(get(1, &ref) == -1 && !pge_dek_cache_ref_valid(&first, PGE_EPOCH_FLUSH(epoch())),
		  "that of the one not lately used, whose contexts are void");
	found = 0;
	for (uint32 id = 2; id <= 15; id++)
		found += get(id, &ref) == 1;
	check(found == 14, "the others keep theirs");
	pge_dek_cache_flush();
}

/* Runs "work" in n processes until ROUNDS hits are counted. */
static void
race(void (*work) (int), int n)
{
	pid_t		pids[8];
	time_t		start = time(NULL);
	uint64		hits = 0;

	pg_atomic_write_u32(&shared->stop, 0);
	pg_atomic_write_u32(&shared->bad, 0);
	pg_atomic_write_u64(&shared->hits, 0);
	pg_atomic_write_u64(&shared->turn[0], 0);
	pg_atomic_write_u64(&shared->turn[1], 0);
	for (int i = 0; i < n; i++)
	{
		pids[i] = fork();
		if (pids[i] == 0)
		{
			work(i);
			_exit(0);
		}
		if (pids[i] < 0)
			abort();
	}
	while (hits < ROUNDS && time(NULL) < start + (hits <= LEAST ? HANG_S : RACE_S))
	{
		usleep(1000);
		hits = pg_atomic_read_u64(&shared->hits);
	}
	pg_atomic_write_u32(&shared->stop, 1);
	for (int i = 0; i < n; i++)
	{
		int			status;

		if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
			pg_atomic_fetch_add_u32(&shared->bad, 1);
	}
}

static bool
racing(void)
{
	return pg_atomic_read_u32(&shared->stop) == 0;
}

/* Two DEKs fight for one slot; whoever finds one finds all of its bytes. */
static void
publish_and_read(int me)
{
	DekCacheRef ref;

	while (racing())
	{
		for (uint32 id = 1; id <= 2; id++)
		{
			int			got = get(id, &ref);

			if (got == 0)
				pg_atomic_fetch_add_u32(&shared->bad, 1);
			if (got == 1)
				pg_atomic_fetch_add_u64(&shared->hits, 1);
			if (got == -1 || me == 0)
				put(id, epoch(), &ref);
		}
	}
}

/* Before this process uses the cache: the children see one slot, it sees more. */
static void
test_torn(void)
{
	pge_cache_size = 1;
	race(publish_and_read, 3);
	check(pg_atomic_read_u64(&shared->hits) > LEAST, "the race was one");
	check(pg_atomic_read_u32(&shared->bad) == 0, "no torn bytes, none of another DEK");
	memset(shared->slots, 0, sizeof(shared->slots));
	pge_cache_size = SLOTS_MAX;
}

/* Both meet here, so that what follows begins at once on both sides. */
static bool
meet(int me, uint64 turn)
{
	int			waits = 0;

	pg_atomic_write_u64(&shared->turn[me], turn);
	pg_memory_barrier();
	while (pg_atomic_read_u64(&shared->turn[1 - me]) < turn)
	{
		if (!racing())
			return false;
		if (++waits % 1000 == 0)
			sched_yield();		/* the other may need this very core */
	}
	pg_memory_barrier();
	return true;
}

/*
 * P9, round after round: one publishes what it read under W, the other bumps W
 * and wipes.  When both are done nothing of it is in a slot.
 */
static void
revoke_against_publish(int me)
{
	DekCacheRef ref;

	for (uint64 turn = 1;; turn += 3)
	{
		uint64		w = epoch();

		if (!meet(me, turn))
			return;
		if (me == 0)
			put(7, w, &ref);
		else
		{
			for (volatile int spin = 0; spin < (int) (turn / 3 % 64); spin++)
				;
			bump();
			pge_dek_cache_wipe_dek(5, 7);
		}
		if (!meet(me, turn + 1))
			return;
		if (me == 0)
		{
			if (holds_bytes_of(7))
				pg_atomic_fetch_add_u32(&shared->bad, 1);
			pg_atomic_fetch_add_u64(&shared->hits, 1);
			pge_dek_cache_wipe_dek(5, 7);
		}
		if (!meet(me, turn + 2))
			return;
	}
}

static void
test_revoke_race(void)
{
	race(revoke_against_publish, 2);
	check(pg_atomic_read_u64(&shared->hits) > LEAST, "the race was one");
	check(pg_atomic_read_u32(&shared->bad) == 0, "nothing revoked stays in a slot");
}

int
main(void)
{
	shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	pge_shared_control = &shared->control;
	pg_atomic_write_u64(&shared->now, 1000000);
	test_torn();
	test_find();
	test_revoke();
	test_unusable_copies();
	test_one_writer();
	test_flush();
	test_expiry();
	test_grace();
	test_refusal();
	test_refusal_of_neighbours();
	test_outdated_while_wiped();
	test_eviction();
	test_revoke_race();
	return check_done();
}
