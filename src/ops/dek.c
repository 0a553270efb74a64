/*-------------------------------------------------------------------------
 *
 * dek.c
 *	  From a value's request to a ready cipher context.
 *
 * The steps R1 to R8 are those of test/model/protocol.md, which was searched
 * completely by a model checker: change the model before this file.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/harden.h"
#include "base/report.h"
#include "cache/contexts.h"
#include "cache/control.h"
#include "ops/dek.h"
#include "ops/refuse.h"
#include "ops/unwrap.h"

/* R6: so often a purge under way sends a miss back to the start. */
#define PURGE_TRIES		3

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
static uint64
ask_agent(Miss *miss)
{
	UnwrapFailure failure;
	uint64		deadline_ms;

	if (pge_unwrap(&miss->row, PGE_EPOCH_FLUSH(miss->w), &miss->dek,
				   &deadline_ms, &failure))
		return deadline_ms;
	if (failure.wrappings_moved)
	{
		read_row(miss, pge_dek_load_epoch());
		if (pge_unwrap(&miss->row, PGE_EPOCH_FLUSH(miss->w), &miss->dek,
					   &deadline_ms, &failure))
			return deadline_ms;
	}
	pge_unwrap_report(&miss->row, &failure);
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
	return miss->row.dek_id == asked.dek_id &&
		memcmp(miss->row.check_value, asked.check_value,
			   PGE_CHECK_VALUE_LEN) == 0;
}

/* R7, R8, unless the DEK must stay private to this backend. */
static void
publish(Miss *miss, uint32 flush, uint64 deadline_ms, bool keep, DekCacheRef *ref)
{
	DekCacheTag tag = pge_dek_tag(&miss->row);

	ref->slot = -1;
	ref->slot_generation = NULL;
	ref->generation = 0;
	ref->flush = flush;			/* not kept: R3 will not take it again */
	ref->deadline_ms = deadline_ms;
	if (keep && !miss->row.own)
		pge_dek_cache_put(&tag, &miss->dek, miss->w, deadline_ms, ref);
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

		deadline_ms = ask_agent(miss);
		flush = PGE_EPOCH_FLUSH(miss->w);
		if (still_good(miss, tries, &keep))
		{
			publish(miss, flush, deadline_ms, keep, &ref);
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
