/*-------------------------------------------------------------------------
 *
 * kept_plans.c
 *	  A statement that runs once for each of many rows is planned once.
 *
 * Parsing and planning were a third of what a rewrap costs the backend.  A plan is
 * made anew after so many uses: one that was made for an empty table may read the
 * whole of it, and would still do so when it has grown.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/spi.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteDefine.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#include "base/report.h"
#include "keyring/kept_plans.h"
#include "keyring/write_scope.h"

#define PLANS_MAX	40			/* a statement more is planned each time */
#define USES_MAX	1000

typedef struct KeptPlan
{
	const char *sql;
	SPIPlanPtr	plan;			/* NULL: none just now */
	int			uses;
	bool		busy;			/* it runs, so it must stay; a trigger of
								 * somebody else's may bring us here again */
} KeptPlan;

static KeptPlan plans[PLANS_MAX];

static uint64 run_kept(KeptPlan *kept, int nargs, Oid *types, Datum *values);
static uint64 run_once(const char *sql, int nargs, Oid *types, Datum *values);
static uint64 run_plan(SPIPlanPtr plan, Datum *values);
static bool does_nothing(SPIPlanPtr plan);
static void refuse_rules(SPIPlanPtr plan);
static bool has_rule(const Query *query);
static KeptPlan *find_plan(const char *sql);
static void plan_anew(KeptPlan *kept, int nargs, Oid *types);
static uint64 rows_of(int result);

uint64
pge_kept_plan_run(const char *sql, int nargs, Oid *types, Datum *values)
{
	KeptPlan   *kept = find_plan(sql);
	uint64		rows;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (kept == NULL || kept->busy)
		rows = run_once(sql, nargs, types, values);
	else
		rows = run_kept(kept, nargs, types, values);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not disconnect from SPI");
	return rows;
}

static uint64
run_once(const char *sql, int nargs, Oid *types, Datum *values)
{
	SPIPlanPtr	plan = SPI_prepare(sql, nargs, types);
	uint64		rows;

	if (plan == NULL)
		elog(ERROR, "could not plan a change of a key table: %s",
			 SPI_result_code_string(SPI_result));
	rows = run_plan(plan, values);
	refuse_rules(plan);
	return rows;
}

static uint64
run_kept(KeptPlan *kept, int nargs, Oid *types, Datum *values)
{
	volatile uint64 rows = 0;

	kept->busy = true;
	PG_TRY();
	{
		if (kept->plan == NULL || kept->uses >= USES_MAX)
			plan_anew(kept, nargs, types);
		kept->uses++;
		rows = run_plan(kept->plan, values);
		if (does_nothing(kept->plan))
			kept->uses = USES_MAX;
		refuse_rules(kept->plan);
	}
	PG_FINALLY();
	{
		kept->busy = false;
	}
	PG_END_TRY();
	return rows;
}

static uint64
run_plan(SPIPlanPtr plan, Datum *values)
{
	const		CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));

	pge_write_scope_statement(source->query_string);
	return rows_of(SPI_execute_plan(plan, values, NULL, false, 0));
}

/*
 * A rule of somebody else's has put nothing in its place.  Such a plan depends on no
 * table: the server would not tell it that the rule is gone.
 */
static bool
does_nothing(SPIPlanPtr plan)
{
	ListCell   *cell;

	foreach(cell, SPI_plan_get_plan_sources(plan))
	{
		if (((CachedPlanSource *) lfirst(cell))->query_list == NIL)
			return true;
	}
	return false;
}

/*
 * What somebody else's rule has put there would pass for ours, and what it has taken
 * away for done.  Looked at after it ran, when the plan is the one that ran: the error
 * undoes it.
 */
static void
refuse_rules(SPIPlanPtr plan)
{
	bool		changed = does_nothing(plan);
	ListCell   *source;
	ListCell   *query;

	foreach(source, SPI_plan_get_plan_sources(plan))
	{
		foreach(query, ((CachedPlanSource *) lfirst(source))->query_list)
		{
			const Query *each = lfirst_node(Query, query);

			changed |= each->querySource != QSRC_ORIGINAL || has_rule(each);
		}
	}
	if (changed)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_GUARD),
				 errmsg("a rule that is not of extension \"pg_envelope\" changes what its functions write"),
				 errhint("Drop the rule on the table of schema \"envelope\".")));
}

/* One that does nothing for some rows leaves the query as an original one, of fewer rows. */
static bool
has_rule(const Query *query)
{
	bool		found = false;
	Relation	relation;

	if (query->resultRelation == 0)
		return false;
	relation = table_open(rt_fetch(query->resultRelation, query->rtable)->relid, AccessShareLock);
	for (int i = 0; relation->rd_rules != NULL && i < relation->rd_rules->numLocks; i++)
		found |= relation->rd_rules->rules[i]->event == query->commandType &&
			relation->rd_rules->rules[i]->enabled != RULE_DISABLED;
	table_close(relation, AccessShareLock);
	return found;
}

/* NULL: there is no room for it. */
static KeptPlan *
find_plan(const char *sql)
{
	for (int i = 0; i < PLANS_MAX; i++)
	{
		if (plans[i].sql == NULL)
			plans[i].sql = sql;
		if (plans[i].sql == sql)
			return &plans[i];
	}
	return NULL;
}

static void
plan_anew(KeptPlan *kept, int nargs, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare(kept->sql, nargs, types);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not plan a change of a key table: %s",
			 SPI_result_code_string(SPI_result));
	if (kept->plan != NULL)
		SPI_freeplan(kept->plan);
	kept->plan = plan;
	kept->uses = 0;
}

static uint64
rows_of(int result)
{
	if (result < 0)
		elog(ERROR, "could not write a key table: %s", SPI_result_code_string(result));
	return SPI_processed;
}
