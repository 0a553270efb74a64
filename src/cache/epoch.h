/*
 * epoch.h -- how a change of our tables reaches every backend.
 *
 * The row trigger calls pge_epoch_note_change(); the commit callback, first of
 * all, adds 1 to W (D2) and then wipes the slots of the DEKs that were named
 * with pge_epoch_wipe_at_commit() (D3).  A rollback does nothing.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CACHE_EPOCH_H
#define PGE_CACHE_EPOCH_H

#include "postgres.h"

extern void pge_epoch_note_change(void);

/* Disable and destroy.  May be called several times; also notes the change. */
extern void pge_epoch_wipe_at_commit(uint32 dek_id);

/* Has this transaction changed our tables?  (PREPARE TRANSACTION refuses.) */
extern bool pge_epoch_changed(void);

/* Registered once per process by pg_envelope.c. */
extern void pge_epoch_register_callbacks(void);

#endif							/* PGE_CACHE_EPOCH_H */
