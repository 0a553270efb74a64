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
	void		(*notify) (void *arg);
	void	   *notify_arg;
	bool		busy;
	bool		again;
	AgentSettings next;			/* if "again" */

	/* the thread's until it has set "finished" */
	AgentSettings settings;
	const KmsSessions *before;	/* the loop's set */
	KmsSessions *after;			/* NULL: memory was short */
	const char *refused;		/* who keeps what he had, or NULL */
	PgeStatus	refusal;
	atomic_bool finished;
} KmsReload;

extern void pge_kms_reload_init(KmsReload *reload, void (*notify) (void *arg),
								void *notify_arg);

/* "sessions" stays until it is taken.  false: no thread could be made; nothing
 * has changed. */
extern bool pge_kms_reload_start(KmsReload *reload, const KmsSessions *sessions,
								 const AgentSettings *settings);

/* true: one has finished; reload->settings, refused and refusal tell of it until
 * the next start, and reload->after is the caller's. */
extern bool pge_kms_reload_take(KmsReload *reload);

#endif							/* PGE_AGENT_KMS_RELOAD_H */
