/*-------------------------------------------------------------------------
 *
 * meter.c
 *	  SQL functions that tell callgrind, under which the server runs, when to
 *	  begin, and to write down the numbers since then under a name.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <valgrind/callgrind.h>

#include "fmgr.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(meter_start);
PG_FUNCTION_INFO_V1(meter_dump);

Datum
meter_start(PG_FUNCTION_ARGS)
{
	CALLGRIND_START_INSTRUMENTATION;
	CALLGRIND_ZERO_STATS;
	PG_RETURN_VOID();
}

Datum
meter_dump(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	CALLGRIND_DUMP_STATS_AT(name);
	PG_RETURN_VOID();
}
