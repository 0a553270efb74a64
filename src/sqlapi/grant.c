/*-------------------------------------------------------------------------
 *
 * grant.c
 *	  SQL functions for rights on keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"

#include "base/report.h"
#include "keyring/keyring.h"
#include "ops/grants.h"
#include "sqlapi/arguments.h"

PG_FUNCTION_INFO_V1(envelope_grant);
PG_FUNCTION_INFO_V1(envelope_revoke);
PG_FUNCTION_INFO_V1(envelope_revoke_all);

static char *role_argument(FunctionCallInfo fcinfo, int n);
static uint32 rights_argument(FunctionCallInfo fcinfo, int n);

static char *
role_argument(FunctionCallInfo fcinfo, int n)
{
	pge_arg_not_null(fcinfo, n, "role_name");
	return NameStr(*PG_GETARG_NAME(n));
}

static uint32
rights_argument(FunctionCallInfo fcinfo, int n)
{
	pge_arg_not_null(fcinfo, n, "rights");
	return pge_rights_of_array(PG_GETARG_ARRAYTYPE_P(n));
}

Datum
envelope_grant(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");
	char	   *role = role_argument(fcinfo, 1);
	uint32		rights = rights_argument(fcinfo, 2);

	pge_require_preloaded();
	pge_grant(key_id, role, rights);
	PG_RETURN_VOID();
}

Datum
envelope_revoke(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");
	char	   *role = role_argument(fcinfo, 1);
	uint32		rights = rights_argument(fcinfo, 2);

	pge_require_preloaded();
	pge_revoke(key_id, role, rights);
	PG_RETURN_VOID();
}

Datum
envelope_revoke_all(PG_FUNCTION_ARGS)
{
	char	   *key_id = pge_arg_text(fcinfo, 0, "key_id");
	char	   *role = role_argument(fcinfo, 1);

	pge_require_preloaded();
	pge_revoke(key_id, role, PGE_RIGHTS_ALL);
	PG_RETURN_VOID();
}
