/*-------------------------------------------------------------------------
 *
 * negative_answers.c
 *	  Unwraps that a service has refused a moment ago.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/negative_answers.h"
#include "agent/single_flight.h"

static bool is_worth_it(const AgentJob *job);
static bool is_lasting(PgeStatus status);
static void forget(NegativeAnswer *entry);

const NegativeAnswer *
pge_negatives_find(const NegativeAnswers *negatives, const PgeFrame *request,
				   uint32_t server, uint64_t credentials, uint64_t now_ms)
{
	uint32_t	hash;

	if (now_ms >= negatives->last_ms)
		return NULL;
	hash = pge_flight_hash(request);
	for (int i = 0; i < NEGATIVES_MAX; i++)
	{
		const NegativeAnswer *entry = &negatives->entries[i];

		if (entry->bytes != NULL && entry->hash == hash && now_ms < entry->until_ms &&
			entry->server == server && entry->credentials == credentials && pge_flight_same(&entry->request, request))
			return entry;
	}
	return NULL;
}

void
pge_negatives_note(NegativeAnswers *negatives, const AgentJob *job, uint64_t now_ms)
{
	NegativeAnswer *entry = &negatives->entries[negatives->next];

	if (!is_worth_it(job))
		return;
	forget(entry);
	entry->bytes = malloc(job->len);
	if (entry->bytes == NULL)
		return;
	memcpy(entry->bytes, job->bytes, job->len);
	if (pge_frame_decode(pge_bytes(entry->bytes, job->len), &entry->request) != PGE_OK)
	{
		forget(entry);
		return;
	}
	entry->hash = pge_flight_hash(&entry->request);
	entry->server = job->server;
	entry->credentials = job->credentials;
	entry->until_ms = now_ms + NEGATIVE_MS;
	entry->status = job->answer->status;
	snprintf(entry->detail, sizeof(entry->detail), "%s", job->answer->detail);
	negatives->last_ms = entry->until_ms;
	negatives->next = (negatives->next + 1) % NEGATIVES_MAX;
}

void
pge_negatives_forget(NegativeAnswers *negatives)
{
	for (int i = 0; i < NEGATIVES_MAX; i++)
		forget(&negatives->entries[i]);
	negatives->last_ms = 0;
}

static bool
is_worth_it(const AgentJob *job)
{
	int			unused;

	return job->request.type == PGE_FRAME_UNWRAP && job->answer != NULL &&
		is_lasting(job->answer->status) && job->len <= NEGATIVE_BYTES &&
		job->slot != pge_kms_sessions_slot(job->sessions, NULL, 0, &unused);
}

static bool
is_lasting(PgeStatus status)
{
	return status == PGE_DENIED || status == PGE_KEK_UNUSABLE || status == PGE_WRAPPING_DAMAGED;
}

static void
forget(NegativeAnswer *entry)
{
	free(entry->bytes);
	memset(entry, 0, sizeof(*entry));
}
