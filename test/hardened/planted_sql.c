/*-------------------------------------------------------------------------
 *
 * planted_sql.c
 *	  The planted faults in a backend: envelope_planted_fault(text).
 *
 * Linked into the library itself, with its flags, so that a report of this
 * fault is one that a fault of the library's own would have had.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "planted_fault.h"

PG_FUNCTION_INFO_V1(envelope_planted_fault);

extern Datum envelope_planted_fault(PG_FUNCTION_ARGS);

/*
 * The fault that debug_discard_caches is for: what a cache gave is read after it
 * was given back and a lock was taken.  Elsewhere that goes well nearly always.
 */
static void
read_stale_entry(void)
{
	Relation	relation = RelationIdGetRelation(AggregateRelationId);
	Form_pg_class volatile row = relation->rd_rel;

	RelationClose(relation);
	relation_close(relation_open(ProcedureRelationId, AccessShareLock), AccessShareLock);
	if (strcmp(NameStr(row->relname), "pg_aggregate") != 0)
		elog(ERROR, "read what was freed");
}

Datum
envelope_planted_fault(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (strcmp(name, "stale") == 0)
		read_stale_entry();
	else if (!pge_plant_fault(name))
		elog(ERROR, "there is no such fault");
	PG_RETURN_VOID();
}
