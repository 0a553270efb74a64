/*
 * kms_aws_issued.h -- a credential as AWS's services give it out.
 *
 * Pure.  Containers and IMDS answer in JSON, with the members AccessKeyId,
 * SecretAccessKey, Token and Expiration; STS in XML (kms_aws_sts.h).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_ISSUED_H
#define PGE_AGENT_KMS_AWS_ISSUED_H

#include "agent/kms/http_credential.h"
#include "base/bytes.h"

typedef struct AwsIssued
{
	char		token[HTTP_TOKEN_MAX + 1];	/* pge_aws_keys_join's */
	int64_t		expires_s;		/* seconds since 1970; 0: never */
} AwsIssued;

/* Strict: "2026-11-22T14:31:27Z", perhaps with a fraction, which is cut off.  false: it is no time. */
extern bool pge_aws_parse_time(PgeBytes text, int64_t *seconds);

/* All of it is there, and clean.  PGE_UNAVAILABLE with *detail; *issued is wiped then. */
extern PgeStatus pge_aws_issue(PgeBytes access_key_id, PgeBytes secret, PgeBytes session_token, PgeBytes expiration,
							   AwsIssued *issued, char detail[KMS_DETAIL_LEN]);

/*
 * The JSON.  PGE_UNAVAILABLE, PGE_DENIED with *detail, PGE_OUT_OF_MEMORY; *issued is wiped
 * then.
 */
extern PgeStatus pge_aws_read_issued(PgeBytes json, AwsIssued *issued, char detail[KMS_DETAIL_LEN]);

/*
 * What is left of its life at "now_s", by the clock of who issued it; 0: it does not expire.
 * PGE_UNAVAILABLE: it is over, which a service says of itself when it cannot get another.
 */
extern PgeStatus pge_aws_issued_life(const AwsIssued *issued, int64_t now_s, uint64_t *life_ms,
									 char detail[KMS_DETAIL_LEN]);

/* An error's code, a role's name: not empty, and harmless in a message and in a path. */
extern bool pge_aws_is_word(PgeBytes text, size_t max);

#endif							/* PGE_AGENT_KMS_AWS_ISSUED_H */
