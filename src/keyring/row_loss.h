/*
 * row_loss.h -- no change of a row loses a living data key.
 *
 * For the row trigger, in every role, the apply worker's included: what a publisher
 * deletes is not lost on a subscriber unless its superuser means it.  Only the order
 * of wrappings within a transaction is the writer's affair: our own functions and
 * the apply worker take one away before they bring the next.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_ROW_LOSS_H
#define PGE_KEYRING_ROW_LOSS_H

#include "postgres.h"

#include "access/htup.h"
#include "utils/relcache.h"

/* ereport(ERROR, KE014) as in key_loss.h.  new is NULL for a DELETE. */
extern void pge_row_loss_refuse(Relation table, HeapTuple old, HeapTuple new);

#endif							/* PGE_KEYRING_ROW_LOSS_H */
