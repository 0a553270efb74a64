/*-------------------------------------------------------------------------
 *
 * trigger.c
 *	  The row trigger that stands before every table of schema "envelope".
 *
 * pg_write_all_data could otherwise grant itself a key, or overwrite a
 * wrapping.  It fires for everybody (ENABLE ALWAYS), because the invalidation
 * must go out on a subscriber and under session_replication_role = replica too.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/report.h"
#include "cache/epoch.h"
#include "keyring/key_loss.h"
#include "keyring/key_name.h"
#include "keyring/keyring.h"
#include "keyring/keyring_private.h"
#include "keyring/memo.h"
#include "keyring/row_loss.h"
#include "keyring/trigger.h"
#include "keyring/write_scope.h"

PG_FUNCTION_INFO_V1(envelope_guard_row);
PG_FUNCTION_INFO_V1(envelope_guard_truncate);

static bool stands(const TriggerDesc *all, int16 type, PGFunction function);
static void tell_everybody(void);
static void require_row_trigger(FunctionCallInfo fcinfo);
static void refuse_foreign_writer(Relation relation);
static void refuse_other_triggers(const TriggerData *trigger);
static void refuse_changed_identity(Relation relation, HeapTuple old, HeapTuple new);
static void refuse_needed(Relation relation, HeapTuple old, HeapTuple new);
static bool column_changed(Relation relation, int column, HeapTuple old, HeapTuple new);
static bool is_needed(Relation relation, HeapTuple tuple);
static void check_names(Relation relation, HeapTuple old, HeapTuple new);
static void check_text(Relation relation, int column, HeapTuple old, HeapTuple new,
					   void (*check) (const char *value));
static HeapTuple resolve_role(Relation relation, HeapTuple tuple);
static HeapTuple keep_role(Relation relation, HeapTuple old, HeapTuple new);
static bool is_table(Relation relation, const char *name);

Datum
envelope_guard_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	relation;
	HeapTuple	result;

	require_row_trigger(fcinfo);
	relation = trigger->tg_relation;
	refuse_foreign_writer(relation);
	refuse_other_triggers(trigger);
	result = trigger->tg_trigtuple;
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		pge_row_loss_refuse(relation, result, NULL);
		refuse_needed(relation, result, NULL);
	}
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		result = trigger->tg_newtuple;
		pge_row_loss_refuse(relation, trigger->tg_trigtuple, result);
		refuse_needed(relation, trigger->tg_trigtuple, result);
		if (is_table(relation, "dek"))
			refuse_changed_identity(relation, trigger->tg_trigtuple, result);
	}
	if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		check_names(relation, TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
					trigger->tg_trigtuple : NULL, result);
	if (is_table(relation, "key_grant"))
	{
		if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
			result = resolve_role(relation, result);
		else if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && IsLogicalWorker())
			result = keep_role(relation, trigger->tg_trigtuple, result);
	}

	tell_everybody();
	return PointerGetDatum(result);
}

/*
 * TRUNCATE takes all rows and fires no row trigger: without this one, keys would be
 * lost, and sessions would go by grants and keys that are gone.  It fires when the
 * table is locked, so no data key can come in between.
 */
Datum
envelope_guard_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"envelope_guard_truncate\" was not called as a TRUNCATE trigger")));
	refuse_foreign_writer(trigger->tg_relation);
	if (!is_table(trigger->tg_relation, "key_grant"))
		pge_key_loss_refuse(psprintf("truncate table \"envelope.%s\"",
									 RelationGetRelationName(trigger->tg_relation)),
							pge_key_loss_living(), PGE_KEYS_LOST);
	tell_everybody();
	return PointerGetDatum(NULL);
}

bool
pge_row_guards_stand(Oid table)
{
	Relation	relation = table_open(table, AccessShareLock);
	bool		both = relation->trigdesc != NULL &&
	stands(relation->trigdesc, TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT |
		   TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE, envelope_guard_row) &&
	stands(relation->trigdesc, TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_TRUNCATE, envelope_guard_truncate);

	table_close(relation, AccessShareLock);
	return both;
}

static bool
stands(const TriggerDesc *all, int16 type, PGFunction function)
{
	for (int i = 0; i < all->numtriggers; i++)
	{
		const		Trigger *trigger = &all->triggers[i];
		FmgrInfo	called;

		if (trigger->tgtype != type || trigger->tgenabled != TRIGGER_FIRES_ALWAYS ||
			trigger->tgqual != NULL || trigger->tgnattr != 0)
			continue;
		fmgr_info(trigger->tgfoid, &called);
		if (called.fn_addr == function)
			return true;
	}
	return false;
}

/*
 * On the one-row table, so that nobody rebuilds what it knows of dek.
 *
 * The server keeps every message until the commit, then sends and logs them all:
 * so one for each subtransaction, not for each row.  It goes down with the
 * subtransaction that registered it, so an outer one registers its own.  No two
 * (sub)transactions ever have the same full id, so nothing has to reset ours.
 */
static void
tell_everybody(void)
{
	static FullTransactionId registered_by;
	FullTransactionId mine = GetCurrentFullTransactionId();

	if (!FullTransactionIdEquals(registered_by, mine))
	{
		CacheInvalidateRelcacheByRelid(pge_keyring_relid("keyring"));
		registered_by = mine;
	}
	pge_memo_note_own_change();
	pge_epoch_note_change();
}

static void
require_row_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"envelope_guard_row\" was not called as a BEFORE ROW trigger")));
}

/*
 * A superuser restores dumps and repairs by hand; nobody else writes here.  A
 * subscription applies as a superuser or as the table's owner; one that applies
 * as its own owner would let that role grant itself a key.
 */
static void
refuse_foreign_writer(Relation relation)
{
	if (pge_write_under_way() || superuser() ||
		(IsLogicalWorker() && GetUserId() == relation->rd_rel->relowner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("cannot change table \"envelope.%s\" by hand",
					RelationGetRelationName(relation)),
			 errhint("Use envelope_create_key, envelope_grant and the other functions of extension \"pg_envelope\".")));
}

/*
 * One that changes rows could do so behind this one, or within our statement: what a
 * data key is bound to, its state, the URI of its KEK, who has a right.
 */
static void
refuse_other_triggers(const TriggerData *trigger)
{
	const TriggerDesc *all = trigger->tg_relation->trigdesc;

#ifdef PGE_WITHOUT_KEY_LOSS_GUARD
	return;						/* a test build, which shows what gets lost */
#endif
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || all == NULL)
		return;
	for (int i = 0; i < all->numtriggers; i++)
	{
		const		Trigger *other = &all->triggers[i];

		if (TRIGGER_FOR_ROW(other->tgtype) && TRIGGER_FOR_BEFORE(other->tgtype) &&
			(TRIGGER_FOR_INSERT(other->tgtype) || TRIGGER_FOR_UPDATE(other->tgtype)) &&
			other->tgenabled != TRIGGER_DISABLED &&
			other->tgfoid != trigger->tg_trigger->tgfoid)
			ereport(ERROR,
					(errcode(PGE_ERRCODE_GUARD),
					 errmsg("trigger \"%s\" could change the rows of table \"envelope.%s\"",
							other->tgname, RelationGetRelationName(trigger->tg_relation)),
					 errdetail("It is not of extension \"pg_envelope\", whose keys could be lost by that."),
					 errhint("Drop it.")));
	}
}

/*
 * A data key is bound to these columns, and values carry its number: a change
 * could only lose it.  Not even a superuser may.
 */
static void
refuse_changed_identity(Relation relation, HeapTuple old, HeapTuple new)
{
	static const int columns[] = {
		Anum_dek_dek_id, Anum_dek_key_id, Anum_dek_version, Anum_dek_purpose,
		Anum_dek_algorithm, Anum_dek_keyring, Anum_dek_check_value
	};
	TupleDesc	desc = RelationGetDescr(relation);

#ifdef PGE_WITHOUT_KEY_LOSS_GUARD
	return;						/* a test build, which shows what gets lost */
#endif
	for (size_t i = 0; i < lengthof(columns); i++)
	{
		if (!column_changed(relation, columns[i], old, new))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_RESTRICT_VIOLATION),
				 errmsg("column \"%s\" of a data key never changes",
						NameStr(TupleDescAttr(desc, columns[i] - 1)->attname)),
				 errdetail("The wrapped key is bound to it, so the values that it sealed could not be opened any more.")));
	}
}

/*
 * What a foreign key would keep from going, or from another name; the number of
 * a data key never changes anyway.  With session_replication_role = replica
 * rows go in any order, as with a foreign key; but KEKs, whose URIs nothing else
 * knows, go last.
 */
static void
refuse_needed(Relation relation, HeapTuple old, HeapTuple new)
{
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA &&
		(!is_table(relation, "kek") || pge_key_loss_allowed()))
		return;
	if (new != NULL &&
		(is_table(relation, "dek") || !column_changed(relation, 1, old, new)))
		return;
	if (is_needed(relation, old))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("cannot delete or rename a row of table \"envelope.%s\" that others need",
						RelationGetRelationName(relation)),
				 errhint("Delete the rows of envelope.wrapping, dek and key that name it first.")));
}

static bool
column_changed(Relation relation, int column, HeapTuple old, HeapTuple new)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Form_pg_attribute attribute = TupleDescAttr(desc, column - 1);
	bool		old_null;
	bool		new_null;
	Datum		was = heap_getattr(old, column, desc, &old_null);
	Datum		is = heap_getattr(new, column, desc, &new_null);

	return old_null || new_null ||
		!datum_image_eq(was, is, attribute->attbyval, attribute->attlen);
}

static bool
is_needed(Relation relation, HeapTuple tuple)
{
	bool		isnull;
	Datum		name = heap_getattr(tuple, 1, RelationGetDescr(relation), &isnull);

	if (isnull)
		return false;			/* a hand has dropped the primary key */
	if (is_table(relation, "kek"))
		return pge_keyring_kek_is_needed(TextDatumGetCString(name));
	if (is_table(relation, "key"))
	{
		KeyringDek *deks;

		return pge_keyring_deks(TextDatumGetCString(name), &deks) > 0;
	}
	if (is_table(relation, "dek"))
		return pge_keyring_last_seq((uint32) DatumGetInt64(name)) > 0;
	return false;
}

/*
 * What messages will show, and what a binding must hold: the tables' own checks
 * count bytes of the database's encoding and know no control character of it.
 * What stays as it was is let be: a key with a bad name must still be disabled.
 */
static void
check_names(Relation relation, HeapTuple old, HeapTuple new)
{
	if (is_table(relation, "key"))
		check_text(relation, Anum_key_key_id, old, new, pge_key_id_check);
	if (is_table(relation, "kek"))
	{
		check_text(relation, Anum_kek_name, old, new, pge_kek_name_check);
		check_text(relation, Anum_kek_uri, old, new, pge_kek_uri_check);
	}
}

static void
check_text(Relation relation, int column, HeapTuple old, HeapTuple new,
		   void (*check) (const char *value))
{
	bool		isnull;
	Datum		value = heap_getattr(new, column, RelationGetDescr(relation), &isnull);

	if (!isnull && (old == NULL || column_changed(relation, column, old, new)))
		check(TextDatumGetCString(value));
}

/*
 * The oid in a dump means nothing here; the name does.  A role that does not
 * exist gets oid 0, which no role ever has, and the restore goes on.
 */
static HeapTuple
resolve_role(Relation relation, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(relation);
	int			column = Anum_key_grant_role_oid;
	bool		isnull;
	Datum		name = heap_getattr(tuple, Anum_key_grant_role_name, desc, &isnull);
	Datum		oid;
	bool		oid_isnull = false;

	if (isnull)
		return tuple;
	oid = ObjectIdGetDatum(get_role_oid(NameStr(*DatumGetName(name)), true));
	return heap_modify_tuple_by_cols(tuple, desc, 1, &column, &oid, &oid_isnull);
}

/*
 * The publisher's oid means as little here.  What was granted to a role that has been
 * made again since stays without effect; if there was none then, there may be one now.
 */
static HeapTuple
keep_role(Relation relation, HeapTuple old, HeapTuple new)
{
	TupleDesc	desc = RelationGetDescr(relation);
	int			column = Anum_key_grant_role_oid;
	bool		isnull;
	Datum		oid = heap_getattr(old, column, desc, &isnull);

	if (isnull || !OidIsValid(DatumGetObjectId(oid)))
		return resolve_role(relation, new);
	return heap_modify_tuple_by_cols(new, desc, 1, &column, &oid, &isnull);
}

/* By oid: a table elsewhere may have the same name and other columns. */
static bool
is_table(Relation relation, const char *name)
{
	return RelationGetRelid(relation) == pge_keyring_relid(name);
}
