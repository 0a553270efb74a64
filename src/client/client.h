/*
 * client.h -- the backend's end of the agent's socket.
 *
 * One connection per request group: pge_client_call opens, proves, asks, waits
 * and closes (or keeps the connection for the next call of this transaction if
 * the last one ended well; transaction end, error and exit close it).  Every
 * wait is interruptible and ends at pg_envelope.kms_timeout; closing the socket
 * is the cancel.  Lost connections are made again and idempotent requests sent
 * again until the deadline: an agent that restarts is a state to wait through.
 * What changes a KEK (create, rotate, destroy, restore) is never sent twice.
 *
 * Never call it with an LWLock or spinlock held, in a critical section, or in a
 * commit, abort or exit callback: asserted.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CLIENT_CLIENT_H
#define PGE_CLIENT_CLIENT_H

#include "postgres.h"

#include "format/frame.h"

/*
 * Asks and waits.  *request's ticket and flush 0 are filled in; request->flush
 * is sent as given.  The answer's spans point into memory of this module that
 * is wiped by the next call, pge_client_done() or any kind of transaction end.
 *
 * Returns answer->status; does not ereport for what the agent answers, so the
 * caller decides between a row and an error (base/report.h).  A deadline or an
 * agent that is down is PGE_AGENT_UNREACHABLE with answer->detail set.  Query
 * cancel and termination do throw.
 */
extern PgeStatus pge_client_call(PgeFrame *request, PgeFrame *answer);

/* The same with a deadline of its own, for who would rather not know than wait. */
extern PgeStatus pge_client_call_within(PgeFrame *request, PgeFrame *answer,
										int timeout_ms);

/* Wipes what the last answer left. */
extern void pge_client_done(void);

/*
 * Pipelining, for rewrap and prewarm: at most "most" requests are under way, of
 * PGE_REQUESTS_MAX.  It begins with kms_concurrency, and there are more as long as answers
 * come soon, since the agent makes one call of what waits for the same KEK; where they do
 * not, waiting in the agent's queue would only use up their time.
 *	begin -> { submit while can_submit; next } ... -> end
 * Tickets come back in request->ticket; answers in the order they finish.
 */
typedef struct PgeClientPipe PgeClientPipe;

extern PgeClientPipe *pge_client_pipe_begin(int most);
extern bool pge_client_pipe_can_submit(const PgeClientPipe *pipe);
extern void pge_client_pipe_submit(PgeClientPipe *pipe, PgeFrame *request);
extern int	pge_client_pipe_pending(const PgeClientPipe *pipe);

/*
 * A pipe is gone when a transaction or a subtransaction of it has failed, and
 * at the end of the transaction (a procedure that commits begins a new one).
 * An answer's spans hold until the next call on this pipe.
 */

/* One answer; answer->ticket says whose.  After the deadline of the oldest
 * request each pending one is answered with PGE_AGENT_UNREACHABLE. */
extern void pge_client_pipe_next(PgeClientPipe *pipe, PgeFrame *answer);
extern void pge_client_pipe_end(PgeClientPipe *pipe);

/* Every kind of transaction end and process exit; idempotent. */
extern void pge_client_reset(void);

/*
 * Postmaster, in _PG_init: the callbacks that make it so.  Before
 * pge_epoch_register_callbacks, which has to come last.
 */
extern void pge_client_register_callbacks(void);

#endif							/* PGE_CLIENT_CLIENT_H */
