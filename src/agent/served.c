/*-------------------------------------------------------------------------
 *
 * served.c
 *	  Which servers the clients of a service are of.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/keeper_pipe.h"

static struct ServedServer *make_room(ServedServers *served);
static bool same_cluster(const struct ServedServer *a, const struct ServedServer *b);
static void log_cluster(Agent *agent, const struct ServedServer *server);

uint32_t
pge_served_number(Agent *agent, const uint8_t greeting[PGE_FRAME_NONCE_LEN])
{
	ServedServers *served = &agent->served;
	struct ServedServer *server;
	int			clusters = pge_served_clusters(served);

	served->turn++;
	for (int i = 0; i < served->count; i++)
	{
		server = &served->servers[i];
		if (memcmp(server->greeting, greeting, PGE_FRAME_NONCE_LEN) != 0)
			continue;
		server->heard = served->turn;
		return server->number;
	}
	server = make_room(served);
	memcpy(server->greeting, greeting, PGE_FRAME_NONCE_LEN);
	server->heard = served->turn;
	served->last_number += served->last_number == UINT32_MAX ? 2 : 1;
	server->number = served->last_number;
	if (pge_served_clusters(served) > clusters)
		log_cluster(agent, server);
	return server->number;
}

int
pge_served_clusters(const ServedServers *served)
{
	int			clusters = 0;

	for (int i = 0; i < served->count; i++)
	{
		bool		seen = false;

		for (int j = 0; j < i; j++)
			seen = seen || same_cluster(&served->servers[i], &served->servers[j]);
		clusters += !seen;
	}
	return clusters;
}

static struct ServedServer *
make_room(ServedServers *served)
{
	struct ServedServer *oldest = &served->servers[0];

	if (served->count < SERVED_MAX)
		return &served->servers[served->count++];
	for (int i = 1; i < SERVED_MAX; i++)
		if (served->servers[i].heard < oldest->heard)
			oldest = &served->servers[i];
	return oldest;
}

static bool
same_cluster(const struct ServedServer *a, const struct ServedServer *b)
{
	return pge_get_u64(a->greeting) == pge_get_u64(b->greeting);
}

static void
log_cluster(Agent *agent, const struct ServedServer *server)
{
	int			clusters = pge_served_clusters(&agent->served);
	uint64_t	identifier = pge_get_u64(server->greeting);

	if (clusters == 1)
		pge_keeper_log(agent, AGENT_LOG, "The agent serves the server with system identifier %" PRIu64 ".", identifier);
	else
		pge_keeper_log(agent, AGENT_WARNING,
					   "The agent serves one more server, with system identifier %" PRIu64 ": there are %d that share its keyring, its key services and its limits.",
					   identifier, clusters);
}
