/*
 * kms_aws_credentials_private.h -- what the files of the credential chain share.
 *
 * kms_aws_credentials chooses the source, kms_aws_files reads profiles, kms_aws_sources
 * asks STS, a container's and an instance's service.  Each leaves what it got in
 * "issued", which is wiped when obtain() ends, and may find there what was got before:
 * the keys that a role is taken with.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_CREDENTIALS_PRIVATE_H
#define PGE_AGENT_KMS_AWS_CREDENTIALS_PRIVATE_H

#include <limits.h>

#include "agent/kms/http.h"
#include "agent/kms/kms_aws_credentials.h"
#include "agent/kms/kms_aws_credentials_settings.h"
#include "agent/kms/kms_aws_issued.h"
#include "agent/kms/kms_aws_sts.h"
#include "agent/kms/secret_file.h"

/* A file that the last obtain() looked at; path "": it did not. */
typedef struct AwsFile
{
	char		path[PATH_MAX];
	SecretFile	file;
} AwsFile;

/* In key memory. */
struct AwsCredentials
{
	const KmsInstance *instance;
	bool		spawned;
	AwsAuth		auth;
	const char *profile;		/* of "auth = profile:NAME" */
	char		region[64];
	AwsServer	sts;
	AwsServer	imds;
	AwsServer	container;
	HttpPool   *services;		/* for STS; NULL until it is needed, as is the
								 * next */
	HttpPool   *metadata;		/* for containers and instances */
	int64_t		skew_s;			/* what our clock lacks, by STS's */

	AwsFile		config;
	AwsFile		credentials;
	AwsFile		token;			/* a web identity's, or a container's */

	AwsIssued	issued;
	AwsIssued	next;			/* by a role, while "issued" has the keys that
								 * it is taken with */
	int64_t		issued_s;		/* when, by the clock of who did */
};

/* NULL: not set, or empty. */
extern const char *pge_aws_environment(const char *name);

/* Which file is looked at from now on.  PGE_INVALID with *detail: no path of a file. */
extern PgeStatus pge_aws_file_set(AwsFile *file, PgeBytes path, char *detail);

/* All three: what "issued" then holds.  PGE_KEK_NOT_FOUND: there is no such variable. */
extern PgeStatus pge_aws_from_environment(AwsCredentials *credentials, char *detail);
extern PgeStatus pge_aws_from_container(AwsCredentials *credentials, const HttpLimits *limits, char *detail);
extern PgeStatus pge_aws_from_imds(AwsCredentials *credentials, const HttpLimits *limits, char *detail);

/* A role with the keys in "issued". */
extern PgeStatus pge_aws_assume_role(AwsCredentials *credentials, const HttpLimits *limits, const AwsRole *role,
									 char *detail);

/* A role with the token in this file.  role->web_token is set here. */
extern PgeStatus pge_aws_assume_with_token(AwsCredentials *credentials, const HttpLimits *limits, AwsRole *role,
										   PgeBytes token_file, char *detail);

/*
 * A profile and those that it names.  PGE_KEK_NOT_FOUND with *detail: there is no such profile, or
 * it has no credential.
 */
extern PgeStatus pge_aws_from_profile(AwsCredentials *credentials, const HttpLimits *limits, const char *profile,
									  char *detail);

#endif							/* PGE_AGENT_KMS_AWS_CREDENTIALS_PRIVATE_H */
