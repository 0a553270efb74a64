/*-------------------------------------------------------------------------
 *
 * value_arguments.c
 *	  key_id and associated_data of the functions on values.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "ops/text.h"
#include "sqlapi/value_arguments.h"

static void refuse_null(const char *name, const char *hint) pg_attribute_noreturn();
static void
refuse_null(const char *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s is NULL", name),
			 errhint("%s", hint)));
}

static PgeBytes
key_id_argument(FunctionCallInfo fcinfo)
{
	text	   *key_id;

	if (unlikely(PG_ARGISNULL(1)))
		refuse_null("key_id", "A value is sealed under a key; say which.");
	key_id = pge_packed_argument(fcinfo, 1);
	return pge_bytes(VARDATA_ANY(key_id), VARSIZE_ANY_EXHDR(key_id));
}

static PgeBytes
associated_argument(FunctionCallInfo fcinfo)
{
	void	   *copy;			/* freed with the tuple's memory */

	if (unlikely(PG_ARGISNULL(2)))
		refuse_null("associated_data",
					"A NULL would bind nothing; pass a text, or leave the argument out.");
	return pge_text_to_utf8(pge_packed_argument(fcinfo, 2), PGE_TEXT_ASSOCIATED_DATA, &copy);
}

void
pge_value_request(FunctionCallInfo fcinfo, DekRequest *request)
{
	memset(request, 0, sizeof(*request));
	if (PG_NARGS() > 1)
		request->key_id = key_id_argument(fcinfo);
	if (PG_NARGS() > 2)
		request->associated = associated_argument(fcinfo);
	pge_memo_hear(fcinfo->flinfo);
}
