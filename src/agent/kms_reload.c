/*-------------------------------------------------------------------------
 *
 * kms_reload.c
 *	  New settings for the key services, while calls go on.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <string.h>

#include "agent/kms_reload.h"

static void *reload_main(void *arg);

void
pge_kms_reload_init(KmsReload *reload, void (*notify) (void *arg), void *notify_arg)
{
	memset(reload, 0, sizeof(*reload));
	atomic_init(&reload->finished, false);
	reload->notify = notify;
	reload->notify_arg = notify_arg;
}

bool
pge_kms_reload_start(KmsReload *reload, const KmsSessions *sessions,
					 const AgentSettings *settings)
{
	pthread_t	thread;

	if (reload->busy)
	{
		reload->next = *settings;
		reload->again = true;
		return true;
	}
	reload->settings = *settings;
	reload->before = sessions;
	if (pthread_create(&thread, NULL, reload_main, reload) != 0)
		return false;
	pthread_detach(thread);
	reload->busy = true;
	return true;
}

bool
pge_kms_reload_take(KmsReload *reload)
{
	if (!atomic_load(&reload->finished))
		return false;
	atomic_store(&reload->finished, false);
	reload->busy = false;
	return true;
}

static void *
reload_main(void *arg)
{
	KmsReload  *reload = arg;
	KmsSettings settings = pge_agent_settings_kms(&reload->settings);
	KmsAgentSection section;

	(void) pge_kms_sessions_renew(reload->before, &settings, reload->settings.kms_config_file,
								  &reload->after, &reload->refused, &reload->refusal);
	if (settings.external && reload->after != NULL &&
		pge_kms_config_agent(pge_kms_sessions_config(reload->after), &section))
		pge_agent_settings_take(&reload->settings, &section);
	atomic_store(&reload->finished, true);
	reload->notify(reload->notify_arg);
	return NULL;
}
