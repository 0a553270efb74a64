/*
 * value_arguments.h -- what the functions on values have in common: (value or sealed
 * [, key_id [, associated_data]]).
 *
 * Not STRICT, on purpose: a NULL value is NULL before anything else is looked
 * at, but a NULL key_id or NULL associated data beside a value is an error,
 * because "SET sealed = envelope_encrypt(ssn, tenant), ssn = NULL" would
 * destroy data in silence.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_SQLAPI_VALUE_ARGUMENTS_H
#define PGE_SQLAPI_VALUE_ARGUMENTS_H

#include "postgres.h"

#include "fmgr.h"

#include "base/compat.h"
#include "ops/dek.h"

/* As PG_DETOAST_DATUM_PACKED, without a call for what is plain already. */
static inline void *
pge_packed_argument(FunctionCallInfo fcinfo, int n)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(fcinfo->args[n].value);

	if (unlikely(VARATT_IS_COMPRESSED(value) || VARATT_IS_EXTERNAL(value)))
		return pg_detoast_datum_packed(value);
	return value;
}

/* After the NULL check of argument 0: hears invalidations, reads the rest. */
extern void pge_value_request(FunctionCallInfo fcinfo, DekRequest *request);

#endif							/* PGE_SQLAPI_VALUE_ARGUMENTS_H */
