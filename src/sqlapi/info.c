/*-------------------------------------------------------------------------
 *
 * info.c
 *	  envelope_key_info, envelope_is_encrypted: what a value's header says.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/report.h"
#include "format/sealed_value.h"
#include "keyring/key_describe.h"

PG_FUNCTION_INFO_V1(envelope_key_info);
PG_FUNCTION_INFO_V1(envelope_is_encrypted);

enum
{
	INFO_DEK_ID,
	INFO_ALGORITHM,
	INFO_KEY_ID,
	INFO_VERSION,
	INFO_STATE,
	INFO_COLUMNS
};

/*
 * The header alone, so that a large value is not read; its length stands in for
 * the body.
 */
static bool
read_header(Datum sealed, uint32 *dek_id)
{
	bytea	   *head = DatumGetByteaPSlice(sealed, 0, PGE_SEALED_HEADER_LEN);
	uint8		start[PGE_SEALED_LEN_MIN] = {0};
	PgeBytes	body;

	if (VARSIZE_ANY_EXHDR(head) < PGE_SEALED_HEADER_LEN ||
		toast_raw_datum_size(sealed) < VARHDRSZ + PGE_SEALED_LEN_MIN)
		return false;
	memcpy(start, VARDATA_ANY(head), PGE_SEALED_HEADER_LEN);
	return pge_sealed_parse(pge_bytes(start, sizeof(start)), dek_id, &body) == PGE_OK;
}

Datum
envelope_key_info(PG_FUNCTION_ARGS)
{
	TupleDesc	row;
	Datum		values[INFO_COLUMNS] = {0};
	bool		nulls[INFO_COLUMNS] = {false, true, true, true, true};
	uint32		dek_id;
	KeyDescription key;

	if (!read_header(PG_GETARG_DATUM(0), &dek_id))
		pge_report_error(PGE_MALFORMED, "the value is not a sealed value",
						 pge_bytes(NULL, 0));
	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "envelope_key_info returns a row");
	values[INFO_DEK_ID] = Int64GetDatum((int64) dek_id);
	pge_key_describe(dek_id, &key);
	if (key.known)
	{
		values[INFO_ALGORITHM] = CStringGetTextDatum(pge_algorithm_name(key.dek.algorithm));
		nulls[INFO_ALGORITHM] = false;
	}
	if (key.told)
	{
		values[INFO_KEY_ID] = CStringGetTextDatum(key.dek.key_id);
		values[INFO_VERSION] = Int32GetDatum(key.dek.version);
		values[INFO_STATE] = CStringGetTextDatum(key.state);
		nulls[INFO_KEY_ID] = nulls[INFO_VERSION] = nulls[INFO_STATE] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row),
													  values, nulls)));
}

Datum
envelope_is_encrypted(PG_FUNCTION_ARGS)
{
	uint32		dek_id;

	PG_RETURN_BOOL(read_header(PG_GETARG_DATUM(0), &dek_id));
}
