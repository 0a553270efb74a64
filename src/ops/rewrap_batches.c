/*-------------------------------------------------------------------------
 *
 * rewrap_batches.c
 *	  CALL envelope_rewrap: the same rewrap, committed batch by batch.
 *
 * The retirement of the old KEK is committed first and alone: from then on
 * nothing new goes under it, so the batches come to an end.  Whatever stops
 * the run leaves whole batches behind, and the next run does the rest.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/memutils.h"

#include "base/crash_point.h"
#include "base/report.h"
#include "crypto/random.h"
#include "keyring/writes.h"
#include "ops/rewrap_private.h"

typedef struct Recorder
{
	const RewrapRun *run;
	uint8		uuid[PGE_UUID_LEN];
} Recorder;

static void name_run(Recorder *recorder);
static void record(void *arg, const RewrapResult *result);
static void do_batch(RewrapRun *run, Recorder *recorder, int batch);
static void say_how_it_went(const RewrapRun *run, const Recorder *recorder);

void
pge_rewrap_in_batches(const RewrapRequest *request, int batch)
{
	RewrapRun	run;
	Recorder	recorder = {.run = &run};
	MemoryContext per_batch = AllocSetContextCreate(CurrentMemoryContext,
													"rewrap of a batch",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(per_batch);

	pge_rewrap_begin(&run, request);
	name_run(&recorder);
	if (pge_rewrap_retires(&run))
		pge_write_move_keys(run.old.name, run.new.name);
	pge_rewrap_note_unused(&run);
	PGE_CRASH_POINT("rewrap-call.begun");
	while (!run.finished)
	{
		MemoryContextSwitchTo(outer);
		SPI_commit();
		PGE_CRASH_POINT("rewrap-call.committed");
		MemoryContextReset(per_batch);
		MemoryContextSwitchTo(per_batch);
		do_batch(&run, &recorder, batch);
	}
	MemoryContextSwitchTo(outer);
	SPI_commit();
	MemoryContextDelete(per_batch);
	say_how_it_went(&run, &recorder);
	pge_rewrap_say_what_stays(&run);
}

/* With the last DEK goes, in one commit, the note that none is left. */
static void
do_batch(RewrapRun *run, Recorder *recorder, int batch)
{
	pge_rewrap_lock_again(run);
	pge_rewrap_write(run, pge_rewrap_fetch(run, batch), record, recorder);
	if (run->finished)
		pge_rewrap_note_unused(run);
	PGE_CRASH_POINT("rewrap-call.batch-written");
}

static void
record(void *arg, const RewrapResult *result)
{
	Recorder   *recorder = arg;

	pge_write_rewrap_result(recorder->uuid, recorder->run->old.name,
							recorder->run->new.name, result->dek_id,
							pge_rewrap_outcome_name(result->outcome), result->detail);
}

/* A random uuid, version 4. */
static void
name_run(Recorder *recorder)
{
	PgeStatus	status = pge_random_bytes(recorder->uuid, PGE_UUID_LEN);

	if (status != PGE_OK)
		pge_report_error(status, "could not draw a name for the rewrap", pge_bytes(NULL, 0));
	recorder->uuid[6] = (recorder->uuid[6] & 0x0f) | 0x40;
	recorder->uuid[8] = (recorder->uuid[8] & 0x3f) | 0x80;
}

static void
say_how_it_went(const RewrapRun *run, const Recorder *recorder)
{
	const uint8 *u = recorder->uuid;

	ereport(run->counts[PGE_REWRAP_FAILED] > 0 ? WARNING : NOTICE,
			(errmsg("data keys rewrapped: " UINT64_FORMAT ", already: " UINT64_FORMAT ", failed: " UINT64_FORMAT,
					run->counts[PGE_REWRAPPED], run->counts[PGE_REWRAP_ALREADY],
					run->counts[PGE_REWRAP_FAILED]),
			 errhint("SELECT * FROM envelope.rewrap_result WHERE run = '%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x'",
					 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7],
					 u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15])));
}
