/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  Taking SQL arguments where NULL is an error.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "sqlapi/arguments.h"

void
pge_arg_not_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be NULL", name)));
}

char *
pge_arg_text(FunctionCallInfo fcinfo, int n, const char *name)
{
	pge_arg_not_null(fcinfo, n, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}
