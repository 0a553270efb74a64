/*-------------------------------------------------------------------------
 *
 * single_flight.c
 *	  Unwraps under way, to be joined by equal ones.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/single_flight.h"

static uint32_t hash_bytes(uint32_t hash, PgeBytes bytes);
static bool same_bytes(PgeBytes a, PgeBytes b);

AgentJob *
pge_flight_find(const SingleFlight *flight, const PgeFrame *request,
				const KmsSessions *sessions, uint32_t server)
{
	uint32_t	hash = pge_flight_hash(request);
	AgentJob   *job = flight->buckets[hash % FLIGHT_BUCKETS];

	while (job != NULL && !(job->flight_hash == hash && job->sessions == sessions &&
							job->server == server &&
							pge_flight_same(&job->request, request)))
		job = job->flight_next;
	return job;
}

void
pge_flight_add(SingleFlight *flight, AgentJob *job)
{
	AgentJob  **bucket;

	job->flight_hash = pge_flight_hash(&job->request);
	bucket = &flight->buckets[job->flight_hash % FLIGHT_BUCKETS];
	job->flight_next = *bucket;
	*bucket = job;
	job->in_flight_table = true;
}

void
pge_flight_remove(SingleFlight *flight, AgentJob *job)
{
	AgentJob  **link = &flight->buckets[job->flight_hash % FLIGHT_BUCKETS];

	if (!job->in_flight_table)
		return;
	while (*link != job)
		link = &(*link)->flight_next;
	*link = job->flight_next;
	job->in_flight_table = false;
}

/* FNV-1a.  Our clients have proved themselves, so collisions are accidents. */
uint32_t
pge_flight_hash(const PgeFrame *request)
{
	uint32_t	hash = 2166136261u;

	hash = hash_bytes(hash, request->check_value);
	hash = hash_bytes(hash, request->binding);
	return hash ^ request->flush;
}

static uint32_t
hash_bytes(uint32_t hash, PgeBytes bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		hash = (hash ^ bytes.data[i]) * 16777619u;
	return hash;
}

bool
pge_flight_same(const PgeFrame *a, const PgeFrame *b)
{
	return a->flush == b->flush &&
		same_bytes(a->uri[0], b->uri[0]) &&
		same_bytes(a->database, b->database) &&
		same_bytes(a->binding, b->binding) &&
		same_bytes(a->check_value, b->check_value) &&
		same_bytes(a->wrapped[0], b->wrapped[0]);
}

/* Stored in tables, so no secrets. */
static bool
same_bytes(PgeBytes a, PgeBytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
