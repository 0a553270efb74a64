/*-------------------------------------------------------------------------
 *
 * import_proof.c
 *	  Opens every wrapping that is to be imported, before its row is written.
 *
 * A document may say anything: what shows that a wrapping holds this data key of this
 * key is that it opens with the binding made from its row, and the check value agrees.
 * As many as the pipe allows are under way; what waits in the agent goes to the service
 * as one.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/harden.h"
#include "base/report.h"
#include "client/client.h"
#include "ops/dek.h"
#include "ops/import_private.h"
#include "ops/unwrap.h"

/* One request that is under way. */
typedef struct ProofJob
{
	bool		busy;
	uint64		ticket;
	uint64		at;				/* its place among all */
	const DocumentDek *dek;
	const ImportKek *kek;
} ProofJob;

typedef struct Proof
{
	const KeyringImport *import;
	PgeClientPipe *pipe;
	ProofJob   *jobs;			/* as many as the pipe has room for */
	uint64		asked;
	PgeSecret	dek;
	ProofJob	failed;			/* the first of those that failed, if busy */
	PgeStatus	status;
	size_t		detail_len;
	uint8		detail[PGE_FRAME_DETAIL_MAX];
} Proof;

static void prove_all(Proof *proof);
static void prove_dek(Proof *proof, const DocumentDek *dek);
static void ask(Proof *proof, const DocumentDek *dek, const DocumentWrapping *wrapping);
static void take_answer(Proof *proof);
static ProofJob *job_of(Proof *proof, uint64 ticket);
static void binding_of(const DocumentDek *dek, PgeBuffer *binding);
static void note_failure(Proof *proof, const ProofJob *job, PgeStatus status, PgeBytes detail);
static void refuse(const Proof *proof) pg_attribute_noreturn();

void
pge_import_prove(const KeyringImport *import)
{
	Proof		proof = {.import = import};

	pge_harden_process();
	proof.jobs = palloc0(PGE_REQUESTS_MAX * sizeof(ProofJob));
	PG_TRY();
	{
		proof.pipe = pge_client_pipe_begin(PGE_REQUESTS_MAX);
		prove_all(&proof);
		pge_client_pipe_end(proof.pipe);
	}
	PG_FINALLY();
	{
		pge_secret_wipe(&proof.dek, sizeof(proof.dek));
	}
	PG_END_TRY();
	pfree(proof.jobs);
}

static void
prove_all(Proof *proof)
{
	const KeyringImport *import = proof->import;

	for (int i = 0; i < import->document.nkeys && !proof->failed.busy; i++)
		for (int j = 0; j < import->document.keys[i].count && !proof->failed.busy; j++)
			if (import->keys[i].deks[j] != PGE_IMPORT_HERE)
				prove_dek(proof, &import->document.keys[i].deks[j]);
	while (pge_client_pipe_pending(proof->pipe) > 0)
		take_answer(proof);
	if (proof->failed.busy)
		refuse(proof);
}

static void
prove_dek(Proof *proof, const DocumentDek *dek)
{
	for (int i = 0; i < dek->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		while (!pge_client_pipe_can_submit(proof->pipe))
			take_answer(proof);
		ask(proof, dek, &dek->wrappings[i]);
	}
}

static void
ask(Proof *proof, const DocumentDek *dek, const DocumentWrapping *wrapping)
{
	uint8		bytes[PGE_BINDING_MAX];
	PgeBuffer	binding = {bytes, 0, sizeof(bytes)};
	PgeFrame	request = {.type = PGE_FRAME_UNWRAP, .nuris = 1, .nwrapped = 1};
	ProofJob   *job = proof->jobs;

	while (job->busy)
		job++;
	job->at = proof->asked++;
	job->dek = dek;
	job->kek = &proof->import->keks[wrapping->kek];
	binding_of(dek, &binding);
	request.flush = PGE_EPOCH_FLUSH(pge_dek_load_epoch());
	request.binding = pge_buffer_bytes(&binding);
	request.check_value = pge_bytes(dek->row.check_value, PGE_CHECK_VALUE_LEN);
	request.uri[0] = pge_bytes(job->kek->row->uri, strlen(job->kek->row->uri));
	request.wrapped[0] = wrapping->wrapped;
	pge_client_pipe_submit(proof->pipe, &request);
	job->ticket = request.ticket;
	job->busy = true;
}

static void
take_answer(Proof *proof)
{
	uint8		bytes[PGE_BINDING_MAX];
	PgeBuffer	binding = {bytes, 0, sizeof(bytes)};
	PgeFrame	answer;
	PgeStatus	status;
	ProofJob   *job;

	pge_client_pipe_next(proof->pipe, &answer);
	job = job_of(proof, answer.ticket);
	status = (PgeStatus) answer.status;
	if (status == PGE_OK)
	{
		answer.detail = pge_bytes(NULL, 0);
		binding_of(job->dek, &binding);
		status = pge_unwrap_accept(&job->dek->row, pge_buffer_bytes(&binding), &answer, &proof->dek);
		pge_secret_wipe(&proof->dek, sizeof(proof->dek));
	}
	if (status != PGE_OK)
		note_failure(proof, job, status, answer.detail);
	job->busy = false;
}

static ProofJob *
job_of(Proof *proof, uint64 ticket)
{
	for (int i = 0; i < PGE_REQUESTS_MAX; i++)
		if (proof->jobs[i].busy && proof->jobs[i].ticket == ticket)
			return &proof->jobs[i];
	elog(ERROR, "the agent answered what was not asked");
}

static void
binding_of(const DocumentDek *dek, PgeBuffer *binding)
{
	PgeStatus	status = pge_keyring_binding(&dek->row, binding);

	if (status != PGE_OK)
		pge_report_error(status, psprintf("could not bind version %d of key \"%s\"", dek->row.version, dek->row.key_id),
						 pge_bytes(NULL, 0));
}

/* Answers come in any order; the same document gets the same error. */
static void
note_failure(Proof *proof, const ProofJob *job, PgeStatus status, PgeBytes detail)
{
	if (proof->failed.busy && proof->failed.at < job->at)
		return;
	proof->failed = *job;
	proof->status = status;
	proof->detail_len = Min(detail.len, sizeof(proof->detail));
	if (proof->detail_len > 0)
		memcpy(proof->detail, detail.data, proof->detail_len);
}

static void
refuse(const Proof *proof)
{
	const KeyringDek *row = &proof->failed.dek->row;

	pge_report_error(proof->status,
					 psprintf("could not import version %d of key \"%s\": KEK \"%s\" does not open it",
							  row->version, row->key_id, proof->failed.kek->row->name),
					 pge_bytes(proof->detail, proof->detail_len));
}
