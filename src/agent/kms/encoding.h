/*
 * encoding.h -- base64 (RFC 4648), strict.
 *
 * Pure, and without a branch or a table that depends on the bytes, which may be
 * keys.  One spelling per value: no blanks, no bits left over, padding
 * exactly where the alphabet has it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_ENCODING_H
#define PGE_AGENT_ENCODING_H

#include "base/bytes.h"
#include "base/status.h"

typedef enum Base64Alphabet
{
	BASE64_STANDARD,			/* '+' and '/', padded with '=' */
	BASE64_URL					/* '-' and '_', not padded */
} Base64Alphabet;

/* What n bytes become, at most. */
#define BASE64_LEN(n)	(((n) + 2) / 3 * 4)

/* PGE_TOO_LARGE: out->capacity does not suffice.  No NUL is added. */
extern PgeStatus pge_base64_encode(Base64Alphabet alphabet, PgeBytes bytes, PgeBuffer *out);

/* PGE_MALFORMED, PGE_TOO_LARGE: *out is empty, and what was written is wiped. */
extern PgeStatus pge_base64_decode(Base64Alphabet alphabet, PgeBytes text, PgeBuffer *out);

#endif							/* PGE_AGENT_ENCODING_H */
