/*
 * keeper_pipe.h -- the agent's end of the keeper's pipe.
 *
 * The loop's thread only.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KEEPER_PIPE_H
#define PGE_AGENT_KEEPER_PIPE_H

#include "agent/agent.h"

typedef enum AgentLogLevel
{
	AGENT_LOG,
	AGENT_WARNING				/* an administrator should act */
} AgentLogLevel;

/* Takes what the keeper sent; at its end, or at anything else than settings,
 * the agent stops. */
extern void pge_keeper_read(Agent *agent);

/* Takes over, or tells of, what a reload of the key services came to. */
extern void pge_keeper_take_reload(Agent *agent);

/* A sentence for the server's log, or a service's own.  Dropped if nobody reads. */
extern void pge_keeper_log(Agent *agent, AgentLogLevel level,
						   const char *format,...)
			__attribute__((format(printf, 3, 4)));

#endif							/* PGE_AGENT_KEEPER_PIPE_H */
