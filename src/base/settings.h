/*
 * settings.h -- the pg_envelope.* settings (README has the table).
 *
 * Server only.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_SETTINGS_H
#define PGE_BASE_SETTINGS_H

#include "postgres.h"

typedef enum SecretMemory
{
	PGE_SECRET_MEMORY_PREFER,
	PGE_SECRET_MEMORY_REQUIRE,
	PGE_SECRET_MEMORY_FALLBACK
} SecretMemory;

extern bool pge_allow_materialized_views;
extern int	pge_cache_idle;		/* s; 0: off */
extern int	pge_cache_size;		/* slots */
extern int	pge_cache_ttl;		/* s */
extern int	pge_context_cache;
extern bool pge_harden_backends;
extern char *pge_keyring_file;
extern char *pge_keyring_passphrase_command;
extern int	pge_kms_concurrency;
extern char *pge_kms_config_file;
extern int	pge_kms_timeout;	/* ms */
extern bool pge_require_key_id;
extern int	pge_secret_memory;	/* SecretMemory */

/* In _PG_init; postmaster settings only when preloading. */
extern void pge_settings_define(void);

/* keyring_file, or its default beside the data directory; NULL: there is none
 * (the data directory is a mount of its own). */
extern const char *pge_settings_keyring_file(void);

/* kms_config_file as an absolute path, "" if there is none; NULL: no frame can
 * carry that. */
extern const char *pge_settings_kms_config_file(void);

#endif							/* PGE_BASE_SETTINGS_H */
