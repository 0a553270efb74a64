/*-------------------------------------------------------------------------
 *
 * agent_status.c
 *	  The answer to STATUS.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent_status.h"

static void
add_text(PgeFrame *frame, const char *name, const char *value)
{
	frame->name[frame->npairs] = pge_bytes(name, strlen(name));
	frame->value[frame->npairs] = pge_bytes(value, strlen(value));
	frame->npairs++;
}

static void
add_number(PgeFrame *frame, AgentStatus *status, const char *name,
		   uint64_t value)
{
	char	   *text = status->numbers[frame->npairs];

	snprintf(text, sizeof(status->numbers[0]), "%" PRIu64, value);
	add_text(frame, name, text);
}

/* Empty if it has not happened yet. */
static void
add_time(PgeFrame *frame, AgentStatus *status, const char *name, int64_t when)
{
	char	   *text = status->numbers[frame->npairs];
	time_t		seconds = (time_t) when;
	struct tm	utc;

	text[0] = '\0';
	if (when > 0 && gmtime_r(&seconds, &utc) != NULL)
		(void) strftime(text, sizeof(status->numbers[0]),
						"%Y-%m-%d %H:%M:%S+00", &utc);
	add_text(frame, name, text);
}

void
pge_agent_status_make(Agent *agent, AgentStatus *status, uint64_t ticket,
					  PgeFrame *frame)
{
	const AgentCounters *counters = &agent->counters;
	int			queued;
	int			running;

	pge_jobs_counts(&agent->jobs, &queued, &running);
	memset(frame, 0, sizeof(*frame));
	frame->type = PGE_FRAME_ANSWER;
	frame->ticket = ticket;
	add_text(frame, "agent_version", PGE_VERSION);
	add_number(frame, status, "agent_pid", (uint64_t) getpid());
	add_time(frame, status, "agent_started", agent->started);
	add_text(frame, "keyring_file", agent->settings.keyring_file);
	add_text(frame, "kms_config_file", agent->settings.kms_config_file);
	add_text(frame, "kms_config_problem", agent->sessions->problem);
	add_number(frame, status, "key_services", (uint64_t) agent->sessions->count);
	add_number(frame, status, "kms_concurrency",
			   (uint64_t) agent->settings.kms_concurrency);
	if (agent->external)
		add_number(frame, status, "servers", (uint64_t) pge_served_clusters(&agent->served));
	add_number(frame, status, "clients", (uint64_t) agent->nclients);
	add_number(frame, status, "connections", counters->connections);
	add_number(frame, status, "connections_refused", counters->refused);
	add_number(frame, status, "requests", counters->requests);
	add_number(frame, status, "requests_waiting", (uint64_t) agent->nwaiters);
	add_number(frame, status, "requests_joined", counters->joined);
	add_number(frame, status, "requests_refused_again", counters->remembered);
	add_number(frame, status, "requests_cancelled", counters->cancelled);
	add_number(frame, status, "requests_throttled", counters->throttled);
	add_number(frame, status, "requests_failed", counters->failures);
	add_number(frame, status, "unwraps", counters->unwraps);
	add_number(frame, status, "calls_queued", (uint64_t) queued);
	add_number(frame, status, "calls_in_flight", (uint64_t) running);
	add_time(frame, status, "last_success", counters->last_success);
	add_time(frame, status, "last_failure", counters->last_failure);
	add_text(frame, "last_error", counters->last_error);
}
