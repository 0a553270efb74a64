/*-------------------------------------------------------------------------
 *
 * rewrap_write.c
 *	  Writes the new wrappings that the agent made.
 *
 * The key's row is locked first, so that no key is destroyed between its old
 * wrapping and its new one; then the old wrapping is superseded only if it is
 * still the one that was rewrapped.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/crash_point.h"
#include "keyring/writes.h"
#include "ops/rewrap_private.h"

static bool write_one(RewrapRun *run, StagedRewrap *staged, KeyringKey *locked);
static bool lock_live_key(const char *key_id, KeyringKey *locked);
static bool would_lose_key(const RewrapRun *run, const StagedRewrap *staged);
static bool is_wrapped_under(uint32 dek_id, const char *kek);
static void look_again(const RewrapRun *run, RewrapResult *result);

void
pge_rewrap_write(RewrapRun *run, RewrapStage *stage, RewrapSink sink, void *arg)
{
	MemoryContext per_dek = AllocSetContextCreate(CurrentMemoryContext,
												  "rewrap of one data key",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(per_dek);
	KeyringKey	locked = {0};
	StagedRewrap staged;

	/*
	 * Whoever reads our answer may destroy the old KEK: a crash must not
	 * bring the old wrappings back, whatever synchronous_commit says.
	 */
	if (!run->dry_run)
		ForceSyncCommit();
	while (pge_rewrap_stage_next(stage, &staged))
	{
		CHECK_FOR_INTERRUPTS();
		if (run->dry_run || staged.seq == 0 || write_one(run, &staged, &locked))
		{
			run->counts[staged.result.outcome]++;
			sink(arg, &staged.result);
		}
		MemoryContextReset(per_dek);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(per_dek);
	pge_rewrap_stage_end(stage);
}

/* False: the key was destroyed since, and there is nothing to tell. */
static bool
write_one(RewrapRun *run, StagedRewrap *staged, KeyringKey *locked)
{
	RewrapResult *result = &staged->result;
	bool		unchanged;

	if (!lock_live_key(result->key_id, locked))
		return false;
	if (would_lose_key(run, staged))
	{
		look_again(run, result);
		return true;
	}
	unchanged = run->keep_old ?
		pge_lock_wrapping(result->dek_id, staged->seq, staged->old_wrapped) :
		pge_write_supersede(result->dek_id, staged->seq, staged->old_wrapped);
	run->changed |= unchanged;
	PGE_CRASH_POINT("rewrap.superseded");
	if (!unchanged)
		look_again(run, result);
	else if (staged->wrapped.len > 0 &&
			 !pge_write_wrapping(result->dek_id, run->new.name,
								 staged->kek_version, staged->wrapped))
	{
		/* a rewrap from a third KEK was here first, and proved its own */
		result->outcome = PGE_REWRAP_ALREADY;
	}
	PGE_CRASH_POINT("rewrap.written");
	return true;
}

/* Staged in the order of key_id, so each key is locked once. */
static bool
lock_live_key(const char *key_id, KeyringKey *locked)
{
	if (strcmp(locked->key_id, key_id) != 0 && !pge_lock_key(key_id, locked))
		return false;
	return locked->state != PGE_KEY_STATE_DESTROYED;
}

/*
 * Nothing new is written where the agent proved a wrapping that was there: under
 * the key's lock it must be there still, or the old one could be the last.
 */
static bool
would_lose_key(const RewrapRun *run, const StagedRewrap *staged)
{
	return !run->keep_old && staged->wrapped.len == 0 &&
		!is_wrapped_under(staged->result.dek_id, run->new.name);
}

static bool
is_wrapped_under(uint32 dek_id, const char *kek)
{
	KeyringWrapping *wrappings;
	int			count = pge_keyring_wrappings(dek_id, &wrappings);

	for (int i = 0; i < count; i++)
		if (strcmp(wrappings[i].kek, kek) == 0)
			return true;
	return false;
}

/* Another rewrap superseded what we rewrapped. */
static void
look_again(const RewrapRun *run, RewrapResult *result)
{
	KeyringWrapping *wrappings;
	int			count = pge_keyring_wrappings(result->dek_id, &wrappings);

	for (int i = 0; i < count; i++)
	{
		if (strcmp(wrappings[i].kek, run->new.name) == 0 &&
			(!run->same || pge_rewrap_is_newest(run, &wrappings[i])))
		{
			result->outcome = PGE_REWRAP_ALREADY;
			return;
		}
	}
	result->outcome = PGE_REWRAP_FAILED;
	result->detail = "Another session changed its wrapping meanwhile; run the rewrap again.";
}
