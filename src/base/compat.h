/*
 * compat.h -- every difference between server versions, in one place.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_COMPAT_H
#define PGE_BASE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "pg_envelope is for PostgreSQL 15 to 18"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#endif							/* PGE_BASE_COMPAT_H */
