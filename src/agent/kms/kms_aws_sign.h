/*
 * kms_aws_sign.h -- AWS's Signature Version 4 for POST requests to "/" without a
 * query: KMS's JSON protocol and STS's query protocol.
 *
 * Pure.  What is signed are content-type, host, x-amz-date, x-amz-security-token
 * (of temporary keys) and x-amz-target (of KMS), and the body: the request has to
 * carry exactly these values, in whatever order.  Nothing is normalised: a value that
 * a server could read otherwise than it stands (blanks at its ends or two together,
 * bytes outside of printable ASCII) is refused.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_SIGN_H
#define PGE_AGENT_KMS_AWS_SIGN_H

#include "agent/kms/http_credential.h"
#include "base/bytes.h"
#include "base/status.h"

/* Borrows; from an HttpCredential's token, which is "ID\nSECRET\nSESSION". */
typedef struct AwsKeys
{
	PgeBytes	access_key_id;	/* letters, digits, '_' */
	PgeBytes	secret;			/* 0x21 .. 0x7e, as the next */
	PgeBytes	session_token;	/* empty: a long-term key */
} AwsKeys;

#define AWS_ACCESS_KEY_ID_MAX	128
#define AWS_SECRET_MAX			256
#define AWS_SESSION_TOKEN_MAX	(HTTP_TOKEN_MAX - AWS_ACCESS_KEY_ID_MAX - AWS_SECRET_MAX - 2)

/* PGE_INVALID: not what such keys are; "token" is wiped then. */
extern PgeStatus pge_aws_keys_join(const AwsKeys *keys, char token[HTTP_TOKEN_MAX + 1]);

/* "keys" points into "token".  PGE_INVALID: pge_aws_keys_join has not made it. */
extern PgeStatus pge_aws_keys_split(const char *token, AwsKeys *keys);

typedef struct AwsSignRequest
{
	const char *host;			/* as the header has it: with a port that is
								 * not the scheme's */
	const char *region;			/* letters, digits, '-', as the next */
	const char *service;
	const char *content_type;
	const char *target;			/* X-Amz-Target; NULL: none */
	PgeBytes	body;
} AwsSignRequest;

#define AWS_AUTHORIZATION_MAX	511

/* Values of the headers X-Amz-Date and Authorization. */
typedef struct AwsSignature
{
	char		date[17];
	char		authorization[AWS_AUTHORIZATION_MAX + 1];
} AwsSignature;

/* "now_s": seconds since 1970 by the service's clock. */
extern PgeStatus pge_aws_sign(const AwsSignRequest *request, const AwsKeys *keys, int64_t now_s,
							  AwsSignature *signature);

#endif							/* PGE_AGENT_KMS_AWS_SIGN_H */
