/*-------------------------------------------------------------------------
 *
 * bind.c
 *	  envelope_bind: several values as one unambiguous associated data.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "ops/text.h"

PG_FUNCTION_INFO_V1(envelope_bind);

/*
 * Lengths are those of the UTF-8 form, because that is what will be sealed:
 * the same elements give the same bytes in a database of any encoding.
 */
static int
utf8_length(const text *element)
{
	void	   *copy;
	PgeBytes	utf8 = pge_text_to_utf8(element, PGE_TEXT_ASSOCIATED_DATA, &copy);

	if (copy != NULL)
		pfree(copy);
	return (int) utf8.len;
}

Datum
envelope_bind(PG_FUNCTION_ARGS)
{
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	StringInfoData out;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("cannot bind a NULL array"),
				 errhint("Pass each element as an argument of its own.")));
	array = PG_GETARG_ARRAYTYPE_P(0);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot bind nothing"),
				 errhint("Pass at least one element, such as a table name and a primary key.")));

	initStringInfo(&out);
	for (int i = 0; i < count; i++)
	{
		text	   *element;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("element %d of the binding is NULL", i + 1),
					 errhint("A NULL row id would bind nothing; pass a value that is there when the row is read.")));
		element = DatumGetTextPP(elements[i]);
		appendStringInfo(&out, "%d:", utf8_length(element));
		appendBinaryStringInfo(&out, VARDATA_ANY(element),
							   VARSIZE_ANY_EXHDR(element));
		appendStringInfoChar(&out, ',');
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
