/*-------------------------------------------------------------------------
 *
 * keyring_export.c
 *	  Decides who may take which keys along.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/report.h"
#include "keyring/document.h"
#include "ops/key_lifecycle.h"
#include "ops/keyring_export.h"

static void require_all(void);
static void require_each(ArrayType *key_ids);

Jsonb *
pge_export_keyring(ArrayType *key_ids)
{
	if (key_ids == NULL)
		require_all();
	else
		require_each(key_ids);
	return pge_document_write(key_ids);
}

/* Fewer keys than there are must not look like all of them. */
static void
require_all(void)
{
	if (!(pge_keyring_rights(GetUserId(), "*") & PGE_RIGHT_MANAGE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for all keys"),
				 errdetail("It takes the right \"manage\" on \"*\"."),
				 errhint("Name the keys that you manage, or have a superuser give the right with envelope_grant.")));
}

static void
require_each(ArrayType *key_ids)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	KeyringKey	key;

	deconstruct_array(key_ids, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a key_id is NULL"),
					 errhint("Leave key_ids out to export all keys.")));
		pge_key_for_manager(TextDatumGetCString(elements[i]), &key);
	}
}
