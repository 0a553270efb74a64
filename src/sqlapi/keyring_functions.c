/*-------------------------------------------------------------------------
 *
 * keyring_functions.c
 *	  The doors envelope_export_keyring() and envelope_import_keyring().
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "base/report.h"
#include "ops/keyring_export.h"
#include "ops/keyring_import.h"
#include "sqlapi/arguments.h"

PG_FUNCTION_INFO_V1(envelope_export_keyring);
PG_FUNCTION_INFO_V1(envelope_import_keyring);

static void put_row(void *arg, const ImportResult *result);

/* No key_ids: all keys. */
Datum
envelope_export_keyring(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(pge_export_keyring(PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0)));
}

Datum
envelope_import_keyring(PG_FUNCTION_ARGS)
{
	pge_arg_not_null(fcinfo, 0, "document");
	pge_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	pge_import_keyring(PG_GETARG_JSONB_P(0), put_row, fcinfo->resultinfo);
	return (Datum) 0;
}

static void
put_row(void *arg, const ImportResult *result)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[4];
	bool		nulls[4] = {false};

	values[0] = CStringGetTextDatum(result->key_id);
	values[1] = Int32GetDatum(result->version);
	values[2] = CStringGetTextDatum(result->imported ? "imported" : "already");
	values[3] = CStringGetTextDatum(result->detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
