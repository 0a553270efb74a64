/*
 * dispatch.h -- between the clients' requests and the jobs that answer them.
 *
 * The loop's thread only.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_DISPATCH_H
#define PGE_AGENT_DISPATCH_H

#include "agent/agent.h"

/* Answers at once, joins a job under way, or starts one. */
extern void pge_dispatch_request(Agent *agent, AgentClient *client,
								 PgeBytes bytes, const PgeFrame *request);

/* Answers whoever waits for a job that has finished. */
extern void pge_dispatch_finished(Agent *agent);

/* The client is gone: what it alone waited for is cancelled. */
extern void pge_dispatch_forget(Agent *agent, AgentClient *client);

/* We stop: every waiter gets PGE_AGENT_UNREACHABLE, every job is cancelled. */
extern void pge_dispatch_abandon(Agent *agent);

#endif							/* PGE_AGENT_DISPATCH_H */
