/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  No key material and no nonce outlives a transaction; and what a key service has
 *	  done, whose transaction ends in vain, is told.
 *
 * Nothing here can throw.  Exit needs no callback of its own: the server
 * aborts an open transaction on its way out, and contexts.c listens besides.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"

#include "cache/contexts.h"
#include "cache/epoch.h"
#include "crypto/random.h"
#include "keyring/memo.h"
#include "ops/kek_rollback.h"
#include "ops/transaction.h"

static void
clear(void)
{
	pge_contexts_free_all();
	pge_random_drop_pool();
}

static void
at_end(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			pge_memo_forget();	/* C3: rows that it wrote itself */
			clear();
			pge_kek_acts_aborted();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
			clear();			/* C2: own rows went void with W */
			pge_kek_acts_committed();
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine,
					  SubTransactionId parent,
					  void *arg pg_attribute_unused())
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		pge_kek_acts_subcommitted(mine, parent);
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	if (pge_epoch_changed())
		pge_memo_forget();		/* C3 */
	pge_contexts_free_since(mine);
	pge_kek_acts_subaborted(mine);
}

void
pge_transaction_register_callbacks(void)
{
	RegisterXactCallback(at_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}
