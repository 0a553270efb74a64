/*
 * guard_triggers.h -- the triggers before the key tables stay there, and ALWAYS on; row
 * security hides nothing of them.
 *
 * pg_dump --data-only --disable-triggers switches all triggers of a table off, loads
 * it, and switches them on as ordinary ones, which a replica role skips.  So while a
 * table has rows and a data key lives that is refused; else it is let run, and what
 * is ours is set back to ALWAYS at once: it lets a restore's rows in anyway.
 *
 * An ALTER TABLE is judged by what is switched otherwise behind it than before, not by
 * the name in it: what it runs (a check, an event trigger) may change the search_path.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_GUARD_TRIGGERS_H
#define PGE_OPS_GUARD_TRIGGERS_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* What of the key tables is switched otherwise than the extension made it. */
typedef struct GuardSwitches
{
	List	   *triggers;		/* of GuardTrigger: guards that are not ALWAYS
								 * on */
	List	   *hiding;			/* tables with row security */
	List	   *forced;			/* ... and with row security for their owner */
} GuardSwitches;

/* Whether the command may switch some of that. */
extern bool pge_guard_switches_may_change(const AlterTableStmt *command);

extern GuardSwitches pge_guard_switches(void);

/* After the command ran: ereport(ERROR, KE014), or sets the guards back. */
extern void pge_guard_switches_keep(const GuardSwitches *before);

/* The key table whose guard this trigger is (or was, before this command), or InvalidOid. */
extern Oid	pge_guard_trigger_table(Oid trigger);

/* Whether it is what our guards call. */
extern bool pge_guard_function(Oid function);

/* Whether the running ALTER gives it another owner, and so changes nothing else. */
extern bool pge_guard_function_moved(Oid function);

#endif							/* PGE_OPS_GUARD_TRIGGERS_H */
