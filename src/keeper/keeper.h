/*
 * keeper.h -- the background worker that starts, watches and restarts the
 * agent, passes it settings, wipes expired slots and saves the use counts.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEEPER_KEEPER_H
#define PGE_KEEPER_KEEPER_H

#include "postgres.h"

/*
 * Postmaster, at preload: opens <bindir>/pg_envelope_agent (so that an upgrade
 * of the package does not mix versions) and registers the worker.
 */
extern void pge_keeper_register(void);

extern PGDLLEXPORT void pge_keeper_main(Datum arg);

#endif							/* PGE_KEEPER_KEEPER_H */
