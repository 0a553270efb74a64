/*-------------------------------------------------------------------------
 *
 * keeper_pipe.c
 *	  The agent's end of the keeper's pipe.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/keeper_pipe.h"
#include "agent/service.h"

/* Enough for some hundred sentences; the keeper reads at once. */
#define KEEPER_OUT_MAX	(64 * 1024)

static void take_settings(Agent *agent, const PgeFrame *frame);
static void begin(Agent *agent, const PgeFrame *frame,
				  const AgentSettings *settings);
static void start_reload(Agent *agent, const AgentSettings *settings);
static void log_problem(Agent *agent, const char *consequence);
static void fail(Agent *agent);

void
pge_keeper_read(Agent *agent)
{
	bool		alive = pge_stream_fill(&agent->keeper);

	while (alive && !agent->stopping)
	{
		PgeBytes	bytes;
		PgeFrame	frame;

		if (pge_stream_next(&agent->keeper, PGE_FRAME_MAX, &bytes) != PGE_OK)
		{
			pge_keeper_log(agent, AGENT_WARNING,
						   "The agent stops: what the keeper sent is no frame of this version.");
			fail(agent);
			return;
		}
		if (bytes.len == 0)
			return;
		if (pge_frame_decode(bytes, &frame) == PGE_OK &&
			frame.type == PGE_FRAME_SETTINGS)
			take_settings(agent, &frame);
		else
		{
			pge_keeper_log(agent, AGENT_WARNING,
						   "The agent stops: the keeper sent something else than settings.");
			fail(agent);
		}
		pge_stream_consume(&agent->keeper, bytes.len);
	}
	if (agent->keeper.in == NULL)
		fail(agent);			/* no memory to hear the keeper */
	agent->stopping = true;
}

void
pge_keeper_log(Agent *agent, AgentLogLevel level, const char *format,...)
{
	const char *name = level == AGENT_WARNING ? "warning" : "log";
	char		text[PGE_FRAME_DETAIL_MAX + 1];
	PgeFrame	frame;
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	pge_frame_clean_text(text);
	if (agent->external)
	{
		pge_service_log(level == AGENT_WARNING, text);
		return;
	}

	memset(&frame, 0, sizeof(frame));
	frame.type = PGE_FRAME_LOG;
	frame.npairs = 1;
	frame.value[0] = pge_bytes(name, strlen(name));
	frame.detail = pge_bytes(text, strlen(text));
	if (agent->keeper.out_bytes < KEEPER_OUT_MAX)
		(void) pge_stream_send(&agent->keeper, &frame);
}

void
pge_keeper_take_reload(Agent *agent)
{
	KmsReload  *reload = &agent->reload;

	if (!pge_kms_reload_take(reload))
		return;
	if (reload->after == NULL)
		pge_keeper_log(agent, AGENT_WARNING,
					   "The agent keeps its old settings: it is out of memory.");
	else
	{
		pge_negatives_forget(&agent->negatives);
		pge_kms_sessions_release(agent->sessions);
		agent->sessions = reload->after;
		log_problem(agent, "the key services stay as they were");
		/* backends and the other services go by these already */
		agent->settings.kms_timeout_ms = reload->settings.kms_timeout_ms;
		agent->settings.kms_concurrency = reload->settings.kms_concurrency;
		pge_jobs_set_concurrency(&agent->jobs, agent->settings.kms_concurrency);
		if (reload->refused == NULL)
			agent->settings = reload->settings;
		else
			pge_keeper_log(agent, AGENT_WARNING,
						   "Key service \"%s\" does not take its new settings (%s) and keeps those that it had.",
						   reload->refused, pge_status_name(reload->refusal));
	}
	if (agent->external)
		pge_service_reloaded(agent);
	if (reload->again)
	{
		AgentSettings next = reload->next;

		reload->again = false;
		start_reload(agent, &next);
	}
}

static void
take_settings(Agent *agent, const PgeFrame *frame)
{
	AgentSettings settings;
	const char *what;

	if (pge_agent_settings_read(frame, &settings, &what) != PGE_OK)
	{
		pge_keeper_log(agent, AGENT_WARNING,
					   "The agent does not take its settings: %s.", what);
		if (!agent->configured)
			fail(agent);
	}
	else if (agent->configured)
		start_reload(agent, &settings);
	else
		begin(agent, frame, &settings);
}

/* The first settings, with the secret: from now on clients are let in. */
static void
begin(Agent *agent, const PgeFrame *frame, const AgentSettings *settings)
{
	KmsSettings kms;
	char		detail[KMS_DETAIL_LEN];
	PgeStatus	status;
	PgeFrame	ready;

	if (frame->secret.data == NULL)
	{
		pge_keeper_log(agent, AGENT_WARNING,
					   "The agent stops: its first settings hold no secret.");
		fail(agent);
		return;
	}
	agent->settings = *settings;
	kms = pge_agent_settings_kms(&agent->settings);
	status = pge_kms_sessions_open(&kms, settings->kms_config_file, &agent->sessions, detail);
	if (status != PGE_OK)
	{
		pge_keeper_log(agent, AGENT_WARNING, "The agent stops: %s", detail);
		fail(agent);
		return;
	}
	log_problem(agent, "there are local keys only");
	pge_secret_copy(agent->socket_secret.bytes, frame->secret.data,
					PGE_SOCKET_SECRET_LEN);
	pge_jobs_set_concurrency(&agent->jobs, settings->kms_concurrency);
	agent->configured = true;

	memset(&ready, 0, sizeof(ready));
	ready.type = PGE_FRAME_READY;
	ready.npairs = 1;
	ready.value[0] = pge_bytes(PGE_VERSION, strlen(PGE_VERSION));
	if (pge_stream_send(&agent->keeper, &ready) != PGE_OK)
		fail(agent);
}

static void
start_reload(Agent *agent, const AgentSettings *settings)
{
	if (!pge_kms_reload_start(&agent->reload, agent->sessions, settings))
		pge_keeper_log(agent, AGENT_WARNING,
					   "The agent keeps its old settings: it could not start a thread.");
}

static void
log_problem(Agent *agent, const char *consequence)
{
	if (agent->sessions->problem[0] != '\0')
		pge_keeper_log(agent, AGENT_WARNING,
					   "The configuration of the key services is not in order, so %s. %s",
					   consequence, agent->sessions->problem);
}

static void
fail(Agent *agent)
{
	agent->exit_code = 1;
	agent->stopping = true;
}
