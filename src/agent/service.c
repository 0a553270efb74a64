/*-------------------------------------------------------------------------
 *
 * service.c
 *	  The agent as a service of its own.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "agent/client_session.h"
#include "agent/keeper_pipe.h"
#include "agent/notify.h"
#include "agent/service.h"

#define SYSLOG_WARNING	4
#define SYSLOG_INFO		6

static void lock_memory(Agent *agent);
static void warn_of_one_user(Agent *agent);

bool
pge_service_start(Agent *agent, const char *config_file)
{
	KmsSettings kms;
	KmsAgentSection section;
	char		detail[KMS_DETAIL_LEN];
	PgeStatus	status;

	pge_notify_init();
	agent->settings.external = true;
	if (snprintf(agent->settings.kms_config_file, sizeof(agent->settings.kms_config_file), "%s", config_file) >=
		(int) sizeof(agent->settings.kms_config_file))
	{
		pge_service_log(true, "The name of the configuration file is too long.");
		return false;
	}
	lock_memory(agent);
	kms = pge_agent_settings_kms(&agent->settings);
	status = pge_kms_sessions_open(&kms, config_file, &agent->sessions, detail);
	if (status == PGE_OK && pge_kms_config_agent(pge_kms_sessions_config(agent->sessions), &section))
	{
		pge_agent_settings_take(&agent->settings, &section);
		status = pge_own_socket_listen(&agent->socket, agent->settings.socket, detail);
	}
	if (status != PGE_OK)
	{
		pge_keeper_log(agent, AGENT_WARNING, "The agent does not start. %s", detail);
		return false;
	}
	agent->listen_fd = agent->socket.fd;
	agent->peer_uid = agent->settings.server_uid;
	return true;
}

void
pge_service_ready(Agent *agent)
{
	pge_jobs_set_concurrency(&agent->jobs, agent->settings.kms_concurrency);
	agent->configured = true;
	pge_keeper_log(agent, AGENT_LOG, "pg_envelope agent %s is ready at \"%s\" for the processes of user id %u.",
				   PGE_VERSION, agent->socket.path, (unsigned) agent->peer_uid);
	warn_of_one_user(agent);
	pge_notify("READY=1");
}

void
pge_service_reload(Agent *agent)
{
	struct timespec now;
	char		state[64];

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
			 (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000);
	pge_notify(state);
	if (!pge_kms_reload_start(&agent->reload, agent->sessions, &agent->settings))
	{
		pge_keeper_log(agent, AGENT_WARNING, "The agent keeps its old settings: it could not start a thread.");
		pge_notify("READY=1");
	}
}

/* A socket or a keyring elsewhere would be another agent. */
void
pge_service_reloaded(Agent *agent)
{
	const AgentSettings *settings = &agent->reload.settings;

	if (agent->reload.after != NULL)
	{
		if (agent->peer_uid != settings->server_uid)
			pge_session_close_all(agent);	/* they are of a user who is not
											 * served any more */
		agent->peer_uid = settings->server_uid;
		if (strcmp(settings->socket, agent->socket.path) != 0)
			pge_keeper_log(agent, AGENT_WARNING, "Another socket in [agent] needs a restart of the agent.");
		if (agent->reload.refused != NULL && strcmp(settings->keyring_file, agent->settings.keyring_file) != 0)
			pge_keeper_log(agent, AGENT_WARNING, "Another keyring_file in [agent] needs a restart of the agent.");
		if (agent->sessions->problem[0] == '\0')
			pge_keeper_log(agent, AGENT_LOG, "The configuration was read again.");
		warn_of_one_user(agent);
	}
	if (!agent->reload.again)
		pge_notify("READY=1");
}

void
pge_service_stopping(Agent *agent)
{
	pge_notify("STOPPING=1");
	pge_own_socket_remove(&agent->socket);
}

/*
 * One write a line.  A journal that does not read must not hold up the keys of
 * those who ask.
 */
void
pge_service_log(bool warning, const char *text)
{
	struct pollfd there = {STDERR_FILENO, POLLOUT, 0};
	char		line[PGE_FRAME_DETAIL_MAX + 64];
	int			len;

	if (getenv("JOURNAL_STREAM") != NULL)
		len = snprintf(line, sizeof(line), "<%d>%s\n", warning ? SYSLOG_WARNING : SYSLOG_INFO, text);
	else
		len = snprintf(line, sizeof(line), "pg_envelope_agent: %s%s\n", warning ? "warning: " : "", text);
	if (len > 0 && poll(&there, 1, 0) == 1 && (there.revents & POLLOUT) != 0 &&
		write(STDERR_FILENO, line, (size_t) len) < 0)
		return;
}

/*
 * All of it, for a token passes through memory that is not the keys' own.  Only
 * without a limit: with one, the allocations to come would fail.
 */
static void
lock_memory(Agent *agent)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY)
		pge_keeper_log(agent, AGENT_LOG, "Of the agent's memory only that of keys is locked; LimitMEMLOCK=infinity keeps all of it out of swap space.");
	else if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
		pge_keeper_log(agent, AGENT_WARNING, "The agent could not lock its memory, which may be written to swap space.");
}

static void
warn_of_one_user(Agent *agent)
{
	if (agent->peer_uid == geteuid())
		pge_keeper_log(agent, AGENT_WARNING, "server_user is the agent's own user: who may read the server's files can read the keyring and the credentials, too.");
}
