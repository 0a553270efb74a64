/*-------------------------------------------------------------------------
 *
 * rewrap_functions.c
 *	  The doors rewrap_all() and CALL envelope_rewrap().
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "ops/rewrap.h"
#include "sqlapi/arguments.h"

PG_FUNCTION_INFO_V1(envelope_rewrap_all);
PG_FUNCTION_INFO_V1(envelope_rewrap);

static void halve_memory(ReturnSetInfo *rsinfo);
static void put_row(void *arg, const RewrapResult *result);
static void require_commits(FunctionCallInfo fcinfo);

Datum
envelope_rewrap_all(PG_FUNCTION_ARGS)
{
	RewrapRequest request = {0};

	request.old_kek = pge_arg_text(fcinfo, 0, "old_kek");
	request.new_kek = pge_arg_text(fcinfo, 1, "new_kek");
	pge_arg_not_null(fcinfo, 2, "dry_run");
	pge_arg_not_null(fcinfo, 3, "keep_old");
	request.dry_run = PG_GETARG_BOOL(2);
	request.keep_old = PG_GETARG_BOOL(3);
	InitMaterializedSRF(fcinfo, 0);
	halve_memory((ReturnSetInfo *) fcinfo->resultinfo);
	pge_rewrap_all(&request, put_row, fcinfo->resultinfo);
	return (Datum) 0;
}

Datum
envelope_rewrap(PG_FUNCTION_ARGS)
{
	RewrapRequest request = {0};
	int			batch;

	require_commits(fcinfo);
	pge_arg_not_null(fcinfo, 2, "batch");
	batch = PG_GETARG_INT32(2);
	if (batch < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be 1 or more, not %d", batch),
				 errhint("The default is 1000 data keys.")));
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* in SPI's context, which outlives the commits */
	request.old_kek = pge_arg_text(fcinfo, 0, "old_kek");
	request.new_kek = pge_arg_text(fcinfo, 1, "new_kek");
	pge_rewrap_in_batches(&request, batch);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not disconnect from SPI");
	return (Datum) 0;
}

/* The other half of work_mem is for the sort that they come from. */
static void
halve_memory(ReturnSetInfo *rsinfo)
{
	MemoryContext outer = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	bool		random = (rsinfo->allowedModes & SFRM_Materialize_Random) != 0;

	tuplestore_end(rsinfo->setResult);
	rsinfo->setResult = tuplestore_begin_heap(random, false, work_mem / 2);
	MemoryContextSwitchTo(outer);
}

static void
put_row(void *arg, const RewrapResult *result)
{
	ReturnSetInfo *rsinfo = arg;
	Interval	duration = {.time = result->duration_us};
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(result->key_id);
	values[1] = Int32GetDatum(result->version);
	values[2] = CStringGetTextDatum(pge_rewrap_outcome_name(result->outcome));
	values[3] = CStringGetTextDatum(result->detail);
	values[4] = IntervalPGetDatum(&duration);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
require_commits(FunctionCallInfo fcinfo)
{
	if (fcinfo->context && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("CALL envelope_rewrap cannot run inside a transaction block"),
			 errdetail("It commits after each batch of data keys."),
			 errhint("Run it outside of BEGIN and COMMIT and of functions, or use rewrap_all, which is one transaction.")));
}
