/*
 * uses_file.h -- how often each AES256_GCM data key has sealed, as it is kept
 * over a restart.
 *
 *	"PGEUSES", 01, count (u32), per data key: database (u32), dek_id (u32, not
 *	0), uses (u64); SHA-256 over all before it (32).  Nothing follows.
 *
 * Pure.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_FORMAT_USES_FILE_H
#define PGE_FORMAT_USES_FILE_H

#include "base/bytes.h"
#include "base/status.h"

#define PGE_USES_MAX		4096	/* data keys of one server */

#define PGE_USES_HEADER_LEN	12
#define PGE_USES_ENTRY_LEN	16
#define PGE_USES_DIGEST_LEN	32
#define PGE_USES_FILE_MAX	(PGE_USES_HEADER_LEN + PGE_USES_MAX * PGE_USES_ENTRY_LEN + PGE_USES_DIGEST_LEN)

typedef struct PgeUses
{
	uint32_t	database;
	uint32_t	dek_id;
	uint64_t	uses;			/* at most 2^63 - 1: a sum of two does not
								 * wrap */
} PgeUses;

/* PGE_TOO_LARGE: more than PGE_USES_MAX, or than out can hold. */
extern PgeStatus pge_uses_encode(const PgeUses *uses, int count, PgeBuffer *out);

/* uses has room for PGE_USES_MAX.  PGE_MALFORMED: damaged, or of another version. */
extern PgeStatus pge_uses_decode(PgeBytes file, PgeUses *uses, int *count);

#endif							/* PGE_FORMAT_USES_FILE_H */
