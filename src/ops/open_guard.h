/*
 * open_guard.h -- no value is opened where the server would keep what it sees.
 *
 * ANALYZE, index builds, REFRESH MATERIALIZED VIEW and their like run the
 * expressions of a table's owner and store the results: in pg_statistic, in an
 * index, in the view.  The server marks them as security-restricted (all but
 * EXPLAIN ANALYZE CREATE MATERIALIZED VIEW, which gets the mark here), and that
 * mark is what is looked at.  Two things wear it too and may open values:
 *
 *	- a logical replication worker, which applies rows (and so fires triggers)
 *	  as the table's owner;
 *	- the query of a materialized view, if a superuser set
 *	  pg_envelope.allow_materialized_views.
 *
 * Neither covers a command within: ANALYZE in a replicated trigger, or the
 * rebuild of the indexes at the end of a refresh, is refused as anywhere else.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_OPEN_GUARD_H
#define PGE_OPS_OPEN_GUARD_H

#include "postgres.h"

#include "miscadmin.h"

/* ereports, unless this is one of the two. */
extern void pge_open_guard_restricted(void);

/* Before a value is opened: one word of this process's memory is read. */
static inline void
pge_open_guard(void)
{
	if (unlikely(InSecurityRestrictedOperation()))
		pge_open_guard_restricted();
}

/* In _PG_init, when preloaded: follows which command is under way. */
extern void pge_open_guard_register(void);

#endif							/* PGE_OPS_OPEN_GUARD_H */
