/*
 * harden.h -- a process that has held a key lets no debugger in and leaves no
 * core file.
 *
 * Server only.  Both calls are idempotent and cost nothing the second time;
 * nothing undoes them for the life of the process.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_HARDEN_H
#define PGE_BASE_HARDEN_H

/* Before the first key byte enters a backend; does what harden_backends says. */
extern void pge_harden_process(void);

/* The keeper: whatever the setting says. */
extern void pge_harden_keeper(void);

#endif							/* PGE_BASE_HARDEN_H */
