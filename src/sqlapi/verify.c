/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  envelope_verify: which data keys the values of a column need.
 *
 * Counts by the values' headers; no key is opened.  The query runs as the caller, so
 * that rights on the table and row security hold, and under his snapshot; only what
 * the rows of our tables say of a data key is looked up here.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "base/bytes.h"
#include "base/compat.h"
#include "keyring/key_describe.h"
#include "sqlapi/arguments.h"

PG_FUNCTION_INFO_V1(envelope_verify);

/* The sealed values of one data key, or of none that we know. */
typedef struct Tally
{
	bool		malformed;		/* no header, so no dek_id */
	uint32		dek_id;
	KeyDescription key;
	int64		values;
} Tally;

static char *counting_query(Oid relid, const char *column, Oid function);
static int	count_values(const char *query, Tally **tallies);
static void read_tally(HeapTuple tuple, TupleDesc desc, Tally *tally);
static void put_row(ReturnSetInfo *rsinfo, const Tally *tally);
static int	compare_tallies(const void *a, const void *b);

Datum
envelope_verify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Tally	   *tallies;
	int			count;

	pge_arg_not_null(fcinfo, 0, "relation");
	pge_arg_not_null(fcinfo, 1, "column_name");
	InitMaterializedSRF(fcinfo, 0);
	count = count_values(counting_query(PG_GETARG_OID(0), NameStr(*PG_GETARG_NAME(1)),
										fcinfo->flinfo->fn_oid), &tallies);
	qsort(tallies, count, sizeof(Tally), compare_tallies);
	for (int i = 0; i < count; i++)
		put_row(rsinfo, &tallies[i]);
	return (Datum) 0;
}

/* Our other function is where this one is, whatever the search_path. */
static char *
counting_query(Oid relid, const char *column, Oid function)
{
	AttrNumber	attno = get_attnum(relid, column);
	const char *relation = get_rel_name(relid);
	const char *value = psprintf("(r.%s)::pg_catalog.bytea", quote_identifier(column));

	if (relation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (attno == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", column, relation)));
	if (getBaseType(get_atttype(relid, attno)) != BYTEAOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of relation \"%s\" is not of type bytea", column, relation),
				 errhint("Sealed values are bytea.")));
	return psprintf("SELECT CASE WHEN %s.envelope_is_encrypted(%s) THEN pg_catalog.substr(%s, 2, 4) END,"
					" pg_catalog.count(*) FROM %s r WHERE %s IS NOT NULL GROUP BY 1",
					quote_identifier(get_namespace_name(get_func_namespace(function))), value, value,
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), relation),
					value);
}

static int
count_values(const char *query, Tally **tallies)
{
	MemoryContext caller = CurrentMemoryContext;
	int			result;
	int			count;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	result = SPI_execute(query, true, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not count values: %s", SPI_result_code_string(result));
	count = (int) SPI_processed;
	*tallies = MemoryContextAllocHuge(caller, Max(SPI_processed, 1) * sizeof(Tally));
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_tally(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &(*tallies)[i]);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not disconnect from SPI");
	return count;
}

static void
read_tally(HeapTuple tuple, TupleDesc desc, Tally *tally)
{
	bool		isnull;
	Datum		head = SPI_getbinval(tuple, desc, 1, &tally->malformed);

	tally->dek_id = tally->malformed ? 0 : pge_get_u32((const uint8 *) VARDATA_ANY(DatumGetByteaPP(head)));
	pge_key_describe(tally->dek_id, &tally->key);
	tally->values = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
}

static void
put_row(ReturnSetInfo *rsinfo, const Tally *tally)
{
	const KeyDescription *key = &tally->key;
	const char *state = tally->malformed ? "malformed" : key->known ? key->state : "unknown";
	Datum		values[5] = {0};
	bool		nulls[5] = {!key->told, !key->told, tally->malformed, state == NULL, false};

	if (key->told)
	{
		values[0] = CStringGetTextDatum(key->dek.key_id);
		values[1] = Int32GetDatum(key->dek.version);
	}
	values[2] = Int64GetDatum((int64) tally->dek_id);
	if (state != NULL)
		values[3] = CStringGetTextDatum(state);
	values[4] = Int64GetDatum(tally->values);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* What has no key_id comes last. */
static int
compare_tallies(const void *a, const void *b)
{
	const Tally *x = a;
	const Tally *y = b;
	int			order;

	if (x->key.told != y->key.told)
		return x->key.told ? -1 : 1;
	order = x->key.told ? strcmp(x->key.dek.key_id, y->key.dek.key_id) : 0;
	if (order == 0 && x->key.told)
		order = x->key.dek.version - y->key.dek.version;
	if (order == 0)
		order = x->dek_id < y->dek_id ? -1 : x->dek_id > y->dek_id;
	return order;
}
