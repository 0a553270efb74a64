/*-------------------------------------------------------------------------
 *
 * negative_answers_test.c
 *	  Which refusals are told again without a question, and for how long.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "agent/negative_answers.h"
#include "check.h"

#define LOCAL	0
#define AWAY	1
#define NOW		1000000
#define SERVER	9

static NegativeAnswers negatives;
static AgentAnswer answer;
static uint8_t room[PGE_FRAME_MAX];

int
pge_kms_sessions_slot(const KmsSessions *sessions, const PgeBytes *uris, int nuris, int *most)
{
	*most = 1;
	(void) sessions;
	(void) uris;
	if (nuris != 0)
		abort();
	return LOCAL;
}

static PgeFrame
request_of(const char *uri, const char *database, const char *binding, const char *wrapped, uint32_t flush)
{
	PgeFrame	frame = {.type = PGE_FRAME_UNWRAP, .ticket = 7, .flush = flush, .nuris = 1, .nwrapped = 1};
	static const uint8_t check_value[PGE_CHECK_VALUE_LEN] = {1};

	frame.uri[0] = text_bytes(uri);
	frame.database = text_bytes(database);
	frame.binding = text_bytes(binding);
	frame.wrapped[0] = text_bytes(wrapped);
	frame.check_value = pge_bytes(check_value, sizeof(check_value));
	return frame;
}

static PgeFrame
a_request(void)
{
	return request_of("vault://h/transit/keys/a", "shop", "binding", "wrapped", 3);
}

/* A finished job, of frames as they come. */
static AgentJob
job_of(const PgeFrame *request, PgeStatus status, int slot)
{
	AgentJob	job = {.bytes = room, .slot = slot, .server = SERVER, .credentials = 5, .answer = &answer};
	PgeBuffer	out = {room, 0, sizeof(room)};

	if (pge_frame_encode(request, &out) != PGE_OK)
		abort();
	job.len = out.len;
	if (pge_frame_decode(pge_bytes(job.bytes, job.len), &job.request) != PGE_OK)
		abort();
	answer.status = status;
	snprintf(answer.detail, sizeof(answer.detail), "It says no.");
	return job;
}

static void
note(PgeFrame request, PgeStatus status, int slot)
{
	AgentJob	job = job_of(&request, status, slot);

	pge_negatives_note(&negatives, &job, NOW);
	memset(room, 0xee, sizeof(room));	/* the job is gone */
}

static bool
knows_by(PgeFrame request, uint64_t credentials, uint64_t now_ms)
{
	return pge_negatives_find(&negatives, &request, SERVER, credentials, now_ms) != NULL;
}

static bool
knows(PgeFrame request)
{
	return knows_by(request, 5, NOW + 1);
}

static void
test_what_is_remembered(void)
{
	for (PgeStatus s = PGE_OK; s <= PGE_BUSY; s++)
	{
		bool		lasting = s == PGE_DENIED || s == PGE_KEK_UNUSABLE || s == PGE_WRAPPING_DAMAGED;

		pge_negatives_forget(&negatives);
		note(a_request(), s, AWAY);
		check(knows(a_request()) == lasting, "%s is %s", pge_status_name(s), lasting ? "remembered" : "asked for again");
		note(a_request(), s, LOCAL);
	}
	pge_negatives_forget(&negatives);
	note(a_request(), PGE_DENIED, LOCAL);
	check(!knows(a_request()), "nothing is of the local keyring");
}

static void
test_equal(void)
{
	PgeFrame	same = a_request();
	const NegativeAnswer *known;

	note(a_request(), PGE_DENIED, AWAY);
	same.ticket = 8;
	known = pge_negatives_find(&negatives, &same, SERVER, 5, NOW + 1);
	check(known != NULL && known->status == PGE_DENIED && strcmp(known->detail, "It says no.") == 0,
		  "an equal request hears what the first one heard");
	check(!knows(request_of("vault://h/transit/keys/b", "shop", "binding", "wrapped", 3)), "not one of another KEK");
	check(!knows(request_of("vault://h/transit/keys/a", "bank", "binding", "wrapped", 3)), "nor of another database");
	check(!knows(request_of("vault://h/transit/keys/a", "shop", "other", "wrapped", 3)), "nor of another binding");
	check(!knows(request_of("vault://h/transit/keys/a", "shop", "binding", "mended", 3)), "nor of another wrapping");
	check(!knows(request_of("vault://h/transit/keys/a", "shop", "binding", "wrapped", 4)), "nor from after a flush");
	check(pge_negatives_find(&negatives, &same, SERVER + 1, 5, NOW + 1) == NULL, "nor of another server, whose flushes are its own");
}

static void
test_forgetting(void)
{
	check(knows_by(a_request(), 5, NOW + NEGATIVE_MS - 1), "for its time it is remembered");
	check(!knows_by(a_request(), 5, NOW + NEGATIVE_MS), "and then asked for again");
	check(!knows_by(a_request(), 6, NOW + 1), "as it is with another credential");
	pge_negatives_forget(&negatives);
	check(!knows(a_request()), "and with another configuration");
}

static void
test_bounds(void)
{
	char		binding[32];
	static char long_binding[NEGATIVE_BYTES];
	int			known = 0;

	for (int i = 0; i < NEGATIVES_MAX + 10; i++)
	{
		snprintf(binding, sizeof(binding), "binding %d", i);
		note(request_of("vault://h/transit/keys/a", "shop", binding, "wrapped", 3), PGE_DENIED, AWAY);
	}
	for (int i = 0; i < NEGATIVES_MAX + 10; i++)
	{
		snprintf(binding, sizeof(binding), "binding %d", i);
		known += knows(request_of("vault://h/transit/keys/a", "shop", binding, "wrapped", 3));
	}
	check(known == NEGATIVES_MAX, "so many are remembered and no more (%d)", known);
	check(!knows(request_of("vault://h/transit/keys/a", "shop", "binding 9", "wrapped", 3)), "the oldest go");
	memset(long_binding, 'x', sizeof(long_binding) - 1);
	note(request_of("vault://h/transit/keys/a", "shop", "binding", long_binding, 3), PGE_DENIED, AWAY);
	check(!knows(request_of("vault://h/transit/keys/a", "shop", "binding", long_binding, 3)), "a very long one is not");
	pge_negatives_forget(&negatives);
}

int
main(void)
{
	test_what_is_remembered();
	test_equal();
	test_forgetting();
	test_bounds();
	return check_done();
}
