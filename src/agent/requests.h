/*
 * requests.h -- what a backend may ask, as straight-line code.
 *
 * Runs on a worker thread and blocks as long as the key services do.  A
 * request that needs several calls makes them one after the other.  Nothing
 * here knows of sockets or of other requests.
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
	uint8_t		bytes[PGE_WRAPPED_MAX];
} AnswerWrapping;

/* Owns what an ANSWER frame points to.  Holds key bytes: wipe it. */
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

/* Is this a request that a worker performs, with all the fields it needs? */
extern PgeStatus pge_request_check(const PgeFrame *request, const char **what);

/* Performs a checked request by deadline_ms (monotonic; 0: none).  *answer starts
 * zeroed. */
extern void pge_request_perform(const KmsSessions *sessions,
								const PgeFrame *request, uint64_t deadline_ms,
								const atomic_bool *cancelled,
								AgentAnswer *answer);

/* A failure: wipes whatever else the answer held. */
extern void pge_answer_fail(AgentAnswer *answer, PgeStatus status,
							const char *detail);

/* Spans of the frame point into the answer.  An unfit text is made fit. */
extern void pge_answer_to_frame(AgentAnswer *answer, uint64_t ticket,
								PgeFrame *frame);

#endif							/* PGE_AGENT_REQUESTS_H */
