/*-------------------------------------------------------------------------
 *
 * encrypt.c
 *	  envelope_encrypt, envelope_encrypt_bytea, envelope_reencrypt.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/compat.h"
#include "ops/seal.h"
#include "ops/text.h"
#include "sqlapi/value_arguments.h"

PG_FUNCTION_INFO_V1(envelope_encrypt_text);
PG_FUNCTION_INFO_V1(envelope_encrypt_bytea);
PG_FUNCTION_INFO_V1(envelope_reencrypt);

Datum
envelope_encrypt_text(PG_FUNCTION_ARGS)
{
	DekRequest	request;
	text	   *value;
	PgeBytes	plain;
	void	   *copy;
	bytea	   *sealed;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	pge_value_request(fcinfo, &request);
	value = pge_packed_argument(fcinfo, 0);
	plain = pge_text_to_utf8(value, PGE_TEXT_VALUE, &copy);
	sealed = pge_seal(&request, plain);
	if (unlikely(copy != NULL))
	{
		pge_secret_wipe(copy, plain.len);
		pfree(copy);
	}
	PG_FREE_IF_COPY(value, 0);
	PG_RETURN_BYTEA_P(sealed);
}

Datum
envelope_encrypt_bytea(PG_FUNCTION_ARGS)
{
	DekRequest	request;
	bytea	   *value;
	bytea	   *sealed;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	pge_value_request(fcinfo, &request);
	value = pge_packed_argument(fcinfo, 0);
	sealed = pge_seal(&request, pge_bytes(VARDATA_ANY(value),
										  VARSIZE_ANY_EXHDR(value)));
	PG_FREE_IF_COPY(value, 0);
	PG_RETURN_BYTEA_P(sealed);
}

Datum
envelope_reencrypt(PG_FUNCTION_ARGS)
{
	DekRequest	request;
	bytea	   *value;
	bytea	   *sealed;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	pge_value_request(fcinfo, &request);
	value = pge_packed_argument(fcinfo, 0);
	sealed = pge_reencrypt(&request, pge_bytes(VARDATA_ANY(value),
											   VARSIZE_ANY_EXHDR(value)));
	if (sealed == NULL)
		PG_RETURN_BYTEA_P(value);
	PG_RETURN_BYTEA_P(sealed);
}
