/*-------------------------------------------------------------------------
 *
 * row_loss.c
 *	  Refuses changes of rows that would lose a living data key.
 *
 * Rows are read here as they are: what a hand has damaged must not make the guard
 * fail, and counts as needed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/report.h"
#include "keyring/key_loss.h"
#include "keyring/keyring.h"
#include "keyring/keyring_private.h"
#include "keyring/row_loss.h"
#include "keyring/write_scope.h"
#include "keyring/writes.h"

static void refuse_dek(Relation table, HeapTuple old, HeapTuple new);
static void refuse_keyring(Relation table, HeapTuple old, HeapTuple new);
static void refuse_kek(Relation table, HeapTuple old, HeapTuple new);
static void refuse_key(Relation table, HeapTuple old, HeapTuple new);
static void refuse_wrapping(Relation table, HeapTuple old, HeapTuple new);
static bool destroyed_by_hand(Relation table, HeapTuple old, HeapTuple new);
static bool moves_by_hand(Relation table, HeapTuple old, HeapTuple new);
static bool rewrapped_elsewhere(Relation table, HeapTuple old, HeapTuple new);
static bool is_last(Relation wrappings, Datum dek_id, Datum seq);
static bool dek_lives(Datum dek_id, char **key_id);
static void wait_for_rewraps(const char *key_id);
static int64 wrapped_by(const char *kek);
static int64 versions_of(const char *key_id);
static bool differs(Relation table, HeapTuple old, HeapTuple new, int column);
static char *shown(Relation table, HeapTuple row, int column);

typedef struct Guarded
{
	const char *table;
	void		(*refuse) (Relation table, HeapTuple old, HeapTuple new);
} Guarded;

static const Guarded guarded[] = {
	{"dek", refuse_dek},
	{"keyring", refuse_keyring},
	{"kek", refuse_kek},
	{"key", refuse_key},
	{"wrapping", refuse_wrapping},
};

void
pge_row_loss_refuse(Relation table, HeapTuple old, HeapTuple new)
{
	for (size_t i = 0; i < lengthof(guarded); i++)
		if (RelationGetRelid(table) == pge_keyring_relid(guarded[i].table))
			guarded[i].refuse(table, old, new);
}

/*
 * The state too: envelope_destroy_key wants the key disabled, and names the KEKs by
 * which it can come back from a backup.
 */
static void
refuse_dek(Relation table, HeapTuple old, HeapTuple new)
{
	if (!pge_key_loss_row_lives(table, old) ||
		(new != NULL && (pge_key_loss_row_lives(table, new) ||
						 pge_write_under_way() || IsLogicalWorker())))
		return;
	pge_key_loss_refuse(psprintf("%s version %s of key \"%s\"",
								 new == NULL ? "delete" : "mark as destroyed",
								 shown(table, old, Anum_dek_version),
								 pge_report_name(shown(table, old, Anum_dek_key_id))),
						1, PGE_ROW_LOST);
}

/* It is what a session has to name to lose keys. */
static void
refuse_keyring(Relation table, HeapTuple old, HeapTuple new)
{
	if (new == NULL || differs(table, old, new, Anum_keyring_uuid))
		pge_key_loss_refuse(new == NULL ? "delete the uuid of the keyring" : "change the uuid of the keyring",
							pge_key_loss_living(), PGE_KEYS_ENDANGERED);
}

static void
refuse_kek(Relation table, HeapTuple old, HeapTuple new)
{
	bool		renames = new != NULL && differs(table, old, new, Anum_kek_name);
	char	   *name;

	if (new != NULL && !renames && !moves_by_hand(table, old, new))
		return;
	name = shown(table, old, Anum_kek_name);
	pge_key_loss_refuse(psprintf("%s KEK \"%s\"", new == NULL ? "delete" :
								 renames ? "rename" : "change the URI of", pge_report_name(name)),
						wrapped_by(name), PGE_ROW_LOST);
}

/* Which key it is nothing else knows; envelope_alter_kek proves the new URI first. */
static bool
moves_by_hand(Relation table, HeapTuple old, HeapTuple new)
{
	return differs(table, old, new, Anum_kek_uri) && !pge_write_under_way() &&
		!IsLogicalWorker();
}

static void
refuse_key(Relation table, HeapTuple old, HeapTuple new)
{
	bool		renames = new != NULL && differs(table, old, new, Anum_key_key_id);
	char	   *key_id;

	if (new != NULL && !renames && !destroyed_by_hand(table, old, new))
		return;
	key_id = shown(table, old, Anum_key_key_id);
	pge_key_loss_refuse(psprintf("%s key \"%s\"", new == NULL ? "delete" :
								 renames ? "rename" : "mark as destroyed", pge_report_name(key_id)),
						versions_of(key_id), PGE_ROW_LOST);
}

/* envelope_destroy_key marks the versions, too. */
static bool
destroyed_by_hand(Relation table, HeapTuple old, HeapTuple new)
{
	return differs(table, old, new, Anum_key_state) && !pge_write_under_way() &&
		!IsLogicalWorker() && strcmp(shown(table, new, Anum_key_state), "destroyed") == 0;
}

/* What a hand put there may open nothing: then the next one would not be the last. */
static void
refuse_wrapping(Relation table, HeapTuple old, HeapTuple new)
{
	TupleDesc	desc = RelationGetDescr(table);
	bool		isnull;
	Datum		dek_id = heap_getattr(old, Anum_wrapping_dek_id, desc, &isnull);
	char	   *key_id;

	if ((new != NULL && (pge_write_under_way() || rewrapped_elsewhere(table, old, new))) || isnull ||
		heap_attisnull(old, Anum_wrapping_wrapped, desc) ||
		(new != NULL && !differs(table, old, new, Anum_wrapping_wrapped) &&
		 !differs(table, old, new, Anum_wrapping_dek_id) &&
		 !differs(table, old, new, Anum_wrapping_kek) &&
		 !differs(table, old, new, Anum_wrapping_kek_version)) ||
		!dek_lives(dek_id, &key_id))
		return;
	wait_for_rewraps(key_id);
	if (is_last(table, dek_id, heap_getattr(old, Anum_wrapping_seq, desc, &isnull)))
		pge_key_loss_refuse(psprintf("%s the last wrapping of a data key of key \"%s\"",
									 new == NULL ? "delete" : "change", pge_report_name(key_id)),
							1, PGE_ROW_LOST);
	else if (new != NULL && !heap_attisnull(new, Anum_wrapping_wrapped, desc))
		pge_key_loss_refuse(psprintf("change a wrapping of a data key of key \"%s\"",
									 pge_report_name(key_id)),
							1, PGE_ROW_ENDANGERED);
}

/* A publisher's rewrap supersedes a wrapping, and never overwrites one. */
static bool
rewrapped_elsewhere(Relation table, HeapTuple old, HeapTuple new)
{
	return IsLogicalWorker() &&
		heap_attisnull(new, Anum_wrapping_wrapped, RelationGetDescr(table)) &&
		!differs(table, old, new, Anum_wrapping_dek_id) &&
		!differs(table, old, new, Anum_wrapping_kek);
}

/* A rewrap that found the wrapping there may be taking away another one. */
static void
wait_for_rewraps(const char *key_id)
{
	KeyringKey	key;

	pge_lock_key(key_id, &key);
}

/* What this very command has deleted already does not count. */
static bool
is_last(Relation wrappings, Datum dek_id, Datum seq)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		others = false;

	ScanKeyInit(&key, Anum_wrapping_dek_id, BTEqualStrategyNumber, F_INT8EQ, dek_id);
	scan = systable_beginscan(wrappings, pge_keyring_relid("wrapping_pkey"), true, SnapshotSelf, 1, &key);
	while (!others && HeapTupleIsValid(row = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(wrappings);
		bool		isnull;
		Datum		other = heap_getattr(row, Anum_wrapping_seq, desc, &isnull);

		others = !isnull && DatumGetInt32(other) != DatumGetInt32(seq) &&
			!heap_attisnull(row, Anum_wrapping_wrapped, desc);
	}
	systable_endscan(scan);
	return !others;
}

/* Its key_id palloc'd.  A row that is not there (yet) does not live. */
static bool
dek_lives(Datum dek_id, char **key_id)
{
	KeyringScan scan;
	ScanKeyData key;
	HeapTuple	row;
	bool		lives = false;

	ScanKeyInit(&key, Anum_dek_dek_id, BTEqualStrategyNumber, F_INT8EQ, dek_id);
	pge_keyring_scan_begin(&scan, "dek", "dek_pkey", &key, 1);
	while (!lives && HeapTupleIsValid(row = pge_keyring_scan_next(&scan)))
	{
		lives = pge_key_loss_row_lives(scan.relation, row);
		*key_id = shown(scan.relation, row, Anum_dek_key_id);
	}
	pge_keyring_scan_end(&scan);
	return lives;
}

/* How many living data keys it wraps; the index that would know may be gone. */
static int64
wrapped_by(const char *kek)
{
	Relation	table = table_open(pge_keyring_relid("wrapping"), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(table);
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	row;
	int64		living = 0;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		name = heap_getattr(row, Anum_wrapping_kek, desc, &isnull);
		char	   *key_id;

		if (!isnull && !heap_attisnull(row, Anum_wrapping_wrapped, desc) &&
			strcmp(TextDatumGetCString(name), kek) == 0 &&
			dek_lives(heap_getattr(row, Anum_wrapping_dek_id, desc, &isnull), &key_id))
			living++;
	}
	systable_endscan(scan);
	table_close(table, AccessShareLock);
	return living;
}

/* How many of them live. */
static int64
versions_of(const char *key_id)
{
	Relation	table = table_open(pge_keyring_relid("dek"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	row;
	int64		living = 0;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
		living += pge_key_loss_row_lives(table, row) &&
			strcmp(shown(table, row, Anum_dek_key_id), key_id) == 0;
	systable_endscan(scan);
	table_close(table, AccessShareLock);
	return living;
}

static bool
differs(Relation table, HeapTuple old, HeapTuple new, int column)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table), column - 1);
	bool		was_null;
	bool		is_null;
	Datum		was = heap_getattr(old, column, RelationGetDescr(table), &was_null);
	Datum		is = heap_getattr(new, column, RelationGetDescr(table), &is_null);

	return was_null != is_null ||
		(!was_null && !datum_image_eq(was, is, attribute->attbyval, attribute->attlen));
}

/* As text, palloc'd; "" for NULL. */
static char *
shown(Relation table, HeapTuple row, int column)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table), column - 1);
	bool		isnull;
	Datum		value = heap_getattr(row, column, RelationGetDescr(table), &isnull);
	Oid			output;
	bool		varlena;

	if (isnull)
		return pstrdup("");
	getTypeOutputInfo(attribute->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}
