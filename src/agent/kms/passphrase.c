/*-------------------------------------------------------------------------
 *
 * passphrase.c
 *	  Asks an administrator's command for a passphrase.
 *
 * The agent has threads, so the child does nothing between fork and exec that
 * is not async-signal-safe.  It closes what libraries opened without O_CLOEXEC,
 * libcurl's pipes and OpenSSL's files among them.  It is the leader of its own process group: what
 * the command has started dies with it at the deadline.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/kms/monotonic.h"
#include "agent/kms/passphrase.h"
#include "base/secret.h"

#define STEP_MS		20			/* how often the clock and "cancelled" are
								 * looked at */

/* What a wait ended with. */
typedef enum Outcome
{
	FINISHED,
	FAILED,						/* errno says why */
	TOO_MUCH,
	TOO_LATE,
	CANCELLED
} Outcome;

typedef struct Deadline
{
	int64_t		end_ms;			/* monotonic */
	const atomic_bool *cancelled;
} Deadline;

static atomic_int deadline_ms = PASSPHRASE_DEADLINE_MS;

static pid_t start_command(const char *command, int *output);
static void become_command(const char *command, int output) __attribute__((noreturn));
static Outcome read_output(int fd, const Deadline *deadline, Passphrase *passphrase);
static Outcome wait_for_exit(pid_t pid, const Deadline *deadline, int *exit_status);
static Outcome check_deadline(const Deadline *deadline);
static PgeStatus judge(Outcome outcome, int exit_status, size_t len, int allowed_ms, char *detail);

/* A quarter is left for scrypt and for the way back. */
void
pge_passphrase_limit(int timeout_ms)
{
	int			limit = timeout_ms - timeout_ms / 4;

	atomic_store(&deadline_ms, limit > 0 && limit < PASSPHRASE_DEADLINE_MS ?
				 limit : PASSPHRASE_DEADLINE_MS);
}

PgeStatus
pge_passphrase_ask(const char *command, const atomic_bool *cancelled,
				   Passphrase *passphrase, char detail[KMS_DETAIL_LEN])
{
	int			allowed_ms = atomic_load(&deadline_ms);
	Deadline	deadline = {(int64_t) pge_monotonic_ms() + allowed_ms, cancelled};
	int			exit_status = 0;
	int			output;
	Outcome		outcome;
	PgeStatus	status;
	pid_t		pid = start_command(command, &output);

	passphrase->len = 0;
	if (pid < 0)
	{
		pge_kms_detail(detail, "The passphrase command could not be started: %s.", strerror(errno));
		return PGE_UNAUTHENTICATED;
	}
	outcome = read_output(output, &deadline, passphrase);
	if (outcome == FINISHED)
		outcome = wait_for_exit(pid, &deadline, &exit_status);
	if (outcome != FINISHED)
	{
		int			saved_errno = errno;

		/* not reaped yet, so the number is still its own */
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		errno = saved_errno;
	}
	close(output);
	if (outcome == FINISHED && passphrase->len > 0 &&
		passphrase->bytes[passphrase->len - 1] == '\n')
		passphrase->len--;
	status = judge(outcome, exit_status, passphrase->len, allowed_ms, detail);
	if (status != PGE_OK)
		pge_secret_wipe(passphrase, sizeof(*passphrase));
	return status;
}

static pid_t
start_command(const char *command, int *output)
{
	int			ends[2];
	pid_t		pid;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return -1;
	pid = fork();
	if (pid == 0)
		become_command(command, ends[1]);
	if (pid > 0)
		setpgid(pid, pid);		/* both sides: whoever comes first */
	else
	{
		int			saved_errno = errno;

		close(ends[0]);
		errno = saved_errno;
	}
	close(ends[1]);
	*output = ends[0];
	return pid;
}

static void
become_command(const char *command, int output)
{
	sigset_t	none;
	int			null = open("/dev/null", O_RDONLY);
	int			flags = fcntl(output, F_GETFL);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* ignored signals and the mask survive exec */
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null >= 0 && dup2(null, STDIN_FILENO) == STDIN_FILENO &&
		flags >= 0 && fcntl(output, F_SETFL, flags & ~O_NONBLOCK) == 0 &&
		dup2(output, STDOUT_FILENO) == STDOUT_FILENO &&
		close_range(STDERR_FILENO + 1, ~0U, 0) == 0)
		execl("/bin/sh", "sh", "-c", command, (char *) NULL);
	_exit(127);
}

/* Straight into the passphrase: no other buffer ever holds it. */
static Outcome
read_output(int fd, const Deadline *deadline, Passphrase *passphrase)
{
	for (;;)
	{
		struct pollfd wait = {fd, POLLIN, 0};
		Outcome		outcome = check_deadline(deadline);
		ssize_t		got;

		if (outcome != FINISHED)
			return outcome;
		if (poll(&wait, 1, STEP_MS) < 0 && errno != EINTR)
			return FAILED;
		got = read(fd, passphrase->bytes + passphrase->len,
				   sizeof(passphrase->bytes) - passphrase->len);
		if (got == 0)
			return FINISHED;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return FAILED;
		if (got > 0)
			passphrase->len += (size_t) got;
		if (passphrase->len == sizeof(passphrase->bytes))
			return TOO_MUCH;
	}
}

/* A command can close its output and stay. */
static Outcome
wait_for_exit(pid_t pid, const Deadline *deadline, int *exit_status)
{
	for (;;)
	{
		struct timespec step = {0, STEP_MS * 1000000L / 4};
		Outcome		outcome = check_deadline(deadline);
		pid_t		done;

		if (outcome != FINISHED)
			return outcome;
		done = waitpid(pid, exit_status, WNOHANG);
		if (done == pid)
			return FINISHED;
		if (done < 0 && errno != EINTR)
			return FAILED;
		nanosleep(&step, NULL);
	}
}

static Outcome
check_deadline(const Deadline *deadline)
{
	if (deadline->cancelled != NULL && atomic_load(deadline->cancelled))
		return CANCELLED;
	return (int64_t) pge_monotonic_ms() >= deadline->end_ms ? TOO_LATE : FINISHED;
}

static PgeStatus
judge(Outcome outcome, int exit_status, size_t len, int allowed_ms, char *detail)
{
	if (outcome == CANCELLED)
		pge_kms_detail(detail, "Nobody waits for the passphrase any more.");
	else if (outcome == TOO_LATE)
		pge_kms_detail(detail, "The passphrase command did not end within %g s and was killed.",
					   allowed_ms / 1000.0);
	else if (outcome == FAILED)
		pge_kms_detail(detail, "The passphrase command could not be waited for: %s.", strerror(errno));
	else if (outcome == TOO_MUCH || len > PASSPHRASE_MAX)
		pge_kms_detail(detail, "The passphrase command printed more than %d bytes.", PASSPHRASE_MAX);
	else if (WIFSIGNALED(exit_status))
		pge_kms_detail(detail, "The passphrase command was ended by signal %d.", WTERMSIG(exit_status));
	else if (!WIFEXITED(exit_status) || WEXITSTATUS(exit_status) != 0)
		pge_kms_detail(detail, "The passphrase command failed with exit status %d.", WEXITSTATUS(exit_status));
	else if (len == 0)
		pge_kms_detail(detail, "The passphrase command printed nothing.");
	else
		return PGE_OK;
	return PGE_UNAUTHENTICATED;
}
