/*-------------------------------------------------------------------------
 *
 * client_session_test.c
 *	  Who is let go, and who is not: while we do not want his input, and for whose sake.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
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

/* A listening socket with a name of its own choice, and somebody who connects to it. */
static int
connect_somebody(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t	len = sizeof(address.sun_family);
	int			fd = socket(AF_UNIX, SOCK_STREAM, 0);

	agent.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (bind(agent.listen_fd, (struct sockaddr *) &address, len) != 0 || listen(agent.listen_fd, 8) != 0)
		abort();
	len = sizeof(address);
	if (getsockname(agent.listen_fd, (struct sockaddr *) &address, &len) != 0 ||
		connect(fd, (struct sockaddr *) &address, len) != 0)
		abort();
	return fd;
}

/* The idle make room for their own kind only: anybody may connect to a service. */
static void
check_room_for_strangers(void)
{
	int			peer;
	AgentClient *client = make_client(&peer);
	char		bytes[16];
	int			somebody = connect_somebody();

	check(recv(client->stream.fd, bytes, sizeof(bytes), 0) == 8, "(an idle client)");
	agent.external = agent.configured = true;
	agent.max_clients = agent.nclients;
	agent.peer_uid = getuid() + 1;
	pge_session_accept(&agent, 10 * AGENT_IDLE_MS);
	check(agent.counters.refused == 1 && recv(somebody, bytes, sizeof(bytes), 0) == 0, "a stranger is turned away");
	check(agent.nclients == agent.max_clients && send(peer, "0", 1, MSG_NOSIGNAL) == 1, "and nobody has gone to make room for him");
	close(somebody);
	close(agent.listen_fd);

	somebody = connect_somebody();
	agent.peer_uid = getuid();
	check(recv(client->stream.fd, bytes, sizeof(bytes), 0) == 1, "(idle again)");
	pge_session_accept(&agent, 10 * AGENT_IDLE_MS);
	check(agent.nclients == agent.max_clients && agent.clients->state == CLIENT_GREETS, "who may come in is let in");
	check(send(peer, "0", 1, MSG_NOSIGNAL) < 0, "and one who is idle goes for him");
	close(somebody);
	close(agent.listen_fd);
	close(peer);
}

/* Some clients that ask for much leave room for what others ask. */
static void
check_share(void)
{
	int			peer;
	AgentClient *client = make_client(&peer);

	client->nwaiters = AGENT_CLIENT_SHARE;
	agent.nwaiters = AGENT_WAITERS_MAX / 2 - 1;
	check(pge_session_wants_input(&agent, client), "who has some requests under way is read from");
	agent.nwaiters++;
	check(!pge_session_wants_input(&agent, client), "but not while half of all that may wait do");
	client->nwaiters--;
	check(pge_session_wants_input(&agent, client), "when he still has his share");
	client->nwaiters = agent.nwaiters = 0;
	close(peer);
}

int
main(void)
{
	check_share();
	check_filled_meanwhile();
	check_gone_meanwhile();
	pge_session_sweep(&agent);
	check_room_for_strangers();
	pge_session_close_all(&agent);
	check(agent.nclients == 0 && agent.clients == NULL, "and in the end all go");
	return check_done();
}
