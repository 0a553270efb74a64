/*-------------------------------------------------------------------------
 *
 * guard_triggers.c
 *	  Keeps the triggers before the key tables switched on, and row security off.
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

/* One that is not ALWAYS on. */
typedef struct GuardTrigger
{
	Oid			trigger;
	Oid			table;
	NameData	name;
	char		enabled;
} GuardTrigger;

static bool switches(AlterTableType type);
static List *guards_not_always(Oid table);
static void keep_on(const GuardTrigger *guard);
static bool was_so(const GuardTrigger *guard, const List *before);
static bool has_rows(Oid table);
static void keep_shown(List *before, List *now);
static void switch_on(const char *table, const char *trigger);

bool
pge_guard_switches_may_change(const AlterTableStmt *command)
{
	ListCell   *cell;

	foreach(cell, command->cmds)
		if (switches(lfirst_node(AlterTableCmd, cell)->subtype))
		return true;
	return false;
}

static bool
switches(AlterTableType type)
{
	switch (type)
	{
		case AT_DisableTrig:
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
		case AT_EnableTrig:
		case AT_EnableReplicaTrig:
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
		case AT_EnableRowSecurity:
		case AT_ForceRowSecurity:
			return true;
		default:
			return false;
	}
}

GuardSwitches
pge_guard_switches(void)
{
	GuardSwitches found = {NIL, NIL, NIL};
	ListCell   *cell;
	List	   *tables = pge_key_tables();

	foreach(cell, tables)
	{
		Oid			table = lfirst_oid(cell);
		bool		forced;

		found.triggers = list_concat(found.triggers, guards_not_always(table));
		if (pge_key_table_hides_rows(table, &forced))
			found.hiding = lappend_oid(found.hiding, table);
		if (forced)
			found.forced = lappend_oid(found.forced, table);
	}
	return found;
}

/* Of GuardTrigger, palloc'd. */
static List *
guards_not_always(Oid table)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	List	   *guards = NIL;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(table));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(row);
		GuardTrigger *guard;

		if (trigger->tgenabled == TRIGGER_FIRES_ALWAYS || !pge_guard_function(trigger->tgfoid))
			continue;
		guard = palloc(sizeof(GuardTrigger));
		guard->trigger = trigger->oid;
		guard->table = table;
		guard->name = trigger->tgname;
		guard->enabled = trigger->tgenabled;
		guards = lappend(guards, guard);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return guards;
}

void
pge_guard_switches_keep(const GuardSwitches *before)
{
	GuardSwitches now = pge_guard_switches();
	ListCell   *cell;

	foreach(cell, now.triggers)
		if (!was_so(lfirst(cell), before->triggers))
		keep_on(lfirst(cell));
	keep_shown(before->hiding, now.hiding);
	keep_shown(before->forced, now.forced);
}

static bool
was_so(const GuardTrigger *guard, const List *before)
{
	ListCell   *cell;

	foreach(cell, before)
	{
		const GuardTrigger *other = lfirst(cell);

		if (other->trigger == guard->trigger && other->enabled == guard->enabled)
			return true;
	}
	return false;
}

static void
keep_on(const GuardTrigger *guard)
{
	const char *table = pge_key_table_name(guard->table);

	if (guard->enabled == TRIGGER_DISABLED && has_rows(guard->table))
		pge_key_loss_refuse(psprintf("disable triggers of table \"envelope.%s\"", table),
							pge_key_loss_living(), PGE_KEYS_ENDANGERED);
	if (!pge_key_loss_allowed())
		switch_on(table, NameStr(guard->name));
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

/* A dump without the rows that row security hides would still be a dump. */
static void
keep_shown(List *before, List *now)
{
	ListCell   *cell;

	foreach(cell, now)
		if (!list_member_oid(before, lfirst_oid(cell)))
		pge_key_loss_refuse(psprintf("hide rows of table \"envelope.%s\"",
									 pge_key_table_name(lfirst_oid(cell))),
							pge_key_loss_living(), PGE_KEYS_ENDANGERED);
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
