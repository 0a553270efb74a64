/*
 * key_loss_guard.h -- no statement takes a living data key with it.
 *
 * Hooks on objects and on commands, not event triggers: those of an extension are
 * dropped before they could fire.  What they protect, and what is out of their
 * reach, is in README under "Uninstall".
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEY_LOSS_GUARD_H
#define PGE_OPS_KEY_LOSS_GUARD_H

/* In _PG_init, when preloading. */
extern void pge_key_loss_guard_register(void);

#endif							/* PGE_OPS_KEY_LOSS_GUARD_H */
