/*
 * kms_detail.h -- the sentences that go with a status.
 *
 * A detail is UTF-8 without control characters, whatever a path in it holds,
 * because it travels in frames and stands in server logs; one that is too long
 * ends in "...".  Never key bytes, passphrases or what a command printed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_DETAIL_H
#define PGE_AGENT_KMS_DETAIL_H

#include <stdbool.h>

#include "base/bytes.h"

#define KMS_DETAIL_LEN	512		/* KmsResult.detail */

extern void pge_kms_detail(char detail[KMS_DETAIL_LEN], const char *format,...)
			__attribute__((format(printf, 2, 3)));

/* The same, behind what is there already, separated by a space. */
extern void pge_kms_detail_append(char detail[KMS_DETAIL_LEN], const char *format,...)
			__attribute__((format(printf, 2, 3)));

/* Strict (RFC 3629), and without the control characters U+0080 to U+009F. */
extern bool pge_kms_is_utf8(PgeBytes text);

#endif							/* PGE_AGENT_KMS_DETAIL_H */
