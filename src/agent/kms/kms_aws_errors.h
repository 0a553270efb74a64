/*
 * kms_aws_errors.h -- what an answer of AWS KMS means: was it done, and if not, why.
 *
 * Pure.  Answers come from the network: nothing of their text gets into a detail but the
 * name of an error that we know and a request's id that is a UUID.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_ERRORS_H
#define PGE_AGENT_KMS_AWS_ERRORS_H

#include "agent/kms/http.h"
#include "agent/kms/kms_detail.h"
#include "base/status.h"

/* HttpServiceProvider.classify */
extern PgeStatus pge_aws_classify(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN]);

/*
 * HttpServiceProvider.is_of_key: is it the key's own store that is away (a CloudHSM, or
 * one outside of AWS)?
 */
extern bool pge_aws_is_of_key(const HttpAnswer *answer);

/* Was it the time in the signature that the service did not like? It has done nothing then. */
extern bool pge_aws_is_clock_error(const HttpAnswer *answer);

/* Behind what is in *detail: the request's id, which AWS's support and CloudTrail know. */
extern void pge_aws_tell_request(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN]);

/* PGE_UNAVAILABLE with *detail: the answer is none to what was asked. */
extern PgeStatus pge_aws_not_asked_for(char detail[KMS_DETAIL_LEN]);

#endif							/* PGE_AGENT_KMS_AWS_ERRORS_H */
