/*
 * kms_aws_credentials.h -- where the agent's AWS credential comes from.
 *
 * A section's "auth" says it: environment, profile:NAME, web-identity, container,
 * imds; or default, which takes the first of these that is set up, in the order of
 * AWS's SDKs (environment, web identity, profile files, container, IMDS).  What is
 * set up and fails is the answer: the chain does not go on behind it.
 *
 * An agent that the server spawned takes no secret from its environment, because
 * every process of the server has the same one.  Endpoints come from the section
 * alone; the environment's of a container may name nothing but https, loopback and the
 * link-local metadata hosts (http.h).
 *
 * One AwsCredentials belongs to the thread of an HttpService (http_credential.h); obtain
 * and changed are its HttpCredentialSource.obtain and .changed, there is no renew.
 * All secrets are in memory that is wiped when an obtain() ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_CREDENTIALS_H
#define PGE_AGENT_KMS_AWS_CREDENTIALS_H

#include "agent/kms/http_credential.h"
#include "agent/kms/kms.h"
#include "agent/kms/kms_config.h"

/*
 * The settings of a section that are about credentials, for KmsProvider.settings:
 *	auth, credentials_file, config_file, role_arn, role_session_name,
 *	web_identity_token_file, sts_endpoint, imds_endpoint, container_endpoint
 */
#define AWS_CREDENTIAL_SETTINGS \
	"auth", "credentials_file", "config_file", "role_arn", "role_session_name", \
	"web_identity_token_file", "sts_endpoint", "imds_endpoint", "container_endpoint"

typedef struct AwsCredentials AwsCredentials;

/*
 * Are those settings right?  "auth" may be missing: default.  Pure.  PGE_INVALID with *line
 * and *detail.
 */
extern PgeStatus pge_aws_credentials_check(const KmsInstance *instance, bool spawned, int *line, char *detail);

/*
 * Of an instance that was checked; it and the settings outlive *credentials.  Touches no service
 * and no file.  "region" is that of STS's endpoint.
 */
extern PgeStatus pge_aws_credentials_open(const KmsInstance *instance, const KmsSettings *settings, bool spawned,
										  const char *region, AwsCredentials **credentials, char *detail);
extern void pge_aws_credentials_close(AwsCredentials *credentials); /* NULL: nothing */

/*
 * "arg" is an AwsCredentials.  credential->token is pge_aws_keys_join's (kms_aws_sign.h).
 * PGE_UNAVAILABLE, PGE_THROTTLED: tried again soon, an answer that has expired already among
 * them; PGE_UNAUTHENTICATED, PGE_DENIED: refused; PGE_INVALID: set up wrongly.
 */
extern PgeStatus pge_aws_credentials_obtain(void *arg, const HttpLimits *limits, HttpCredential *credential,
											char detail[KMS_DETAIL_LEN]);

/* Has a file changed that the last obtain() looked at? */
extern bool pge_aws_credentials_changed(void *arg);

#endif							/* PGE_AGENT_KMS_AWS_CREDENTIALS_H */
