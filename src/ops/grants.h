/*
 * grants.h -- giving and taking rights on keys.
 *
 * Wants "manage" on the key from the current user; on "*", all keys, a
 * superuser.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_GRANTS_H
#define PGE_OPS_GRANTS_H

#include "postgres.h"

extern void pge_grant(const char *key_id, const char *role, uint32 rights);

/* The role need not exist any more. */
extern void pge_revoke(const char *key_id, const char *role, uint32 rights);

#endif							/* PGE_OPS_GRANTS_H */
