/*-------------------------------------------------------------------------
 *
 * session_fuzz.c
 *	  A client's bytes, in pieces of any size, through the agent's session: the
 *	  same requests come out as if all had come at once, and none before the
 *	  client has proved itself.
 *
 * The first byte says how: bit 0, the client has proved itself already; bit 1, the
 * agent is a service, whose clients only greet; the others, the size of the pieces.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <sys/socket.h>
#include <unistd.h>

#include "agent/client_session.h"
#include "agent/dispatch.h"
#include "agent/keeper_pipe.h"
#include "exact_copy.h"

static Agent agent;
static PgeBuffer dispatched;	/* of all requests, one after the other */
static bool trusted;
static bool greeted;

uint64_t
pge_agent_now_ms(void)
{
	return 1000;
}

/* In place of dispatch.c, which would ask a key service. */
void
pge_dispatch_request(Agent *of, AgentClient *client, PgeBytes bytes, const PgeFrame *request)
{
	(void) of;
	(void) request;
	require((trusted || (agent.external && greeted)) && client->state == CLIENT_TRUSTED);
	require(dispatched.capacity - dispatched.len >= bytes.len);
	memcpy(dispatched.data + dispatched.len, bytes.data, bytes.len);
	dispatched.len += bytes.len;
}

void
pge_dispatch_forget(Agent *of, AgentClient *client)
{
	(void) of;
	(void) client;
}

void
pge_keeper_log(Agent *of, AgentLogLevel level, const char *format,...)
{
	(void) of;
	(void) level;
	(void) format;
}

/* In place of served.c. */
uint32_t
pge_served_number(Agent *of, const uint8_t greeting[PGE_FRAME_NONCE_LEN])
{
	(void) of;
	greeted = true;
	return greeting[0];
}

static AgentClient *
add_client(int fd)
{
	AgentClient *client = calloc(1, sizeof(*client));

	require(client != NULL);
	pge_stream_init(&client->stream, fd);
	client->state = trusted ? CLIENT_TRUSTED : CLIENT_GREETS;
	client->handshake_deadline = 2000;
	agent.clients = client;
	agent.nclients = 1;
	return client;
}

/* Puts what comes out into "dispatched". */
static void
run_session(PgeBytes bytes, size_t piece)
{
	int			ends[2];
	AgentClient *client;

	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
	client = add_client(ends[0]);
	greeted = false;
	dispatched = exact_buffer(bytes.len);
	for (size_t sent = 0; sent < bytes.len && !client->gone;)
	{
		size_t		n = bytes.len - sent < piece ? bytes.len - sent : piece;
		ssize_t		did = send(ends[1], bytes.data + sent, n, MSG_NOSIGNAL);

		if (did > 0)
			sent += (size_t) did;
		client->readable = true;
		pge_session_turn(&agent, client, 1000);
	}
	/* a turn takes 64 frames at most, each of 24 bytes at least */
	for (size_t i = 0; i < bytes.len / 512 + 2 && !client->gone; i++)
	{
		client->readable = true;
		pge_session_turn(&agent, client, 1000);
	}
	require(client->gone || !pge_session_has_work(&agent, client));
	pge_session_close_all(&agent);
	close(ends[1]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in;
	PgeBuffer	whole;

	if (size < 2)
		return 0;
	trusted = (data[0] & 1) != 0;
	agent.external = (data[0] & 2) != 0;
	in = exact_copy(data + 1, size - 1);
	run_session(pge_buffer_bytes(&in), SIZE_MAX);
	whole = dispatched;
	run_session(pge_buffer_bytes(&in), 1 + (size_t) (data[0] >> 2) * 8);
	require(dispatched.len == whole.len &&
			(whole.len == 0 || memcmp(dispatched.data, whole.data, whole.len) == 0));
	free(whole.data);
	free(dispatched.data);
	free(in.data);
	return 0;
}
