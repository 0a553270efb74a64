/*-------------------------------------------------------------------------
 *
 * loop.c
 *	  The agent's event loop.
 *
 * It waits in curl_multi_poll, which worker threads can wake, and into which
 * the sockets of key services behind HTTP fit as well.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "agent/client_session.h"
#include "agent/dispatch.h"
#include "agent/keeper_pipe.h"
#include "agent/loop.h"
#include "agent/service.h"

#define POLL_MAX_MS		60000

enum
{
	POLL_SIGNAL,
	POLL_KEEPER,
	POLL_LISTEN,				/* fd -1 while nobody is let in */
	POLL_FIRST_CLIENT
};

/* One turn's descriptors; clients in the order of the agent's list. */
typedef struct PollSet
{
	struct curl_waitfd fds[POLL_FIRST_CLIENT + AGENT_CLIENTS_MAX];
	unsigned	nfds;
	uint64_t	wake_at;
} PollSet;

static void run_turn(Agent *agent, PollSet *set);
static void build_set(Agent *agent, PollSet *set, uint64_t now);
static void add_fd(PollSet *set, int fd, bool in, bool out);
static void wake_by(PollSet *set, uint64_t when);
static void read_signals(Agent *agent);
static void stop(Agent *agent);

uint64_t
pge_agent_now_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

int
pge_agent_loop(Agent *agent)
{
	static PollSet set;

	while (!agent->stopping)
		run_turn(agent, &set);
	stop(agent);
	return agent->exit_code;
}

static void
run_turn(Agent *agent, PollSet *set)
{
	uint64_t	now = pge_agent_now_ms();
	AgentClient *client;
	unsigned	i = POLL_FIRST_CLIENT;

	build_set(agent, set, now);
	if (curl_multi_poll(agent->multi, set->fds, set->nfds,
						set->wake_at > now ? (int) (set->wake_at - now) : 0,
						NULL) != CURLM_OK)
	{
		agent->exit_code = 1;
		agent->stopping = true;
		return;
	}

	now = pge_agent_now_ms();
	for (client = agent->clients; client != NULL; client = client->next)
		client->readable = (set->fds[i++].revents & CURL_WAIT_POLLIN) != 0;
	if (set->fds[POLL_SIGNAL].revents != 0)
		read_signals(agent);
	if (set->fds[POLL_KEEPER].revents & CURL_WAIT_POLLIN)
		pge_keeper_read(agent);
	if (set->fds[POLL_LISTEN].revents != 0)
		pge_session_accept(agent, now);
	pge_keeper_take_reload(agent);
	pge_dispatch_finished(agent);
	for (client = agent->clients; client != NULL; client = client->next)
		pge_session_turn(agent, client, now);
	pge_session_sweep(agent);
	if (!pge_stream_flush(&agent->keeper))
		agent->stopping = true;
}

static void
build_set(Agent *agent, PollSet *set, uint64_t now)
{
	bool		accepting = pge_session_may_accept(agent, now);

	set->nfds = 0;
	set->wake_at = now + POLL_MAX_MS;
	add_fd(set, agent->signal_fd, true, false);
	add_fd(set, agent->keeper.fd, true, agent->keeper.out_bytes > 0);
	add_fd(set, accepting ? agent->listen_fd : -1, accepting, false);
	if (agent->accept_again > now)
		wake_by(set, agent->accept_again);
	else if (!accepting && agent->configured)
		wake_by(set, now + AGENT_IDLE_MS);	/* look again who is idle */
	for (AgentClient *client = agent->clients; client; client = client->next)
	{
		add_fd(set, client->stream.fd, pge_session_wants_input(agent, client),
			   client->stream.out_bytes > 0);
		if (client->state != CLIENT_TRUSTED)
			wake_by(set, client->handshake_deadline);
		if (pge_session_has_work(agent, client))
			wake_by(set, now);
	}
}

static void
add_fd(PollSet *set, int fd, bool in, bool out)
{
	struct curl_waitfd *wait = &set->fds[set->nfds++];

	wait->fd = fd;
	wait->events = (short) ((in ? CURL_WAIT_POLLIN : 0) |
							(out ? CURL_WAIT_POLLOUT : 0));
	wait->revents = 0;
}

static void
wake_by(PollSet *set, uint64_t when)
{
	if (when < set->wake_at)
		set->wake_at = when;
}

/* All but SIGHUP, which only a service takes, ask for the same: to stop. */
static void
read_signals(Agent *agent)
{
	struct signalfd_siginfo info;

	while (read(agent->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info))
	{
		if (info.ssi_signo == SIGHUP)
			pge_service_reload(agent);
		else
			agent->stopping = true;
	}
}

/*
 * Who waits is told, as far as the sockets take it at once: a backend that
 * does not read must not hold up the server's stop.
 */
static void
stop(Agent *agent)
{
	uint64_t	deadline = pge_agent_now_ms() + STOP_MS;
	bool		pending = true;

	if (agent->external)
		pge_service_stopping(agent);
	pge_dispatch_finished(agent);
	pge_dispatch_abandon(agent);
	while (pending && pge_agent_now_ms() < deadline)
	{
		pending = pge_stream_flush(&agent->keeper) &&
			agent->keeper.out_bytes > 0;
		for (AgentClient *client = agent->clients; client; client = client->next)
			if (pge_stream_flush(&client->stream) &&
				client->stream.out_bytes > 0)
				pending = true;
		if (pending)
			(void) poll(NULL, 0, 10);
	}
	pge_session_close_all(agent);
	pge_stream_close(&agent->keeper);
	pge_secret_wipe(&agent->socket_secret, sizeof(agent->socket_secret));
}
