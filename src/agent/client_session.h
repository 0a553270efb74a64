/*
 * client_session.h -- the connections of backends.
 *
 * The loop's thread only.  A turn of the loop is: accept, one turn for each
 * client, sweep; a client that fails is only marked in its turn and freed by
 * the sweep.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_CLIENT_SESSION_H
#define PGE_AGENT_CLIENT_SESSION_H

#include "agent/agent.h"

/* May the listening socket be looked at now? */
extern bool pge_session_may_accept(const Agent *agent, uint64_t now);
extern void pge_session_accept(Agent *agent, uint64_t now);

/* Do we read from it, or has it too much to take from us first? */
extern bool pge_session_wants_input(const Agent *agent, const AgentClient *client);

/* Does a whole frame wait in memory that we would look at? */
extern bool pge_session_has_work(const Agent *agent, AgentClient *client);

extern void pge_session_turn(Agent *agent, AgentClient *client, uint64_t now);
extern void pge_session_sweep(Agent *agent);
extern void pge_session_close_all(Agent *agent);

#endif							/* PGE_AGENT_CLIENT_SESSION_H */
