/*-------------------------------------------------------------------------
 *
 * opener.c
 *	  Which functions open sealed values.
 *
 * By what pg_proc says of a function and not by its name, since a superuser may
 * rename ours, or make others of the same C symbols.  The body of a function in
 * another language is looked through: exactly where the server keeps it parsed
 * (BEGIN ATOMIC), else for our functions' names in its text.  That misses what
 * the text does not show, and finds a name in a comment.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "ops/opener.h"

/* Both our C symbols and our SQL names begin so. */
#define OPENER_NAME		"envelope_decrypt"

typedef struct Search
{
	List	   *seen;			/* parsed bodies are looked through once each */
	Oid			found;
} Search;

static bool is_opener(Oid function, void *search);
static bool body_opens(HeapTuple row, Search *search);

static bool
find_opener(Node *node, void *search)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_opener, search))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_opener, search, 0);
	return expression_tree_walker(node, find_opener, search);
}

static bool
is_opener(Oid function, void *context)
{
	Search	   *search = context;
	HeapTuple	row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		opens;

	if (!HeapTupleIsValid(row))
		return false;			/* dropped meanwhile: the server will say so */
	opens = body_opens(row, search);
	ReleaseSysCache(row);
	if (opens)
		search->found = function;
	return opens;
}

/* Which functions an aggregate calls is another catalog's matter. */
static bool
aggregate_opens(Oid aggregate, Search *search)
{
	HeapTuple	row = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Form_pg_aggregate agg;
	bool		opens;

	if (!HeapTupleIsValid(row))
		return false;
	agg = (Form_pg_aggregate) GETSTRUCT(row);
	opens = is_opener(agg->aggtransfn, search) ||
		is_opener(agg->aggfinalfn, search) ||
		is_opener(agg->aggmtransfn, search) ||
		is_opener(agg->aggmfinalfn, search);
	ReleaseSysCache(row);
	return opens;
}

static bool
text_opens(HeapTuple row, bool symbol)
{
	bool		isnull;
	Datum		source = SysCacheGetAttr(PROCOID, row, Anum_pg_proc_prosrc, &isnull);
	char	   *words;
	bool		opens;

	if (isnull)
		return false;
	words = TextDatumGetCString(source);
	opens = symbol ? strncmp(words, OPENER_NAME, strlen(OPENER_NAME)) == 0
		: strcasestr(words, OPENER_NAME) != NULL;
	pfree(words);
	return opens;
}

static bool
body_opens(HeapTuple row, Search *search)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(row);
	bool		isnull;
	Datum		body;

	if (proc->prokind == PROKIND_AGGREGATE)
		return aggregate_opens(proc->oid, search);
	if (proc->prolang == INTERNALlanguageId)
		return false;
	if (proc->prolang == ClanguageId)
		return text_opens(row, true);
	body = SysCacheGetAttr(PROCOID, row, Anum_pg_proc_prosqlbody, &isnull);
	if (isnull)
		return text_opens(row, false);
	if (list_member_oid(search->seen, proc->oid))
		return false;
	search->seen = lappend_oid(search->seen, proc->oid);
	return find_opener(stringToNode(TextDatumGetCString(body)), search);
}

Oid
pge_opener_in(Node *expression)
{
	Search		search = {NIL, InvalidOid};

	find_opener(expression, &search);
	return search.found;
}

/*
 * Which of the functions of a name is meant is not known yet: one that opens
 * nothing leaves the decision to the row that the command writes.
 */
static bool
all_open(List *name, Search *search)
{
	FuncCandidateList candidate;

	candidate = FuncnameGetCandidates(name, -1, NIL, false, false, false, true);
	if (candidate == NULL)
		return false;
	for (; candidate != NULL; candidate = candidate->next)
	{
		search->seen = NIL;
		if (!is_opener(candidate->oid, search))
			return false;
	}
	return true;
}

static bool
find_opener_by_name(Node *node, void *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncCall) && all_open(((FuncCall *) node)->funcname, search))
		return true;
	return raw_expression_tree_walker(node, find_opener_by_name, search);
}

Oid
pge_opener_in_raw(Node *expression)
{
	Search		search = {NIL, InvalidOid};

	return find_opener_by_name(expression, &search) ? search.found : InvalidOid;
}
