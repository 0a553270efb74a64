/*-------------------------------------------------------------------------
 *
 * write_scope.c
 *	  Tells rows that a statement of ours writes from those of what runs inside of it.
 *
 * Row triggers fire while an executor runs, or finishes, or within COPY.  Only if it
 * runs the very text that we planned, the rows are ours: a function may run another
 * while ours is planned, or within, and may be given as equal a text as it likes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "tcop/utility.h"

#include "base/compat.h"
#include "keyring/write_scope.h"

static WriteScope scope;

static bool is_ours(const QueryDesc *query);

static ExecutorRun_hook_type prev_executor_run = NULL;
static ExecutorFinish_hook_type prev_executor_finish = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

WriteScope
pge_write_scope_enter(void)
{
	WriteScope	outer = scope;

	scope.entered = true;
	scope.statement = NULL;
	scope.runs = false;
	return outer;
}

void
pge_write_scope_leave(WriteScope outer)
{
	scope = outer;
}

void
pge_write_scope_statement(const char *text)
{
	scope.statement = text;
}

bool
pge_write_under_way(void)
{
	return scope.entered && scope.runs;
}

static bool
is_ours(const QueryDesc *query)
{
	return scope.statement != NULL && query->sourceText == scope.statement;
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
	scope.runs = is_ours(query);
	PG_TRY();
	{
		prev_executor_run(PGE_EXECUTOR_RUN_ARGUMENTS);
	}
	PG_FINALLY();
	{
		scope.runs = outer.runs;
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
	scope.runs = is_ours(query);
	PG_TRY();
	{
		prev_executor_finish(query);
	}
	PG_FINALLY();
	{
		scope.runs = outer.runs;
	}
	PG_END_TRY();
}

/* COPY runs no executor. */
static void
process_utility(PlannedStmt *statement, const char *text, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	WriteScope	outer = scope;

	if (likely(!outer.entered))
	{
		prev_process_utility(statement, text, read_only, context, params,
							 environment, dest, completion);
		return;
	}
	scope.runs = false;
	PG_TRY();
	{
		prev_process_utility(statement, text, read_only, context, params,
							 environment, dest, completion);
	}
	PG_FINALLY();
	{
		scope.runs = outer.runs;
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
	prev_process_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = process_utility;
}
