/*
 * guard_triggers.h -- the triggers before the key tables stay there, and ALWAYS on.
 *
 * pg_dump --data-only --disable-triggers switches all triggers of a table off, loads
 * it, and switches them on as ordinary ones, which a replica role skips.  So while a
 * table has rows and a data key lives that is refused; else it is let run, and what
 * is ours is set back to ALWAYS at once: it lets a restore's rows in anyway.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_GUARD_TRIGGERS_H
#define PGE_OPS_GUARD_TRIGGERS_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* After the command ran: ereport(ERROR, KE014), or sets them back. */
extern void pge_guard_triggers_keep(const AlterTableStmt *command);

/* The key table whose guard this trigger is (or was, before this command), or InvalidOid. */
extern Oid	pge_guard_trigger_table(Oid trigger);

/* Whether it is what our guards call. */
extern bool pge_guard_function(Oid function);

/* Whether the running ALTER gives it another owner, and so changes nothing else. */
extern bool pge_guard_function_moved(Oid function);

#endif							/* PGE_OPS_GUARD_TRIGGERS_H */
