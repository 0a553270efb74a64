/*-------------------------------------------------------------------------
 *
 * dek.c
 *	  From a value's request to a ready cipher context.
 *
 * The steps R1 to R8, N1 and G1 to G3 are those of test/model/protocol.md, which was searched
 * completely by a model checker: change the model before this file.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/compat.h"
#include "base/crash_point.h"
#include "base/harden.h"
#include "base/report.h"
#include "base/settings.h"
#include "cache/contexts.h"
#include "cache/control.h"
#include "ops/dek.h"
#include "ops/refuse.h"
#include "ops/unwrap.h"

/* R6: so often a purge under way sends a miss back to the start. */
#define PURGE_TRIES		3

/*
 * G3: what was taken in grace serves for so long, and for as long again as the
 * question took, before the service is asked again: however long it hangs, no
 * more than half of the time goes into waiting for it.
 */
#define GRACE_STEP_MS	1000

/* All who were told at once that it is away come for the same slot. */
#define GRACE_TRIES		50
#define GRACE_PAUSE_US	500

static void refuse_without_memory(void) pg_attribute_noreturn();
static void
refuse_without_memory(void)
{
	pge_require_preloaded();
	elog(ERROR, "pg_envelope has no shared memory");
}

uint64
pge_dek_load_epoch(void)
{
	PgeControl *control = pge_control();
	uint64		w;

	if (unlikely(control == NULL))
		refuse_without_memory();
	w = pg_atomic_read_u64(&control->epoch);
	pg_read_barrier();			/* acquire */
	return w;
}

/*
 * Is the key of this header the one that the caller named?  The header is the
 * writer's word: bytes of another tenant must not open under the caller's key.
 */
static inline bool
is_named_key(const DekRequest *request, const KeyringMemo *memo)
{
	return request->key_id.data == NULL ||
		(request->key_id.len == memo->key_id_len &&
		 memcmp(request->key_id.data, memo->dek.key_id, memo->key_id_len) == 0);
}

/* Everything is well: one look per fact, nothing else, for the fast path. */
static inline bool
is_granted(const DekRequest *request, const KeyringMemo *memo)
{
	return (memo->rights & request->need) == request->need &&
		memo->key_state == PGE_KEY_ENABLED &&
		(request->seal ? memo->dek.state == PGE_DEK_ACTIVE
		 : memo->dek.state != PGE_DEK_DESTROYED && is_named_key(request, memo)) &&
		(!memo->require_associated_data || request->associated.len > 0);
}

/* R2 */
static inline const KeyringMemo *
decide(const DekRequest *request, uint64 w)
{
	Oid			user = GetUserId(); /* may change between two values */
	const KeyringMemo *memo;

	if (request->seal)
		memo = pge_memo_active((const char *) request->key_id.data,
							   (int) request->key_id.len,
							   user, w, request->need);
	else
		memo = pge_memo_dek(request->dek_id, user, w, request->need);
	if (unlikely(memo == NULL || !is_granted(request, memo)))
		pge_refuse(request, memo, user);
	return memo;
}

const KeyringMemo *
pge_dek_decide(const DekRequest *request, uint64 w)
{
	return decide(request, w);
}

/* What a miss holds while it may still have to start over. */
typedef struct Miss
{
	const DekRequest *request;
	uint64		w;				/* that row was read under */
	KeyringDek	row;
	PgeSecret	dek;
	uint32		refusals;		/* R before the agent was asked */
	uint64		asked_ms;
	UnwrapFailure failure;
} Miss;

static void
read_row(Miss *miss, uint64 w)
{
	miss->w = w;
	pge_memo_copy_dek(&miss->row, pge_dek_decide(miss->request, w));
}

DekCacheTag
pge_dek_tag(const KeyringDek *row)
{
	DekCacheTag tag;

	memset(&tag, 0, sizeof(tag));
	tag.database = MyDatabaseId;
	tag.dek_id = row->dek_id;
	memcpy(tag.check_value, row->check_value, PGE_CHECK_VALUE_LEN);
	return tag;
}

/*
 * R5: the request carries F of the W that the row was read under.  A rewrap or
 * a destruction under way may have taken away the wrapping that was tried: then
 * the row and its wrappings are read again, once.
 */
static bool
ask_agent(Miss *miss, uint64 *deadline_ms)
{
	miss->asked_ms = pge_now_ms();
	for (int tries = 0;; tries++)
	{
		miss->refusals = pge_dek_cache_refusals(miss->row.dek_id);
		if (pge_unwrap(&miss->row, PGE_EPOCH_FLUSH(miss->w), &miss->dek,
					   deadline_ms, &miss->failure))
			return true;
		if (!miss->failure.wrappings_moved || tries > 0)
			return false;
		read_row(miss, pge_dek_load_epoch());
	}
}

static bool
is_same_dek(const KeyringDek *a, const KeyringDek *b)
{
	return a->dek_id == b->dek_id &&
		memcmp(a->check_value, b->check_value, PGE_CHECK_VALUE_LEN) == 0;
}

/*
 * R6: what happened while the agent was asked?  False: from R1.  *keep is false
 * if the DEK is for this value only.
 */
static bool
still_good(Miss *miss, int tries, bool *keep)
{
	KeyringDek	asked = miss->row;
	uint32		flush = PGE_EPOCH_FLUSH(miss->w);
	uint64		w2 = pge_dek_load_epoch();

	*keep = PGE_EPOCH_FLUSH(w2) == flush;
	if (w2 == miss->w)
		return true;
	if (!*keep && tries < PURGE_TRIES)
		return false;

	/* Only the row again: the bytes stay good, whatever E did. */
	read_row(miss, w2);
	return is_same_dek(&miss->row, &asked);
}

/* R7, R8, unless the DEK must stay private to this backend. */
static void
publish(Miss *miss, uint32 flush, uint64 deadline_ms, bool keep, DekCacheRef *ref)
{
	DekCacheTag tag = pge_dek_tag(&miss->row);

	ref->slot = -1;
	ref->dek_id = miss->row.dek_id;
	ref->slot_generation = NULL;
	ref->generation = 0;
	ref->flush = flush;			/* not kept: R3 will not take it again */
	ref->refusals = miss->refusals;
	ref->deadline_ms = deadline_ms;
	if (keep && !miss->row.own)
		pge_dek_cache_put(&tag, &miss->dek, miss->w, deadline_ms, ref);
}

/*
 * G3: published again, R7 and R8, to be asked for again soon.  A commit meanwhile
 * has it wiped from its slot, where it may have been the last on this node: the
 * row decides once more, as in R6.  False: by now another DEK is asked for.
 */
static bool
publish_late(Miss *miss, uint64 ttl_ms, DekCacheRef *ref)
{
	KeyringDek	found = miss->row;
	DekCacheTag tag = pge_dek_tag(&miss->row);
	uint64		now = pge_now_ms();
	uint64		w;

	ref->deadline_ms = Min(now + GRACE_STEP_MS + (now - miss->asked_ms),
						   ttl_ms + (uint64) pge_cache_grace * 1000);
	for (int tries = 0; !pge_dek_cache_put(&tag, &miss->dek, miss->w, ttl_ms, ref); tries++)
	{
		w = pge_dek_load_epoch();
		if (w == miss->w || tries >= PURGE_TRIES ||
			PGE_EPOCH_FLUSH(w) != PGE_EPOCH_FLUSH(miss->w))
			break;
		read_row(miss, w);
		if (!is_same_dek(&miss->row, &found))
			return false;
	}
	return true;
}

/*
 * G1, G2: the service is away.  The row decides anew, for the answer may have taken
 * its time, and the bytes are of the F of now, or they are none.
 */
static bool
take_in_grace(Miss *miss, DekCacheRef *ref)
{
	for (int tries = 0; pge_cache_grace > 0 && tries < GRACE_TRIES; tries++)
	{
		DekCacheTag tag;
		uint64		ttl_ms;
		bool		busy;

		read_row(miss, pge_dek_load_epoch());
		tag = pge_dek_tag(&miss->row);
		if (pge_dek_cache_get(&tag, PGE_EPOCH_FLUSH(miss->w), &miss->dek, ref))
			return true;		/* another backend was faster */
		if (pge_dek_cache_get_late(&tag, PGE_EPOCH_FLUSH(miss->w), &miss->dek,
								   ref, &ttl_ms, &busy))
		{
			if (publish_late(miss, ttl_ms, ref))
				return true;
			pge_secret_wipe(&miss->dek, sizeof(miss->dek));
		}
		else if (!busy)
			return false;
		pg_usleep(GRACE_PAUSE_US);
	}
	return false;
}

/* What becomes of a value whose DEK could not be had. */
static void
do_without_answer(Miss *miss, DekCacheRef *ref)
{
	PgeStatus	status = miss->failure.status;

	if (pge_unwrap_was_refused(status))
		pge_dek_cache_refused(MyDatabaseId, miss->row.dek_id);
	else if (pge_unwrap_found_nobody(status) && take_in_grace(miss, ref))
	{
		pg_atomic_fetch_add_u64(&pge_control()->graces, 1);
		return;
	}
	pge_unwrap_report(&miss->row, &miss->failure);
}

static PgeAead *
make_context(Miss *miss, const DekCacheRef *ref)
{
	return pge_contexts_add(miss->row.dek_id, miss->row.check_value,
							miss->row.algorithm, &miss->dek, ref);
}

static PgeAead *
fetch(Miss *miss)
{
	for (int tries = 0;; tries++)
	{
		DekCacheTag tag = pge_dek_tag(&miss->row);
		DekCacheRef ref;
		uint64		deadline_ms;
		uint32		flush;
		bool		keep;

		if (pge_dek_cache_get(&tag, PGE_EPOCH_FLUSH(miss->w), &miss->dek, &ref))
			return make_context(miss, &ref);	/* R4 */

		if (!ask_agent(miss, &deadline_ms))
		{
			do_without_answer(miss, &ref);
			return make_context(miss, &ref);
		}
		flush = PGE_EPOCH_FLUSH(miss->w);
		PGE_CRASH_POINT("open.unwrapped");
		if (still_good(miss, tries, &keep))
		{
			publish(miss, flush, deadline_ms, keep, &ref);
			PGE_CRASH_POINT("open.published");
			return make_context(miss, &ref);
		}
		pge_secret_wipe(&miss->dek, sizeof(miss->dek));
		read_row(miss, pge_dek_load_epoch());	/* R1, R2 */
	}
}

/* The only place where a backend holds a DEK outside the secret region. */
static pg_noinline void
miss_context(const DekRequest *request, const KeyringMemo *memo, uint64 w,
			 DekReady *ready)
{
	Miss		miss;

	pge_harden_process();
	miss.request = request;
	miss.w = w;
	pge_memo_copy_dek(&miss.row, memo);
	PG_TRY();
	{
		ready->aead = fetch(&miss);
		PGE_CRASH_POINT("open.ready");
	}
	PG_FINALLY();
	{
		pge_secret_wipe(&miss.dek, sizeof(miss.dek));
	}
	PG_END_TRY();
	ready->dek_id = miss.row.dek_id;
	ready->algorithm = miss.row.algorithm;
}

void
pge_dek_ready(const DekRequest *request, DekReady *ready)
{
	uint64		w = pge_dek_load_epoch();	/* R1 */
	const KeyringMemo *memo = decide(request, w);	/* R2 */

	ready->aead = pge_contexts_find(memo->dek.dek_id, memo->dek.check_value,
									PGE_EPOCH_FLUSH(w));	/* R3 */
	if (unlikely(ready->aead == NULL))
	{
		miss_context(request, memo, w, ready);
		return;
	}
	ready->dek_id = memo->dek.dek_id;
	ready->algorithm = memo->dek.algorithm;
}
