/*
 * negative_answers.h -- unwraps that a service has refused a moment ago.
 *
 * One damaged row or revoked KEK, read in a loop, must not flood the service: what
 * was denied, or did not open, is answered from here for NEGATIVE_MS.  Equal means
 * what it means in single_flight.h, server and flush count included, so a flush forgets;
 * so does another set of sessions (pge_negatives_forget) and any credential that
 * was obtained since the call began.  Never what may work the next time: a service
 * that is away or throttles; and nothing of the local keyring, which nobody floods.
 *
 * Belongs to the loop's thread.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_NEGATIVE_ANSWERS_H
#define PGE_AGENT_NEGATIVE_ANSWERS_H

#include "agent/jobs.h"

#define NEGATIVE_MS		3000
#define NEGATIVES_MAX	256
#define NEGATIVE_BYTES	8192	/* a longer request is not worth it */

typedef struct NegativeAnswer
{
	uint8_t    *bytes;			/* NULL: a free place */
	PgeFrame	request;		/* spans point into "bytes" */
	uint32_t	hash;
	uint32_t	server;			/* AgentJob's */
	uint64_t	credentials;
	uint64_t	until_ms;
	PgeStatus	status;
	char		detail[PGE_FRAME_DETAIL_MAX + 1];
} NegativeAnswer;

typedef struct NegativeAnswers
{
	int			next;			/* the oldest */
	uint64_t	last_ms;		/* when the last one is over */
	NegativeAnswer entries[NEGATIVES_MAX];
} NegativeAnswers;

/* For an unwrap of this server's, by the sessions of now; NULL: ask. */
extern const NegativeAnswer *pge_negatives_find(const NegativeAnswers *negatives, const PgeFrame *request,
												uint32_t server, uint64_t credentials, uint64_t now_ms);

/* A job of the sessions of now is finished; takes what is worth it. */
extern void pge_negatives_note(NegativeAnswers *negatives, const AgentJob *job, uint64_t now_ms);

extern void pge_negatives_forget(NegativeAnswers *negatives);

#endif							/* PGE_AGENT_NEGATIVE_ANSWERS_H */
