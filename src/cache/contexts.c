/*-------------------------------------------------------------------------
 *
 * contexts.c
 *	  Ready cipher contexts of this process, for one transaction.
 *
 * The entries hang on backend-static structures and never on the C stack, so
 * that an error thrown past a value leaves nothing behind that the end of the
 * transaction would not free.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "base/report.h"
#include "base/settings.h"
#include "cache/contexts.h"
#include "cache/control.h"
#include "cache/use_counter.h"

/*
 * With many keys in turn every value finds its context in cold cache lines:
 * what a value looks at comes first and stands close together.
 */
typedef struct Context
{
	uint32		dek_id;			/* 0: a free place */
	uint32		uses;
	PgeAead    *aead;			/* key material, in OpenSSL's heap */
	DekCacheRef ref;
	uint32		seals;			/* not handed in to use_counter.c yet */
	bool		chance;			/* used since the hand went by */
	uint8		check_value[PGE_CHECK_VALUE_LEN];
	SubTransactionId made_in;
	int			next_free;		/* of a free place: another one, or -1 */
} Context;

typedef struct ContextEntry
{
	uint32		dek_id;
	char		status;
	int			place;
} ContextEntry;

#define SH_PREFIX		contexthash
#define SH_ELEMENT_TYPE ContextEntry
#define SH_KEY_TYPE		uint32
#define SH_KEY			dek_id
#define SH_HASH_KEY(tb, key)	murmurhash32(key)
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * A slot's deadline is the keeper's business; the reader looks at the clock
 * now and then too, because the keeper may be stopped.  Then it also tells the
 * slot that it is in use: a long statement copies it out but once.
 */
#define USES_PER_LOOK	256

/* What a process that dies, or a very long transaction, keeps to itself. */
#define SEALS_PER_REPORT	4096

static MemoryContext memory;
static contexthash_hash *table;
static Context *places;			/* taken or free, up to places_used */
static int	places_used;
static int	places_made;
static int	first_free = -1;
static int	hand;				/* of the clock: where room is looked for next */
static int	count;				/* taken */
static Context *last;			/* found by the last call */

static void
free_at_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	pge_contexts_free_all();
}

static void
prepare(void)
{
	if (table != NULL)
		return;
	if (memory == NULL)
	{
		memory = AllocSetContextCreate(TopMemoryContext, "pg_envelope contexts",
									   ALLOCSET_START_SMALL_SIZES);
		before_shmem_exit(free_at_exit, (Datum) 0);
	}
	table = contexthash_create(memory, 16, NULL);
}

static void
tell_holding(bool holding)
{
	PgeControl *control = pge_control();

	if (holding)
		pg_atomic_fetch_add_u32(&control->context_holders, 1);
	else
		pg_atomic_fetch_sub_u32(&control->context_holders, 1);
}

static void
hand_in_seals(Context *context)
{
	if (context->seals > 0)
		pge_use_counter_add(MyDatabaseId, context->dek_id, context->seals);
	context->seals = 0;
}

/* Cannot throw: runs in commit, abort and exit callbacks. */
static void
free_context(Context *context)
{
	hand_in_seals(context);
	if (context->aead != NULL)
		pge_aead_free(context->aead);
	contexthash_delete(table, context->dek_id);
	if (last == context)
		last = NULL;
	memset(context, 0, sizeof(Context));
	context->next_free = first_free;
	first_free = (int) (context - places);
	if (--count == 0)
		tell_holding(false);
}

static Context *
lookup(uint32 dek_id)
{
	ContextEntry *entry;

	if (count == 0)
		return NULL;
	entry = contexthash_lookup(table, dek_id);
	return entry ? &places[entry->place] : NULL;
}

static pg_noinline bool
look_at_clock(Context *context)
{
	uint64		now = pge_now_ms();

	pge_dek_cache_touch(&context->ref, now);
	return now < context->ref.deadline_ms;
}

static inline bool
still_stands(Context *context, const uint8 *check_value, uint32 flush)
{
	/* Check values are no secrets: an early way out tells nobody anything. */
	if (memcmp(context->check_value, check_value, PGE_CHECK_VALUE_LEN) != 0 ||
		!pge_dek_cache_ref_valid(&context->ref, flush))
		return false;
	if (likely(++context->uses % USES_PER_LOOK != 0))
		return true;
	return look_at_clock(context);
}

static pg_noinline bool
make_last(uint32 dek_id)
{
	Context    *context = lookup(dek_id);

	if (context == NULL)
		return false;
	context->chance = true;
	last = context;
	return true;
}

PgeAead *
pge_contexts_find(uint32 dek_id, const uint8 *check_value, uint32 flush)
{
	if (unlikely(last == NULL || last->dek_id != dek_id) && !make_last(dek_id))
		return NULL;
	if (likely(still_stands(last, check_value, flush)))
		return last->aead;
	free_context(last);
	return NULL;
}

/*
 * The first that was not used since the hand went by.  Not the order of use,
 * which would have to be written down at each change of key.
 */
static void
evict(void)
{
	for (;;)
	{
		Context    *context;

		if (hand >= places_used)
			hand = 0;
		context = &places[hand++];
		if (context->dek_id == 0)
			continue;
		if (!context->chance)
		{
			free_context(context);
			return;
		}
		context->chance = false;
	}
}

static void
make_room(void)
{
	while (count > 0 && count >= pge_context_cache)
		evict();
}

static void
make_places(void)
{
	int			wanted = Max(16, 2 * places_made);

	if (places == NULL)
		places = MemoryContextAlloc(memory, wanted * sizeof(Context));
	else
		places = repalloc(places, wanted * sizeof(Context));
	places_made = wanted;
	last = NULL;				/* it has moved */
}

static int
take_place(void)
{
	int			place = first_free;

	if (place >= 0)
		first_free = places[place].next_free;
	else
		place = places_used++;
	return place;
}

/* An entry without a cipher yet: all that may throw comes before the key does. */
static Context *
insert(uint32 dek_id)
{
	Context    *context;
	ContextEntry *entry;
	bool		found;

	if (first_free < 0 && places_used == places_made)
		make_places();
	entry = contexthash_insert(table, dek_id, &found);
	Assert(!found);
	entry->place = take_place();
	context = &places[entry->place];
	memset(context, 0, sizeof(Context));
	context->dek_id = dek_id;
	context->chance = true;
	context->made_in = GetCurrentSubTransactionId();
	last = context;
	if (count++ == 0)
		tell_holding(true);
	return context;
}

PgeAead *
pge_contexts_add(uint32 dek_id, const uint8 *check_value, uint8 algorithm,
				 const PgeSecret *dek, const DekCacheRef *ref)
{
	Context    *context;
	PgeStatus	status;

	prepare();
	context = lookup(dek_id);
	if (context != NULL)
		free_context(context);
	make_room();
	context = insert(dek_id);
	memcpy(context->check_value, check_value, PGE_CHECK_VALUE_LEN);
	context->ref = *ref;
	status = pge_aead_new((PgeAlgorithm) algorithm, dek, &context->aead);
	if (status != PGE_OK)
	{
		context->aead = NULL;
		free_context(context);
		pge_report_error(status, "could not prepare a data key",
						 pge_bytes(NULL, 0));
	}
	return context->aead;
}

void
pge_contexts_count_seal(void)
{
	Assert(last != NULL);
	if (++last->seals == SEALS_PER_REPORT)
		hand_in_seals(last);
}

void
pge_contexts_free_all(void)
{
	for (int i = 0; count > 0; i++)
	{
		if (places[i].dek_id != 0)
			free_context(&places[i]);
	}
	places_used = 0;
	first_free = -1;
	hand = 0;
}

void
pge_contexts_free_since(SubTransactionId subid)
{
	for (int i = 0; i < places_used; i++)
	{
		if (places[i].dek_id != 0 && places[i].made_in >= subid)
			free_context(&places[i]);
	}
}
