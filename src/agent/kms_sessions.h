/*
 * kms_sessions.h -- the open session of each key service of this build.
 *
 * Opened with the first settings, reloaded with later ones, used by worker
 * threads (a provider's session is thread safe, agent/kms/kms.h).  The set
 * itself does not change between open and close.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_SESSIONS_H
#define PGE_AGENT_KMS_SESSIONS_H

#include "agent/kms/kms.h"

#define KMS_SESSIONS_MAX	8	/* more than a build has services */

typedef struct KmsSessionEntry
{
	const KmsProvider *provider;
	KmsSession *session;
} KmsSessionEntry;

typedef struct KmsSessions
{
	int			count;
	KmsSessionEntry entries[KMS_SESSIONS_MAX];
} KmsSessions;

/* On failure *scheme names the service, and nothing is open. */
extern PgeStatus pge_kms_sessions_open(KmsSessions *sessions,
									   const KmsSettings *settings,
									   const char **scheme);

/* A service that refuses keeps what it had; *scheme names the last such. */
extern PgeStatus pge_kms_sessions_reload(KmsSessions *sessions,
										 const KmsSettings *settings,
										 const char **scheme);

/* No call may be running. */
extern void pge_kms_sessions_close(KmsSessions *sessions);

/* Index of the service that serves the URI (an empty one: of the local
 * keyring), or -1. */
extern int	pge_kms_sessions_find(const KmsSessions *sessions, PgeBytes uri);

#endif							/* PGE_AGENT_KMS_SESSIONS_H */
