/*-------------------------------------------------------------------------
 *
 * key_tables.c
 *	  Finds the tables that keep the keys, and what an ALTER did to them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "ops/key_tables.h"

/* What dumps hold. */
static const char *const tables[] = {"keyring", "kek", "key", "dek", "wrapping", "key_grant"};

static const char *const indexes[] = {
	"keyring_pkey", "keyring_one_row", "kek_pkey", "key_pkey", "key_kek", "dek_pkey",
	"dek_key_version", "dek_active", "wrapping_pkey", "wrapping_live", "wrapping_kek",
	"key_grant_pkey"
};

static const char *name_among(Oid relation, char kind, const char *const *names, size_t count);
static bool relation_was_harmed(Oid table);
static bool relation_differs(const FormData_pg_class *old, const FormData_pg_class *new);

const char *
pge_key_table_name(Oid table)
{
	return name_among(table, RELKIND_RELATION, tables, lengthof(tables));
}

const char *
pge_key_index_name(Oid index)
{
	return name_among(index, RELKIND_INDEX, indexes, lengthof(indexes));
}

static const char *
name_among(Oid relation, char kind, const char *const *names, size_t count)
{
	Oid			schema = get_namespace_oid("envelope", true);
	char	   *name;

	if (!OidIsValid(schema) || get_rel_namespace(relation) != schema ||
		get_rel_relkind(relation) != kind ||
		!OidIsValid(get_extension_oid("pg_envelope", true)))
		return NULL;
	name = get_rel_name(relation);
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return names[i];
	return NULL;
}

List *
pge_key_tables(void)
{
	Oid			schema = get_namespace_oid("envelope", true);
	List	   *found = NIL;

	for (size_t i = 0; OidIsValid(schema) && i < lengthof(tables); i++)
	{
		Oid			table = get_relname_relid(tables[i], schema);

		if (OidIsValid(table) && pge_key_table_name(table) != NULL)
			found = lappend_oid(found, table);
	}
	return found;
}

bool
pge_key_table_hides_rows(Oid table, bool *forced)
{
	HeapTuple	row = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	bool		hides = false;

	*forced = false;
	if (!HeapTupleIsValid(row))
		return false;
	hides = ((Form_pg_class) GETSTRUCT(row))->relrowsecurity;
	*forced = ((Form_pg_class) GETSTRUCT(row))->relforcerowsecurity;
	ReleaseSysCache(row);
	return hides;
}

bool
pge_key_table_has_keys(Oid table)
{
	const char *name = pge_key_table_name(table);

	return name != NULL && strcmp(name, "key_grant") != 0;
}

/* A column "of type bytea USING ..." is of that type before and after. */
bool
pge_key_table_was_harmed(Oid table, int part)
{
	return pge_key_table_name(table) != NULL &&
		(part != 0 || relation_was_harmed(table));
}

bool
pge_key_index_was_renamed(Oid index)
{
	return pge_key_index_name(index) != NULL && relation_was_harmed(index);
}

static bool
relation_was_harmed(Oid table)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	HeapTuple	new = pge_catalog_row(catalog, ClassOidIndexId, Anum_pg_class_oid, table, true);
	HeapTuple	old = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	bool		harmed = HeapTupleIsValid(old) && HeapTupleIsValid(new) &&
	relation_differs((Form_pg_class) GETSTRUCT(old), (Form_pg_class) GETSTRUCT(new));

	if (HeapTupleIsValid(old))
		ReleaseSysCache(old);
	table_close(catalog, AccessShareLock);
	return harmed;
}

static bool
relation_differs(const FormData_pg_class *old, const FormData_pg_class *new)
{
	return strcmp(NameStr(old->relname), NameStr(new->relname)) != 0 ||
		old->relnamespace != new->relnamespace ||
		old->relpersistence != new->relpersistence;
}

bool
pge_key_schema_was_renamed(Oid schema)
{
	Relation	catalog;
	HeapTuple	new;
	bool		renamed;

	if (schema != get_namespace_oid("envelope", true))
		return false;
	catalog = table_open(NamespaceRelationId, AccessShareLock);
	new = pge_catalog_row(catalog, NamespaceOidIndexId, Anum_pg_namespace_oid, schema, true);
	renamed = HeapTupleIsValid(new) &&
		strcmp(NameStr(((Form_pg_namespace) GETSTRUCT(new))->nspname), "envelope") != 0;
	table_close(catalog, AccessShareLock);
	return renamed;
}

HeapTuple
pge_catalog_row(Relation catalog, Oid index, AttrNumber column, Oid oid, bool changed)
{
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	row;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(catalog, index, true, changed ? SnapshotSelf : NULL, 1, &key);
	row = systable_getnext(scan);
	row = HeapTupleIsValid(row) ? heap_copytuple(row) : NULL;
	systable_endscan(scan);
	return row;
}
