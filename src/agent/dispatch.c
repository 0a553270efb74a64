/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *	  Between the clients' requests and the jobs that answer them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/agent_status.h"
#include "agent/dispatch.h"
#include "agent/keeper_pipe.h"
#include "agent/kms/http_credential.h"
#include "base/crash_point.h"

#define REMARK_AGAIN_MS		60000	/* the same remark is logged once in this
									 * time */
#define MARGIN_MAX_MS		500

static bool refuse_again(Agent *agent, AgentClient *client, const PgeFrame *request);
static AgentJob *start_job(Agent *agent, const AgentClient *client, PgeBytes bytes,
						   const PgeFrame *request);
static uint64_t deadline_from_now(const Agent *agent);
static bool add_waiter(Agent *agent, AgentClient *client, AgentJob *job,
					   uint64_t ticket);
static void drop_waiter(Agent *agent, AgentWaiter *waiter);
static void abandon_job(Agent *agent, AgentJob *job);
static void deliver(Agent *agent, AgentJob *job);
static void log_remark(Agent *agent, const AgentJob *job);
static bool is_remark(const AgentJob *job);
static void count_outcome(Agent *agent, PgeStatus status, const char *detail);
static void refuse(Agent *agent, AgentClient *client, uint64_t ticket,
				   PgeStatus status, const char *detail);
static void send_answer(AgentClient *client, const PgeFrame *answer);
static void send_failure(AgentClient *client, uint64_t ticket,
						 PgeStatus status, const char *detail);

void
pge_dispatch_request(Agent *agent, AgentClient *client, PgeBytes bytes,
					 const PgeFrame *request)
{
	AgentJob   *job = NULL;
	const char *what;

	agent->counters.requests++;
	PGE_CRASH_POINT_EXIT("agent.asked");
	if (request->type == PGE_FRAME_STATUS)
	{
		AgentStatus status;
		PgeFrame	answer;

		pge_agent_status_make(agent, &status, request->ticket, &answer);
		send_answer(client, &answer);
		return;
	}
	if (pge_request_check(request, &what) != PGE_OK)
	{
		refuse(agent, client, request->ticket, PGE_MALFORMED, what);
		return;
	}
	if (agent->nwaiters >= AGENT_WAITERS_MAX)
	{
		agent->counters.throttled++;
		refuse(agent, client, request->ticket, PGE_THROTTLED,
			   "Too many requests wait in the agent.");
		return;
	}

	if (refuse_again(agent, client, request))
		return;
	if (request->type == PGE_FRAME_UNWRAP)
		job = pge_flight_find(&agent->flight, request, agent->sessions, client->server);
	if (job != NULL)
		agent->counters.joined++;
	else
		job = start_job(agent, client, bytes, request);
	if (job == NULL || !add_waiter(agent, client, job, request->ticket))
		refuse(agent, client, request->ticket, PGE_OUT_OF_MEMORY,
			   "The agent is out of memory or threads.");
}

void
pge_dispatch_finished(Agent *agent)
{
	AgentJob   *job = pge_jobs_take_finished(&agent->jobs);

	while (job != NULL)
	{
		AgentJob   *next = job->next;

		pge_flight_remove(&agent->flight, job);
		if (job->sessions == agent->sessions)
			pge_negatives_note(&agent->negatives, job, pge_agent_now_ms());
		deliver(agent, job);
		pge_job_free(job);
		job = next;
	}
}

void
pge_dispatch_forget(Agent *agent, AgentClient *client)
{
	while (client->waiters != NULL)
	{
		AgentWaiter *waiter = client->waiters;
		AgentJob   *job = waiter->job;	/* NOLINT(clang-analyzer-unix.Malloc) */

		/* takes it off the list, which the analyzer does not see */
		drop_waiter(agent, waiter);
		agent->counters.cancelled++;
		if (job->waiters == NULL)
			abandon_job(agent, job);
	}
}

void
pge_dispatch_abandon(Agent *agent)
{
	for (AgentClient *client = agent->clients; client; client = client->next)
	{
		for (AgentWaiter *waiter = client->waiters; waiter != NULL;
			 waiter = waiter->client_next)
			send_failure(client, waiter->ticket, PGE_AGENT_UNREACHABLE,
						 "The agent is stopping.");
		pge_dispatch_forget(agent, client);
	}
}

static bool
refuse_again(Agent *agent, AgentClient *client, const PgeFrame *request)
{
	const NegativeAnswer *known;

	if (request->type != PGE_FRAME_UNWRAP)
		return false;
	known = pge_negatives_find(&agent->negatives, request, client->server,
							   pge_http_credentials_obtained(), pge_agent_now_ms());
	if (known == NULL)
		return false;
	agent->counters.remembered++;
	refuse(agent, client, request->ticket, known->status, known->detail);
	return true;
}

/* NULL: memory or threads are short. */
static AgentJob *
start_job(Agent *agent, const AgentClient *client, PgeBytes bytes, const PgeFrame *request)
{
	AgentJob   *job = pge_job_new(bytes, agent->sessions, deadline_from_now(agent));

	if (job == NULL)
		return NULL;
	job->server = client->server;
	job->credentials = pge_http_credentials_obtained();
	if (!pge_jobs_submit(&agent->jobs, job, client->nwaiters))
	{
		pge_job_free(job);
		return NULL;
	}
	if (request->type == PGE_FRAME_UNWRAP)
		pge_flight_add(&agent->flight, job);
	return job;
}

/*
 * Less than the backend waits: what the service has to say about its lateness
 * shall reach who would otherwise hear of a silent agent.
 */
static uint64_t
deadline_from_now(const Agent *agent)
{
	uint64_t	timeout = (uint64_t) agent->settings.kms_timeout_ms;
	uint64_t	margin = timeout / 8 < MARGIN_MAX_MS ? timeout / 8 : MARGIN_MAX_MS;

	return timeout == 0 ? 0 : pge_agent_now_ms() + timeout - margin;
}

static bool
add_waiter(Agent *agent, AgentClient *client, AgentJob *job, uint64_t ticket)
{
	AgentWaiter *waiter = malloc(sizeof(*waiter));

	if (waiter == NULL)
	{
		if (job->waiters == NULL)
			abandon_job(agent, job);
		return false;
	}
	waiter->job = job;
	waiter->client = client;
	waiter->ticket = ticket;
	waiter->job_next = job->waiters;
	job->waiters = waiter;
	waiter->client_next = client->waiters;
	client->waiters = waiter;
	client->nwaiters++;
	agent->nwaiters++;
	return true;
}

static void
drop_waiter(Agent *agent, AgentWaiter *waiter)
{
	AgentWaiter **link = &waiter->job->waiters;

	while (*link != waiter)
		link = &(*link)->job_next;
	*link = waiter->job_next;

	link = &waiter->client->waiters;
	while (*link != waiter)
		link = &(*link)->client_next;
	*link = waiter->client_next;

	waiter->client->nwaiters--;
	agent->nwaiters--;
	free(waiter);
}

/*
 * Out of the table first: who asks the same from now on must not join a call
 * that may end early.  A job that runs comes back among the finished ones.
 */
static void
abandon_job(Agent *agent, AgentJob *job)
{
	pge_flight_remove(&agent->flight, job);
	if (pge_jobs_cancel(&agent->jobs, job))
		pge_job_free(job);
}

static void
deliver(Agent *agent, AgentJob *job)
{
	AgentAnswer *answer = job->answer;

	PGE_CRASH_POINT_EXIT("agent.answering");
	if (job->request.type == PGE_FRAME_UNWRAP)
		agent->counters.unwraps++;
	if (job->waiters != NULL && answer != NULL)
		count_outcome(agent, answer->status, answer->detail);
	if (answer != NULL)
		log_remark(agent, job);
	while (job->waiters != NULL)
	{
		AgentWaiter *waiter = job->waiters;
		PgeFrame	frame;

		if (answer != NULL)
		{
			pge_answer_to_frame(answer, waiter->ticket, &frame);
			send_answer(waiter->client, &frame);
		}
		else
			send_failure(waiter->client, waiter->ticket, PGE_OUT_OF_MEMORY,
						 "The agent is out of memory.");
		drop_waiter(agent, waiter);
	}
}

/*
 * What is wrong although the call worked: a keyring file that is lost while its
 * KEKs are in memory is found out now, or when the server has stopped.  Who made
 * or described a KEK reads it himself, but an alarm is raised once, and the call
 * that meets it may be one whose detail nobody shows.
 */
static void
log_remark(Agent *agent, const AgentJob *job)
{
	uint64_t	now = pge_agent_now_ms();
	const AgentAnswer *answer = job->answer;

	if (answer->detail[0] == '\0' || (!answer->alarm && !is_remark(job)) ||
		(agent->remarked != 0 && now - agent->remarked < REMARK_AGAIN_MS &&
		 strcmp(agent->remark, answer->detail) == 0))
		return;
	snprintf(agent->remark, sizeof(agent->remark), "%s", answer->detail);
	agent->remarked = now;
	pge_keeper_log(agent, AGENT_WARNING, "%s", agent->remark);
}

static bool
is_remark(const AgentJob *job)
{
	uint16_t	type = job->request.type;

	return job->answer->status == PGE_OK &&
		(type == PGE_FRAME_UNWRAP || type == PGE_FRAME_WRAP_NEW || type == PGE_FRAME_REWRAP);
}

static void
count_outcome(Agent *agent, PgeStatus status, const char *detail)
{
	AgentCounters *counters = &agent->counters;

	if (status == PGE_OK)
	{
		counters->last_success = (int64_t) time(NULL);
		return;
	}
	counters->failures++;
	counters->last_failure = (int64_t) time(NULL);
	snprintf(counters->last_error, sizeof(counters->last_error), "%s: %s",
			 pge_status_name(status), detail);
	pge_frame_clean_text(counters->last_error);
}

static void
refuse(Agent *agent, AgentClient *client, uint64_t ticket, PgeStatus status,
	   const char *detail)
{
	count_outcome(agent, status, detail);
	send_failure(client, ticket, status, detail);
}

/* A client that cannot be answered is let go: it must not wait in vain. */
static void
send_answer(AgentClient *client, const PgeFrame *answer)
{
	PgeStatus	status = pge_stream_send(&client->stream, answer);

	if (status == PGE_OK)
		return;
	if (answer->status != PGE_OK || status == PGE_OUT_OF_MEMORY)
		client->gone = true;
	else
		send_failure(client, answer->ticket, PGE_UNAVAILABLE,
					 "The key service's answer does not fit into a frame.");
}

static void
send_failure(AgentClient *client, uint64_t ticket, PgeStatus status,
			 const char *detail)
{
	PgeFrame	frame;

	memset(&frame, 0, sizeof(frame));
	frame.type = PGE_FRAME_ANSWER;
	frame.status = (uint16_t) status;
	frame.ticket = ticket;
	frame.detail = pge_bytes(detail, strlen(detail));
	send_answer(client, &frame);
}
