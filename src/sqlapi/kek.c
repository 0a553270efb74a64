/*-------------------------------------------------------------------------
 *
 * kek.c
 *	  SQL functions for key-encryption keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/report.h"
#include "ops/kek_destruction.h"
#include "ops/kek_lifecycle.h"
#include "ops/kek_move.h"
#include "sqlapi/arguments.h"

PG_FUNCTION_INFO_V1(envelope_create_kek);
PG_FUNCTION_INFO_V1(envelope_alter_kek);
PG_FUNCTION_INFO_V1(envelope_enable_kek);
PG_FUNCTION_INFO_V1(envelope_rotate_kek);
PG_FUNCTION_INFO_V1(envelope_destroy_kek);

Datum
envelope_create_kek(PG_FUNCTION_ARGS)
{
	char	   *name = pge_arg_text(fcinfo, 0, "name");
	char	   *uri = PG_ARGISNULL(1) ? NULL : pge_arg_text(fcinfo, 1, "uri");

	pge_require_preloaded();
	PG_RETURN_TEXT_P(cstring_to_text(pge_create_kek(name, uri)));
}

Datum
envelope_alter_kek(PG_FUNCTION_ARGS)
{
	char	   *name = pge_arg_text(fcinfo, 0, "name");
	char	   *uri = pge_arg_text(fcinfo, 1, "uri");

	pge_require_preloaded();
	PG_RETURN_TEXT_P(cstring_to_text(pge_alter_kek(name, uri)));
}

Datum
envelope_enable_kek(PG_FUNCTION_ARGS)
{
	char	   *name = pge_arg_text(fcinfo, 0, "name");

	pge_require_preloaded();
	pge_enable_kek(name);
	PG_RETURN_VOID();
}

Datum
envelope_rotate_kek(PG_FUNCTION_ARGS)
{
	char	   *name = pge_arg_text(fcinfo, 0, "name");

	pge_require_preloaded();
	PG_RETURN_TEXT_P(cstring_to_text(pge_rotate_kek(name)));
}

Datum
envelope_destroy_kek(PG_FUNCTION_ARGS)
{
	char	   *name = pge_arg_text(fcinfo, 0, "name");
	char	   *uri = pge_arg_text(fcinfo, 1, "uri");

	pge_arg_not_null(fcinfo, 2, "immediate");
	pge_require_preloaded();
	pge_destroy_kek(name, uri, PG_GETARG_BOOL(2));
	PG_RETURN_VOID();
}
