/*
 * kek_destruction.h -- destroying a key-encryption key in its service, and calling that off.
 *
 * EXECUTE on the SQL functions is the right; nothing here looks at the user.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEK_DESTRUCTION_H
#define PGE_OPS_KEK_DESTRUCTION_H

#include "postgres.h"

#include "keyring/keyring.h"

/*
 * 22023 unless "uri" is the KEK's; 55000 while this database needs the key, under
 * whatever name.  May be repeated: what the service has done already is done.
 */
extern void pge_destroy_kek(const char *name, const char *uri, bool immediate);

/* Of a KEK whose row is locked and says "destroyed"; KE012 if it is gone for good. */
extern void pge_call_off_destruction(const KeyringKek *kek);

#endif							/* PGE_OPS_KEK_DESTRUCTION_H */
