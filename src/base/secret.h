/*
 * secret.h -- the only home of key bytes outside the secret region.
 *
 * Pure.  Key bytes live in a PgeSecret and nowhere else, so that one search
 * for the type lists every holder.  Whoever declares one wipes it on every
 * way out; server code also sees to it that an
 * error thrown past it wipes it too.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_SECRET_H
#define PGE_BASE_SECRET_H

#include "base/bytes.h"
#include "base/limits.h"

typedef struct PgeSecret
{
	uint8_t		bytes[PGE_DEK_LEN];
} PgeSecret;

/* A wipe that the compiler may not drop. */
extern void pge_secret_wipe(void *p, size_t len);

/*
 * Copies key bytes; they do not overlap.  Not to be left to the compiler: of an
 * assignment it may keep a part in a register, and spill that to the stack, where nobody
 * wipes it (test/lint/copies.sh looks for those).
 */
extern void pge_secret_copy(void *to, const void *from, size_t len);

/* Compares in a time that depends on len only. */
extern bool pge_secret_equal(const void *a, const void *b, size_t len);

#endif							/* PGE_BASE_SECRET_H */
