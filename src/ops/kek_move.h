/*
 * kek_move.h -- giving a key-encryption key another URI.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEK_MOVE_H
#define PGE_OPS_KEK_MOVE_H

#include "postgres.h"

/*
 * Of the same key, whose service moved or is named by another section: proved with what
 * it has wrapped.  Returns the URI as it is stored, palloc'd.
 */
extern char *pge_alter_kek(const char *name, const char *uri);

#endif							/* PGE_OPS_KEK_MOVE_H */
