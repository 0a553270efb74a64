/*-------------------------------------------------------------------------
 *
 * key_loss_guard.c
 *	  Refuses commands that would take living data keys with them.
 *
 * The hook on objects sees what goes or changes whatever led to it: a plain
 * command, CASCADE, DROP OWNED.  When it is called for a DROP, all tables that go
 * are locked already, so no data key can come in between.  What it does not see:
 * triggers that are switched off, members that leave the extension, row security.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "keyring/key_loss.h"
#include "ops/guard_triggers.h"
#include "ops/key_loss_guard.h"
#include "ops/key_tables.h"

/* The command that runs, the innermost: what its objects are called in messages. */
typedef struct Command
{
	const Node *statement;
	bool		may_lose;		/* has had its leave; of DROP the keyring may
								 * go first */
} Command;

static Command command;

static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

static void object_access(ObjectAccessType access, Oid class, Oid object, int part, void *arg);
static bool is_of_interest(ObjectAccessType access, Oid class);
static bool own_script_runs(void);
static void before_drop(Oid class, Oid object, int part);
static void before_table_drop(Oid table, int part);
static void before_index_drop(Oid index);
static bool drops_more_than_indexes(void);
static void before_trigger_drop(Oid trigger);
static bool drops_a_trigger(void);
static void after_alter(Oid class, Oid object, int part);
static bool advises_the_planner(void);
static void after_create(Oid class, Oid object, int part);
static void refuse(char *action, KeyHarm harm);
static void after_contents(const AlterExtensionContentsStmt *statement);
static void process_utility(PlannedStmt *statement, const char *text, bool read_only,
							ProcessUtilityContext context, ParamListInfo params,
							QueryEnvironment *environment, DestReceiver *dest,
							QueryCompletion *completion);

static void
object_access(ObjectAccessType access, Oid class, Oid object, int part, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class, object, part, arg);
	if (!is_of_interest(access, class) || command.may_lose ||
		IsBootstrapProcessingMode() ||
		!OidIsValid(get_namespace_oid("envelope", true)) || own_script_runs())
		return;
	if (access == OAT_DROP)
		before_drop(class, object, part);
	else if (access == OAT_POST_ALTER)
		after_alter(class, object, part);
	else if (access == OAT_POST_CREATE)
		after_create(class, object, part);
	else if (access == OAT_TRUNCATE && pge_key_table_has_keys(object))
		refuse(psprintf("truncate table \"envelope.%s\"", pge_key_table_name(object)),
			   PGE_KEYS_LOST);
}

/* Functions are called, and names looked up, all the time. */
static bool
is_of_interest(ObjectAccessType access, Oid class)
{
	return (access == OAT_DROP || access == OAT_POST_ALTER ||
			access == OAT_POST_CREATE || access == OAT_TRUNCATE) &&
		(class == RelationRelationId || class == TriggerRelationId ||
		 class == ExtensionRelationId || class == NamespaceRelationId ||
		 class == ProcedureRelationId);
}

static bool
own_script_runs(void)
{
	return creating_extension &&
		CurrentExtensionObject == get_extension_oid("pg_envelope", true);
}

static void
before_drop(Oid class, Oid object, int part)
{
	if (class == RelationRelationId)
	{
		before_table_drop(object, part);
		before_index_drop(object);
	}
	else if (class == TriggerRelationId)
		before_trigger_drop(object);
	else if (class == ExtensionRelationId &&
			 object == get_extension_oid("pg_envelope", true))
		refuse(pstrdup("drop extension \"pg_envelope\""), PGE_KEYS_LOST);
}

/* A member goes only with its extension. */
static void
before_table_drop(Oid table, int part)
{
	const char *name = pge_key_table_name(table);

	if (name == NULL)
		return;
	if (part != 0)
		refuse(psprintf("drop column \"%s\" of table \"envelope.%s\"",
						get_attname(table, (AttrNumber) part, false), name),
			   PGE_KEYS_LOST);
	else if (OidIsValid(getExtensionOfObject(RelationRelationId, table)))
		refuse(pstrdup("drop extension \"pg_envelope\""), PGE_KEYS_LOST);
	else
		refuse(psprintf("drop table \"envelope.%s\"", name), PGE_KEYS_LOST);
}

/*
 * Nothing is lost with it, but nothing is found, either, or there may be two.  Where
 * REINDEX CONCURRENTLY drops the old one, the new one has its name already.
 */
static void
before_index_drop(Oid index)
{
	const char *name = pge_key_index_name(index);

	if (name == NULL)
		return;
	if (drops_more_than_indexes())
		before_table_drop(IndexGetRelation(index, false), 0);
	else
		refuse(psprintf("drop index \"envelope.%s\"", name), PGE_KEYS_ENDANGERED);
}

/*
 * Then it goes with its table, and is refused under its name: or alone, with another
 * extension on which it was made to depend.
 */
static bool
drops_more_than_indexes(void)
{
	return command.statement != NULL &&
		(IsA(command.statement, DropOwnedStmt) ||
		 (IsA(command.statement, DropStmt) &&
		  ((const DropStmt *) command.statement)->removeType != OBJECT_INDEX));
}

/* Of a table that goes, the triggers go first. */
static void
before_trigger_drop(Oid trigger)
{
	Oid			table = pge_guard_trigger_table(trigger);

	if (!OidIsValid(table))
		return;
	if (drops_a_trigger())
		refuse(psprintf("drop a guard of table \"envelope.%s\"", pge_key_table_name(table)),
			   PGE_KEYS_ENDANGERED);
	else
		refuse(pstrdup("drop extension \"pg_envelope\""), PGE_KEYS_LOST);
}

static bool
drops_a_trigger(void)
{
	return command.statement != NULL && IsA(command.statement, DropStmt) &&
		((const DropStmt *) command.statement)->removeType == OBJECT_TRIGGER;
}

static void
after_alter(Oid class, Oid object, int part)
{
	if (class == RelationRelationId && pge_key_table_was_harmed(object, part) &&
		!advises_the_planner())
		refuse(psprintf("alter table \"envelope.%s\" in this way", pge_key_table_name(object)),
			   PGE_KEYS_ENDANGERED);
	else if (class == RelationRelationId && part == 0 && pge_key_index_was_renamed(object))
		refuse(psprintf("rename index \"envelope.%s\"", pge_key_index_name(object)),
			   PGE_KEYS_ENDANGERED);
	else if (class == NamespaceRelationId && pge_key_schema_was_renamed(object))
		refuse(pstrdup("rename schema \"envelope\""), PGE_KEYS_ENDANGERED);
	else if (class == ProcedureRelationId && pge_guard_function(object) && !pge_guard_function_moved(object))
		refuse(pstrdup("change a guard of extension \"pg_envelope\""), PGE_KEYS_ENDANGERED);
}

/* What a column's statistics are told changes no row and no type, if nothing else is in the command. */
static bool
advises_the_planner(void)
{
	ListCell   *cell;

	if (command.statement == NULL || !IsA(command.statement, AlterTableStmt))
		return false;
	foreach(cell, ((const AlterTableStmt *) command.statement)->cmds)
	{
		AlterTableType type = lfirst_node(AlterTableCmd, cell)->subtype;

		if (type != AT_SetStatistics && type != AT_SetOptions && type != AT_ResetOptions)
			return false;
	}
	return true;
}

/* A column more, and a dump's rows would not fit a new table. */
static void
after_create(Oid class, Oid object, int part)
{
	if (class == RelationRelationId && part != 0 && pge_key_table_name(object) != NULL)
		refuse(psprintf("add a column to table \"envelope.%s\"", pge_key_table_name(object)),
			   PGE_KEYS_ENDANGERED);
	else if (class == ProcedureRelationId && pge_guard_function(object))
		refuse(pstrdup("replace a guard of extension \"pg_envelope\""), PGE_KEYS_ENDANGERED);
	else if (class == TriggerRelationId && OidIsValid(pge_guard_trigger_table(object)))
		refuse(psprintf("replace a guard of table \"envelope.%s\"",
						pge_key_table_name(pge_guard_trigger_table(object))),
			   PGE_KEYS_ENDANGERED);
}

static void
refuse(char *action, KeyHarm harm)
{
	int64		keys = pge_key_loss_living();

	pge_key_loss_refuse(action, keys, harm);
	command.may_lose = keys > 0 && command.statement != NULL;
	pfree(action);
}

/* Then the server has decided who may, and the tables are locked; an error undoes it. */
static void
after_contents(const AlterExtensionContentsStmt *statement)
{
	if (statement->action < 0 && strcmp(statement->extname, "pg_envelope") == 0)
		refuse(pstrdup("take an object out of extension \"pg_envelope\""), PGE_KEYS_ENDANGERED);
}

static void
process_utility(PlannedStmt *statement, const char *text, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	const Node *node = statement->utilityStmt;
	bool		own = own_script_runs();
	bool		switches = IsA(node, AlterTableStmt) && !own &&
	pge_guard_switches_may_change((const AlterTableStmt *) node);
	bool		contents = IsA(node, AlterExtensionContentsStmt) && !own;
	GuardSwitches before = {NIL, NIL, NIL};
	Command		outer = command;

	command.statement = node;
	command.may_lose = false;
	if (switches)
		before = pge_guard_switches();
	PG_TRY();
	{
		prev_process_utility(statement, text, read_only, context, params,
							 environment, dest, completion);

		/* (a CALL's own node may have gone by now) */
		if (switches)
			pge_guard_switches_keep(&before);
		if (contents)
			after_contents((const AlterExtensionContentsStmt *) node);
	}
	PG_FINALLY();
	{
		command = outer;
	}
	PG_END_TRY();
}

void
pge_key_loss_guard_register(void)
{
	prev_process_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}
