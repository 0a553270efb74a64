/*-------------------------------------------------------------------------
 *
 * use_counter_test.c
 *	  The table of use counts: what a full one costs, and races for its rest.
 *
 * The server's shared memory is played by an anonymous mapping that processes
 * share.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The server's printf is in a library that this program does without. */
#undef printf
#undef vprintf
#undef fprintf

#include "check.h"

/* not linked, so that entries can be looked at */
#include "cache/use_counter.c"

#define WRITERS		4
#define KEYS		(PGE_USES_MAX + 1000)	/* that the writers want to count */
#define DATABASE	5

/* what use_counter.c takes from the server */
static LWLockPadded named_locks[NUM_INDIVIDUAL_LWLOCKS];
LWLockPadded *MainLWLockArray = named_locks;

bool
LWLockAcquire(LWLock *lock, LWLockMode mode)
{
	(void) lock;
	(void) mode;
	return true;
}

void
LWLockRelease(LWLock *lock)
{
	(void) lock;
}

void *
ShmemInitStruct(const char *name, Size size, bool *found)
{
	(void) name;
	*found = false;
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Random as dek_ids are, and the same in each run. */
static uint32
dek_id_of(uint32 n)
{
	return murmurhash32(n * 2654435761U + 1) | 1;
}

static void
start_empty(void)
{
	pge_use_counter_shmem_startup();
	if (table == MAP_FAILED)
		exit(2);
}

/* What one that is not there has to look at. */
static int
longest_run(void)
{
	int			longest = 0;
	int			run = 0;

	for (int i = 0; i < 2 * ENTRIES; i++)	/* a run may go round */
	{
		run = pg_atomic_read_u64(&table->entries[i % ENTRIES].key) != 0 ? run + 1 : 0;
		longest = Max(longest, run);
	}
	return longest;
}

static uint64
sum_of(const PgeUses *uses, int count)
{
	uint64		sum = 0;

	for (int i = 0; i < count; i++)
		sum += uses[i].uses;
	return sum;
}

static bool
each_once(PgeUses *uses, int count)
{
	for (int i = 0; i < count; i++)
		for (int j = 0; j < i; j++)
			if (uses[i].dek_id == uses[j].dek_id)
				return false;
	return true;
}

static PgeUses uses[PGE_USES_MAX];

static void
a_full_table(void)
{
	PgeUseSummary summary;
	int			found = 0;
	int			longest;

	start_empty();
	for (uint32 n = 0; n < PGE_USES_MAX; n++)
		pge_use_counter_add(DATABASE, dek_id_of(n), n + 1);
	pge_use_counter_summarize(&summary);
	check(summary.tracked == PGE_USES_MAX && summary.untracked == 0, "as many keys as are counted have room");
	longest = longest_run();
	check(longest < 256, "and who is not there knows after %d entries at most", longest);

	for (uint32 n = 0; n < 1000; n++)
		pge_use_counter_add(DATABASE, dek_id_of(PGE_USES_MAX + n), 2);
	pge_use_counter_summarize(&summary);
	check(summary.tracked == PGE_USES_MAX && summary.untracked == 2000, "a thousand more are counted together");

	for (uint32 n = 0; n < PGE_USES_MAX; n++)
		pge_use_counter_add(DATABASE, dek_id_of(n), 1);
	for (uint32 n = 0; n < PGE_USES_MAX; n++)
		found += pg_atomic_read_u64(&find_or_claim(DATABASE, dek_id_of(n))->uses) == n + 2;
	check(found == PGE_USES_MAX, "those that are there are found, each with its number");
	pge_use_counter_add(DATABASE + 1, dek_id_of(0), 1);
	pge_use_counter_summarize(&summary);
	check(summary.untracked == 2001, "of another database it is another key");
}

/* As at a start: the file first, or sessions that were faster. */
static void
a_file(void)
{
	PgeUseSummary summary;
	int			count = pge_use_counter_read(uses);

	check(count == PGE_USES_MAX && each_once(uses, count), "all of it goes into a file");
	start_empty();
	pge_use_counter_load(uses, count);
	pge_use_counter_summarize(&summary);
	check(summary.tracked == PGE_USES_MAX && summary.untracked == 0, "and fits a new table");
	check(sum_of(uses, pge_use_counter_read(uses)) == (uint64) PGE_USES_MAX * (PGE_USES_MAX + 3) / 2, "with each number");
	start_empty();
	pge_use_counter_add(DATABASE, dek_id_of(KEYS), 1);
	pge_use_counter_load(uses, count);
	pge_use_counter_summarize(&summary);
	check(summary.tracked == PGE_USES_MAX && summary.untracked > 0, "beside one more, one has no room");
}

/* Who saw an empty entry, and comes second. */
static void
a_lost_claim(void)
{
	UseEntry   *entry;
	uint64		there = 0;
	uint64		key = ((uint64) DATABASE << 32) | 8;

	start_empty();
	entry = find_or_claim(DATABASE, 7);
	check(claim(entry, key, &there) && there == pg_atomic_read_u64(&entry->key) && there != key,
		  "an entry that another key was faster to get stays with that key");
	check(pg_atomic_read_u32(&table->claimed) == 1, "and is claimed once");
}

/* All want all keys, from different ends: no key twice, no seal lost, no entry too many. */
static void
a_race(void)
{
	PgeUseSummary summary;
	bool		ended = true;
	int			count;

	start_empty();
	for (int writer = 0; writer < WRITERS; writer++)
	{
		if (fork() != 0)
			continue;
		for (uint32 n = 0; n < KEYS; n++)
			pge_use_counter_add(DATABASE, dek_id_of((n + (uint32) (writer / 2) * (KEYS / 2)) % KEYS), 3);
		_exit(0);
	}
	for (int status, writer = 0; writer < WRITERS; writer++)
		ended = wait(&status) > 0 && status == 0 && ended;
	check(ended, "%d processes count %d keys", WRITERS, KEYS);
	count = pge_use_counter_read(uses);
	pge_use_counter_summarize(&summary);
	check(count == PGE_USES_MAX && pg_atomic_read_u32(&table->claimed) == PGE_USES_MAX, "as many as can be are tracked");
	check(each_once(uses, count), "each in one entry");
	check(sum_of(uses, count) + summary.untracked == (uint64) WRITERS * KEYS * 3, "and no seal is lost");
}

int
main(void)
{
	a_full_table();
	a_file();
	a_lost_claim();
	a_race();
	return check_done();
}
