/*
 * kek_lifecycle.h -- making, enabling and rotating key-encryption keys.
 *
 * EXECUTE on the SQL functions is the right; nothing here looks at the user.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEK_LIFECYCLE_H
#define PGE_OPS_KEK_LIFECYCLE_H

#include "postgres.h"

#include "base/compat.h"
#include "keyring/keyring.h"

/* uri NULL: a new one in the local keyring.  Returns its URI, palloc'd. */
extern char *pge_create_kek(const char *name, const char *uri);

/* One that is destroyed: its service is asked to call that off. */
extern void pge_enable_kek(const char *name);

/* Returns the new version, palloc'd. */
extern char *pge_rotate_kek(const char *name);

/* Names this database's keyring, unless it has a name. */
extern void pge_make_keyring(void);

/* 42704 */
extern void pge_no_such_kek(const char *name) pg_attribute_noreturn();

/* 42704 if there is none; KE011 unless it is enabled. */
extern void pge_kek_for_wrapping(const char *name, KeyringKek *kek);

#endif							/* PGE_OPS_KEK_LIFECYCLE_H */
