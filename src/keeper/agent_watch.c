/*-------------------------------------------------------------------------
 *
 * agent_watch.c
 *	  Starts the agent, tells it the settings, hears its log, mends its death.
 *
 * Starts are at least a back-off apart, which grows from nothing over 1 s to
 * 30 s while agents do not live for a minute; a reload ends the waiting.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/crash_point.h"
#include "base/report.h"
#include "base/secret.h"
#include "base/settings.h"
#include "cache/control.h"
#include "cache/secret_region.h"
#include "format/frame.h"
#include "keeper/keeper_private.h"

#define READY_WITHIN_MS		10000
#define HEALTHY_AFTER_MS	60000
#define BACKOFF_MIN_MS		1000
#define BACKOFF_MAX_MS		30000
#define STOP_WITHIN_MS		500
#define REAP_WITHIN_MS		100
#define REAP_TURN_MS		10
#define TICK_MS				1000
#define FRAMES_PER_TURN		64	/* an agent that floods us shall not hold up
								 * the tick */

static int	exe_fd = -1;
static int	listen_fd = -1;

static pid_t agent_pid = 0;		/* 0: none */
static int	pipe_fd = -1;
static uint64 started_ms = 0;	/* the last start, whatever became of it */
static uint64 ready_ms = 0;		/* 0: this agent has not said READY */
static uint64 hangup_ms = 0;	/* 0: it has not closed the pipe */
static uint64 backoff_ms = 0;
static bool secret_sent = false;
static bool settings_due = false;

/* One frame under way to the agent, one coming from it. */
static uint8 out_bytes[PGE_FRAME_MAX];
static size_t out_len = 0;
static size_t out_sent = 0;
static uint8 in_bytes[PGE_FRAME_MAX];
static size_t in_len = 0;

static void start_agent(void);
static void reap_agent(void);
static void agent_died(int status);
static void fail_agent(const char *why);
static void encode_settings(void);
static void send_pending(void);
static void hear_agent(void);
static bool take_frame(void);
static void handle_frame(const PgeFrame *frame);

void
pge_watch_init(int exe, int listening)
{
	exe_fd = exe;
	listen_fd = listening;
}

void
pge_watch_turn(void)
{
	if (exe_fd < 0)
		return;
	if (agent_pid != 0 && hangup_ms == 0)
		hear_agent();
	if (agent_pid != 0)
		reap_agent();
	if (agent_pid == 0 && pge_now_ms() >= started_ms + backoff_ms)
		start_agent();
	if (agent_pid != 0)
		send_pending();
	if (agent_pid != 0 && ready_ms == 0 &&
		pge_now_ms() >= started_ms + READY_WITHIN_MS)
		fail_agent("it did not say that it is ready within 10 seconds");

	/* who closes the pipe is on its way out, or must go */
	if (agent_pid != 0 && hangup_ms != 0 && pge_now_ms() >= hangup_ms + STOP_WITHIN_MS)
		(void) kill(agent_pid, SIGKILL);
}

void
pge_watch_reload(void)
{
	settings_due = true;
	backoff_ms = 0;
}

pgsocket
pge_watch_fd(void)
{
	return agent_pid != 0 && hangup_ms == 0 ? pipe_fd : PGINVALID_SOCKET;
}

bool
pge_watch_wants_write(void)
{
	return agent_pid != 0 && hangup_ms == 0 && out_sent < out_len;
}

long
pge_watch_wait_ms(void)
{
	uint64		now = pge_now_ms();
	uint64		due = started_ms + backoff_ms;

	if (agent_pid != 0 && hangup_ms != 0)
		return REAP_TURN_MS;
	if (agent_pid != 0 || exe_fd < 0 || due >= now + TICK_MS)
		return TICK_MS;
	return due > now ? (long) (due - now) : 0;
}

/* What is left of a conversation may hold the socket's secret. */
static void
forget_conversation(void)
{
	pge_secret_wipe(out_bytes, sizeof(out_bytes));
	out_len = out_sent = in_len = 0;
	if (pipe_fd >= 0)
		close(pipe_fd);
	pipe_fd = -1;
	ready_ms = hangup_ms = 0;
	agent_pid = 0;
	pg_atomic_write_u32(&pge_control()->agent_ready, 0);
	pg_atomic_write_u32(&pge_control()->agent_pid, 0);
}

static void
grow_backoff(void)
{
	backoff_ms = Min(BACKOFF_MAX_MS, Max(BACKOFF_MIN_MS, backoff_ms * 2));
}

static void
start_agent(void)
{
	int			pair[2];

	started_ms = pge_now_ms();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 ||
		fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not make the pipe of the pg_envelope agent: %m")));
	agent_pid = pge_spawn_agent(exe_fd, pair[1], listen_fd);
	close(pair[1]);
	pipe_fd = pair[0];
	if (agent_pid < 0)
	{
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the pg_envelope agent: %m")));
		forget_conversation();
		grow_backoff();
		return;
	}
	secret_sent = false;
	settings_due = true;
	pg_atomic_write_u32(&pge_control()->agent_pid, (uint32) agent_pid);
	pg_atomic_fetch_add_u64(&pge_control()->agent_starts, 1);
	PGE_CRASH_POINT("keeper.agent-spawned");
}

static void
reap_agent(void)
{
	int			status;
	pid_t		pid = waitpid(agent_pid, &status, WNOHANG);

	if (pid == agent_pid)
		agent_died(status);
	else if (pid < 0 && errno != EINTR)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not wait for the pg_envelope agent: %m")));
}

static void
agent_died(int status)
{
	bool		healthy = ready_ms != 0 &&
	pge_now_ms() >= ready_ms + HEALTHY_AFTER_MS;
	pid_t		pid = agent_pid;

	if (healthy)
		backoff_ms = 0;
	else
		grow_backoff();
	forget_conversation();
	PGE_CRASH_POINT("keeper.agent-died");
	ereport(LOG,
			(errmsg("pg_envelope agent (PID %d) ended: %s",
					(int) pid, wait_result_to_str(status)),
			 errdetail("The next start is at least " UINT64_FORMAT " ms after the last.",
					   backoff_ms)));
}

/* Its death is then reaped, and logged, as any other. */
static void
fail_agent(const char *why)
{
	ereport(LOG,
			(errmsg("killing the pg_envelope agent (PID %d): %s",
					(int) agent_pid, why)));
	(void) kill(agent_pid, SIGKILL);
	ready_ms = 0;				/* such a life was not a healthy one */
	started_ms = hangup_ms = pge_now_ms();	/* nothing more is heard from it */
}

static void
put_setting(PgeFrame *frame, const char *name, const char *value)
{
	frame->name[frame->npairs] = pge_bytes(name, strlen(name));
	frame->value[frame->npairs] = pge_bytes(value, strlen(value));
	frame->npairs++;
}

static void
encode_settings(void)
{
	static PgeFrame frame;
	PgeBuffer	out = {out_bytes, 0, sizeof(out_bytes)};
	PgeStatus	status;
	const char *file = pge_settings_keyring_file();
	const char *config = pge_settings_kms_config_file();
	char		number[2][16];

	memset(&frame, 0, sizeof(frame));
	frame.type = PGE_FRAME_SETTINGS;
	put_setting(&frame, "keyring_file", file ? file : "");
	put_setting(&frame, "keyring_passphrase_command", pge_keyring_passphrase_command);
	/* the agent works in the data directory, so a relative path will do, too */
	put_setting(&frame, "kms_config_file", config ? config : pge_kms_config_file);
	snprintf(number[0], sizeof(number[0]), "%d", pge_kms_concurrency);
	put_setting(&frame, "kms_concurrency", number[0]);
	snprintf(number[1], sizeof(number[1]), "%d", pge_kms_timeout);
	put_setting(&frame, "kms_timeout_ms", number[1]);
	if (!secret_sent)
		frame.secret = pge_bytes(pge_secret_region_socket_secret(),
								 PGE_SOCKET_SECRET_LEN);
	settings_due = false;
	status = pge_frame_encode(&frame, &out);
	memset(&frame, 0, sizeof(frame));	/* it points into this call */
	if (status != PGE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not pass the settings to the pg_envelope agent"),
				 errhint("A path or command has at most %d bytes.", PGE_FRAME_VALUE_MAX)));
	out_len = out.len;
	out_sent = 0;
	secret_sent = true;
	PGE_CRASH_POINT("keeper.settings-made");
}

/* The next frame is made only when the last one has gone out whole. */
static void
send_pending(void)
{
	ssize_t		n;

	if (out_sent == out_len && settings_due)
		encode_settings();
	while (out_sent < out_len)
	{
		n = send(pipe_fd, out_bytes + out_sent, out_len - out_sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;				/* full: later; gone: its death says so */
		out_sent += (size_t) n;
	}
	pge_secret_wipe(out_bytes, out_len);
	out_len = out_sent = 0;
}

static void
hear_agent(void)
{
	for (int frames = 0; frames < FRAMES_PER_TURN;)
	{
		ssize_t		n;

		if (take_frame())
		{
			frames++;
			continue;
		}
		n = recv(pipe_fd, in_bytes + in_len, sizeof(in_bytes) - in_len, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0)
		{
			hangup_ms = pge_now_ms();
			return;
		}
		in_len += (size_t) n;
	}
}

/* False: no whole frame there, and room for more bytes. */
static bool
take_frame(void)
{
	static PgeFrame frame;
	size_t		total;

	if (in_len < PGE_FRAME_HEADER_LEN)
		return false;
	if (pge_frame_length(in_bytes, &total) == PGE_OK)
	{
		if (in_len < total)
			return false;
		if (pge_frame_decode(pge_bytes(in_bytes, total), &frame) == PGE_OK)
		{
			handle_frame(&frame);
			memmove(in_bytes, in_bytes + total, in_len - total);
			in_len -= total;
			return true;
		}
	}
	fail_agent("it speaks another version of the protocol, or none; restart the server after an upgrade of pg_envelope");
	return false;
}

static void
handle_frame(const PgeFrame *frame)
{
	PgeBytes text = frame->npairs > 0 ? frame->value[0] : pge_bytes(NULL, 0);

	if (frame->type == PGE_FRAME_READY && ready_ms == 0)
	{
		ready_ms = pge_now_ms();
		pg_atomic_write_u32(&pge_control()->agent_ready, 1);
		PGE_CRASH_POINT("keeper.agent-ready");
		ereport(LOG,
				(errmsg("pg_envelope agent %s is ready (PID %d)",
						pge_report_text(text), (int) agent_pid)));
	}
	else if (frame->type == PGE_FRAME_LOG)
	{
		bool		warning = text.len == 7 && memcmp(text.data, "warning", 7) == 0;

		ereport(warning ? WARNING : LOG,
				(errmsg("pg_envelope agent: %s", pge_report_text(frame->detail))));
	}
}

/*
 * Closing our half tells it to answer who waits, wipe and exit; its own half
 * hangs up when it has.
 */
void
pge_watch_stop(void)
{
	struct pollfd hangup = {.fd = pipe_fd, .events = 0};
	uint64		deadline = pge_now_ms() + STOP_WITHIN_MS;
	int			status;

	if (agent_pid == 0)
		return;
	(void) shutdown(pipe_fd, SHUT_WR);
	while (pge_now_ms() < deadline &&
		   poll(&hangup, 1, (int) (deadline - pge_now_ms())) < 0 && errno == EINTR)
		;
	(void) kill(agent_pid, SIGKILL);

	/* bounded too: a process stuck in the kernel ends when it comes out */
	deadline = pge_now_ms() + REAP_WITHIN_MS;
	while (waitpid(agent_pid, &status, WNOHANG) == 0 && pge_now_ms() < deadline)
		(void) poll(NULL, 0, 1);
	forget_conversation();
}
