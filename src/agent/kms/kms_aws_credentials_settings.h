/*
 * kms_aws_credentials_settings.h -- what a section says about AWS's credentials.
 *
 * Pure.  pge_aws_credentials_check (kms_aws_credentials.h) is here, too; the others are of a
 * section that it has passed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_CREDENTIALS_SETTINGS_H
#define PGE_AGENT_KMS_AWS_CREDENTIALS_SETTINGS_H

#include "agent/kms/kms_config.h"

typedef enum AwsAuth
{
	AWS_AUTH_DEFAULT,
	AWS_AUTH_ENVIRONMENT,
	AWS_AUTH_PROFILE,
	AWS_AUTH_WEB_IDENTITY,
	AWS_AUTH_CONTAINER,
	AWS_AUTH_IMDS
} AwsAuth;

/* *profile: its name, or NULL. */
extern AwsAuth pge_aws_auth(const KmsInstance *instance, const char **profile);

/* A service: "https://host[:port]" without a path, and the host as a request's header has it. */
#define AWS_SERVER_MAX	(KEY_URI_SERVER_MAX + 8)
typedef struct AwsServer
{
	char		base[AWS_SERVER_MAX + 1];
	char		host[KEY_URI_SERVER_MAX + 1];
} AwsServer;

extern void pge_aws_sts_server(const KmsInstance *instance, const char *region, AwsServer *server);
extern void pge_aws_imds_server(const KmsInstance *instance, AwsServer *server);
extern void pge_aws_container_server(const KmsInstance *instance, AwsServer *server);

#endif							/* PGE_AGENT_KMS_AWS_CREDENTIALS_SETTINGS_H */
