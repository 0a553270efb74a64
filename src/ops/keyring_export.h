/*
 * keyring_export.h -- keys, wrapped, as a document for another database.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEYRING_EXPORT_H
#define PGE_OPS_KEYRING_EXPORT_H

#include "postgres.h"

#include "utils/array.h"
#include "utils/jsonb.h"

/*
 * text[]; NULL: all keys.  42704 for a key that there is not, 42501 unless the
 * current user may manage each (for all: every key, as by a grant on "*").
 */
extern Jsonb * pge_export_keyring(ArrayType *key_ids);

#endif							/* PGE_OPS_KEYRING_EXPORT_H */
