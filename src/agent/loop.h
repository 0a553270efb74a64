/*
 * loop.h -- the agent's event loop.
 *
 * Runs until the keeper's pipe ends, a signal asks for the end, or what the
 * keeper sends cannot be used; then answers who waits and closes everything,
 * within STOP_MS.  Returns agent->exit_code.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_LOOP_H
#define PGE_AGENT_LOOP_H

#include "agent/agent.h"

#define STOP_MS		300

extern int	pge_agent_loop(Agent *agent);

#endif							/* PGE_AGENT_LOOP_H */
