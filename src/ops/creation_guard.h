/*
 * creation_guard.h -- no index and no statistics object whose expression opens
 * sealed values: they would store the plaintext.
 *
 * open_guard.h stops the build and ANALYZE; but then ANALYZE and autovacuum fail
 * on that table until somebody finds out why, so the object is refused when it
 * is made.  What is found: a call of envelope_decrypt or envelope_decrypt_bytea
 * in the expression or predicate (under any name, in an operator or a cast), or
 * in a function that it calls, as far as that function's text shows it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_CREATION_GUARD_H
#define PGE_OPS_CREATION_GUARD_H

#include "postgres.h"

/* In _PG_init, when preloaded. */
extern void pge_creation_guard_register(void);

#endif							/* PGE_OPS_CREATION_GUARD_H */
