/*-------------------------------------------------------------------------
 *
 * client_session.c
 *	  The connections of backends.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/client_session.h"
#include "agent/dispatch.h"
#include "agent/keeper_pipe.h"
#include "base/crash_point.h"

#define ACCEPTS_PER_TURN	64
#define ACCEPT_PAUSE_MS		100 /* after running out of descriptors */
#define REFUSAL_LOG_MS		10000	/* at most one line of a kind in this time */

static bool make_room(Agent *agent, uint64_t now);
static AgentClient *find_idle(const Agent *agent, uint64_t now);
static bool is_expected_user(const Agent *agent, int fd, struct ucred *peer);
static void turn_away(Agent *agent, int fd, const struct ucred *peer);
static void add_client(Agent *agent, int fd, pid_t pid, uint64_t now);
static void read_input(const Agent *agent, AgentClient *client, uint64_t now);
static void take_frames(Agent *agent, AgentClient *client);
static PgeStatus take_frame(Agent *agent, AgentClient *client, PgeBytes bytes);
static PgeStatus take_hello(Agent *agent, AgentClient *client,
							const PgeFrame *frame);
static PgeStatus take_greeting(Agent *agent, AgentClient *client,
							   const PgeFrame *frame);
static bool is_request(const PgeFrame *frame);
static void refuse_client(Agent *agent, AgentClient *client, const char *why);
static void log_refusal(Agent *agent, pid_t pid, const char *why);
static void log_shortage(Agent *agent, uint64_t now, int error);
static size_t frame_max(const AgentClient *client);

bool
pge_session_may_accept(const Agent *agent, uint64_t now)
{
	return agent->configured && now >= agent->accept_again &&
		(agent->nclients < agent->max_clients || find_idle(agent, now) != NULL);
}

/*
 * Who finds no room stays in the socket's backlog until its own deadline.  The
 * idle make room: a session keeps its connection while its transaction lasts,
 * which may be hours, and makes another when it has something to ask.
 */
void
pge_session_accept(Agent *agent, uint64_t now)
{
	for (int i = 0; i < ACCEPTS_PER_TURN && pge_session_may_accept(agent, now); i++)
	{
		int			fd = accept4(agent->listen_fd, NULL, NULL,
								 SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct ucred peer;

		if (fd < 0)
		{
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
				errno == ENOBUFS)
			{
				log_shortage(agent, now, errno);
				agent->accept_again = now + ACCEPT_PAUSE_MS;
				return;
			}
			if (errno == ECONNABORTED || errno == EINTR)
				continue;
			return;
		}
		agent->counters.connections++;
		if (!is_expected_user(agent, fd, &peer))
		{
			turn_away(agent, fd, &peer);	/* for whom nobody makes room */
			continue;
		}
		if (!make_room(agent, now))
		{
			close(fd);			/* it tries again */
			return;
		}
		add_client(agent, fd, peer.pid, now);
	}
}

bool
pge_session_wants_input(const Agent *agent, const AgentClient *client)
{
	int			room = agent->nwaiters < AGENT_WAITERS_MAX / 2 ? AGENT_CLIENT_WAITERS : AGENT_CLIENT_SHARE;

	return client->nwaiters < room &&
		client->stream.out_bytes < AGENT_CLIENT_OUT_MAX;
}

bool
pge_session_has_work(const Agent *agent, AgentClient *client)
{
	PgeBytes	bytes;

	if (client->gone || !pge_session_wants_input(agent, client))
		return false;
	return pge_stream_next(&client->stream, frame_max(client), &bytes) != PGE_OK ||
		bytes.len > 0;
}

void
pge_session_turn(Agent *agent, AgentClient *client, uint64_t now)
{
	if (client->readable && !client->gone)
		read_input(agent, client, now);
	if (!client->gone)
		take_frames(agent, client);
	if (!client->gone && !pge_stream_flush(&client->stream))
		client->gone = true;
	if (!client->gone && client->state != CLIENT_TRUSTED &&
		now >= client->handshake_deadline)
		refuse_client(agent, client, "it did not prove itself in time");
}

void
pge_session_sweep(Agent *agent)
{
	AgentClient **link = &agent->clients;

	while (*link != NULL)
	{
		AgentClient *client = *link;

		if (!client->gone)
		{
			link = &client->next;
			continue;
		}
		*link = client->next;
		pge_dispatch_forget(agent, client);
		pge_stream_close(&client->stream);
		free(client);
		agent->nclients--;
	}
}

void
pge_session_close_all(Agent *agent)
{
	for (AgentClient *client = agent->clients; client; client = client->next)
		client->gone = true;
	pge_session_sweep(agent);
}

/* false: whoever was idle has spoken up since we looked. */
static bool
make_room(Agent *agent, uint64_t now)
{
	AgentClient *idle;

	if (agent->nclients < agent->max_clients)
		return true;
	idle = find_idle(agent, now);
	if (idle == NULL)
		return false;
	idle->gone = true;
	pge_session_sweep(agent);
	return agent->nclients < agent->max_clients;
}

/* The one that has been idle for longest; nothing of it is under way either way. */
static AgentClient *
find_idle(const Agent *agent, uint64_t now)
{
	AgentClient *found = NULL;
	uint8_t		byte;

	for (AgentClient *client = agent->clients; client; client = client->next)
	{
		if (client->state == CLIENT_TRUSTED && client->waiters == NULL &&
			client->stream.out_bytes == 0 && client->stream.in_len == 0 &&
			now >= client->last_heard + AGENT_IDLE_MS &&
			(found == NULL || client->last_heard <= found->last_heard) &&
			recv(client->stream.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
			found = client;
	}
	return found;
}

static bool
is_expected_user(const Agent *agent, int fd, struct ucred *peer)
{
	socklen_t	len = sizeof(*peer);

	*peer = (struct ucred)
	{
		.uid = (uid_t) - 1
	};
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &len) == 0 &&
		peer->uid == agent->peer_uid;
}

static void
turn_away(Agent *agent, int fd, const struct ucred *peer)
{
	char		why[80];

	snprintf(why, sizeof(why), "it runs as another user (id %u, not %u)",
			 (unsigned) peer->uid, (unsigned) agent->peer_uid);
	agent->counters.refused++;
	log_refusal(agent, peer->pid, why);
	close(fd);
}

static void
add_client(Agent *agent, int fd, pid_t pid, uint64_t now)
{
	AgentClient *client = calloc(1, sizeof(*client));

	if (client == NULL)
	{
		close(fd);
		return;
	}
	pge_stream_init(&client->stream, fd);
	client->state = CLIENT_GREETS;
	client->handshake_deadline = now + AGENT_HANDSHAKE_MS;
	client->last_heard = now;
	client->pid = pid;
	client->next = agent->clients;
	agent->clients = client;
	agent->nclients++;
	PGE_CRASH_POINT_EXIT("agent.accepted");
}

/*
 * While we do not want input poll still tells of a peer that is gone: its
 * requests must not be performed for nobody.  But it may also have told of bytes,
 * if the answers that fill the client's room were queued after it was asked.
 */
static void
read_input(const Agent *agent, AgentClient *client, uint64_t now)
{
	struct pollfd hangup = {client->stream.fd, 0, 0};

	client->last_heard = now;
	if (pge_session_wants_input(agent, client))
		client->gone = !pge_stream_fill(&client->stream);
	else
		client->gone = poll(&hangup, 1, 0) != 0;
}

static void
take_frames(Agent *agent, AgentClient *client)
{
	for (int i = 0; i < AGENT_FRAMES_PER_TURN; i++)
	{
		PgeBytes	bytes;
		PgeStatus	status;

		if (client->gone || !pge_session_wants_input(agent, client))
			return;
		status = pge_stream_next(&client->stream, frame_max(client), &bytes);
		if (status == PGE_OK && bytes.len == 0)
			return;
		if (status == PGE_OK)
			status = take_frame(agent, client, bytes);
		if (status != PGE_OK)
		{
			refuse_client(agent, client,
						  status == PGE_UNAUTHENTICATED ? "its proof is wrong" :
						  status == PGE_MALFORMED ? "it sent something else than frames of this version and of this kind of agent" :
						  pge_status_name(status));
			return;
		}
		pge_stream_consume(&client->stream, bytes.len);
	}
}

static PgeStatus
take_frame(Agent *agent, AgentClient *client, PgeBytes bytes)
{
	PgeFrame	frame;
	PgeStatus	status = pge_frame_decode(bytes, &frame);

	if (status != PGE_OK)
		return status;
	switch (client->state)
	{
		case CLIENT_GREETS:
			return agent->external ? take_greeting(agent, client, &frame) :
				take_hello(agent, client, &frame);
		case CLIENT_PROVES:
			status = pge_handshake_verify(&client->handshake,
										  &agent->socket_secret, &frame);
			if (status == PGE_OK)
				client->state = CLIENT_TRUSTED;
			return status;
		case CLIENT_TRUSTED:
			if (!is_request(&frame))
				return PGE_MALFORMED;
			pge_dispatch_request(agent, client, bytes, &frame);
			return PGE_OK;
	}
	return PGE_MALFORMED;
}

static PgeStatus
take_hello(Agent *agent, AgentClient *client, const PgeFrame *frame)
{
	PgeFrame	challenge;
	PgeStatus	status;

	status = pge_handshake_challenge(&client->handshake, &agent->socket_secret,
									 frame, &challenge);
	if (status == PGE_OK)
		status = pge_stream_send(&client->stream, &challenge);
	if (status == PGE_OK)
		client->state = CLIENT_PROVES;
	return status;
}

/* There is no proof to come: it is the user that the kernel said. */
static PgeStatus
take_greeting(Agent *agent, AgentClient *client, const PgeFrame *frame)
{
	PgeFrame	welcome;
	PgeStatus	status = pge_handshake_welcome(frame, &welcome);

	if (status == PGE_OK)
		status = pge_stream_send(&client->stream, &welcome);
	if (status != PGE_OK)
		return status;
	client->server = pge_served_number(agent, frame->nonce.data);
	client->state = CLIENT_TRUSTED;
	return PGE_OK;
}

static bool
is_request(const PgeFrame *frame)
{
	return frame->type >= PGE_FRAME_UNWRAP && frame->type < PGE_FRAME_ANSWER;
}

static void
refuse_client(Agent *agent, AgentClient *client, const char *why)
{
	client->gone = true;
	agent->counters.refused++;
	log_refusal(agent, client->pid, why);
}

/* Whoever can connect could otherwise fill the server's log. */
static void
log_refusal(Agent *agent, pid_t pid, const char *why)
{
	uint64_t	now = pge_agent_now_ms();

	if (agent->refusal_logged != 0 &&
		now - agent->refusal_logged < REFUSAL_LOG_MS)
	{
		agent->refusals_unlogged++;
		return;
	}
	pge_keeper_log(agent, AGENT_WARNING,
				   "The agent closed the connection of process %d: %s (%d more since the last such message).",
				   (int) pid, why, agent->refusals_unlogged);
	agent->refusal_logged = now;
	agent->refusals_unlogged = 0;
}

/* Who waits outside hears only that nobody answers. */
static void
log_shortage(Agent *agent, uint64_t now, int error)
{
	if (agent->descriptors_logged != 0 &&
		now - agent->descriptors_logged < REFUSAL_LOG_MS)
		return;
	agent->descriptors_logged = now;
	pge_keeper_log(agent, AGENT_WARNING,
				   "The agent cannot accept connections: %s.  Sessions wait until it can, or until their own deadline; raise the server's limit of open files if this stays.",
				   strerror(error));
}

static size_t
frame_max(const AgentClient *client)
{
	return client->state == CLIENT_TRUSTED ? PGE_FRAME_MAX : HANDSHAKE_FRAME_MAX;
}
