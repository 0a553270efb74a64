/*
 * single_flight.h -- unwraps under way, to be joined by equal ones.
 *
 * Equal means: the same URI, binding, check value, wrapping, database, sessions,
 * server and flush count.  The last two because flush counts of two servers say
 * nothing of each other, and an answer that was asked for before a flush
 * must not serve a request that was made after it; database and sessions because what
 * one database may open, or could before a reload, another may not.
 *
 * Belongs to the loop's thread.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_SINGLE_FLIGHT_H
#define PGE_AGENT_SINGLE_FLIGHT_H

#include "agent/jobs.h"

#define FLIGHT_BUCKETS	1024

typedef struct SingleFlight
{
	AgentJob   *buckets[FLIGHT_BUCKETS];
} SingleFlight;

/* An equal unwrap under way by the same sessions, or NULL. */
extern AgentJob *pge_flight_find(const SingleFlight *flight,
								 const PgeFrame *request,
								 const KmsSessions *sessions, uint32_t server);
extern void pge_flight_add(SingleFlight *flight, AgentJob *job);

/* What "equal" means, but for the sessions; requests with different hashes are not. */
extern uint32_t pge_flight_hash(const PgeFrame *request);
extern bool pge_flight_same(const PgeFrame *a, const PgeFrame *b);

/* Does nothing if it is not in there. */
extern void pge_flight_remove(SingleFlight *flight, AgentJob *job);

#endif							/* PGE_AGENT_SINGLE_FLIGHT_H */
