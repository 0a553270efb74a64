/*
 * refuse.h -- why a value is not sealed or opened, in the user's words.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_REFUSE_H
#define PGE_OPS_REFUSE_H

#include "postgres.h"

#include "base/compat.h"
#include "ops/dek.h"

/*
 * Called when a request is not granted.  memo NULL: there is no such row.
 *
 * A key is named only where the caller named it or has a right to it, so that
 * nobody learns another tenant's name from a value's header.
 */
extern void pge_refuse(const DekRequest *request, const KeyringMemo *memo,
					   Oid user) pg_attribute_noreturn();

/* The one error of wrong key, wrong associated data and a flipped bit. */
extern void pge_refuse_not_authentic(void) pg_attribute_noreturn();

#endif							/* PGE_OPS_REFUSE_H */
