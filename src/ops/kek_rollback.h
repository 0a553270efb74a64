/*
 * kek_rollback.h -- what a rollback does not undo: a KEK destroyed in its key service, or
 * saved there.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEK_ROLLBACK_H
#define PGE_OPS_KEK_ROLLBACK_H

#include "postgres.h"

typedef enum KekAct
{
	KEK_WAS_DESTROYED, KEK_WAS_SAVED
} KekAct;

/* The service has done it; a WARNING says so if this (sub)transaction aborts. */
extern void pge_kek_note_act(const char *name, KekAct act);

/* For transaction.c; nothing of them throws. */
extern void pge_kek_acts_committed(void);
extern void pge_kek_acts_aborted(void);
extern void pge_kek_acts_subcommitted(SubTransactionId mine, SubTransactionId parent);
extern void pge_kek_acts_subaborted(SubTransactionId mine);

#endif							/* PGE_OPS_KEK_ROLLBACK_H */
