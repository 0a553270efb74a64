/*-------------------------------------------------------------------------
 *
 * grants.c
 *	  Giving and taking rights on keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"

#include "keyring/writes.h"
#include "ops/grants.h"
#include "ops/key_lifecycle.h"

static void require_granter(const char *key_id);

void
pge_grant(const char *key_id, const char *role, uint32 rights)
{
	pge_write_allowed("envelope_grant()");
	require_granter(key_id);
	if (rights == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no right to grant"),
				 errhint("Rights are encrypt, decrypt and manage.")));
	get_role_oid(role, false);	/* 42704 if there is none */
	pge_write_grant(key_id, role, rights);
}

void
pge_revoke(const char *key_id, const char *role, uint32 rights)
{
	pge_write_allowed("envelope_revoke()");
	require_granter(key_id);
	pge_write_revoke(key_id, role, rights);
}

static void
require_granter(const char *key_id)
{
	KeyringKey	key;

	if (strcmp(key_id, "*") != 0)
	{
		pge_key_for_manager(key_id, &key);
		return;
	}
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for all keys"),
				 errdetail("Only superusers grant and revoke rights on \"*\".")));
}
