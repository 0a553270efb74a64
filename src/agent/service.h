/*
 * service.h -- the agent as a service of its own: "pg_envelope_agent serve --config FILE".
 *
 * No server starts it, and none tells it anything: the file's section [agent] does.
 * SIGHUP has the file read again.  What it has to say goes to its standard error,
 * in systemd's form if that is the journal; the service manager, if it asked
 * (NOTIFY_SOCKET), hears when the agent is ready.
 *
 *	start -> the loop, with { reload -> reloaded } ... -> stopping
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_SERVICE_H
#define PGE_AGENT_SERVICE_H

#include "agent/agent.h"

/* false: said why.  Signals are blocked, and the loop's multi handle is there. */
extern bool pge_service_start(Agent *agent, const char *config_file);

/* The service listens, and is ready. */
extern void pge_service_ready(Agent *agent);

extern void pge_service_reload(Agent *agent);

/* agent->reload has what came of it, and agent->settings what is in force. */
extern void pge_service_reloaded(Agent *agent);
extern void pge_service_stopping(Agent *agent);

/* A line; what nobody reads is dropped. */
extern void pge_service_log(bool warning, const char *text);

#endif							/* PGE_AGENT_SERVICE_H */
