/*-------------------------------------------------------------------------
 *
 * link.c
 *	  One connection of a backend to the agent.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"

#include "base/compat.h"
#include "base/harden.h"
#include "base/secret.h"
#include "base/settings.h"
#include "cache/control.h"
#include "cache/secret_region.h"
#include "client/link_private.h"
#include "crypto/mac.h"
#include "crypto/random.h"

#define OUT_ROOM	4096
#define QUEUE_MS	50			/* in the queue of an external agent's socket */

static void out_of_descriptors(void) pg_attribute_noreturn();
static bool one_is_left(AgentLink *link);
static bool connect_socket(AgentLink *link);
static int	connect_in_turn(int fd, const struct sockaddr_un *address);
static bool queue_hello(AgentLink *link);
static bool queue_greeting(AgentLink *link);
static bool queue_frame(AgentLink *link, const PgeFrame *frame);
static bool take_first_frame(AgentLink *link, const PgeFrame *frame);
static bool answer_challenge(AgentLink *link, const PgeFrame *challenge);
static bool compute_proof(const char *role, const uint8 *client_nonce,
						  const uint8 *agent_nonce, uint8 *proof);

void
pge_link_init(AgentLink *link, MemoryContext context)
{
	memset(link, 0, offsetof(AgentLink, in));
	link->fd = PGINVALID_SOCKET;
	link->context = context;
}

bool
pge_link_is_open(const AgentLink *link)
{
	return link->fd != PGINVALID_SOCKET;
}

static bool
trouble(AgentLink *link, const char *what, int error)
{
	if (error != 0)
		snprintf(link->trouble, sizeof(link->trouble), "%s: %s", what, strerror(error));
	else
		strlcpy(link->trouble, what, sizeof(link->trouble));
	return false;
}

/* Another user's, for whom the kernel vouches; else the keeper's, with which we share a secret. */
static bool
is_external(void)
{
	return pge_agent == PGE_AGENT_EXTERNAL;
}

bool
pge_link_open(AgentLink *link)
{
	Assert(!pge_link_is_open(link));
	pge_harden_process();		/* what comes over this link is keys */
	if (!AcquireExternalFD())
		out_of_descriptors();
	link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->fd == PGINVALID_SOCKET)
	{
		int			error = errno;

		ReleaseExternalFD();
		return trouble(link, "could not make a socket", error);
	}
	if (one_is_left(link) && connect_socket(link) &&
		(is_external() ? queue_greeting(link) : queue_hello(link)))
		return true;
	pge_link_close(link);
	return false;
}

static void
out_of_descriptors(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not connect to the pg_envelope agent"),
			 errdetail("This session has as many files and connections open as it may."),
			 errhint("Close connections that the session has opened (dblink, postgres_fdw), or raise \"max_files_per_process\".")));
}

/*
 * The server's wait for a socket takes a descriptor of its own, and raises an
 * internal error if there is none.
 */
static bool
one_is_left(AgentLink *link)
{
	int			spare = dup(link->fd);

	if (spare < 0)
		return trouble(link, "could not make a descriptor to wait with", errno);
	close(spare);
	return true;
}

/*
 * A socket of the local kind connects at once or not at all.  The keeper's has a
 * relative path: the data directory is every server process's working directory
 * and may be too long for an address.  At an external agent's anybody may have put
 * a socket; who listens is what counts.
 */
static bool
connect_socket(AgentLink *link)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer;
	socklen_t	len = sizeof(peer);

	strlcpy(address.sun_path, is_external() ? pge_agent_socket : PGE_SOCKET_PATH, sizeof(address.sun_path));
	if (connect_in_turn(link->fd, &address) != 0)
		return trouble(link, "could not connect to the agent's socket", errno);
	if (getsockopt(link->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return trouble(link, "could not learn who is at the agent's socket", errno);
	if (peer.uid != pge_settings_agent_uid())
		return trouble(link, is_external() ?
					   "who listens at \"pg_envelope.agent_socket\" is not \"pg_envelope.agent_user\"" :
					   "the agent's socket belongs to another user", 0);
	return true;
}

/*
 * Anybody may connect to an external agent, and keep its socket's queue full.  Who
 * waits there has his turn; who is sent away may find no room for as long as he
 * comes again.  Not for long, though a signal ends it: a queue that does not move is
 * an agent's that hangs.
 */
static int
connect_in_turn(int fd, const struct sockaddr_un *address)
{
	const struct timeval patience = {.tv_usec = QUEUE_MS * 1000};
	int			flags = is_external() ? fcntl(fd, F_GETFL) : -1;
	bool		in_turn = flags >= 0 &&
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
	fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0;
	int			rc = connect(fd, (const struct sockaddr *) address, sizeof(*address));
	int			error = errno;

	if (in_turn && fcntl(fd, F_SETFL, flags) != 0)
		return -1;
	errno = error;
	return rc;
}

static bool
queue_hello(AgentLink *link)
{
	PgeFrame	hello;

	if (pge_random_bytes(link->nonce, sizeof(link->nonce)) != PGE_OK)
		return trouble(link, "could not draw random bytes", 0);
	memset(&hello, 0, sizeof(hello));
	hello.type = PGE_FRAME_HELLO;
	hello.nonce = pge_bytes(link->nonce, sizeof(link->nonce));
	return queue_frame(link, &hello);
}

static bool
queue_greeting(AgentLink *link)
{
	PgeFrame	greeting;

	StaticAssertStmt(sizeof(uint64) + PGE_SERVER_LIFE_LEN == PGE_FRAME_NONCE_LEN, "a greeting has one length");
	pge_put_u64(link->nonce, GetSystemIdentifier());
	memcpy(link->nonce + sizeof(uint64), pge_control()->life, PGE_SERVER_LIFE_LEN);
	memset(&greeting, 0, sizeof(greeting));
	greeting.type = PGE_FRAME_GREETING;
	greeting.nonce = pge_bytes(link->nonce, sizeof(link->nonce));
	return queue_frame(link, &greeting);
}

static bool
queue_frame(AgentLink *link, const PgeFrame *frame)
{
	uint8		bytes[256];		/* a handshake's frame is small */
	PgeBuffer	out = {bytes, 0, sizeof(bytes)};

	if (pge_frame_encode(frame, &out) != PGE_OK)
		return trouble(link, "could not write a frame of the handshake", 0);
	pge_link_queue(link, out.data, out.len);
	return true;
}

void
pge_link_queue(AgentLink *link, const uint8 *bytes, size_t len)
{
	if (link->out_len + len > link->out_capacity)
	{
		size_t		capacity = Max(OUT_ROOM, (link->out_len + len) * 2);

		link->out = link->out == NULL ?
			MemoryContextAlloc(link->context, capacity) :
			repalloc(link->out, capacity);
		link->out_capacity = capacity;
	}
	memcpy(link->out + link->out_len, bytes, len);
	link->out_len += len;
	link->queued_total += len;
}

bool
pge_link_send(AgentLink *link)
{
	while (link->out_len > 0)
	{
		ssize_t		n = send(link->fd, link->out, link->out_len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return true;
		if (n < 0)
			return trouble(link, "could not send to the agent", errno);
		link->sent_total += (size_t) n;
		link->out_len -= (size_t) n;
		memmove(link->out, link->out + n, link->out_len);
	}
	return true;
}

bool
pge_link_is_stale(AgentLink *link)
{
	uint8		byte;

	return link->in_len > link->frame_len ||
		recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
		(errno != EAGAIN && errno != EWOULDBLOCK);
}

/* Bytes behind the frame move to the front; nothing of the frame is left. */
void
pge_link_forget_frame(AgentLink *link)
{
	size_t		rest = link->in_len - link->frame_len;

	memmove(link->in, link->in + link->frame_len, rest);
	pge_secret_wipe(link->in + rest, link->frame_len);
	link->in_len = rest;
	link->frame_len = 0;
}

static LinkResult
lost(AgentLink *link, const char *what, int error)
{
	(void) trouble(link, what, error);
	return PGE_LINK_LOST;
}

/* Takes the frame at the front of link->in, if it is there whole. */
static LinkResult
take_frame(AgentLink *link, PgeFrame *frame)
{
	size_t		total;

	if (link->in_len < PGE_FRAME_HEADER_LEN)
		return PGE_LINK_NOTHING;
	if (pge_frame_length(link->in, &total) != PGE_OK)
		return lost(link, "the agent speaks another version of the protocol", 0);
	if (link->in_len < total)
		return PGE_LINK_NOTHING;
	if (pge_frame_decode(pge_bytes(link->in, total), frame) != PGE_OK)
		return lost(link, "the agent sent a malformed frame", 0);
	link->frame_len = total;
	return PGE_LINK_FRAME;
}

LinkResult
pge_link_receive(AgentLink *link, PgeFrame *frame)
{
	Assert(link->frame_len == 0);
	for (;;)
	{
		LinkResult	result = take_frame(link, frame);
		ssize_t		n;

		if (result == PGE_LINK_FRAME && link->proven)
			return frame->type == PGE_FRAME_ANSWER ? PGE_LINK_FRAME :
				lost(link, "the agent sent what is no answer", 0);
		if (result == PGE_LINK_FRAME)
		{
			if (!take_first_frame(link, frame))
				return PGE_LINK_LOST;
			pge_link_forget_frame(link);
			return PGE_LINK_NOTHING;	/* the caller queues its requests now */
		}
		if (result == PGE_LINK_LOST)
			return result;

		n = recv(link->fd, link->in + link->in_len,
				 sizeof(link->in) - link->in_len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return PGE_LINK_NOTHING;
		if (n < 0)
			return lost(link, "could not receive from the agent", errno);
		if (n == 0)
			return lost(link, "the agent closed the connection", 0);
		link->in_len += (size_t) n;
	}
}

static bool
take_first_frame(AgentLink *link, const PgeFrame *frame)
{
	if (!is_external())
		return answer_challenge(link, frame);
	if (frame->type != PGE_FRAME_WELCOME)
		return trouble(link, "the agent is no service of its own", 0);
	link->proven = true;		/* by the kernel, when we connected */
	return true;
}

/* The agent proves first: a stranger at the socket learns nothing from us. */
static bool
answer_challenge(AgentLink *link, const PgeFrame *challenge)
{
	uint8		expected[PGE_FRAME_PROOF_LEN];
	PgeFrame	proof;

	if (challenge->type != PGE_FRAME_CHALLENGE ||
		challenge->nonce.len != PGE_FRAME_NONCE_LEN ||
		challenge->proof.len != PGE_FRAME_PROOF_LEN)
		return trouble(link, "the agent did not start with a challenge", 0);
	if (!compute_proof("pge agent 1", link->nonce, challenge->nonce.data, expected) ||
		!pge_secret_equal(expected, challenge->proof.data, sizeof(expected)))
		return trouble(link, "the agent did not prove that it knows the socket's secret", 0);

	memset(&proof, 0, sizeof(proof));
	proof.type = PGE_FRAME_PROOF;
	if (!compute_proof("pge client 1", link->nonce, challenge->nonce.data, expected))
		return trouble(link, "could not compute the proof", 0);
	proof.proof = pge_bytes(expected, sizeof(expected));
	link->proven = queue_frame(link, &proof);
	return link->proven;
}

static bool
compute_proof(const char *role, const uint8 *client_nonce,
			  const uint8 *agent_nonce, uint8 *proof)
{
	PgeBytes	parts[3] = {
		pge_bytes(role, strlen(role)),
		pge_bytes(client_nonce, PGE_FRAME_NONCE_LEN),
		pge_bytes(agent_nonce, PGE_FRAME_NONCE_LEN)
	};
	PgeBytes	secret = pge_bytes(pge_secret_region_socket_secret(),
								   PGE_SOCKET_SECRET_LEN);

	return pge_hmac_sha256(secret, parts, lengthof(parts), proof) == PGE_OK;
}

void
pge_link_wait(AgentLink *link, long timeout_ms)
{
	int			events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;

	if (!pge_link_is_open(link))
		events = WaitLatch(MyLatch, events, timeout_ms, pge_wait_event_agent());
	else
	{
		events |= WL_SOCKET_READABLE | (link->out_len > 0 ? WL_SOCKET_WRITEABLE : 0);
		if (!AcquireExternalFD())
			out_of_descriptors();
		ReleaseExternalFD();	/* that of the wait itself */
		events = WaitLatchOrSocket(MyLatch, events, link->fd, timeout_ms,
								   pge_wait_event_agent());
	}
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

void
pge_link_close(AgentLink *link)
{
	if (pge_link_is_open(link))
	{
		close(link->fd);
		ReleaseExternalFD();
	}
	link->fd = PGINVALID_SOCKET;
	link->proven = false;
	link->out_len = 0;
	link->queued_total = link->sent_total = 0;
	pge_secret_wipe(link->in, link->in_len);
	link->in_len = link->frame_len = 0;
}
