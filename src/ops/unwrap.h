/*
 * unwrap.h -- a DEK's bytes from the agent, by one of its wrappings.
 *
 * Wrappings are tried by seq; the next one where another KEK might help.  The
 * answer is hostile data: its check value is compared here too.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_UNWRAP_H
#define PGE_OPS_UNWRAP_H

#include "postgres.h"

#include "base/compat.h"
#include "base/secret.h"
#include "format/frame.h"
#include "keyring/keyring.h"

typedef struct UnwrapFailure
{
	PgeStatus	status;			/* of the first wrapping */
	size_t		detail_len;
	uint8		detail[PGE_FRAME_DETAIL_MAX];
	bool		wrappings_moved;	/* a rewrap was faster: read them again */
} UnwrapFailure;

/*
 * R5: *deadline_ms counts from sending.  On false *dek has been wiped.  The
 * caller wipes *dek also when an error is thrown.
 */
extern bool pge_unwrap(const KeyringDek *row, uint32 flush, PgeSecret *dek,
					   uint64 *deadline_ms, UnwrapFailure *failure);

/* The service's word: the DEK is not ours to use.  Revocation wins over availability. */
static inline bool
pge_unwrap_was_refused(PgeStatus status)
{
	return status == PGE_DENIED || status == PGE_KEK_UNUSABLE ||
		status == PGE_KEK_NOT_FOUND || status == PGE_UNAUTHENTICATED;
}

/*
 * cache_grace is for these.  Not for an agent that does not answer: it may have
 * heard a refusal, and who stops it would prolong the life of every key.
 */
static inline bool
pge_unwrap_found_nobody(PgeStatus status)
{
	return status == PGE_UNAVAILABLE || status == PGE_THROTTLED;
}

extern void pge_unwrap_report(const KeyringDek *row,
							  const UnwrapFailure *failure) pg_attribute_noreturn();

/* For pipelines: the request of one wrapping, and what to do with its answer. */
extern void pge_unwrap_request(const KeyringDek *row, PgeBytes binding,
							   const KeyringWrapping *wrapping, uint32 flush,
							   PgeFrame *request);
extern PgeStatus pge_unwrap_accept(const KeyringDek *row, PgeBytes binding,
								   const PgeFrame *answer, PgeSecret *dek);

#endif							/* PGE_OPS_UNWRAP_H */
