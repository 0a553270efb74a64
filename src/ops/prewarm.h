/*
 * prewarm.h -- DEKs into the shared cache before the first value asks.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_PREWARM_H
#define PGE_OPS_PREWARM_H

#include "postgres.h"

/* Every key's right to manage must have been checked.  Returns DEKs published. */
extern int	pge_prewarm(const char *const *key_ids, int count);

#endif							/* PGE_OPS_PREWARM_H */
