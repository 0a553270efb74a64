/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  Takes rows of schema "envelope" apart, and trusts none of them.
 *
 * Our functions write only what the tables' checks allow.  A superuser can drop
 * a check and write anything: then the row is named and nothing is done with it.
 * What stands in it is not repeated, and not even read when it is too long.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/report.h"
#include "keyring/keyring_private.h"

static size_t length_of(Datum value);

void
pge_keyring_refuse_row(HeapTuple tuple, const KeyringScan *scan, int attno,
					   const char *what)
{
	ereport(ERROR,
			(errcode(PGE_ERRCODE_WRAPPING_DAMAGED),
			 errmsg("column \"%s\" of table \"envelope.%s\" is damaged",
					NameStr(TupleDescAttr(RelationGetDescr(scan->relation), attno - 1)->attname),
					RelationGetRelationName(scan->relation)),
			 errdetail("In the row with ctid (%u,%u) it %s.",
					   ItemPointerGetBlockNumberNoCheck(&tuple->t_self),
					   ItemPointerGetOffsetNumberNoCheck(&tuple->t_self), what),
			 errhint("The functions of pg_envelope did not write that; restore the row from a backup.")));
}

Datum
pge_keyring_column(HeapTuple tuple, const KeyringScan *scan, int attno)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attno,
									 RelationGetDescr(scan->relation), &isnull);

	if (isnull)
		pge_keyring_refuse_row(tuple, scan, attno, "is NULL");
	return value;
}

/* Of a varlena, without reading what is stored elsewhere. */
static size_t
length_of(Datum value)
{
	return toast_raw_datum_size(value) - VARHDRSZ;
}

void
pge_keyring_text_column(HeapTuple tuple, const KeyringScan *scan, int attno,
						char *dst, size_t size)
{
	Datum		value = pge_keyring_column(tuple, scan, attno);
	size_t		len = length_of(value);

	if (len >= size)
		pge_keyring_refuse_row(tuple, scan, attno,
							   psprintf("has %zu bytes, and at most %zu make sense",
										len, size - 1));
	text_to_cstring_buffer(DatumGetTextPP(value), dst, size);
}

size_t
pge_keyring_bytes_column(HeapTuple tuple, const KeyringScan *scan, int attno,
						 uint8 *dst, size_t least, size_t most)
{
	Datum		value = pge_keyring_column(tuple, scan, attno);
	size_t		len = length_of(value);

	if (len < least || len > most)
		pge_keyring_refuse_row(tuple, scan, attno,
							   least == most ?
							   psprintf("has %zu bytes, not %zu", len, most) :
							   psprintf("has %zu bytes, not %zu to %zu", len, least, most));
	memcpy(dst, VARDATA_ANY(DatumGetByteaPP(value)), len);
	return len;
}

int32
pge_keyring_count_column(HeapTuple tuple, const KeyringScan *scan, int attno)
{
	int32		number = DatumGetInt32(pge_keyring_column(tuple, scan, attno));

	if (number < 1)
		pge_keyring_refuse_row(tuple, scan, attno, "is not 1 or more");
	return number;
}

uint32
pge_keyring_dek_id_column(HeapTuple tuple, const KeyringScan *scan, int attno)
{
	int64		number = DatumGetInt64(pge_keyring_column(tuple, scan, attno));

	if (number < 1 || number > PG_UINT32_MAX)
		pge_keyring_refuse_row(tuple, scan, attno, "is not 1 to 4294967295");
	return (uint32) number;
}
