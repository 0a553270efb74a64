/*-------------------------------------------------------------------------
 *
 * creation_guard.c
 *	  No index and no statistics object whose expression opens sealed values.
 *
 * The hook on new objects sees every path to one (ALTER TABLE, LIKE, a copy for
 * REINDEX CONCURRENTLY, a partition's copy); the row is looked at as it was
 * written.  Before that, the command itself is: for an index the server's own
 * answer would be that functions must be IMMUTABLE, which is an invitation to
 * hide the call in one that says it is.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_statistic_ext.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/report.h"
#include "ops/creation_guard.h"
#include "ops/opener.h"

/* A catalog whose rows have expressions, and what the user calls them. */
typedef struct StoredExpression
{
	Oid			catalog;
	Oid			by_oid;			/* its index on the object's oid */
	AttrNumber	oid;
	AttrNumber	table;
	AttrNumber	expressions;
	AttrNumber	predicate;		/* 0: none */
	const char *object;
	const char *detail;
} StoredExpression;

static const StoredExpression of_index = {
	.catalog = IndexRelationId,
	.by_oid = IndexRelidIndexId,
	.oid = Anum_pg_index_indexrelid,
	.table = Anum_pg_index_indrelid,
	.expressions = Anum_pg_index_indexprs,
	.predicate = Anum_pg_index_indpred,
	.object = "an index",
	.detail = "the index and its statistics would store values as plaintext",
};

static const StoredExpression of_statistics = {
	.catalog = StatisticExtRelationId,
	.by_oid = StatisticExtOidIndexId,
	.oid = Anum_pg_statistic_ext_oid,
	.table = Anum_pg_statistic_ext_stxrelid,
	.expressions = Anum_pg_statistic_ext_stxexprs,
	.object = "a statistics object",
	.detail = "ANALYZE would store values as plaintext in pg_statistic_ext_data",
};

static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

static void
refuse_if_opens(Oid opener, const StoredExpression *what, const char *table)
{
	if (!OidIsValid(opener))
		return;
	ereport(ERROR,
			(errcode(PGE_ERRCODE_GUARD),
			 errmsg("cannot create %s on table \"%s\" over an expression that opens sealed values",
					what->object, table),
			 errdetail("Function \"%s\" opens them, and %s.",
					   get_func_name(opener), what->detail),
			 errhint("Create it without that expression; values are compared after they were opened, in the query.")));
}

static Oid
opener_in_column(HeapTuple row, Relation catalog, AttrNumber column)
{
	bool		isnull = true;
	Datum		tree = 0;

	if (column != 0)
		tree = heap_getattr(row, column, RelationGetDescr(catalog), &isnull);
	return isnull ? InvalidOid
		: pge_opener_in(stringToNode(TextDatumGetCString(tree)));
}

static void
check_row(HeapTuple row, Relation catalog, const StoredExpression *what)
{
	Oid			opener = opener_in_column(row, catalog, what->expressions);
	Datum		table;
	bool		isnull;

	if (!OidIsValid(opener))
		opener = opener_in_column(row, catalog, what->predicate);
	if (!OidIsValid(opener))
		return;
	table = heap_getattr(row, what->table, RelationGetDescr(catalog), &isnull);
	refuse_if_opens(opener, what, get_rel_name(DatumGetObjectId(table)));
}

/* The command counter has not moved on yet, so only SnapshotSelf sees the row. */
static void
check_object(Oid object, const StoredExpression *what)
{
	Relation	catalog = table_open(what->catalog, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	row;

	ScanKeyInit(&key, what->oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object));
	scan = systable_beginscan(catalog, what->by_oid, true, SnapshotSelf, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		check_row(row, catalog, what);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static void
object_access(ObjectAccessType access, Oid class, Oid object, int part, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class, object, part, arg);
	if (access != OAT_POST_CREATE || part != 0)
		return;
	if (class == RelationRelationId)
		check_object(object, &of_index);	/* no row, if it is a table */
	else if (class == StatisticExtRelationId)
		check_object(object, &of_statistics);
}

static void
check_element(const IndexElem *element, const char *table)
{
	refuse_if_opens(pge_opener_in_raw(element->expr), &of_index, table);
}

static void
check_index_command(const IndexStmt *command)
{
	const char *table = command->relation->relname;
	ListCell   *cell;

	if (command->transformed)
		return;					/* a copy for LIKE, no longer as it was parsed */
	foreach(cell, command->indexParams)
		check_element(lfirst(cell), table);
	refuse_if_opens(pge_opener_in_raw(command->whereClause), &of_index, table);
}

/* An EXCLUDE constraint is an index; nodes that are no constraint do not matter. */
static void
check_constraint(const Node *node, const char *table)
{
	const Constraint *constraint = (const Constraint *) node;
	ListCell   *cell;

	if (node == NULL || !IsA(node, Constraint) ||
		constraint->contype != CONSTR_EXCLUSION)
		return;
	foreach(cell, constraint->exclusions)
		check_element(linitial(lfirst_node(List, cell)), table);
	refuse_if_opens(pge_opener_in_raw(constraint->where_clause), &of_index, table);
}

static void
check_command(const Node *command)
{
	ListCell   *cell;

	if (IsA(command, IndexStmt))
		check_index_command((const IndexStmt *) command);
	else if (IsA(command, CreateStmt))
	{
		foreach(cell, ((const CreateStmt *) command)->tableElts)
			check_constraint(lfirst(cell), ((const CreateStmt *) command)->relation->relname);
	}
	else if (IsA(command, AlterTableStmt))
	{
		foreach(cell, ((const AlterTableStmt *) command)->cmds)
			check_constraint(lfirst_node(AlterTableCmd, cell)->def,
							 ((const AlterTableStmt *) command)->relation->relname);
	}
}

static void
process_utility(PlannedStmt *statement, const char *text, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	ProcessUtility_hook_type next = prev_process_utility ?
	prev_process_utility : standard_ProcessUtility;

	check_command(statement->utilityStmt);
	next(statement, text, read_only, context, params, environment, dest,
		 completion);
}

void
pge_creation_guard_register(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}
