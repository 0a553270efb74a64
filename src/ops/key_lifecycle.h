/*
 * key_lifecycle.h -- making, rotating, disabling and destroying keys.
 *
 * Each function that names an existing key wants the right "manage" on it from
 * the current user; EXECUTE on the SQL function comes first.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEY_LIFECYCLE_H
#define PGE_OPS_KEY_LIFECYCLE_H

#include "postgres.h"

#include "keyring/keyring.h"

/* Both return the version that is active now. */
extern int32 pge_create_key(const char *key_id, const char *kek,
							const char *algorithm, bool require_associated_data);
extern int32 pge_rotate_key(const char *key_id);

extern void pge_disable_key(const char *key_id);
extern void pge_enable_key(const char *key_id);
extern void pge_destroy_key(const char *key_id);
extern void pge_mark_compromised(const char *key_id, int32 version);

/* 42704 if there is none; 42501 unless the current user may manage it. */
extern void pge_key_for_manager(const char *key_id, KeyringKey *key);

#endif							/* PGE_OPS_KEY_LIFECYCLE_H */
