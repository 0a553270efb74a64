/*-------------------------------------------------------------------------
 *
 * guard_triggers.c
 *	  Keeps the triggers before the key tables switched on.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "keyring/key_loss.h"
#include "ops/guard_triggers.h"
#include "ops/key_tables.h"

static Oid	switched_table(const AlterTableStmt *command, bool off);
static bool switches(AlterTableType type, bool off);
static bool has_rows(Oid table);
static void set_back(Oid table);
static List *guards_not_always(Oid table);
static void switch_on(const char *table, const char *trigger);

void
pge_guard_triggers_keep(const AlterTableStmt *command)
{
	Oid			table = switched_table(command, false);

	if (!OidIsValid(table))
		return;
	if (OidIsValid(switched_table(command, true)) && has_rows(table))
		pge_key_loss_refuse(psprintf("disable triggers of table \"envelope.%s\"", pge_key_table_name(table)),
							pge_key_loss_living(), PGE_KEYS_ENDANGERED);
	if (!pge_key_loss_allowed())
		set_back(table);
}

static void
set_back(Oid table)
{
	ListCell   *cell;
	List	   *triggers = guards_not_always(table);

	foreach(cell, triggers)
		switch_on(pge_key_table_name(table), lfirst(cell));
}

/* The key table whose triggers the command switches, or InvalidOid. */
static Oid
switched_table(const AlterTableStmt *command, bool off)
{
	bool		found = false;
	ListCell   *cell;
	Oid			table;

	foreach(cell, command->cmds)
		found |= switches(lfirst_node(AlterTableCmd, cell)->subtype, off);
	if (!found)
		return InvalidOid;
	table = RangeVarGetRelid(command->relation, NoLock, true);
	return OidIsValid(table) && pge_key_table_name(table) != NULL ? table : InvalidOid;
}

static bool
switches(AlterTableType type, bool off)
{
	switch (type)
	{
		case AT_DisableTrig:
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
			return true;
		case AT_EnableTrig:
		case AT_EnableReplicaTrig:
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
			return !off;
		default:
			return false;
	}
}

static bool
has_rows(Oid table)
{
	Relation	relation = table_open(table, AccessShareLock);
	SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	bool		found = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

/* Names, palloc'd. */
static List *
guards_not_always(Oid table)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	List	   *names = NIL;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(table));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(row);

		if (trigger->tgenabled != TRIGGER_FIRES_ALWAYS && pge_guard_function(trigger->tgfoid))
			names = lappend(names, pstrdup(NameStr(trigger->tgname)));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return names;
}

/* By a command, whose form, unlike the server's function, is that of all versions. */
static void
switch_on(const char *table, const char *trigger)
{
	char	   *sql = psprintf("ALTER TABLE envelope.%s ENABLE ALWAYS TRIGGER %s",
							   quote_identifier(table), quote_identifier(trigger));

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not switch a trigger on");
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not disconnect from SPI");
}

Oid
pge_guard_trigger_table(Oid trigger)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	HeapTuple	row = pge_catalog_row(catalog, TriggerOidIndexId, Anum_pg_trigger_oid, trigger, false);
	Form_pg_trigger form = HeapTupleIsValid(row) ? (Form_pg_trigger) GETSTRUCT(row) : NULL;

	table_close(catalog, AccessShareLock);
	if (form == NULL || pge_key_table_name(form->tgrelid) == NULL ||
		!pge_guard_function(form->tgfoid))
		return InvalidOid;
	return form->tgrelid;
}

/* By name first, which is cheap; a new function's is not to be found yet. */
bool
pge_guard_function(Oid function)
{
	char	   *name = get_func_name(function);
	Oid			extension;

	if (name == NULL || strncmp(name, "envelope_guard_", strlen("envelope_guard_")) != 0)
		return false;
	extension = getExtensionOfObject(ProcedureRelationId, function);
	return OidIsValid(extension) && extension == get_extension_oid("pg_envelope", true);
}

bool
pge_guard_function_moved(Oid function)
{
	Relation	catalog = table_open(ProcedureRelationId, AccessShareLock);
	HeapTuple	old = pge_catalog_row(catalog, ProcedureOidIndexId, Anum_pg_proc_oid, function, false);
	HeapTuple	new = pge_catalog_row(catalog, ProcedureOidIndexId, Anum_pg_proc_oid, function, true);

	table_close(catalog, AccessShareLock);
	return HeapTupleIsValid(old) && HeapTupleIsValid(new) &&
		((Form_pg_proc) GETSTRUCT(old))->proowner != ((Form_pg_proc) GETSTRUCT(new))->proowner;
}
