/*-------------------------------------------------------------------------
 *
 * pg_envelope.c
 *	  Where the server meets the extension: registration, no logic.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;
