/*
 * key_tables.h -- the tables that keep the keys, as the catalogs show them.
 *
 * For hooks: nothing here raises an error because a table is missing or is not as
 * the extension made it.  What changed is told while the server's caches still have
 * it as it was, that is, from within a hook on objects.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEY_TABLES_H
#define PGE_OPS_KEY_TABLES_H

#include "postgres.h"

#include "access/htup.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* The table's name, if the extension keeps keys or grants in it; else NULL. */
extern const char *pge_key_table_name(Oid table);

/* The same of an index by which the functions find keys, or keep them from being two. */
extern const char *pge_key_index_name(Oid index);

/* Those of the tables that there are, by oid. */
extern List *pge_key_tables(void);

/* Whether it has row security, and (forced) whether its owner would have, too. */
extern bool pge_key_table_hides_rows(Oid table, bool *forced);

/* Whether a key is lost if its rows are: not so for grants. */
extern bool pge_key_table_has_keys(Oid table);

/*
 * Whether an ALTER has changed how the table is named or kept, or (part) a column of
 * it, on which the functions and dumps rely.
 */
extern bool pge_key_table_was_harmed(Oid table, int part);

extern bool pge_key_index_was_renamed(Oid index);
extern bool pge_key_schema_was_renamed(Oid schema);

/*
 * A catalog's row of an oid, palloc'd, or NULL: as the running command has left it
 * (changed), or as it found it, since the command counter has not moved on yet.
 */
extern HeapTuple pge_catalog_row(Relation catalog, Oid index, AttrNumber column, Oid oid,
								 bool changed);

#endif							/* PGE_OPS_KEY_TABLES_H */
