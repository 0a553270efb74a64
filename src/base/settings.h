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

#include <sys/types.h>

typedef enum SecretMemory
{
	PGE_SECRET_MEMORY_PREFER,
	PGE_SECRET_MEMORY_REQUIRE,
	PGE_SECRET_MEMORY_FALLBACK
} SecretMemory;

typedef enum AgentKind
{
	PGE_AGENT_SPAWN,			/* the keeper starts it */
	PGE_AGENT_EXTERNAL			/* a service of another user */
} AgentKind;

extern int	pge_agent;			/* AgentKind */
extern char *pge_agent_socket;	/* external: an absolute path that fits an
								 * address */
extern char *pge_agent_user;	/* external: as whom it runs */
extern char *pge_allow_key_loss;	/* a keyring's uuid, by SET only; "": none */
extern bool pge_allow_materialized_views;
extern int	pge_cache_grace;	/* s; 0: off */
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

/*
 * Postmaster, at preload: finds the id of agent_user; FATAL if an external agent's
 * cannot be found.  Asking then, as for unix_socket_group, keeps name services,
 * which may take their time, out of the sessions.
 */
extern void pge_settings_find_agent_user(void);

/* Whose process the agent has to be. */
extern uid_t pge_settings_agent_uid(void);

/* Of an external agent: settings of the server that it does not hear of although they
 * are set, "" if none; palloc'd. */
extern char *pge_settings_unused(void);

#endif							/* PGE_BASE_SETTINGS_H */
