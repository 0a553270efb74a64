/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  What a role may do with a key.
 *
 * Default deny.  A grant counts only while the role of that name still has that
 * oid: a dropped and re-created role inherits nothing, and neither does a role
 * that a restore gave an old oid to.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "base/report.h"
#include "keyring/keyring.h"
#include "keyring/keyring_private.h"

#define RIGHTS_SIZE_MAX 1024	/* three short words; a hand may have repeated
								 * them */

static uint32 rights_granted(Oid user, const char *key_id);
static bool grant_is_for(HeapTuple tuple, const KeyringScan *scan, Oid user);

uint32
pge_right_number(const char *name)
{
	if (strcmp(name, "encrypt") == 0)
		return PGE_RIGHT_ENCRYPT;
	if (strcmp(name, "decrypt") == 0)
		return PGE_RIGHT_DECRYPT;
	if (strcmp(name, "manage") == 0)
		return PGE_RIGHT_MANAGE;
	return 0;
}

/* All rights of the array, or the element that is none; false: that one is NULL. */
static bool
read_rights(ArrayType *array, uint32 *rights, int *place, char **none)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	*rights = 0;
	*none = NULL;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	for (int i = 0; i < count && *none == NULL; i++)
	{
		char	   *name;
		uint32		right;

		*place = i + 1;
		if (nulls[i])
			return false;
		name = TextDatumGetCString(elements[i]);
		right = pge_right_number(name);
		if (right == 0)
			*none = name;
		*rights |= right;
	}
	return true;
}

uint32
pge_rights_of_array(ArrayType *array)
{
	uint32		rights;
	int			place;
	char	   *none;

	if (!read_rights(array, &rights, &place, &none))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("right %d is NULL", place),
				 errhint("Rights are encrypt, decrypt and manage.")));
	if (none != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown right \"%s\"", pge_report_name(none)),
				 errhint("Rights are encrypt, decrypt and manage.")));
	return rights;
}

/* Nobody's rights are guessed from a row that makes no sense. */
static uint32
rights_column(HeapTuple tuple, const KeyringScan *scan)
{
	Datum		value = pge_keyring_column(tuple, scan, Anum_key_grant_rights);
	uint32		rights;
	int			place;
	char	   *none;

	if (toast_raw_datum_size(value) > RIGHTS_SIZE_MAX)
		pge_keyring_refuse_row(tuple, scan, Anum_key_grant_rights,
							   "is longer than rights can be");
	if (!read_rights(DatumGetArrayTypeP(value), &rights, &place, &none) || none != NULL)
		pge_keyring_refuse_row(tuple, scan, Anum_key_grant_rights,
							   "has an element that is no right");
	return rights;
}

uint32
pge_keyring_rights(Oid user, const char *key_id)
{
	if (superuser_arg(user))
		return PGE_RIGHTS_ALL;
	return rights_granted(user, key_id) | rights_granted(user, "*");
}

/* The scan is by the first column of the primary key. */
static uint32
rights_granted(Oid user, const char *key_id)
{
	KeyringScan scan;
	ScanKeyData key;
	HeapTuple	tuple;
	uint32		rights = 0;

	pge_keyring_key_text(&key, Anum_key_grant_key_id, key_id);
	pge_keyring_scan_begin(&scan, "key_grant", "key_grant_pkey", &key, 1);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		if (grant_is_for(tuple, &scan, user))
			rights |= rights_column(tuple, &scan);
	}
	pge_keyring_scan_end(&scan);
	return rights;
}

uint32
pge_keyring_granted(const char *key_id, const char *role)
{
	KeyringScan scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	NameData	name;
	uint32		rights = 0;

	namestrcpy(&name, role);
	pge_keyring_key_text(&keys[0], Anum_key_grant_key_id, key_id);
	ScanKeyInit(&keys[1], Anum_key_grant_role_name, BTEqualStrategyNumber, F_NAMEEQ,
				NameGetDatum(&name));
	pge_keyring_scan_begin(&scan, "key_grant", "key_grant_pkey", keys, 2);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
		rights |= rights_column(tuple, &scan);
	pge_keyring_scan_end(&scan);
	return rights;
}

static bool
grant_is_for(HeapTuple tuple, const KeyringScan *scan, Oid user)
{
	Name		name = DatumGetName(pge_keyring_column(tuple, scan, Anum_key_grant_role_name));
	Oid			oid = DatumGetObjectId(pge_keyring_column(tuple, scan, Anum_key_grant_role_oid));

	return OidIsValid(oid) &&
		get_role_oid(NameStr(*name), true) == oid &&
		has_privs_of_role(user, oid);
}
