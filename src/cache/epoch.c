/*-------------------------------------------------------------------------
 *
 * epoch.c
 *	  The writer's half of revocation: D2 and D3 at commit.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/crash_point.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "cache/epoch.h"

/*
 * Of the current transaction.  ROLLBACK TO leaves them: a bump or a wipe too
 * many costs a look at the tables, and no promise.
 */
static bool changed;
static uint32 *doomed;			/* DEKs to wipe, in TopTransactionContext */
static int	ndoomed;
static int	doomed_capacity;

void
pge_epoch_note_change(void)
{
	changed = true;
}

/* Allocates here, because the commit callback may not. */
void
pge_epoch_wipe_at_commit(uint32 dek_id)
{
	changed = true;
	if (ndoomed == doomed_capacity)
	{
		int			capacity = doomed_capacity == 0 ? 16 : doomed_capacity * 2;

		if (doomed == NULL)
			doomed = MemoryContextAlloc(TopTransactionContext,
										capacity * sizeof(uint32));
		else
			doomed = repalloc(doomed, capacity * sizeof(uint32));
		doomed_capacity = capacity;
	}
	doomed[ndoomed++] = dek_id;
}

bool
pge_epoch_changed(void)
{
	return changed;
}

static void
forget(void)
{
	changed = false;
	doomed = NULL;
	ndoomed = doomed_capacity = 0;
}

/*
 * Called when the commit is visible (D1 is ProcArrayEndTransaction) and before
 * the client hears of it (D4).  fetch_add is a full barrier.  Nothing here can
 * throw.
 */
static void
publish_change(void)
{
	PgeControl *control = pge_control();

	if (control == NULL)
		return;
	PGE_CRASH_POINT_NO_THROW("commit.visible");
	pg_atomic_fetch_add_u64(&control->epoch, PGE_EPOCH_STATE_BUMP); /* D2 */
	PGE_CRASH_POINT_NO_THROW("commit.bumped");
	for (int i = 0; i < ndoomed; i++)
		pge_dek_cache_wipe_dek(MyDatabaseId, doomed[i]);	/* D3 */
	PGE_CRASH_POINT_NO_THROW("commit.wiped");
}

static void
refuse_prepare(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot PREPARE a transaction that changed keys of pg_envelope"),
			 errdetail("Other sessions learn of the change from the session that commits it."),
			 errhint("Change keys in a transaction that ends with COMMIT.")));
}

static void
at_transaction_end(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (changed)
				refuse_prepare();
			break;
		case XACT_EVENT_PRE_COMMIT:
			if (changed)
				PGE_CRASH_POINT("commit.prepared");
			break;
		case XACT_EVENT_COMMIT:
			if (changed)
				publish_change();
			forget();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			forget();			/* workers do not write */
			break;
		default:
			break;
	}
}

/*
 * The server calls the callback that was registered last first, and D2 must
 * come before anything else at commit: so this is the last of ours to be
 * registered.
 */
void
pge_epoch_register_callbacks(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}
