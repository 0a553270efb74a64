/*-------------------------------------------------------------------------
 *
 * document_write.c
 *	  Keys as the jsonb of a keyring document, read by SPI as the tables' owner.
 *
 * All statements see one fresh snapshot: rows of one moment fit together, and an old
 * snapshot of the transaction hides no key.  No row is locked and nothing written, so
 * a standby can do it.
 *
 * Names, functions and operators are qualified: the caller's search_path must not
 * choose them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "base/report.h"
#include "keyring/document.h"
#include "keyring/keyring_private.h"

#define EQ " OPERATOR(pg_catalog.=) "
#define NE " OPERATOR(pg_catalog.<>) "
#define NAMED(column) "($1 IS NULL OR " column EQ "ANY ($1))"
#define HEX(column) "pg_catalog.encode(" column ", 'hex')"
#define UTC(column) "pg_catalog.to_char(pg_catalog.timezone('UTC', " column "), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

/* A row that others name and that is not there (yet). */
static const char missing_sql[] =
"SELECT d.key_id, pg_catalog.format('Version %s has no wrapping.', d.version)"
"  FROM envelope.dek d"
"  WHERE " NAMED("d.key_id") " AND d.state" NE "'destroyed' AND NOT EXISTS ("
"    SELECT FROM envelope.wrapping w WHERE w.dek_id" EQ "d.dek_id AND w.superseded IS NULL)"
" UNION ALL "
"SELECT k.key_id, 'It has no version.' FROM envelope.key k"
"  WHERE " NAMED("k.key_id") " AND NOT EXISTS ("
"    SELECT FROM envelope.dek d WHERE d.key_id" EQ "k.key_id)"
" UNION ALL "
"SELECT d.key_id, 'Its own row is missing.' FROM envelope.dek d"
"  WHERE " NAMED("d.key_id") " AND NOT EXISTS ("
"    SELECT FROM envelope.key k WHERE k.key_id" EQ "d.key_id)"
" UNION ALL "
"SELECT u.key_id, pg_catalog.format('KEK \"%s\" is missing.', u.kek)"
"  FROM (SELECT k.key_id, k.kek FROM envelope.key k WHERE " NAMED("k.key_id")
"    UNION SELECT d.key_id, w.kek FROM envelope.dek d"
"      JOIN envelope.wrapping w ON w.dek_id" EQ "d.dek_id AND w.superseded IS NULL"
"      WHERE " NAMED("d.key_id") ") u"
"  WHERE NOT EXISTS (SELECT FROM envelope.kek e WHERE e.name" EQ "u.kek)"
" ORDER BY 1, 2 LIMIT 1";

static const char document_sql[] =
"WITH k AS MATERIALIZED ("
"  SELECT k.* FROM envelope.key k WHERE " NAMED("k.key_id") "),"
" w AS MATERIALIZED ("
"  SELECT d.dek_id, w.seq, w.kek, w.kek_version, w.wrapped FROM k"
"    JOIN envelope.dek d ON d.key_id" EQ "k.key_id"
"    JOIN envelope.wrapping w ON w.dek_id" EQ "d.dek_id"
"    WHERE w.superseded IS NULL),"
" wrappings AS MATERIALIZED ("
"  SELECT w.dek_id, pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
"      'seq', w.seq, 'kek', w.kek, 'kek_version', w.kek_version,"
"      'wrapped', " HEX("w.wrapped") ") ORDER BY w.seq) AS list"
"    FROM w GROUP BY w.dek_id),"
" deks AS MATERIALIZED ("
"  SELECT d.key_id, pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
"      'dek_id', d.dek_id, 'version', d.version, 'purpose', d.purpose,"
"      'algorithm', d.algorithm, 'keyring', d.keyring,"
"      'check_value', " HEX("d.check_value") ", 'state', d.state,"
"      'created', " UTC("d.created") ","
"      'wrappings', COALESCE(s.list, '[]'::pg_catalog.jsonb)) ORDER BY d.version) AS list"
"    FROM k JOIN envelope.dek d ON d.key_id" EQ "k.key_id"
"    LEFT JOIN wrappings s ON s.dek_id" EQ "d.dek_id"
"    GROUP BY d.key_id),"
" versions AS MATERIALIZED ("
"  SELECT w.kek, pg_catalog.jsonb_agg(DISTINCT w.kek_version ORDER BY w.kek_version) AS list"
"    FROM w GROUP BY w.kek) "
"SELECT pg_catalog.jsonb_build_object("
"  'format', 'pg_envelope keyring', 'version', 1,"
"  'keyring', (SELECT r.uuid FROM envelope.keyring r),"
"  'keks', (SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
"        'name', e.name, 'uri', e.uri, 'state', e.state,"
"        'versions', COALESCE(v.list, '[]'::pg_catalog.jsonb)) ORDER BY e.name),"
"      '[]'::pg_catalog.jsonb)"
"    FROM (SELECT k.kek FROM k UNION SELECT w.kek FROM w) u"
"    JOIN envelope.kek e ON e.name" EQ "u.kek"
"    LEFT JOIN versions v ON v.kek" EQ "u.kek),"
"  'keys', (SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
"        'key_id', k.key_id, 'kek', k.kek, 'algorithm', k.algorithm,"
"        'require_associated_data', k.require_associated_data, 'state', k.state,"
"        'deks', s.list) ORDER BY k.key_id), '[]'::pg_catalog.jsonb)"
"    FROM k JOIN deks s ON s.key_id" EQ "k.key_id))";

static Jsonb * read_document(ArrayType *key_ids);
static void run(const char *sql, ArrayType *key_ids, Snapshot snapshot);
static void refuse_missing(void);

Jsonb *
pge_document_write(ArrayType *key_ids)
{
	Oid			user;
	int			context;
	int			settings = NewGUCNestLevel();
	Jsonb	   *volatile document = NULL;

	GetUserIdAndSecContext(&user, &context);
	PG_TRY();
	{
		SetUserIdAndSecContext(pge_keyring_owner(), context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
		document = read_document(key_ids);
		AtEOXact_GUC(false, settings);
	}
	PG_FINALLY();
	{
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
	return document;
}

/* The document outlives SPI's memory: it is copied to the caller's. */
static Jsonb *
read_document(ArrayType *key_ids)
{
	MemoryContext caller = CurrentMemoryContext;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	MemoryContext spi;
	Jsonb	   *document;
	bool		isnull;
	Datum		value;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	run(missing_sql, key_ids, snapshot);
	refuse_missing();
	run(document_sql, key_ids, snapshot);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	spi = MemoryContextSwitchTo(caller);
	document = DatumGetJsonbPCopy(value);
	MemoryContextSwitchTo(spi);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not disconnect from SPI");
	UnregisterSnapshot(snapshot);
	return document;
}

static void
run(const char *sql, ArrayType *key_ids, Snapshot snapshot)
{
	Oid			type = TEXTARRAYOID;
	Datum		value = PointerGetDatum(key_ids);
	SPIPlanPtr	plan = SPI_prepare(sql, 1, &type);
	int			result;

	if (plan == NULL)
		elog(ERROR, "could not prepare to read the key tables: %s",
			 SPI_result_code_string(SPI_result));
	result = SPI_execute_snapshot(plan, &value, key_ids == NULL ? "n" : " ",
								  snapshot, InvalidSnapshot, true, false, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read the key tables: %s", SPI_result_code_string(result));
}

/* Half a key must not pass for one: whoever has it believes that he has it all. */
static void
refuse_missing(void)
{
	HeapTuple	tuple;

	if (SPI_processed == 0)
		return;
	tuple = SPI_tuptable->vals[0];
	ereport(ERROR,
			(errcode(PGE_ERRCODE_UNKNOWN_DEK),
			 errmsg("could not export key \"%s\"",
					pge_report_name(SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1))),
			 errdetail("%s", SPI_getvalue(tuple, SPI_tuptable->tupdesc, 2)),
			 errhint("If the tables come by replication or restore, try again when they have arrived; if a row was lost, restore it from a backup.")));
}
