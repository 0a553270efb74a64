/*-------------------------------------------------------------------------
 *
 * client.c
 *	  Requests of a backend to the agent: tickets, deadlines, sending again.
 *
 * A pipe is a connection and the requests under way on it.  A single call is a
 * pipe for one request, which stays until the transaction ends so that the next
 * call finds the connection made and proved.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "base/report.h"
#include "base/settings.h"
#include "cache/control.h"
#include "client/client.h"
#include "client/link_private.h"
#include "crypto/random.h"

#define RETRY_MIN_MS	10
#define RETRY_MAX_MS	200
#define TURN_MS			1000	/* a wake that is lost costs no more */

/* What became of a request without the agent's word. */
typedef enum RequestFate
{
	FATE_OPEN,
	FATE_TIMED_OUT,
	FATE_UNKNOWN				/* went out, must not be sent twice, no answer */
} RequestFate;

typedef struct ClientRequest
{
	uint64		ticket;
	uint8	   *bytes;			/* the frame, for sending again */
	size_t		len;
	uint64		deadline_ms;
	bool		repeatable;
	bool		queued;			/* on the present connection, */
	uint64		first_byte;		/* whose bytes are counted from its opening */
	RequestFate fate;
} ClientRequest;

struct PgeClientPipe
{
	PgeClientPipe *next;		/* of all that are open in this process */
	MemoryContext context;
	int			timeout_ms;
	int			most;			/* requests that there is room for */
	int			window;			/* and that may be under way now */
	int			pending;
	ClientRequest *requests;	/* pending ones, oldest first */
	bool		in_call;		/* left set by an error that was thrown past
								 * us */
	uint64		retry_at_ms;
	uint64		retry_pause_ms;
	char		detail[PGE_FRAME_DETAIL_MAX];
	AgentLink	link;
};

static PgeClientPipe *open_pipes = NULL;
static PgeClientPipe *call_pipe = NULL;

static void check_may_wait(void);
static void encode_request(PgeClientPipe *pipe, PgeFrame *request,
						   ClientRequest *pending);
static PgeBytes database_name(void);
static void close_pipe(PgeClientPipe *pipe);
static bool take_fate(PgeClientPipe *pipe, PgeFrame *answer);
static void give_up_if_late(PgeClientPipe *pipe, uint64 now);
static bool connect_if_due(PgeClientPipe *pipe);
static void queue_requests(PgeClientPipe *pipe);
static bool converse(PgeClientPipe *pipe, PgeFrame *answer);
static bool match_answer(PgeClientPipe *pipe, const PgeFrame *answer);
static void lose_link(PgeClientPipe *pipe);
static long time_to_wait(const PgeClientPipe *pipe);
static void adapt_window(PgeClientPipe *pipe, const ClientRequest *answered, uint16 status);
static void remove_request(PgeClientPipe *pipe, int i);

/*
 * Waiting with a lock held would stop others, in a critical section take the
 * server down, and at a transaction's end come too late to be undone.  An LWLock
 * and the ends of a transaction hold off interrupts, so one look sees them all.
 */
static void
check_may_wait(void)
{
	Assert(CritSectionCount == 0);
	Assert(InterruptHoldoffCount == 0);
	Assert(IsUnderPostmaster && !AmStartupProcess());
	Assert(!proc_exit_inprogress);
	if (InterruptHoldoffCount > 0 || proc_exit_inprogress || !IsTransactionState())
		elog(ERROR, "the pg_envelope agent was asked where nobody may wait");
}

PgeClientPipe *
pge_client_pipe_begin(int most)
{
	MemoryContext context;
	PgeClientPipe *pipe;

	Assert(most > 0 && most <= PGE_REQUESTS_MAX);
	pge_require_preloaded();
	context = AllocSetContextCreate(TopMemoryContext, "pg_envelope client",
									ALLOCSET_DEFAULT_SIZES);
	pipe = MemoryContextAlloc(context, sizeof(PgeClientPipe));
	memset(pipe, 0, offsetof(PgeClientPipe, link));
	pge_link_init(&pipe->link, context);
	pipe->context = context;
	pipe->timeout_ms = pge_kms_timeout;
	pipe->most = most;
	pipe->window = Min(most, pge_kms_concurrency);
	pipe->requests = MemoryContextAllocZero(context, most * sizeof(ClientRequest));
	pipe->retry_pause_ms = RETRY_MIN_MS;
	pipe->next = open_pipes;
	open_pipes = pipe;
	return pipe;
}

bool
pge_client_pipe_can_submit(const PgeClientPipe *pipe)
{
	return pipe->pending < pipe->window;
}

int
pge_client_pipe_pending(const PgeClientPipe *pipe)
{
	return pipe->pending;
}

void
pge_client_pipe_submit(PgeClientPipe *pipe, PgeFrame *request)
{
	ClientRequest *pending = &pipe->requests[pipe->pending];

	Assert(pge_client_pipe_can_submit(pipe));
	check_may_wait();
	pge_link_forget_frame(&pipe->link);
	memset(pending, 0, sizeof(*pending));
	encode_request(pipe, request, pending);
	pending->deadline_ms = pge_now_ms() + pipe->timeout_ms;
	pending->repeatable = request->type != PGE_FRAME_CREATE_KEK &&
		request->type != PGE_FRAME_ROTATE_KEK &&
		request->type != PGE_FRAME_DESTROY_KEK && request->type != PGE_FRAME_RESTORE_KEK;

	/* an agent that went away while we were idle is no loss of a request */
	if (pipe->pending == 0 && pge_link_is_open(&pipe->link) &&
		pge_link_is_stale(&pipe->link))
		pge_link_close(&pipe->link);
	pipe->pending++;
	queue_requests(pipe);
	if (pge_link_is_open(&pipe->link) && !pge_link_send(&pipe->link))
		lose_link(pipe);
}

static void
encode_request(PgeClientPipe *pipe, PgeFrame *request, ClientRequest *pending)
{
	static uint8 room[PGE_FRAME_MAX];	/* no request carries key bytes */
	PgeBuffer	out = {room, 0, sizeof(room)};
	PgeStatus	status;

	if (request->type != PGE_FRAME_STATUS)
		request->database = database_name();
	status = pge_random_bytes(&request->ticket, sizeof(request->ticket));
	if (status == PGE_OK)
		status = pge_frame_encode(request, &out);
	if (status != PGE_OK)
		pge_report_error(status, "could not write a request to the pg_envelope agent",
						 pge_bytes(NULL, 0));
	pending->ticket = request->ticket;
	pending->bytes = MemoryContextAlloc(pipe->context, out.len);
	pending->len = out.len;
	memcpy(pending->bytes, room, out.len);
}

/*
 * Of the catalog, as a worker of a parallel query has no other source; a database
 * in use is not renamed, so once is enough.
 */
static PgeBytes
database_name(void)
{
	static char name[NAMEDATALEN];

	if (name[0] == '\0')
	{
		char	   *found = get_database_name(MyDatabaseId);

		if (found != NULL)
			strlcpy(name, found, sizeof(name));
	}
	/* a server built for longer names: none is better than another's */
	return pge_bytes(name, strlen(name) > PGE_DATABASE_MAX ? 0 : strlen(name));
}

void
pge_client_pipe_next(PgeClientPipe *pipe, PgeFrame *answer)
{
	Assert(pipe->pending > 0);
	check_may_wait();
	pge_link_forget_frame(&pipe->link);
	for (;;)
	{
		/* The clock first: what came in time counts, however late we look. */
		uint64		now = pge_now_ms();

		if (pge_link_is_open(&pipe->link) && converse(pipe, answer))
			return;
		give_up_if_late(pipe, now);
		if (take_fate(pipe, answer))
			return;
		if (connect_if_due(pipe) && !pge_link_send(&pipe->link))
			lose_link(pipe);
		pge_link_wait(&pipe->link, time_to_wait(pipe));
	}
}

void
pge_client_pipe_end(PgeClientPipe *pipe)
{
	close_pipe(pipe);
}

/*
 * The keeper's socket takes connections while there is no agent, so that nothing
 * but silence is heard then.
 */
static const char *
what_is_wrong(const PgeClientPipe *pipe)
{
	if (pipe->link.trouble[0] == '\0' && pge_agent == PGE_AGENT_SPAWN &&
		pg_atomic_read_u32(&pge_control()->agent_ready) == 0)
		return "no agent is ready";
	return pipe->link.trouble;
}

/* Answers a request whose fate is known without the agent. */
static bool
take_fate(PgeClientPipe *pipe, PgeFrame *answer)
{
	for (int i = 0; i < pipe->pending; i++)
	{
		ClientRequest *request = &pipe->requests[i];

		if (request->fate == FATE_OPEN)
			continue;
		if (request->fate == FATE_UNKNOWN)
			strlcpy(pipe->detail,
					"The connection to the agent ended after the request was sent, so it may have been carried out. Look at the key itself (pg_envelope_agent keyring list, or in its key service) before you try again.",
					sizeof(pipe->detail));
		else if (pg_atomic_read_u32(&pge_control()->agent_missing))
			strlcpy(pipe->detail,
					"The program pg_envelope_agent was not beside the server's programs when the server started.",
					sizeof(pipe->detail));
		else
			snprintf(pipe->detail, sizeof(pipe->detail),
					 "The agent did not answer within %d ms%s%s.",
					 pipe->timeout_ms, what_is_wrong(pipe)[0] ? "; " : "",
					 what_is_wrong(pipe));
		memset(answer, 0, sizeof(*answer));
		answer->type = PGE_FRAME_ANSWER;
		answer->status = PGE_AGENT_UNREACHABLE;
		answer->ticket = request->ticket;
		answer->detail = pge_bytes(pipe->detail, strlen(pipe->detail));
		remove_request(pipe, i);
		return true;
	}
	return false;
}

static bool
went_out(const PgeClientPipe *pipe, const ClientRequest *request)
{
	return request->queued && pipe->link.sent_total > request->first_byte;
}

/*
 * Once the oldest request is late the agent is held to be gone, and so are the
 * others; their answers, if they came, would find the connection closed.
 */
static void
give_up_if_late(PgeClientPipe *pipe, uint64 now)
{
	if (now < pipe->requests[0].deadline_ms &&
		!pg_atomic_read_u32(&pge_control()->agent_missing))
		return;
	for (int i = 0; i < pipe->pending; i++)
	{
		ClientRequest *request = &pipe->requests[i];

		if (request->fate == FATE_OPEN)
			request->fate = !request->repeatable && went_out(pipe, request) ?
				FATE_UNKNOWN : FATE_TIMED_OUT;
	}
	pge_link_close(&pipe->link);
}

/* True: the link is open. */
static bool
connect_if_due(PgeClientPipe *pipe)
{
	if (pge_link_is_open(&pipe->link))
		return true;
	if (pge_now_ms() < pipe->retry_at_ms)
		return false;
	if (pge_link_open(&pipe->link))
		return true;
	lose_link(pipe);
	return false;
}

/* True: *answer is one that we wait for. */
static bool
converse(PgeClientPipe *pipe, PgeFrame *answer)
{
	bool		was_proven = pipe->link.proven;
	LinkResult	result = pge_link_send(&pipe->link) ?
	pge_link_receive(&pipe->link, answer) : PGE_LINK_LOST;

	if (result == PGE_LINK_FRAME && match_answer(pipe, answer))
		return true;
	if (result != PGE_LINK_NOTHING)
	{
		lose_link(pipe);
		return false;
	}
	if (pipe->link.proven && !was_proven)
	{
		queue_requests(pipe);	/* behind the proof, in one write with it */
		if (!pge_link_send(&pipe->link))
			lose_link(pipe);
	}
	return false;
}

static void
queue_requests(PgeClientPipe *pipe)
{
	if (!pge_link_is_open(&pipe->link) || !pipe->link.proven)
		return;
	for (int i = 0; i < pipe->pending; i++)
	{
		ClientRequest *request = &pipe->requests[i];

		if (request->queued || request->fate != FATE_OPEN)
			continue;
		request->first_byte = pipe->link.queued_total;
		request->queued = true;
		pge_link_queue(&pipe->link, request->bytes, request->len);
	}
}

/* Takes the request off; an answer to nothing of ours breaks the connection. */
static bool
match_answer(PgeClientPipe *pipe, const PgeFrame *answer)
{
	for (int i = 0; i < pipe->pending; i++)
	{
		if (!pipe->requests[i].queued || pipe->requests[i].ticket != answer->ticket)
			continue;
		adapt_window(pipe, &pipe->requests[i], answer->status);
		remove_request(pipe, i);
		pipe->retry_pause_ms = RETRY_MIN_MS;
		pipe->link.trouble[0] = '\0';
		return true;
	}
	strlcpy(pipe->link.trouble, "the agent answered what was not asked",
			sizeof(pipe->link.trouble));
	return false;
}

/*
 * One more for an answer that took less than an eighth of its time, else one less; and
 * for "too many" one less, however soon it was said.
 */
static void
adapt_window(PgeClientPipe *pipe, const ClientRequest *answered, uint16 status)
{
	if (status != PGE_THROTTLED &&
		pge_now_ms() + pipe->timeout_ms < answered->deadline_ms + pipe->timeout_ms / 8)
		pipe->window = Min(pipe->window + 1, pipe->most);
	else
		pipe->window = Max(pipe->window - 1, Min(pipe->most, pge_kms_concurrency));
}

static void
lose_link(PgeClientPipe *pipe)
{
	for (int i = 0; i < pipe->pending; i++)
	{
		ClientRequest *request = &pipe->requests[i];

		if (!request->repeatable && went_out(pipe, request))
			request->fate = FATE_UNKNOWN;
		request->queued = false;
	}
	pge_link_close(&pipe->link);
	pipe->retry_at_ms = pge_now_ms() + pipe->retry_pause_ms;
	pipe->retry_pause_ms = Min(RETRY_MAX_MS, pipe->retry_pause_ms * 2);
}

static long
time_to_wait(const PgeClientPipe *pipe)
{
	uint64		now = pge_now_ms();
	uint64		until = Min(now + TURN_MS, pipe->requests[0].deadline_ms);

	for (int i = 0; i < pipe->pending; i++)
	{
		if (pipe->requests[i].fate != FATE_OPEN)
			return 0;
	}
	if (!pge_link_is_open(&pipe->link))
		until = Min(until, pipe->retry_at_ms);
	return until > now ? (long) (until - now) : 0;
}

static void
remove_request(PgeClientPipe *pipe, int i)
{
	pfree(pipe->requests[i].bytes);
	pipe->pending--;
	memmove(&pipe->requests[i], &pipe->requests[i + 1],
			(pipe->pending - i) * sizeof(ClientRequest));
}

static void
close_pipe(PgeClientPipe *pipe)
{
	PgeClientPipe **p = &open_pipes;

	while (*p != pipe)
		p = &(*p)->next;
	*p = pipe->next;
	if (call_pipe == pipe)
		call_pipe = NULL;
	pge_link_close(&pipe->link);
	MemoryContextDelete(pipe->context);
}

PgeStatus
pge_client_call(PgeFrame *request, PgeFrame *answer)
{
	return pge_client_call_within(request, answer, pge_kms_timeout);
}

PgeStatus
pge_client_call_within(PgeFrame *request, PgeFrame *answer, int timeout_ms)
{
	/* after an error a late answer could be taken for the next one */
	if (call_pipe != NULL && call_pipe->in_call)
		close_pipe(call_pipe);
	if (call_pipe == NULL)
		call_pipe = pge_client_pipe_begin(1);
	call_pipe->in_call = true;
	call_pipe->timeout_ms = timeout_ms;
	pge_client_pipe_submit(call_pipe, request);
	pge_client_pipe_next(call_pipe, answer);
	call_pipe->in_call = false;
	return (PgeStatus) answer->status;
}

void
pge_client_done(void)
{
	if (call_pipe != NULL)
		pge_link_forget_frame(&call_pipe->link);
}

void
pge_client_reset(void)
{
	while (open_pipes != NULL)
		close_pipe(open_pipes);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			pge_client_reset();
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId self,
					  SubTransactionId parent, void *arg)
{
	(void) self;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		pge_client_reset();
}

void
pge_client_register_callbacks(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}
