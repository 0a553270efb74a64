/*-------------------------------------------------------------------------
 *
 * use_counter.c
 *	  The table of use counts in main shared memory.
 *
 * Open addressing without a lock: an entry is claimed by putting its key into
 * an empty word and never given back, so who has seen a key there may rely on
 * it.  There are twice as many entries as keys are counted: a key that is not
 * there, one that finds no room included, comes to an empty one soon.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "cache/use_counter.h"

typedef struct UseEntry
{
	pg_atomic_uint64 key;		/* database, dek_id; 0: free (no dek_id is 0) */
	pg_atomic_uint64 uses;
	pg_atomic_uint32 warned;	/* level of the last warning; the keeper's */
} UseEntry;

#define ENTRIES		(2 * PGE_USES_MAX)

typedef struct UseTable
{
	pg_atomic_uint32 loaded;	/* the file was read into this table */
	pg_atomic_uint32 claimed;	/* entries, at most PGE_USES_MAX of them */
	pg_atomic_uint64 untracked;
	UseEntry	entries[ENTRIES];
} UseTable;

static UseTable *table = NULL;

Size
pge_use_counter_shmem_size(void)
{
	return sizeof(UseTable);
}

static void
initialize(void)
{
	pg_atomic_init_u32(&table->loaded, 0);
	pg_atomic_init_u32(&table->claimed, 0);
	pg_atomic_init_u64(&table->untracked, 0);
	for (int i = 0; i < ENTRIES; i++)
	{
		pg_atomic_init_u64(&table->entries[i].key, 0);
		pg_atomic_init_u64(&table->entries[i].uses, 0);
		pg_atomic_init_u32(&table->entries[i].warned, 0);
	}
}

void
pge_use_counter_shmem_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	table = ShmemInitStruct("pg_envelope uses", pge_use_counter_shmem_size(), &found);
	if (!found)
		initialize();
	LWLockRelease(AddinShmemInitLock);
}

/* Before an entry is claimed: at no moment are there more than the file holds. */
static bool
may_claim(void)
{
	uint32		claimed = pg_atomic_read_u32(&table->claimed);

	while (claimed < PGE_USES_MAX)
	{
		if (pg_atomic_compare_exchange_u32(&table->claimed, &claimed, claimed + 1))
			return true;
	}
	return false;
}

/* "*there" is what stands in the entry after it: the key, or that of who was faster. */
static bool
claim(UseEntry *entry, uint64 key, uint64 *there)
{
	if (!may_claim())
		return false;
	if (pg_atomic_compare_exchange_u64(&entry->key, there, key))
		*there = key;
	else
		pg_atomic_fetch_sub_u32(&table->claimed, 1);
	return true;
}

/* NULL: as many as can be counted are there, and this is none of them. */
static UseEntry *
find_or_claim(uint32 database, uint32 dek_id)
{
	uint64		key = ((uint64) database << 32) | dek_id;
	uint32		start = murmurhash32(dek_id ^ database);

	for (uint32 i = 0; i < ENTRIES; i++)
	{
		UseEntry   *entry = &table->entries[(start + i) % ENTRIES];
		uint64		there = pg_atomic_read_u64(&entry->key);

		if (there == 0 && !claim(entry, key, &there))
			return NULL;
		if (there == key)
			return entry;
	}
	return NULL;
}

void
pge_use_counter_add(uint32 database, uint32 dek_id, uint64 seals)
{
	UseEntry   *entry = find_or_claim(database, dek_id);

	pg_atomic_fetch_add_u64(entry ? &entry->uses : &table->untracked, (int64) seals);
}

int
pge_use_counter_read(PgeUses *uses)
{
	int			count = 0;

	for (int i = 0; i < ENTRIES; i++)
	{
		UseEntry   *entry = &table->entries[i];
		uint64		key = pg_atomic_read_u64(&entry->key);

		if (key == 0)
			continue;
		uses[count].database = (uint32) (key >> 32);
		uses[count].dek_id = (uint32) key;
		uses[count].uses = pg_atomic_read_u64(&entry->uses);
		count++;
	}
	return count;
}

void
pge_use_counter_summarize(PgeUseSummary *summary)
{
	memset(summary, 0, sizeof(*summary));
	summary->untracked = pg_atomic_read_u64(&table->untracked);
	for (int i = 0; i < ENTRIES; i++)
	{
		uint64		uses = pg_atomic_read_u64(&table->entries[i].uses);

		summary->tracked += uses > 0;
		summary->warned += uses >= PGE_USES_WARN;
		summary->highest = Max(summary->highest, uses);
	}
}

/* 0 below the limit, then 1, and 1 more at each doubling. */
static uint32
level_of(uint64 uses)
{
	uint32		level = 0;

	for (uint64 rest = uses / PGE_USES_WARN; rest > 0; rest /= 2)
		level++;
	return level;
}

bool
pge_use_counter_must_warn(const PgeUses *one)
{
	UseEntry   *entry = find_or_claim(one->database, one->dek_id);
	uint32		level = level_of(one->uses);

	if (entry == NULL || level <= pg_atomic_read_u32(&entry->warned))
		return false;
	pg_atomic_write_u32(&entry->warned, level);
	return true;
}

bool
pge_use_counter_loaded(void)
{
	return pg_atomic_read_u32(&table->loaded) != 0;
}

void
pge_use_counter_load(const PgeUses *uses, int count)
{
	for (int i = 0; i < count; i++)
	{
		pge_use_counter_add(uses[i].database, uses[i].dek_id, uses[i].uses);
		(void) pge_use_counter_must_warn(&uses[i]); /* it was, before they
													 * were saved */
	}
	pg_atomic_write_u32(&table->loaded, 1);
}
