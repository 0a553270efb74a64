/*
 * arguments.h -- taking SQL arguments where NULL is an error.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_SQLAPI_ARGUMENTS_H
#define PGE_SQLAPI_ARGUMENTS_H

#include "postgres.h"

#include "fmgr.h"

/* 22004 "NAME must not be NULL". */
extern void pge_arg_not_null(FunctionCallInfo fcinfo, int n, const char *name);

/* A text argument as a palloc'd string. */
extern char *pge_arg_text(FunctionCallInfo fcinfo, int n, const char *name);

#endif							/* PGE_SQLAPI_ARGUMENTS_H */
