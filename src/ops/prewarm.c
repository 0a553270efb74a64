/*-------------------------------------------------------------------------
 *
 * prewarm.c
 *	  DEKs into the shared cache before the first value asks.
 *
 * The reader's steps without a value: each key's rows are read under one W,
 * requests carry its F, rows are read again if only E moved (R6), and
 * pge_dek_cache_put publishes only while W stands (R7, R8).  A DEK that could not
 * be had is left to the first value, which will say why; a prewarm that fails for
 * one key in a thousand would be of no use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/crash_point.h"
#include "base/harden.h"
#include "base/settings.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "client/client.h"
#include "ops/dek.h"
#include "ops/prewarm.h"
#include "ops/unwrap.h"

#define PUBLISH_TRIES	3		/* under steady commits */

typedef struct Warming
{
	uint64		ticket;
	uint64		w;				/* that the row was read under */
	uint32		refusals;		/* R before it was asked for */
	uint64		deadline_ms;
	bool		only_wrapping;
	KeyringDek	row;
	uint8		binding[PGE_BINDING_MAX];
	size_t		binding_len;
	bool		free;
} Warming;

typedef struct Prewarm
{
	PgeClientPipe *pipe;
	Warming    *warming;		/* as many as the pipe has room for */
	int			published;
	PgeSecret	dek;
} Prewarm;

/* R6: false if the DEK may not be published any more. */
static bool
still_good(Warming *one)
{
	uint64		w = pge_dek_load_epoch();
	KeyringDek	now;
	KeyringKey	key;

	if (w == one->w)
		return true;
	if (PGE_EPOCH_FLUSH(w) != PGE_EPOCH_FLUSH(one->w))
		return false;
	one->w = w;
	return pge_keyring_find_dek(one->row.dek_id, &now) && !now.own &&
		now.state != PGE_DEK_DESTROYED &&
		memcmp(now.check_value, one->row.check_value, PGE_CHECK_VALUE_LEN) == 0 &&
		pge_keyring_find_key(now.key_id, &key) && !key.own &&
		key.state == PGE_KEY_ENABLED;
}

static void
publish(Prewarm *prewarm, Warming *one)
{
	DekCacheTag tag = pge_dek_tag(&one->row);
	bool		done = false;

	for (int tries = 0; !done && tries < PUBLISH_TRIES && still_good(one); tries++)
	{
		DekCacheRef ref = {.deadline_ms = one->deadline_ms, .refusals = one->refusals};

		done = pge_dek_cache_put(&tag, &prewarm->dek, one->w, one->deadline_ms, &ref);
	}
	prewarm->published += done;
	pge_secret_wipe(&prewarm->dek, sizeof(prewarm->dek));
}

static void
take_answer(Prewarm *prewarm)
{
	PgeFrame	answer;

	pge_client_pipe_next(prewarm->pipe, &answer);
	for (int i = 0; i < PGE_REQUESTS_MAX; i++)
	{
		Warming    *one = &prewarm->warming[i];

		if (one->free || one->ticket != answer.ticket)
			continue;
		one->free = true;
		if (answer.status == PGE_OK &&
			pge_unwrap_accept(&one->row, pge_bytes(one->binding, one->binding_len),
							  &answer, &prewarm->dek) == PGE_OK)
		{
			PGE_CRASH_POINT("prewarm.unwrapped");
			publish(prewarm, one);
		}
		else if (one->only_wrapping && pge_unwrap_was_refused((PgeStatus) answer.status))
			pge_dek_cache_refused(MyDatabaseId, one->row.dek_id);
		return;
	}
}

static Warming *
free_place(Prewarm *prewarm)
{
	while (!pge_client_pipe_can_submit(prewarm->pipe))
		take_answer(prewarm);
	for (int i = 0; i < PGE_REQUESTS_MAX; i++)
	{
		if (prewarm->warming[i].free)
			return &prewarm->warming[i];
	}
	take_answer(prewarm);
	return free_place(prewarm);
}

static void
submit(Prewarm *prewarm, const KeyringDek *row, uint64 w)
{
	Warming    *one = free_place(prewarm);
	PgeBuffer	binding = {one->binding, 0, sizeof(one->binding)};
	KeyringWrapping *wrappings;
	PgeFrame	request;
	int			count = pge_keyring_wrappings(row->dek_id, &wrappings);

	if (count == 0 ||
		pge_keyring_binding(row, &binding) != PGE_OK)
		return;
	one->row = *row;
	one->w = w;
	one->only_wrapping = count == 1;
	one->refusals = pge_dek_cache_refusals(row->dek_id);
	one->binding_len = binding.len;
	pge_unwrap_request(&one->row, pge_buffer_bytes(&binding), &wrappings[0],
					   PGE_EPOCH_FLUSH(w), &request);
	one->deadline_ms = pge_now_ms() + (uint64) pge_cache_ttl * 1000;
	pge_client_pipe_submit(prewarm->pipe, &request);
	one->ticket = request.ticket;
	one->free = false;
	pfree(wrappings);
}

static bool
is_cached(Prewarm *prewarm, const KeyringDek *row, uint64 w)
{
	DekCacheTag tag = pge_dek_tag(row);
	DekCacheRef ref;
	bool		cached = pge_dek_cache_get(&tag, PGE_EPOCH_FLUSH(w),
										   &prewarm->dek, &ref);

	pge_secret_wipe(&prewarm->dek, sizeof(prewarm->dek));
	return cached;
}

/* A key may be named twice before its first answer is there. */
static bool
is_asked(const Prewarm *prewarm, const KeyringDek *row)
{
	for (int i = 0; i < PGE_REQUESTS_MAX; i++)
		if (!prewarm->warming[i].free &&
			prewarm->warming[i].row.dek_id == row->dek_id)
			return true;
	return false;
}

static void
warm_key(Prewarm *prewarm, const char *key_id)
{
	uint64		w = pge_dek_load_epoch();	/* R1 */
	KeyringKey	key;
	KeyringDek *deks;
	int			count;

	if (!pge_keyring_find_key(key_id, &key) || key.state != PGE_KEY_ENABLED ||
		key.own)
		return;
	count = pge_keyring_deks(key_id, &deks);
	for (int i = 0; i < count; i++)
	{
		if (deks[i].state != PGE_DEK_DESTROYED && !deks[i].own &&
			!is_asked(prewarm, &deks[i]) && !is_cached(prewarm, &deks[i], w))
			submit(prewarm, &deks[i], w);
	}
	if (count > 0)
		pfree(deks);
}

int
pge_prewarm(const char *const *key_ids, int count)
{
	Prewarm		prewarm = {0};

	pge_harden_process();
	prewarm.warming = palloc0(sizeof(Warming) * PGE_REQUESTS_MAX);
	for (int i = 0; i < PGE_REQUESTS_MAX; i++)
		prewarm.warming[i].free = true;
	PG_TRY();
	{
		prewarm.pipe = pge_client_pipe_begin(PGE_REQUESTS_MAX);
		for (int i = 0; i < count; i++)
			warm_key(&prewarm, key_ids[i]);
		while (pge_client_pipe_pending(prewarm.pipe) > 0)
			take_answer(&prewarm);
		pge_client_pipe_end(prewarm.pipe);
	}
	PG_FINALLY();
	{
		pge_secret_wipe(&prewarm.dek, sizeof(prewarm.dek));
	}
	PG_END_TRY();
	return prewarm.published;
}
