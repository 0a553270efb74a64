/*
 * rewrap_private.h -- the parts of a rewrap, in the order they are used.
 *
 *	pge_rewrap_begin	looks at the KEKs, locks them, retires old
 *	pge_rewrap_fetch	has the agent make every new wrapping, no row locked
 *						but those of the KEKs
 *	pge_rewrap_write	writes what was fetched, by compare-and-swap
 *	pge_rewrap_note_unused	says since when nothing needs old
 *
 * Between fetch and write the new wrappings lie in a RewrapStage, which spills
 * to disk past half of work_mem, so memory does not grow with the number of DEKs.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_REWRAP_PRIVATE_H
#define PGE_OPS_REWRAP_PRIVATE_H

#include "postgres.h"

#include "base/bytes.h"
#include "keyring/keyring.h"
#include "ops/rewrap.h"

typedef struct RewrapRun
{
	KeyringKek	old;
	KeyringKek	new;
	bool		same;			/* old = new */
	bool		dry_run;
	bool		keep_old;
	char		newest[PGE_KEK_VERSION_MAX + 1];	/* of the KEK, if same */
	uint32		after;			/* DEKs up to this dek_id are done */
	bool		finished;		/* there are none behind it */
	bool		agent_gone;		/* it let a request wait until its deadline */
	bool		changed;		/* retired or superseded something, not noted
								 * yet */
	uint64		counts[PGE_REWRAP_FAILED + 1];
} RewrapRun;

/* Is old left for good? */
static inline bool
pge_rewrap_retires(const RewrapRun *run)
{
	return !run->same && !run->dry_run && !run->keep_old;
}

/* Not where a service tells no version: the KEK may have been rotated since. */
static inline bool
pge_rewrap_is_newest(const RewrapRun *run, const KeyringWrapping *wrapping)
{
	return run->same && run->newest[0] != '\0' && strcmp(wrapping->kek_version, run->newest) == 0;
}

/* One DEK between the agent's answer and the write. */
typedef struct StagedRewrap
{
	RewrapResult result;
	int32		seq;			/* of the wrapping under old; 0: nothing to
								 * write */
	PgeBytes	old_wrapped;
	PgeBytes	kek_version;
	PgeBytes	wrapped;		/* empty: the one under new is there already */
} StagedRewrap;

typedef struct RewrapStage RewrapStage;

extern RewrapStage *pge_rewrap_stage_begin(void);
extern void pge_rewrap_stage_put(RewrapStage *stage, const StagedRewrap *staged);

/* After the last put: in the order of key_id and version. */
extern void pge_rewrap_stage_sort(RewrapStage *stage);

/* False at the end.  Its texts and spans are palloc'd. */
extern bool pge_rewrap_stage_next(RewrapStage *stage, StagedRewrap *staged);
extern void pge_rewrap_stage_end(RewrapStage *stage);

extern void pge_rewrap_begin(RewrapRun *run, const RewrapRequest *request);

/* Again in a later transaction: the locks are gone, and the KEKs may differ. */
extern void pge_rewrap_lock_again(RewrapRun *run);

/* Up to "limit" DEKs behind run->after, which it moves. */
extern RewrapStage *pge_rewrap_fetch(RewrapRun *run, uint64 limit);

extern void pge_rewrap_write(RewrapRun *run, RewrapStage *stage,
							 RewrapSink sink, void *arg);

/* If none is left: anew if this run is why, else if it is not noted yet. */
extern void pge_rewrap_note_unused(RewrapRun *run);
extern void pge_rewrap_say_what_stays(const RewrapRun *run);

#endif							/* PGE_OPS_REWRAP_PRIVATE_H */
