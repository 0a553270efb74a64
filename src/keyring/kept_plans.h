/*
 * kept_plans.h -- a statement that runs once for each of many rows is planned once.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEPT_PLANS_H
#define PGE_KEYRING_KEPT_PLANS_H

#include "postgres.h"

/*
 * Runs a statement through SPI, with a new snapshot and as the present user; returns how
 * many rows it was about.  "sql" is a literal, of which each has always the same types:
 * it is known by its address.
 */
extern uint64 pge_kept_plan_run(const char *sql, int nargs, Oid *types, Datum *values);

#endif							/* PGE_KEYRING_KEPT_PLANS_H */
