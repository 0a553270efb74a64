/*-------------------------------------------------------------------------
 *
 * rewrap_stage.c
 *	  Holds what the agent answered until it is written.
 *
 * A sort, because answers come in any order and the writer locks keys: every
 * rewrap locks them in the order of key_id, so that two cannot deadlock.  The rows
 * of the result are kept while it is read, so each of the two has half of work_mem.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplesort.h"

#include "base/compat.h"
#include "ops/rewrap_private.h"

enum StageColumn
{
	STAGE_KEY_ID,
	STAGE_VERSION,
	STAGE_DEK_ID,
	STAGE_OUTCOME,
	STAGE_DETAIL,
	STAGE_DURATION,
	STAGE_SEQ,
	STAGE_OLD_WRAPPED,
	STAGE_KEK_VERSION,
	STAGE_WRAPPED,
	STAGE_COLUMNS
};

static const Oid column_types[STAGE_COLUMNS] = {
	[STAGE_KEY_ID] = TEXTOID,
	[STAGE_VERSION] = INT4OID,
	[STAGE_DEK_ID] = INT8OID,
	[STAGE_OUTCOME] = INT4OID,
	[STAGE_DETAIL] = TEXTOID,
	[STAGE_DURATION] = INT8OID,
	[STAGE_SEQ] = INT4OID,
	[STAGE_OLD_WRAPPED] = BYTEAOID,
	[STAGE_KEK_VERSION] = BYTEAOID,
	[STAGE_WRAPPED] = BYTEAOID
};

struct RewrapStage
{
	Tuplesortstate *sort;
	TupleTableSlot *slot;
};

static Datum bytes_datum(PgeBytes bytes);
static PgeBytes datum_bytes(Datum datum);

RewrapStage *
pge_rewrap_stage_begin(void)
{
	RewrapStage *stage = palloc(sizeof(RewrapStage));
	TupleDesc	desc = CreateTemplateTupleDesc(STAGE_COLUMNS);
	AttrNumber	columns[] = {STAGE_KEY_ID + 1, STAGE_VERSION + 1};
	Oid			less[] = {TextLessOperator, Int4LessOperator};
	Oid			collations[] = {C_COLLATION_OID, InvalidOid};
	bool		nulls_first[] = {false, false};

	for (int i = 0; i < STAGE_COLUMNS; i++)
		TupleDescInitEntry(desc, (AttrNumber) (i + 1), NULL, column_types[i], -1, 0);
	stage->sort = tuplesort_begin_heap(desc, lengthof(columns), columns, less,
									   collations, nulls_first, work_mem / 2, NULL,
									   TUPLESORT_NONE);
	stage->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	return stage;
}

void
pge_rewrap_stage_put(RewrapStage *stage, const StagedRewrap *staged)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(stage->slot->tts_tupleDescriptor,
													&TTSOpsVirtual);
	Datum	   *values = slot->tts_values;

	memset(slot->tts_isnull, 0, STAGE_COLUMNS * sizeof(bool));
	values[STAGE_KEY_ID] = CStringGetTextDatum(staged->result.key_id);
	values[STAGE_VERSION] = Int32GetDatum(staged->result.version);
	values[STAGE_DEK_ID] = Int64GetDatum((int64) staged->result.dek_id);
	values[STAGE_OUTCOME] = Int32GetDatum((int32) staged->result.outcome);
	values[STAGE_DETAIL] = CStringGetTextDatum(staged->result.detail);
	values[STAGE_DURATION] = Int64GetDatum(staged->result.duration_us);
	values[STAGE_SEQ] = Int32GetDatum(staged->seq);
	values[STAGE_OLD_WRAPPED] = bytes_datum(staged->old_wrapped);
	values[STAGE_KEK_VERSION] = bytes_datum(staged->kek_version);
	values[STAGE_WRAPPED] = bytes_datum(staged->wrapped);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(stage->sort, slot);
	ExecDropSingleTupleTableSlot(slot);
}

void
pge_rewrap_stage_sort(RewrapStage *stage)
{
	tuplesort_performsort(stage->sort);
}

bool
pge_rewrap_stage_next(RewrapStage *stage, StagedRewrap *staged)
{
	Datum	   *values = stage->slot->tts_values;

	if (!tuplesort_gettupleslot(stage->sort, true, false, stage->slot, NULL))
		return false;
	slot_getallattrs(stage->slot);
	staged->result.key_id = TextDatumGetCString(values[STAGE_KEY_ID]);
	staged->result.version = DatumGetInt32(values[STAGE_VERSION]);
	staged->result.dek_id = (uint32) DatumGetInt64(values[STAGE_DEK_ID]);
	staged->result.outcome = (RewrapOutcome) DatumGetInt32(values[STAGE_OUTCOME]);
	staged->result.detail = TextDatumGetCString(values[STAGE_DETAIL]);
	staged->result.duration_us = DatumGetInt64(values[STAGE_DURATION]);
	staged->seq = DatumGetInt32(values[STAGE_SEQ]);
	staged->old_wrapped = datum_bytes(values[STAGE_OLD_WRAPPED]);
	staged->kek_version = datum_bytes(values[STAGE_KEK_VERSION]);
	staged->wrapped = datum_bytes(values[STAGE_WRAPPED]);
	return true;
}

void
pge_rewrap_stage_end(RewrapStage *stage)
{
	ExecDropSingleTupleTableSlot(stage->slot);
	tuplesort_end(stage->sort);
	pfree(stage);
}

static Datum
bytes_datum(PgeBytes bytes)
{
	/* none is {NULL, 0}, and memcpy takes no NULL, not even for no bytes */
	const char *data = bytes.len > 0 ? (const char *) bytes.data : "";

	return PointerGetDatum(cstring_to_text_with_len(data, (int) bytes.len));
}

static PgeBytes
datum_bytes(Datum datum)
{
	bytea	   *value = DatumGetByteaPCopy(datum);

	return pge_bytes(VARDATA(value), VARSIZE(value) - VARHDRSZ);
}
