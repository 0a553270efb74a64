/*-------------------------------------------------------------------------
 *
 * client_session_test.c
 *	  Who is let go, and who is not, while we do not want his input.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/client_session.h"
#include "check.h"

static Agent agent;

uint64_t
pge_agent_now_ms(void)
{
	return 1000;
}

/* A trusted client that has sent some bytes; *peer is its own end. */
static AgentClient *
make_client(int *peer)
{
	AgentClient *client = calloc(1, sizeof(*client));
	int			ends[2];

	if (client == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		abort();
	pge_stream_init(&client->stream, ends[0]);
	client->state = CLIENT_TRUSTED;
	client->next = agent.clients;
	agent.clients = client;
	agent.nclients++;
	*peer = ends[1];
	if (send(*peer, "01234567", 8, 0) != 8)
		abort();
	return client;
}

/*
 * Answers that were queued since poll was asked have filled the client's room:
 * what it has sent meanwhile is no sign that it is gone.
 */
static void
check_filled_meanwhile(void)
{
	int			peer;
	AgentClient *client = make_client(&peer);
	char		bytes[16];

	client->readable = true;
	client->stream.out_bytes = AGENT_CLIENT_OUT_MAX;
	pge_session_turn(&agent, client, 1000);
	check(!client->gone, "who sends while his answers pile up stays");
	check(recv(client->stream.fd, bytes, sizeof(bytes), MSG_DONTWAIT) == 8, "and what he sent waits");
	client->stream.out_bytes = 0;
	close(peer);
}

static void
check_gone_meanwhile(void)
{
	int			peer;
	AgentClient *client = make_client(&peer);

	close(peer);
	client->readable = true;
	client->nwaiters = AGENT_CLIENT_WAITERS;
	pge_session_turn(&agent, client, 1000);
	check(client->gone, "who has hung up goes, whatever he sent before");
	client->nwaiters = 0;
}

int
main(void)
{
	check_filled_meanwhile();
	check_gone_meanwhile();
	pge_session_close_all(&agent);
	check(agent.nclients == 0 && agent.clients == NULL, "and in the end all go");
	return check_done();
}
