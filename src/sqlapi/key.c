/*-------------------------------------------------------------------------
 *
 * key.c
 *	  SQL functions for keys and their versions.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/report.h"
#include "ops/key_lifecycle.h"
#include "sqlapi/arguments.h"

PG_FUNCTION_INFO_V1(envelope_create_key);
PG_FUNCTION_INFO_V1(envelope_rotate_key);
PG_FUNCTION_INFO_V1(envelope_disable_key);
PG_FUNCTION_INFO_V1(envelope_enable_key);
PG_FUNCTION_INFO_V1(envelope_destroy_key);
PG_FUNCTION_INFO_V1(envelope_mark_compromised);

Datum
envelope_create_key(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");
	char	   *kek = pge_arg_text(fcinfo, 1, "kek");
	char	   *algorithm = pge_arg_text(fcinfo, 2, "algorithm");

	pge_arg_not_null(fcinfo, 3, "require_associated_data");
	pge_require_preloaded();
	PG_RETURN_INT32(pge_create_key(key_id, kek, algorithm, PG_GETARG_BOOL(3)));
}

Datum
envelope_rotate_key(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");

	pge_require_preloaded();
	PG_RETURN_INT32(pge_rotate_key(key_id));
}

Datum
envelope_disable_key(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");

	pge_require_preloaded();
	pge_disable_key(key_id);
	PG_RETURN_VOID();
}

Datum
envelope_enable_key(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");

	pge_require_preloaded();
	pge_enable_key(key_id);
	PG_RETURN_VOID();
}

Datum
envelope_destroy_key(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");

	pge_require_preloaded();
	pge_destroy_key(key_id);
	PG_RETURN_VOID();
}

Datum
envelope_mark_compromised(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");

	pge_arg_not_null(fcinfo, 1, "version");
	pge_require_preloaded();
	pge_mark_compromised(key_id, PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}
