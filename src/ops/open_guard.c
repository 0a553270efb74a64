/*-------------------------------------------------------------------------
 *
 * open_guard.c
 *	  No value is opened where the server would keep what it sees.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "optimizer/planner.h"
#include "replication/logicalworker.h"
#include "tcop/utility.h"

#include "base/compat.h"
#include "base/report.h"
#include "base/settings.h"
#include "ops/open_guard.h"

/* What runs, as far as a restricted operation goes: the innermost counts. */
typedef enum Place
{
	PLACE_PLAIN,				/* no command that could keep a value */
	PLACE_COMMAND,
	PLACE_MATVIEW_COMMAND,		/* one that fills a materialized view */
	PLACE_MATVIEW_QUERY			/* and there, the view's own query */
} Place;

static Place place = PLACE_PLAIN;

static ProcessUtility_hook_type prev_process_utility = NULL;
static planner_hook_type prev_planner = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;
static ExecutorRun_hook_type prev_executor_run = NULL;

static bool
may_open_in(Place which)
{
	switch (which)
	{
		case PLACE_PLAIN:
			return IsLogicalWorker();
		case PLACE_MATVIEW_QUERY:
			return pge_allow_materialized_views;
		case PLACE_COMMAND:
		case PLACE_MATVIEW_COMMAND:
			break;
	}
	return false;
}

void
pge_open_guard_restricted(void)
{
	if (may_open_in(place))
		return;
	ereport(ERROR,
			(errcode(PGE_ERRCODE_GUARD),
			 errmsg("a value is not opened inside a security-restricted operation"),
			 errdetail("ANALYZE, index builds and materialized views would keep it as plaintext."),
			 errhint("Drop the index or statistics object whose expression opens sealed values; instead of a materialized view use a plain one, or let a superuser set \"pg_envelope.allow_materialized_views\".")));
}

static bool
makes_view(const Node *statement)
{
	return IsA(statement, CreateTableAsStmt) &&
		((const CreateTableAsStmt *) statement)->objtype == OBJECT_MATVIEW;
}

/* With ANALYZE, the server fills the view without a word to ProcessUtility. */
static bool
explains_view(const ExplainStmt * statement)
{
	const Query *query = castNode(Query, statement->query);

	return query->utilityStmt != NULL && makes_view(query->utilityStmt);
}

/*
 * Commands that only run what the user wrote are no place of their own; after a
 * command that fills a view (an event trigger) they fill none.
 */
static Place
place_of(const Node *statement)
{
	Place		within = place == PLACE_MATVIEW_COMMAND ? PLACE_COMMAND : place;

	switch (nodeTag(statement))
	{
		case T_CallStmt:
		case T_CopyStmt:
		case T_DoStmt:
		case T_ExecuteStmt:
		case T_FetchStmt:
			return within;
		case T_ExplainStmt:
			return explains_view((const ExplainStmt *) statement) ?
				PLACE_MATVIEW_COMMAND : within;
		case T_RefreshMatViewStmt:
			return PLACE_MATVIEW_COMMAND;
		case T_CreateTableAsStmt:
			return makes_view(statement) ? PLACE_MATVIEW_COMMAND : within;
		default:
			return PLACE_COMMAND;
	}
}

static void
process_utility(PlannedStmt *statement, const char *text, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	Place		outer = place;

	place = place_of(statement->utilityStmt);
	PG_TRY();
	{
		prev_process_utility(statement, text, read_only, context, params, environment, dest,
							 completion);
	}
	PG_FINALLY();
	{
		place = outer;
	}
	PG_END_TRY();
}

/*
 * The query whose rows go into the view.  (Before 17, CREATE MATERIALIZED VIEW
 * writes them as CREATE TABLE AS does.)  What the command runs after it, such as
 * the queries of REFRESH ... CONCURRENTLY, has another destination.
 */
static bool
fills_view(const QueryDesc *query)
{
	return place == PLACE_MATVIEW_COMMAND &&
		(query->dest->mydest == DestTransientRel ||
		 query->dest->mydest == DestIntoRel);
}

/*
 * EXPLAIN ANALYZE fills a view without the mark that the command itself sets:
 * here it gets it, which reaches parallel workers too.
 */
static void
fill_view(PGE_EXECUTOR_RUN_PARAMETERS)
{
	Place		outer = place;
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(user, context | SECURITY_RESTRICTED_OPERATION);
	place = PLACE_MATVIEW_QUERY;
	PG_TRY();
	{
		prev_executor_run(PGE_EXECUTOR_RUN_ARGUMENTS);
	}
	PG_FINALLY();
	{
		place = outer;
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
}

/*
 * That a query may open values in a restricted operation is known to this
 * process alone, so it gets no parallel workers.
 */
static void
executor_run(PGE_EXECUTOR_RUN_PARAMETERS)
{
	bool		fills = fills_view(query);

	if (unlikely(fills || InSecurityRestrictedOperation()) &&
		may_open_in(fills ? PLACE_MATVIEW_QUERY : place))
		PGE_EXECUTOR_RUN_ALONE;
	if (unlikely(fills))
		fill_view(PGE_EXECUTOR_RUN_ARGUMENTS);
	else
		prev_executor_run(PGE_EXECUTOR_RUN_ARGUMENTS);
}

/*
 * A constant call is also made to plan the view's query and to leave partitions
 * out of it; nothing is kept of that.
 */
static PlannedStmt *
plan(Query *query, const char *text, int options, ParamListInfo params)
{
	Place		outer = place;
	PlannedStmt *result;

	if (likely(outer != PLACE_MATVIEW_COMMAND))
		return prev_planner(query, text, options, params);
	place = PLACE_MATVIEW_QUERY;
	PG_TRY();
	{
		result = prev_planner(query, text, options, params);
	}
	PG_FINALLY();
	{
		place = outer;
	}
	PG_END_TRY();
	return result;
}

static void
executor_start(QueryDesc *query, int flags)
{
	Place		outer = place;

	if (likely(outer != PLACE_MATVIEW_COMMAND))
	{
		prev_executor_start(query, flags);
		return;
	}
	place = PLACE_MATVIEW_QUERY;
	PG_TRY();
	{
		prev_executor_start(query, flags);
	}
	PG_FINALLY();
	{
		place = outer;
	}
	PG_END_TRY();
}

void
pge_open_guard_register(void)
{
	prev_process_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = process_utility;
	prev_planner = planner_hook ? planner_hook : standard_planner;
	planner_hook = plan;
	prev_executor_start = ExecutorStart_hook ? ExecutorStart_hook : standard_ExecutorStart;
	ExecutorStart_hook = executor_start;
	prev_executor_run = ExecutorRun_hook ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = executor_run;
}
