/*-------------------------------------------------------------------------
 *
 * serve.c
 *	  The agent as a daemon: its life from start to end.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/keeper_pipe.h"
#include "agent/kms/http.h"
#include "agent/kms/json.h"
#include "agent/loop.h"
#include "agent/serve.h"
#include "crypto/selftest.h"

#define KEEPER_FD		3
#define LISTEN_FD		4
#define CLOSE_TURN_MS	2		/* for sessions that take their time to close */
#define CLOSE_TURNS		50
#define OWN_DESCRIPTORS	128		/* threads' files, libcurl's, a margin */

static bool die_with_keeper(void);
static bool close_strangers(void);
static bool prepare_descriptor(int fd);
static bool is_listening(int fd);
static int	block_signals(void);
static int	count_clients_allowed(void);
static void wake_loop(void *multi);
static void finish(Agent *agent, int code) __attribute__((noreturn));

int
pge_agent_serve(void)
{
	static Agent agent;
	const char *what = "";

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !close_strangers() ||
		!prepare_descriptor(KEEPER_FD) || !prepare_descriptor(LISTEN_FD) ||
		!is_listening(LISTEN_FD) || !die_with_keeper())
	{
		fprintf(stderr, "pg_envelope_agent: \"serve\" is started by the server, not by hand\n");
		return 1;
	}
	agent.listen_fd = LISTEN_FD;
	agent.signal_fd = block_signals();
	agent.max_clients = count_clients_allowed();
	agent.started = (int64_t) time(NULL);
	pge_stream_init(&agent.keeper, KEEPER_FD);
	pge_json_init();
	if (agent.signal_fd < 0 ||
		pge_http_init() != PGE_OK ||
		(agent.multi = curl_multi_init()) == NULL)
		return 1;
	/* libcurl's own would go to the programs that a key service starts */
	(void) close_range(LISTEN_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	pge_kms_reload_init(&agent.reload, wake_loop, agent.multi);
	pge_jobs_init(&agent.jobs, wake_loop, agent.multi);

	if (pge_crypto_selftest(&what) != PGE_OK)
	{
		pge_keeper_log(&agent, AGENT_WARNING,
					   "The agent stops: its self-test of %s failed.", what);
		agent.stopping = true;
		agent.exit_code = 1;
	}
	finish(&agent, pge_agent_loop(&agent));
}

/*
 * Its parent is the process that made the pipe.  If that died before prctl
 * nobody would tell us, so look once more.
 */
static bool
die_with_keeper(void)
{
	struct ucred keeper;
	socklen_t	len = sizeof(keeper);

	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 &&
		getsockopt(KEEPER_FD, SOL_SOCKET, SO_PEERCRED, &keeper, &len) == 0 &&
		getppid() == keeper.pid;
}

/* What the server had open is none of our business. */
static bool
close_strangers(void)
{
	return close_range(LISTEN_FD + 1, ~0U, 0) == 0;
}

/* Non-blocking, and not for the programs that a key service may start. */
static bool
prepare_descriptor(int fd)
{
	int			flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
		fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static bool
is_listening(int fd)
{
	int			listening = 0;
	socklen_t	len = sizeof(listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 &&
		listening != 0;
}

/*
 * Blocks every signal, here and in all threads that come, so that none of
 * libcurl's or of a key service's library runs a handler.  Returns the
 * descriptor by which those that ask us to stop are read.
 */
static int
block_signals(void)
{
	sigset_t	all;
	sigset_t	stop;

	sigfillset(&all);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGQUIT);
	if (sigprocmask(SIG_SETMASK, &all, NULL) != 0)
		return -1;
	return signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* The usual soft limit of 1024 descriptors is raised as far as we may. */
static int
count_clients_allowed(void)
{
	struct rlimit limit;
	rlim_t		wanted = AGENT_CLIENTS_MAX + OWN_DESCRIPTORS;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return AGENT_CLIENTS_MAX / 2;
	if (limit.rlim_cur < wanted)
	{
		limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
		(void) setrlimit(RLIMIT_NOFILE, &limit);
		(void) getrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= wanted)
		return AGENT_CLIENTS_MAX;
	return limit.rlim_cur > 2 * OWN_DESCRIPTORS ?
		(int) (limit.rlim_cur - OWN_DESCRIPTORS) : (int) (limit.rlim_cur / 2);
}

static void
wake_loop(void *multi)
{
	(void) curl_multi_wakeup((CURLM *) multi);
}

/*
 * Not exit(): a thread that hangs in a key service's library may hold any lock
 * that an exit handler needs.
 */
static void
finish(Agent *agent, int code)
{
	int			queued;
	int			running;

	pge_jobs_counts(&agent->jobs, &queued, &running);
	if (running == 0 && !agent->reload.busy)
		pge_kms_sessions_release(agent->sessions);
	for (int i = 0; i < CLOSE_TURNS && pge_kms_sessions_closing() > 0; i++)
		(void) poll(NULL, 0, CLOSE_TURN_MS);
	_exit(code);
}
