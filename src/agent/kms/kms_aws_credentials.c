/*-------------------------------------------------------------------------
 *
 * kms_aws_credentials.c
 *	  Which source the AWS credential comes from.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/kms/key_memory.h"
#include "agent/kms/kms_aws_credentials_private.h"
#include "base/secret.h"

static PgeStatus obtain_from_source(AwsCredentials *c, const HttpLimits *limits, char *detail);
static PgeStatus obtain_by_default(AwsCredentials *c, const HttpLimits *limits, char *detail);
static PgeStatus from_web_identity(AwsCredentials *c, const HttpLimits *limits, char *detail);
static PgeBytes setting_or_environment(const AwsCredentials *c, const char *setting, const char *variable);
static PgeStatus from_default_profile(AwsCredentials *c, const HttpLimits *limits, char *detail);
static bool is_imds_off(void);
static PgeStatus judge_missing(PgeStatus status);

PgeStatus
pge_aws_credentials_open(const KmsInstance *instance, const KmsSettings *settings, bool spawned, const char *region,
						 AwsCredentials **credentials, char *detail)
{
	AwsCredentials *c = pge_key_calloc(1, sizeof(*c));

	(void) settings;
	*credentials = NULL;
	if (c == NULL)
	{
		pge_kms_detail(detail, "There was no memory for AWS's credentials.");
		return PGE_OUT_OF_MEMORY;
	}
	c->instance = instance;
	c->spawned = spawned;
	c->auth = pge_aws_auth(instance, &c->profile);
	(void) snprintf(c->region, sizeof(c->region), "%s", region);
	pge_aws_sts_server(instance, region, &c->sts);
	pge_aws_imds_server(instance, &c->imds);
	pge_aws_container_server(instance, &c->container);
	*credentials = c;
	return PGE_OK;
}

void
pge_aws_credentials_close(AwsCredentials *c)
{
	if (c == NULL)
		return;
	pge_http_pool_free(c->services);
	pge_http_pool_free(c->metadata);
	pge_secret_wipe(c, sizeof(*c));
	free(c);
}

PgeStatus
pge_aws_credentials_obtain(void *arg, const HttpLimits *limits, HttpCredential *credential, char detail[KMS_DETAIL_LEN])
{
	AwsCredentials *c = arg;
	PgeStatus	status;

	c->config.path[0] = '\0';
	c->credentials.path[0] = '\0';
	c->token.path[0] = '\0';
	status = obtain_from_source(c, limits, detail);
	if (status == PGE_OK)
		status = pge_aws_issued_life(&c->issued, c->issued_s, &credential->lifetime_ms, detail);
	if (status == PGE_OK)
		pge_secret_copy(credential->token, c->issued.token, sizeof(credential->token));
	pge_secret_wipe(&c->issued, sizeof(c->issued));
	return status;
}

bool
pge_aws_credentials_changed(void *arg)
{
	const AwsCredentials *c = arg;
	const AwsFile *files[] = {&c->config, &c->credentials, &c->token};

	for (int i = 0; i < 3; i++)
		if (files[i]->path[0] != '\0' && pge_secret_file_changed(&files[i]->file))
			return true;
	return false;
}

static PgeStatus
obtain_from_source(AwsCredentials *c, const HttpLimits *limits, char *detail)
{
	switch (c->auth)
	{
		case AWS_AUTH_DEFAULT:
			return obtain_by_default(c, limits, detail);
		case AWS_AUTH_ENVIRONMENT:
			return judge_missing(pge_aws_from_environment(c, detail));
		case AWS_AUTH_PROFILE:
			return judge_missing(pge_aws_from_profile(c, limits, c->profile, detail));
		case AWS_AUTH_WEB_IDENTITY:
			return judge_missing(from_web_identity(c, limits, detail));
		case AWS_AUTH_CONTAINER:
			return judge_missing(pge_aws_from_container(c, limits, detail));
		case AWS_AUTH_IMDS:
			return pge_aws_from_imds(c, limits, detail);
	}
	return PGE_INVALID;
}

/* The first that is set up; its failure is the answer. */
static PgeStatus
obtain_by_default(AwsCredentials *c, const HttpLimits *limits, char *detail)
{
	PgeStatus	status = PGE_KEK_NOT_FOUND;

	if (!c->spawned)
		status = pge_aws_from_environment(c, detail);
	if (status == PGE_KEK_NOT_FOUND && pge_aws_environment("AWS_WEB_IDENTITY_TOKEN_FILE") != NULL)
		return judge_missing(from_web_identity(c, limits, detail));
	if (status == PGE_KEK_NOT_FOUND)
		status = from_default_profile(c, limits, detail);
	if (status == PGE_KEK_NOT_FOUND)
		status = pge_aws_from_container(c, limits, detail);
	if (status == PGE_KEK_NOT_FOUND && !is_imds_off())
		return pge_aws_from_imds(c, limits, detail);
	if (status == PGE_KEK_NOT_FOUND)
		pge_kms_detail(detail, "There is no AWS credential: neither %sa web identity, a profile nor a container's service is set up, "
					   "and AWS_EC2_METADATA_DISABLED says not to ask the instance's.", c->spawned ? "" : "the environment, ");
	return judge_missing(status);
}

static PgeStatus
from_web_identity(AwsCredentials *c, const HttpLimits *limits, char *detail)
{
	PgeBytes	file = setting_or_environment(c, "web_identity_token_file", "AWS_WEB_IDENTITY_TOKEN_FILE");
	AwsRole		role = {
		.arn = setting_or_environment(c, "role_arn", "AWS_ROLE_ARN"),
		.session_name = setting_or_environment(c, "role_session_name", "AWS_ROLE_SESSION_NAME"),
	};

	if (file.len > 0 && role.arn.len > 0)
		return pge_aws_assume_with_token(c, limits, &role, file, detail);
	pge_kms_detail(detail, "A web identity needs %s: as a line of its section, or as %s in the environment of the agent.",
				   file.len == 0 ? "web_identity_token_file" : "role_arn",
				   file.len == 0 ? "AWS_WEB_IDENTITY_TOKEN_FILE" : "AWS_ROLE_ARN");
	return PGE_KEK_NOT_FOUND;
}

static PgeBytes
setting_or_environment(const AwsCredentials *c, const char *setting, const char *variable)
{
	const char *value = pge_kms_setting(c->instance, setting);

	if (value == NULL)
		value = pge_aws_environment(variable);
	return value == NULL ? pge_bytes(NULL, 0) : pge_bytes(value, strlen(value));
}

/* One that was named has to be there; the one that is called "default" need not. */
static PgeStatus
from_default_profile(AwsCredentials *c, const HttpLimits *limits, char *detail)
{
	const char *named = pge_aws_environment("AWS_PROFILE");

	if (named == NULL)
		named = pge_aws_environment("AWS_DEFAULT_PROFILE");
	if (named != NULL)
		return judge_missing(pge_aws_from_profile(c, limits, named, detail));
	return pge_aws_from_profile(c, limits, "default", detail);
}

static bool
is_imds_off(void)
{
	const char *off = pge_aws_environment("AWS_EC2_METADATA_DISABLED");

	return off != NULL && strcasecmp(off, "true") == 0;
}

/* To who waits for a credential it is one that there is not. */
static PgeStatus
judge_missing(PgeStatus status)
{
	return status == PGE_KEK_NOT_FOUND ? PGE_UNAUTHENTICATED : status;
}

const char *
pge_aws_environment(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

PgeStatus
pge_aws_file_set(AwsFile *file, PgeBytes path, char *detail)
{
	memset(&file->file, 0, sizeof(file->file));
	file->path[0] = '\0';
	if (path.len == 0 || path.data[0] != '/' || path.len >= sizeof(file->path) || memchr(path.data, '\0', path.len) != NULL)
	{
		pge_kms_detail(detail, "A file of AWS's credentials needs a path that begins with '/'.");
		return PGE_INVALID;
	}
	memcpy(file->path, path.data, path.len);
	file->path[path.len] = '\0';
	file->file.path = file->path;
	return PGE_OK;
}
