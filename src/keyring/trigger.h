/*
 * trigger.h -- whether the guards stand before a key table.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_TRIGGER_H
#define PGE_KEYRING_TRIGGER_H

#include "postgres.h"

/* Those of rows and of TRUNCATE, ALWAYS on. */
extern bool pge_row_guards_stand(Oid table);

#endif							/* PGE_KEYRING_TRIGGER_H */
