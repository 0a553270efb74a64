/*
 * new_dek.h -- from a drawn number to the rows of a new data key.
 *
 *	pge_new_dek_plan	no lock: which KEKs, which dek_id, which version
 *	pge_new_dek_wrap	the agent draws the key, wraps it, proves that it unwraps
 *	pge_new_dek_attempt	a subtransaction around what stores it
 *		pge_new_dek_lock_keks	FOR SHARE, and are they still enabled?
 *		pge_new_dek_store		the rows
 *
 * No lock is held while the agent works, so what was planned may be stale when
 * it is stored: then the attempt is undone and everything starts again.  The
 * key itself never comes here, only its wrapped forms.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_NEW_DEK_H
#define PGE_OPS_NEW_DEK_H

#include "postgres.h"

#include "base/compat.h"
#include "format/frame.h"
#include "keyring/keyring.h"

typedef struct NewDek
{
	KeyringDek	row;			/* check_value from the wrap on */
	uint32		replaces;		/* dek_id of the active version, or 0 */
	uint32		latest;			/* dek_id of the last version, or 0 */
	int			count;			/* of KEKs, by name */
	KeyringKek	kek[PGE_WRAPPINGS_MAX];
	PgeBytes	kek_version[PGE_WRAPPINGS_MAX];
	PgeBytes	wrapped[PGE_WRAPPINGS_MAX];
} NewDek;

typedef enum AttemptOutcome
{
	PGE_ATTEMPT_DONE,
	PGE_ATTEMPT_LOST,			/* somebody else did the same: keep theirs */
	PGE_ATTEMPT_AGAIN			/* the plan is stale */
} AttemptOutcome;

#define PGE_ATTEMPTS_MAX	8

/* Wraps under key->kek, and under each enabled KEK that holds a live wrapping
 * of the last version.  ereport(ERROR) if key->kek is not enabled. */
extern NewDek *pge_new_dek_plan(const KeyringKey *key);
extern void pge_new_dek_wrap(NewDek *new_dek);

/* All inside an attempt; false: start again. */
extern bool pge_new_dek_lock_keks(const NewDek *new_dek);
extern bool pge_new_dek_is_current(const NewDek *new_dek, const KeyringKey *locked);
extern bool pge_new_dek_store(const NewDek *new_dek);

/* Runs "attempt" in a subtransaction that lives on only if it is done. */
extern AttemptOutcome pge_new_dek_attempt(AttemptOutcome (*attempt) (void *),
										  void *arg);

/* After PGE_ATTEMPTS_MAX stale plans: 40001. */
extern void pge_new_dek_give_up(const char *key_id) pg_attribute_noreturn();

/* Does an answer hold so many wrappings, each with its version, as the tables
 * take them? */
extern bool pge_answer_has_wrappings(const PgeFrame *answer, int count);

#endif							/* PGE_OPS_NEW_DEK_H */
