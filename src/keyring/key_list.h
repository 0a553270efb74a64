/*
 * key_list.h -- the names of all keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEY_LIST_H
#define PGE_KEYRING_KEY_LIST_H

#include "postgres.h"

/* In index order, palloc'd in the current context; returns how many. */
extern int	pge_keyring_key_ids(char ***key_ids);

#endif							/* PGE_KEYRING_KEY_LIST_H */
