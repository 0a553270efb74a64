/*
 * status.h -- what pure code and the agent answer.
 *
 * Pure.  The numbers travel in frames between programs of neighbouring
 * versions: they are never reused for another meaning.  base/report.c is the
 * one table from here to SQLSTATE, message and hint.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_STATUS_H
#define PGE_BASE_STATUS_H

typedef enum PgeStatus
{
	PGE_OK = 0,

	/* values and keys */
	PGE_NOT_AUTHENTIC = 1,		/* wrong key, wrong associated data, a flipped
								 * bit: one answer */
	PGE_MALFORMED = 2,			/* the bytes cannot be what they should be */
	PGE_UNKNOWN_DEK = 3,
	PGE_KEY_DISABLED = 4,
	PGE_KEY_DESTROYED = 5,
	PGE_COMPROMISED = 6,		/* opens, never seals */

	/* on the way to a key service */
	PGE_AGENT_UNREACHABLE = 20, /* not running, hung, of another version */
	PGE_UNAVAILABLE = 21,		/* the service or its file cannot be reached
								 * or read */
	PGE_THROTTLED = 22,			/* too many requests wait, here or there */
	PGE_UNAUTHENTICATED = 23,	/* credential or passphrase refused */
	PGE_KEK_UNUSABLE = 24,		/* disabled, or of a kind that cannot wrap */
	PGE_KEK_NOT_FOUND = 25,
	PGE_WRAPPING_DAMAGED = 26,	/* wrong bytes, KEK or binding, or the check
								 * value differs */
	PGE_DENIED = 27,			/* the service, or its configuration, does not
								 * let us */
	PGE_USED_UP = 28,			/* a quota of the service's; waiting does not
								 * help */

	/* arguments, resources, ourselves */
	PGE_INVALID = 40,			/* an argument or a configuration is wrong */
	PGE_TOO_LARGE = 41,
	PGE_OUT_OF_MEMORY = 42,
	PGE_IO_ERROR = 43,
	PGE_CRYPTO_FAILED = 44,		/* OpenSSL or the random source refused */
	PGE_NOT_PRELOADED = 45,
	PGE_BUSY = 46				/* another writer holds the lock */
} PgeStatus;

/* A short English name for logs of the agent and for test output. */
extern const char *pge_status_name(PgeStatus status);

#endif							/* PGE_BASE_STATUS_H */
