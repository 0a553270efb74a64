/*
 * kms_aws_sts.h -- what the agent says to AWS's STS, and reads of its answers.
 *
 * Pure.  The query protocol: a form goes out, XML comes back.  AssumeRoleWithWebIdentity
 * is sent as it is, AssumeRole is signed (kms_aws_sign.h).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_STS_H
#define PGE_AGENT_KMS_AWS_STS_H

#include "agent/kms/http.h"
#include "agent/kms/kms_aws_issued.h"

#define AWS_STS_CONTENT_TYPE	"application/x-www-form-urlencoded"
#define AWS_ROLE_ARN_MAX		2048
#define AWS_SESSION_NAME_MAX	64
#define AWS_WEB_TOKEN_MAX		20000

/* Empty: not given. */
typedef struct AwsRole
{
	PgeBytes	arn;
	PgeBytes	session_name;	/* what CloudTrail shows; default
								 * "pg_envelope" */
	PgeBytes	external_id;
	PgeBytes	duration_s;		/* 900 .. 43200; default STS's */
	PgeBytes	web_token;		/* given: AssumeRoleWithWebIdentity */
} AwsRole;

/* PGE_INVALID with *detail, in words of a profile's settings. */
extern PgeStatus pge_aws_role_check(const AwsRole *role, char detail[KMS_DETAIL_LEN]);

/* Of a role that was checked.  The form may hold a token: free it with ..._free, which wipes it. */
extern PgeStatus pge_aws_sts_form(const AwsRole *role, PgeBuffer *form);
extern void pge_aws_sts_form_free(PgeBuffer *form);

/*
 * Any answer of HTTP.  PGE_UNAUTHENTICATED: the keys, the token or the time of the request
 * are not right; PGE_DENIED: the role is not for us; PGE_INVALID: the request is wrong;
 * PGE_UNAVAILABLE, PGE_THROTTLED: later.  *issued is wiped unless PGE_OK.
 */
extern PgeStatus pge_aws_sts_read(const HttpAnswer *answer, AwsIssued *issued, char detail[KMS_DETAIL_LEN]);

#endif							/* PGE_AGENT_KMS_AWS_STS_H */
