/*
 * requests.h -- what a backend may ask, as straight-line code.
 *
 * Runs on a worker thread and blocks as long as the key services do.  Requests
 * that ask the same of the same keys are performed as a group, call by call, so
 * that a service which takes many in one exchange gets them so; each has its own
 * answer, and one that fails drops out while the others go on.  Nothing here
 * knows of sockets.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_REQUESTS_H
#define PGE_AGENT_REQUESTS_H

#include "agent/kms_sessions.h"
#include "format/frame.h"

typedef struct AnswerWrapping
{
	size_t		len;
	uint8_t    *bytes;			/* the answer's own; NULL: none */
} AnswerWrapping;

/*
 * Owns what an ANSWER frame points to.  Holds key bytes, and memory: it ends with
 * pge_answer_wipe.
 */
typedef struct AgentAnswer
{
	PgeStatus	status;
	char		detail[PGE_FRAME_DETAIL_MAX + 1];
	bool		alarm;			/* KmsResult's, with its detail */
	bool		has_dek;
	PgeSecret	dek;
	bool		has_check_value;
	uint8_t		check_value[PGE_CHECK_VALUE_LEN];
	char		uri[PGE_KEK_URI_MAX + 1];
	int			nwrapped;
	AnswerWrapping wrapped[PGE_WRAPPINGS_MAX];
	int			nkek_versions;
	char		kek_version[PGE_WRAPPINGS_MAX][PGE_KEK_VERSION_MAX + 1];
} AgentAnswer;

/* One of a group. */
typedef struct AgentRequest
{
	const PgeFrame *frame;		/* checked */
	uint64_t	deadline_ms;	/* monotonic; 0: none */
	const atomic_bool *cancelled;	/* nobody waits for it any more */
	AgentAnswer *answer;		/* starts zeroed */
} AgentRequest;

/* Is this a request that a worker performs, with all the fields it needs? */
extern PgeStatus pge_request_check(const PgeFrame *request, const char **what);

/* May these be of one group: do they ask the same of the same keys, with no change to a KEK? */
extern bool pge_requests_agree(const PgeFrame *a, const PgeFrame *b);

/*
 * Performs a group of 1 to KMS_MANY_MAX requests that agree.  A call ends by the
 * first deadline of those that it is for, or when "cancelled" says that
 * nobody waits for any.
 */
extern void pge_requests_perform(const KmsSessions *sessions, const AgentRequest *requests, int n,
								 const atomic_bool *cancelled);

/* The same for one. */
extern void pge_request_perform(const KmsSessions *sessions,
								const PgeFrame *request, uint64_t deadline_ms,
								const atomic_bool *cancelled,
								AgentAnswer *answer);

/* All zero again, with nothing left of it in memory. */
extern void pge_answer_wipe(AgentAnswer *answer);

/* A failure: wipes whatever else the answer held. */
extern void pge_answer_fail(AgentAnswer *answer, PgeStatus status,
							const char *detail);

/* Spans of the frame point into the answer.  An unfit text is made fit. */
extern void pge_answer_to_frame(AgentAnswer *answer, uint64_t ticket,
								PgeFrame *frame);

#endif							/* PGE_AGENT_REQUESTS_H */
