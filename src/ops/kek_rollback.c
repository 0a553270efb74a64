/*-------------------------------------------------------------------------
 *
 * kek_rollback.c
 *	  Tells of what a key service has done and a rollback has not undone.
 *
 * Nobody shall take a key for destroyed that is there, or the other way round, because
 * the row says so.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "ops/kek_rollback.h"

typedef struct NotedAct
{
	char		name[NAMEDATALEN];
	KekAct		act;
	SubTransactionId in;
	struct NotedAct *before;
} NotedAct;

static NotedAct *acts = NULL;	/* the newest; in TopTransactionContext */

static void tell(const NotedAct *noted);

void
pge_kek_note_act(const char *name, KekAct act)
{
	NotedAct   *noted = MemoryContextAllocExtended(TopTransactionContext, sizeof(NotedAct),
												   MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);

	/*
	 * behind the act nothing may fail: without memory only the WARNING is
	 * lost
	 */
	if (noted == NULL)
		return;
	strlcpy(noted->name, name, sizeof(noted->name));
	noted->act = act;
	noted->in = GetCurrentSubTransactionId();
	noted->before = acts;
	acts = noted;
}

void
pge_kek_acts_committed(void)
{
	acts = NULL;
}

void
pge_kek_acts_aborted(void)
{
	const NotedAct *noted = acts;

	acts = NULL;
	for (; noted != NULL; noted = noted->before)
		tell(noted);
}

void
pge_kek_acts_subcommitted(SubTransactionId mine, SubTransactionId parent)
{
	for (NotedAct *noted = acts; noted != NULL; noted = noted->before)
	{
		if (noted->in == mine)
			noted->in = parent;
	}
}

/* Those of a subtransaction, and of its own, are the newest. */
void
pge_kek_acts_subaborted(SubTransactionId mine)
{
	while (acts != NULL && acts->in >= mine)
	{
		const NotedAct *noted = acts;

		acts = noted->before;
		tell(noted);
	}
}

static void
tell(const NotedAct *noted)
{
	if (noted->act == KEK_WAS_SAVED)
		ereport(WARNING,
				(errmsg("KEK \"%s\" is not destroyed any more, although the transaction was rolled back", noted->name),
				 errdetail("Its key service has called the destruction off; the table envelope.kek says as before that it is destroyed."),
				 errhint("Repeat envelope_enable_kek; or envelope_destroy_kek, if it shall be destroyed.")));
	else
		ereport(WARNING,
				(errmsg("KEK \"%s\" is destroyed in its key service, although the transaction was rolled back", noted->name),
				 errdetail("The table envelope.kek does not say so."),
				 errhint("Repeat envelope_destroy_kek; if its key service can call that off, envelope_enable_kek does it then.")));
}
