/*
 * secret_region.h -- the memory that holds unwrapped DEKs and the socket's
 * secret, and nothing else.
 *
 * Made by the postmaster in _PG_init and inherited by fork: memfd_secret(2) with
 * its descriptor closed at once, else (secret_memory = prefer, fallback) shared
 * anonymous memory with mlock and MADV_DONTDUMP.  It survives a crash restart,
 * so the shmem startup hook wipes it before the first connection.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CACHE_SECRET_REGION_H
#define PGE_CACHE_SECRET_REGION_H

#include "postgres.h"

#include "base/limits.h"

typedef enum SecretRegionKind
{
	PGE_REGION_NONE,			/* not preloaded */
	PGE_REGION_MEMFD_SECRET,
	PGE_REGION_LOCKED,			/* fallback: mlock and MADV_DONTDUMP hold */
	PGE_REGION_UNLOCKED			/* fallback: mlock was refused, WARNING given */
} SecretRegionKind;

/*
 * Postmaster, in _PG_init: room for the socket's secret and slots_size bytes.
 * Does what pg_envelope.secret_memory says; FATAL when "require" cannot be kept.
 */
extern void pge_secret_region_create(Size slots_size);

/* Wipes everything.  Shmem startup (also after a crash), postmaster's exit. */
extern void pge_secret_region_wipe(void);

#ifdef PGE_TEST_BUILD
/* How many of its bytes are not zero. */
extern Size pge_secret_region_not_zero(void);
#endif

extern SecretRegionKind pge_secret_region_kind(void);
extern const char *pge_secret_region_kind_name(void);

/* The socket's secret: PGE_SOCKET_SECRET_LEN bytes, drawn by the keeper. */
extern uint8 *pge_secret_region_socket_secret(void);

/* The rest, for dek_cache.c; NULL when not preloaded. */
extern void *pge_secret_region_slots(Size *size);

#endif							/* PGE_CACHE_SECRET_REGION_H */
