/*-------------------------------------------------------------------------
 *
 * serve.c
 *	  The agent as a daemon: its life from start to end.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <malloc.h>
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
#include "agent/service.h"
#include "crypto/selftest.h"

#define KEEPER_FD		3
#define LISTEN_FD		4
#define CLOSE_TURN_MS	2		/* for sessions that take their time to close */
#define CLOSE_TURNS		50
#define LARGE_BLOCK		(64 * 1024) /* and above: the system's again when it
									 * is freed */
#define OWN_DESCRIPTORS	128		/* threads' files, libcurl's, a margin */

static bool prepare(Agent *agent, int first_strange);
static bool die_with_keeper(void);
static bool prepare_descriptor(int fd);
static bool is_listening(int fd);
static int	block_signals(bool external);
static int	count_clients_allowed(void);
static void test_crypto(Agent *agent);
static void wake_loop(void *multi);
static void finish(Agent *agent, int code) __attribute__((noreturn));

static Agent agent;

int
pge_agent_serve(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		close_range(LISTEN_FD + 1, ~0U, 0) != 0 ||	/* what the server had
													 * open is none of our
													 * business */
		!prepare_descriptor(KEEPER_FD) || !prepare_descriptor(LISTEN_FD) ||
		!is_listening(LISTEN_FD) || !die_with_keeper())
	{
		fprintf(stderr, "pg_envelope_agent: \"serve\" without --config is started by the server, not by hand\n");
		return 1;
	}
	agent.listen_fd = LISTEN_FD;
	agent.peer_uid = geteuid();
	pge_stream_init(&agent.keeper, KEEPER_FD);
	if (!prepare(&agent, LISTEN_FD + 1))
		return 1;
	test_crypto(&agent);
	finish(&agent, pge_agent_loop(&agent));
}

int
pge_agent_serve_config(const char *config_file)
{
	agent.external = true;
	agent.listen_fd = -1;
	pge_stream_init(&agent.keeper, -1);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		close_range(STDERR_FILENO + 1, ~0U, 0) != 0 ||
		!prepare(&agent, STDERR_FILENO + 1))
	{
		pge_service_log(true, "The agent does not start: the system lacks what it needs.");
		return 1;
	}
	test_crypto(&agent);
	if (agent.stopping || !pge_service_start(&agent, config_file))
		return 1;
	pge_service_ready(&agent);
	finish(&agent, pge_agent_loop(&agent));
}

/* What both kinds need before they meet anyone. */
static bool
prepare(Agent *new, int first_strange)
{
	/*
	 * each thread would otherwise have a heap of its own, and keep room in it
	 * for the largest group it had
	 */
	(void) mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
	(void) mallopt(M_ARENA_MAX, 1);
	new->signal_fd = block_signals(new->external);
	new->max_clients = count_clients_allowed();
	new->started = (int64_t) time(NULL);
	pge_json_init();
	if (new->signal_fd < 0 ||
		pge_http_init() != PGE_OK ||
		(new->multi = curl_multi_init()) == NULL)
		return false;
	/* libcurl's own would go to the programs that a key service starts */
	(void) close_range((unsigned) first_strange, ~0U, CLOSE_RANGE_CLOEXEC);
	pge_kms_reload_init(&new->reload, wake_loop, new->multi);
	pge_jobs_init(&new->jobs, wake_loop, new->multi);
	return true;
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
 * descriptor by which those that ask us to stop are read, of a service also the
 * one that asks it to read its configuration again.
 */
static int
block_signals(bool external)
{
	sigset_t	all;
	sigset_t	stop;

	sigfillset(&all);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGQUIT);
	if (external)
		sigaddset(&stop, SIGHUP);
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
test_crypto(Agent *new)
{
	const char *what = "";

	if (pge_crypto_selftest(&what) == PGE_OK)
		return;
	pge_keeper_log(new, AGENT_WARNING, "The agent stops: its self-test of %s failed.", what);
	new->stopping = true;
	new->exit_code = 1;
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
finish(Agent *ending, int code)
{
	int			queued;
	int			running;

	pge_jobs_counts(&ending->jobs, &queued, &running);
	if (running == 0 && !ending->reload.busy)
		pge_kms_sessions_release(ending->sessions);
	for (int i = 0; i < CLOSE_TURNS && pge_kms_sessions_closing() > 0; i++)
		(void) poll(NULL, 0, CLOSE_TURN_MS);
	_exit(code);
}
