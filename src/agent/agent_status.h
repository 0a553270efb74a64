/*
 * agent_status.h -- the answer to STATUS.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_AGENT_STATUS_H
#define PGE_AGENT_AGENT_STATUS_H

#include "agent/agent.h"

/* Room for the values that have to be printed. */
typedef struct AgentStatus
{
	char		numbers[PGE_FRAME_PAIRS_MAX][32];
} AgentStatus;

/* Spans of the frame point into agent and status. */
extern void pge_agent_status_make(Agent *agent, AgentStatus *status,
								  uint64_t ticket, PgeFrame *frame);

#endif							/* PGE_AGENT_AGENT_STATUS_H */
