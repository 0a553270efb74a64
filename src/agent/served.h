/*
 * served.h -- which servers the clients of a service are of.
 *
 * Several clusters of one user may use one agent.  Their answers are kept apart
 * (single_flight.h) by a number for each life of a server's shared memory; and
 * an administrator is told, because they share the keyring and the key services.
 *
 * The loop's thread only.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_SERVED_H
#define PGE_AGENT_SERVED_H

#include <stdint.h>

#include "format/frame.h"

#define SERVED_MAX		64

struct Agent;

/* Of those that were heard last; the longest silent one makes room. */
typedef struct ServedServers
{
	int			count;
	uint32_t	last_number;
	uint64_t	turn;
	struct ServedServer
	{
		uint8_t		greeting[PGE_FRAME_NONCE_LEN];	/* system identifier, life */
		uint32_t	number;
		uint64_t	heard;
	}			servers[SERVED_MAX];
} ServedServers;

/* Its number, which is no other's and not 0; a cluster that is new is logged. */
extern uint32_t pge_served_number(struct Agent *agent, const uint8_t greeting[PGE_FRAME_NONCE_LEN]);

/* How many clusters, by their system identifiers. */
extern int	pge_served_clusters(const ServedServers *served);

#endif							/* PGE_AGENT_SERVED_H */
