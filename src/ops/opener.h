/*
 * opener.h -- which functions open sealed values.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_OPENER_H
#define PGE_OPS_OPENER_H

#include "postgres.h"

#include "nodes/nodes.h"

/*
 * The first function of an analyzed expression (NULL: none) that opens values,
 * or else InvalidOid.
 */
extern Oid	pge_opener_in(Node *expression);

/*
 * The same of an expression as it was parsed: by the names of its calls, where
 * every function of that name opens values.
 */
extern Oid	pge_opener_in_raw(Node *expression);

#endif							/* PGE_OPS_OPENER_H */
