/*-------------------------------------------------------------------------
 *
 * rewrap_fetch.c
 *	  Has the agent make the new wrappings, many at a time.
 *
 * The agent unwraps under the old KEK, verifies the check value, wraps under the
 * new one, unwraps again and compares: no plain key comes here, and nothing that
 * does not open reaches a table.  No row of a key is locked meanwhile.  As many are
 * under way as the pipe allows: what waits in the agent goes to the service as one.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "base/crash_point.h"
#include "base/report.h"
#include "client/client.h"
#include "keyring/kek_deks.h"
#include "ops/new_dek.h"
#include "ops/rewrap_private.h"

#define ID_CHUNK	256

/* One request that is under way. */
typedef struct RewrapJob
{
	bool		busy;
	uint64		ticket;
	KeyringDek	dek;
	bool		proves;			/* asks only whether the wrapping under new
								 * opens */
	int32		seq;			/* of the wrapping under old */
	size_t		wrapped_len;
	uint8	   *wrapped;		/* palloc'd */
	instr_time	asked;
} RewrapJob;

typedef struct RewrapFetch
{
	RewrapRun  *run;
	RewrapStage *stage;
	PgeClientPipe *pipe;
	RewrapJob  *jobs;			/* as many as the pipe has room for */
	MemoryContext context;		/* of what stays until an answer */
	uint64		left;			/* of the limit */
	uint32		dek_ids[ID_CHUNK];
	int			count;
	int			next;
} RewrapFetch;

static void consider(RewrapFetch *fetch, uint32 dek_id);
static bool next_dek_id(RewrapFetch *fetch, uint32 *dek_id);
static const KeyringWrapping *wrapping_under(const KeyringWrapping *wrappings,
											 int count, const char *kek);
static bool decided(RewrapFetch *fetch, const KeyringDek *dek,
					const KeyringWrapping *under_old,
					const KeyringWrapping *under_new, int count);
static void ask(RewrapFetch *fetch, const KeyringDek *dek,
				const KeyringWrapping *under_old,
				const KeyringWrapping *under_new);
static void take_answer(RewrapFetch *fetch);
static RewrapJob *job_of(RewrapFetch *fetch, uint64 ticket);
static const char *sentence(const PgeFrame *answer);
static void stage_outcome(RewrapFetch *fetch, const KeyringDek *dek,
						  RewrapOutcome outcome, const char *detail);

RewrapStage *
pge_rewrap_fetch(RewrapRun *run, uint64 limit)
{
	MemoryContext per_dek = AllocSetContextCreate(CurrentMemoryContext,
												  "rewrap of one data key",
												  ALLOCSET_DEFAULT_SIZES);
	RewrapFetch fetch = {.run = run, .left = limit};
	MemoryContext outer;
	uint32		dek_id;

	fetch.stage = pge_rewrap_stage_begin();
	fetch.jobs = palloc0(PGE_REQUESTS_MAX * sizeof(RewrapJob));
	fetch.context = CurrentMemoryContext;
	fetch.pipe = pge_client_pipe_begin(PGE_REQUESTS_MAX);
	outer = MemoryContextSwitchTo(per_dek);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(per_dek);
		if (pge_client_pipe_can_submit(fetch.pipe) && next_dek_id(&fetch, &dek_id))
			consider(&fetch, dek_id);
		else if (pge_client_pipe_pending(fetch.pipe) > 0)
			take_answer(&fetch);
		else
			break;
	}
	if (pge_keyring_deks_under(run->old.name, run->after, &dek_id, 1) == 0)
		run->finished = true;
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(per_dek);
	pge_client_pipe_end(fetch.pipe);
	pfree(fetch.jobs);
	pge_rewrap_stage_sort(fetch.stage);
	PGE_CRASH_POINT("rewrap.fetched");
	return fetch.stage;
}

static bool
next_dek_id(RewrapFetch *fetch, uint32 *dek_id)
{
	RewrapRun  *run = fetch->run;

	if (fetch->left == 0)
		return false;
	if (fetch->next == fetch->count)
	{
		fetch->count = pge_keyring_deks_under(run->old.name, run->after,
											  fetch->dek_ids, ID_CHUNK);
		fetch->next = 0;
	}
	if (fetch->count == 0)
		return false;
	fetch->left--;
	*dek_id = run->after = fetch->dek_ids[fetch->next++];
	return true;
}

static void
consider(RewrapFetch *fetch, uint32 dek_id)
{
	KeyringDek	dek;
	KeyringWrapping *wrappings;
	const KeyringWrapping *under_old;
	const KeyringWrapping *under_new;
	int			count;

	if (!pge_keyring_find_dek(dek_id, &dek) || dek.state == PGE_DEK_DESTROYED)
		return;
	count = pge_keyring_wrappings(dek_id, &wrappings);
	under_old = wrapping_under(wrappings, count, fetch->run->old.name);
	under_new = wrapping_under(wrappings, count, fetch->run->new.name);
	if (under_old && !decided(fetch, &dek, under_old, under_new, count))
		ask(fetch, &dek, under_old, under_new);
}

static const KeyringWrapping *
wrapping_under(const KeyringWrapping *wrappings, int count, const char *kek)
{
	for (int i = 0; i < count; i++)
		if (strcmp(wrappings[i].kek, kek) == 0)
			return &wrappings[i];
	return NULL;
}

/* What needs no agent, or cannot have it. */
static bool
decided(RewrapFetch *fetch, const KeyringDek *dek, const KeyringWrapping *under_old,
		const KeyringWrapping *under_new, int count)
{
	RewrapRun  *run = fetch->run;

	if (pge_rewrap_is_newest(run, under_old) ||
		(run->keep_old && under_new))
		stage_outcome(fetch, dek, PGE_REWRAP_ALREADY, "");
	else if (run->keep_old && count >= PGE_WRAPPINGS_MAX)
		stage_outcome(fetch, dek, PGE_REWRAP_FAILED,
					  psprintf("It has %d live wrappings, which is the most there can be.", count));
	else if (run->agent_gone)
		stage_outcome(fetch, dek, PGE_REWRAP_FAILED,
					  "agent not reachable: It left an earlier request of this run unanswered, so it was not asked.");
	else
		return false;
	return true;
}

/*
 * A wrapping under the new KEK that is there already is kept, but the old one
 * goes only when it is proved: the agent rewraps it onto its own KEK, which
 * unwraps it, and we drop the result.
 */
static void
ask(RewrapFetch *fetch, const KeyringDek *dek, const KeyringWrapping *under_old,
	const KeyringWrapping *under_new)
{
	bool		proves = under_new && !fetch->run->same;
	const KeyringWrapping *from = proves ? under_new : under_old;
	uint8		binding[PGE_BINDING_MAX];
	PgeBuffer	out = {binding, 0, sizeof(binding)};
	PgeFrame	request = {.type = PGE_FRAME_REWRAP, .nuris = 2, .nwrapped = 1};
	PgeStatus	status = pge_keyring_binding(dek, &out);
	RewrapJob  *job = fetch->jobs;

	if (status != PGE_OK)
	{
		stage_outcome(fetch, dek, PGE_REWRAP_FAILED, pge_status_name(status));
		return;
	}
	while (job->busy)
		job++;
	job->dek = *dek;
	job->proves = proves;
	job->seq = under_old->seq;
	job->wrapped_len = under_old->wrapped_len;
	job->wrapped = MemoryContextAlloc(fetch->context, job->wrapped_len);
	memcpy(job->wrapped, under_old->wrapped, under_old->wrapped_len);
	request.uri[0] = pge_bytes(from->uri, strlen(from->uri));
	request.uri[1] = pge_bytes(fetch->run->new.uri, strlen(fetch->run->new.uri));
	request.binding = pge_buffer_bytes(&out);
	request.check_value = pge_bytes(dek->check_value, PGE_CHECK_VALUE_LEN);
	request.wrapped[0] = pge_bytes(from->wrapped, from->wrapped_len);
	INSTR_TIME_SET_CURRENT(job->asked);
	pge_client_pipe_submit(fetch->pipe, &request);
	PGE_CRASH_POINT("rewrap.asked");
	job->ticket = request.ticket;
	job->busy = true;
}

static void
take_answer(RewrapFetch *fetch)
{
	StagedRewrap staged = {0};
	instr_time	now;
	PgeFrame	answer;
	RewrapJob  *job;

	pge_client_pipe_next(fetch->pipe, &answer);
	PGE_CRASH_POINT("rewrap.answered");
	INSTR_TIME_SET_CURRENT(now);
	job = job_of(fetch, answer.ticket);
	INSTR_TIME_SUBTRACT(now, job->asked);
	staged.result.dek_id = job->dek.dek_id;
	staged.result.key_id = job->dek.key_id;
	staged.result.version = job->dek.version;
	staged.result.duration_us = (int64) INSTR_TIME_GET_MICROSEC(now);
	if (answer.status != PGE_OK || !pge_answer_has_wrappings(&answer, 1))
	{
		staged.result.outcome = PGE_REWRAP_FAILED;
		staged.result.detail = sentence(&answer);
		fetch->run->agent_gone |= answer.status == PGE_AGENT_UNREACHABLE;
	}
	else
	{
		staged.result.outcome = job->proves ? PGE_REWRAP_ALREADY : PGE_REWRAPPED;
		staged.result.detail = "";
		staged.seq = job->seq;
		staged.old_wrapped = pge_bytes(job->wrapped, job->wrapped_len);
		if (!job->proves)
		{
			staged.kek_version = answer.kek_version[0];
			staged.wrapped = answer.wrapped[0];
		}
	}
	pge_rewrap_stage_put(fetch->stage, &staged);
	pfree(job->wrapped);
	job->busy = false;
}

static RewrapJob *
job_of(RewrapFetch *fetch, uint64 ticket)
{
	for (int i = 0; i < PGE_REQUESTS_MAX; i++)
		if (fetch->jobs[i].busy && fetch->jobs[i].ticket == ticket)
			return &fetch->jobs[i];
	elog(ERROR, "the agent answered what was not asked");
}

static const char *
sentence(const PgeFrame *answer)
{
	if (answer->status == PGE_OK)
		return "malformed: The agent's answer lacks a usable wrapping or version.";
	if (answer->detail.len == 0)
		return pge_status_name((PgeStatus) answer->status);
	return psprintf("%s: %s", pge_status_name((PgeStatus) answer->status),
					pge_report_text(answer->detail));
}

static void
stage_outcome(RewrapFetch *fetch, const KeyringDek *dek, RewrapOutcome outcome,
			  const char *detail)
{
	StagedRewrap staged = {0};

	staged.result.dek_id = dek->dek_id;
	staged.result.key_id = dek->key_id;
	staged.result.version = dek->version;
	staged.result.outcome = outcome;
	staged.result.detail = detail;
	pge_rewrap_stage_put(fetch->stage, &staged);
}
