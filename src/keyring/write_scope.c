/*-------------------------------------------------------------------------
 *
 * write_scope.c
 *	  Tells rows that a statement of ours writes from those of what runs inside of it.
 *
 * Row triggers fire while the executor runs, statements inside of ours one executor
 * deeper: also those of AFTER triggers, which fire when it finishes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"

#include "base/compat.h"
#include "keyring/write_scope.h"

static WriteScope scope;

static ExecutorRun_hook_type prev_executor_run = NULL;
static ExecutorFinish_hook_type prev_executor_finish = NULL;

WriteScope
pge_write_scope_enter(void)
{
	WriteScope	outer = scope;

	scope.entered = true;
	scope.depth = 0;
	return outer;
}

void
pge_write_scope_leave(WriteScope outer)
{
	scope = outer;
}

bool
pge_write_under_way(void)
{
	return scope.entered && scope.depth == 1;
}

static void
executor_run(PGE_EXECUTOR_RUN_PARAMETERS)
{
	WriteScope	outer = scope;

	if (likely(!outer.entered))
	{
		prev_executor_run(PGE_EXECUTOR_RUN_ARGUMENTS);
		return;
	}
	scope.depth++;
	PG_TRY();
	{
		prev_executor_run(PGE_EXECUTOR_RUN_ARGUMENTS);
	}
	PG_FINALLY();
	{
		scope.depth = outer.depth;
	}
	PG_END_TRY();
}

static void
executor_finish(QueryDesc *query)
{
	WriteScope	outer = scope;

	if (likely(!outer.entered))
	{
		prev_executor_finish(query);
		return;
	}
	scope.depth++;
	PG_TRY();
	{
		prev_executor_finish(query);
	}
	PG_FINALLY();
	{
		scope.depth = outer.depth;
	}
	PG_END_TRY();
}

/* Any event: no statement of ours spans one. */
static void
reset_at_xact_end(XactEvent event, void *arg)
{
	(void) event;
	(void) arg;
	scope.entered = false;
}

/* Not at the start: a statement of ours may start one. */
static void
reset_at_subxact_end(SubXactEvent event, SubTransactionId mine,
					 SubTransactionId parent, void *arg)
{
	(void) mine;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		scope.entered = false;
}

void
pge_write_scope_register(void)
{
	RegisterXactCallback(reset_at_xact_end, NULL);
	RegisterSubXactCallback(reset_at_subxact_end, NULL);
	prev_executor_run = ExecutorRun_hook ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = executor_run;
	prev_executor_finish = ExecutorFinish_hook ? ExecutorFinish_hook : standard_ExecutorFinish;
	ExecutorFinish_hook = executor_finish;
}
