/*
 * seal.h -- one value sealed, opened, or moved to the active version.
 *
 * Results are palloc'd varlenas; every refusal is ereport'ed, by rights and
 * state before any cryptography, and in words that hold nothing of the value.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_SEAL_H
#define PGE_OPS_SEAL_H

#include "postgres.h"

#include "ops/dek.h"

/* key_id and associated of the request; the rest is filled in here. */
extern bytea *pge_seal(DekRequest *request, PgeBytes plain);
extern bytea *pge_open(DekRequest *request, PgeBytes sealed);

/* NULL: the value lies under the active version already. */
extern bytea *pge_reencrypt(DekRequest *request, PgeBytes sealed);

#endif							/* PGE_OPS_SEAL_H */
