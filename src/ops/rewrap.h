/*
 * rewrap.h -- wrap the DEKs of one KEK under another; no value is touched.
 *
 * What is done with one DEK, also that it failed, is a RewrapResult and never
 * an error.  Errors are what concerns all of them: an unknown KEK, a new KEK
 * that is not enabled, an agent that cannot say which version is the newest.
 *
 * old = new means "onto the newest version of that KEK" and retires nothing.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_REWRAP_H
#define PGE_OPS_REWRAP_H

#include "postgres.h"

typedef enum RewrapOutcome
{
	PGE_REWRAPPED,
	PGE_REWRAP_ALREADY,			/* was under the new KEK (its newest version) */
	PGE_REWRAP_FAILED
} RewrapOutcome;

typedef struct RewrapRequest
{
	const char *old_kek;
	const char *new_kek;
	bool		dry_run;		/* ask the agent for everything, write nothing */
	bool		keep_old;		/* add the second wrapping, retire nothing */
} RewrapRequest;

typedef struct RewrapResult
{
	uint32		dek_id;
	const char *key_id;
	int32		version;
	RewrapOutcome outcome;
	const char *detail;
	int64		duration_us;	/* from asking the agent to its answer */
} RewrapResult;

/* Called for each DEK in a memory context that is reset after each. */
typedef void (*RewrapSink) (void *arg, const RewrapResult *result);

extern const char *pge_rewrap_outcome_name(RewrapOutcome outcome);

/* All in the caller's transaction. */
extern void pge_rewrap_all(const RewrapRequest *request, RewrapSink sink, void *arg);

/*
 * Commits the retirement of old, then each batch; outcomes go to
 * envelope.rewrap_result.  Only from a CALL that may commit.
 */
extern void pge_rewrap_in_batches(const RewrapRequest *request, int batch);

#endif							/* PGE_OPS_REWRAP_H */
