/*-------------------------------------------------------------------------
 *
 * decrypt.c
 *	  envelope_decrypt, envelope_decrypt_bytea.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/compat.h"
#include "base/settings.h"
#include "ops/seal.h"
#include "ops/text.h"
#include "sqlapi/value_arguments.h"

PG_FUNCTION_INFO_V1(envelope_decrypt_text);
PG_FUNCTION_INFO_V1(envelope_decrypt_bytea);

/*
 * The form without key_id opens whatever key the header names, as the caller's
 * rights allow: that is for sessions that may open one tenant's key anyway.
 */
static void
require_key_id(FunctionCallInfo fcinfo)
{
	if (unlikely(PG_NARGS() == 1 && pge_require_key_id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a value is not opened without key_id"),
				 errdetail("\"pg_envelope.require_key_id\" is on."),
				 errhint("Pass the key that the value was sealed under as second argument.")));
}

static bytea *
open_argument(FunctionCallInfo fcinfo)
{
	DekRequest	request;
	bytea	   *sealed;
	bytea	   *plain;

	require_key_id(fcinfo);
	pge_value_request(fcinfo, &request);
	sealed = pge_packed_argument(fcinfo, 0);
	plain = pge_open(&request, pge_bytes(VARDATA_ANY(sealed),
										 VARSIZE_ANY_EXHDR(sealed)));
	PG_FREE_IF_COPY(sealed, 0);
	return plain;
}

Datum
envelope_decrypt_text(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(pge_text_from_utf8(open_argument(fcinfo)));
}

Datum
envelope_decrypt_bytea(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(open_argument(fcinfo));
}
