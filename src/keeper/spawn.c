/*-------------------------------------------------------------------------
 *
 * spawn.c
 *	  From a fork of the keeper to the agent's own program.
 *
 * Everything between fork and exec is async-signal-safe: the fork may have
 * happened while another part of the process held a lock of the C library.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "utils/memutils.h"

#include "keeper/keeper_private.h"

#define PIPE_FD		3
#define LISTEN_FD	4
#define FIRST_FREE	16			/* above the numbers that have a meaning */
#define EXEC_FAILED	127

/*
 * All that the agent gets of the server's environment.  A credential in the
 * postmaster's environment can be read by anyone who may read server files, so
 * none of the names that hold one is here.
 */
static const char *const environment_names[] = {
	"PATH", "LANG", "TZ",
	"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_REGION", "AWS_PROFILE",
	"AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
	"AWS_EC2_METADATA_DISABLED"
};

static char *environment[lengthof(environment_names) + 1];

static void
build_environment(void)
{
	int			n = 0;

	for (size_t i = 0; environment[i] != NULL; i++)
	{
		pfree(environment[i]);
		environment[i] = NULL;
	}
	for (size_t i = 0; i < lengthof(environment_names); i++)
	{
		const char *value = getenv(environment_names[i]);

		if (value != NULL)
			environment[n++] = MemoryContextStrdup(TopMemoryContext,
												   psprintf("%s=%s", environment_names[i], value));
	}
}

/* A handler of the server must never run in the child. */
static void
reset_signals(void)
{
	sigset_t	none;

	for (int sig = 1; sig < NSIG; sig++)
		(void) signal(sig, SIG_DFL);	/* refused for some: harmless */
	sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool
close_from(int first, int last)
{
	return first > last || syscall(SYS_close_range, first, last, 0) == 0;
}

static void
become_agent(int exe_fd, int pipe_fd, int listen_fd, pid_t keeper)
{
	static char *const argv[] = {"pg_envelope_agent", "serve", NULL};
	int			null_fd = open("/dev/null", O_RDWR);

	/* out of the way of the numbers they will get */
	exe_fd = fcntl(exe_fd, F_DUPFD_CLOEXEC, FIRST_FREE);
	pipe_fd = fcntl(pipe_fd, F_DUPFD_CLOEXEC, FIRST_FREE);
	listen_fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, FIRST_FREE);
	if (null_fd < 0 || exe_fd < 0 || pipe_fd < 0 || listen_fd < 0 ||
		dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 ||
		dup2(pipe_fd, PIPE_FD) < 0 || dup2(listen_fd, LISTEN_FD) < 0 ||
		!close_from(LISTEN_FD + 1, exe_fd - 1) ||
		!close_from(exe_fd + 1, INT_MAX))
		return;

	/* of its own session: signals to the keeper's group are not for it */
	if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
		getppid() != keeper)	/* died before prctl: nobody would tell us */
		return;
	reset_signals();
	fexecve(exe_fd, argv, environment);
}

pid_t
pge_spawn_agent(int exe_fd, int pipe_fd, int listen_fd)
{
	sigset_t	all;
	sigset_t	saved;
	pid_t		keeper = getpid();
	pid_t		pid;
	int			save_errno;

	build_environment();
	sigfillset(&all);
	(void) sigprocmask(SIG_SETMASK, &all, &saved);
	pid = fork();
	if (pid == 0)
	{
		become_agent(exe_fd, pipe_fd, listen_fd, keeper);
		_exit(EXEC_FAILED);
	}
	save_errno = errno;
	(void) sigprocmask(SIG_SETMASK, &saved, NULL);
	errno = save_errno;
	return pid;
}
