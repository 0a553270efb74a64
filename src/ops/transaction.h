/*
 * transaction.h -- what every kind of transaction end clears.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_TRANSACTION_H
#define PGE_OPS_TRANSACTION_H

#include "postgres.h"

/* Once, at preload, before pge_epoch_register_callbacks (see epoch.c). */
extern void pge_transaction_register_callbacks(void);

#endif							/* PGE_OPS_TRANSACTION_H */
