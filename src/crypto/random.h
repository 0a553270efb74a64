/*
 * random.h -- random bytes.
 *
 * Pure.  Keys, uuids, tickets and dek_ids come straight from getrandom(2).
 * Nonces come from a pool, because one getrandom per value costs more than the
 * cipher: one per thread, never used across a fork (a fork handler sees to it;
 * getpid per value would cost as much as the rest of what we add), growing from
 * 64 bytes to 4 KiB, each byte given once and wiped, dropped at transaction end.
 * Only aead.c takes from it, by random_private.h.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CRYPTO_RANDOM_H
#define PGE_CRYPTO_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

extern PgeStatus pge_random_bytes(void *out, size_t len);

/* Wipes this thread's pool of nonces. */
extern void pge_random_drop_pool(void);

#endif							/* PGE_CRYPTO_RANDOM_H */
