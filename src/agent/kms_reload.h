/*
 * kms_reload.h -- new settings for the key services, while calls go on.
 *
 * A service may take its time (a passphrase command runs), so a thread hands
 * the settings over and the loop goes on serving.  One thread at a time; of
 * settings that come meanwhile the newest is kept for after it.
 *
 *	pge_kms_reload_start -> notify -> pge_kms_reload_take
 *
 * But for the thread itself all this is the loop's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_RELOAD_H
#define PGE_AGENT_KMS_RELOAD_H

#include "agent/agent_settings.h"
#include "agent/kms_sessions.h"

typedef struct KmsReload
{
	KmsSessions *sessions;
	void		(*notify) (void *arg);
	void	   *notify_arg;
	bool		busy;
	bool		again;
	AgentSettings next;			/* if "again" */

	/* the thread's until it has set "finished" */
	AgentSettings settings;
	PgeStatus	status;
	const char *scheme;			/* of the service that refused */
	atomic_bool finished;
} KmsReload;

extern void pge_kms_reload_init(KmsReload *reload, KmsSessions *sessions,
								void (*notify) (void *arg), void *notify_arg);

/* false: no thread could be made; nothing has changed. */
extern bool pge_kms_reload_start(KmsReload *reload,
								 const AgentSettings *settings);

/* true: one has finished; reload->settings, status and scheme tell of it until
 * the next start. */
extern bool pge_kms_reload_take(KmsReload *reload);

#endif							/* PGE_AGENT_KMS_RELOAD_H */
