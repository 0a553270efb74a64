/*-------------------------------------------------------------------------
 *
 * kms_aws_credentials_settings.c
 *	  The rules of an [aws NAME] section's credentials.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "agent/kms/kms_aws_credentials.h"
#include "agent/kms/kms_aws_credentials_settings.h"
#include "agent/kms/kms_aws_profile.h"
#include "agent/kms/kms_aws_settings.h"
#include "agent/kms/kms_aws_sts.h"

#define BIT(auth)		(1u << (auth))
#define PROFILES		(BIT(AWS_AUTH_DEFAULT) | BIT(AWS_AUTH_PROFILE))
#define PROFILE_PREFIX	"profile:"
#define IMDS_SERVER		"http://169.254.169.254"
#define CONTAINER_SERVER "http://169.254.170.2"

/* Which addresses may be spoken to in plain http, besides loopback ones. */
typedef enum PlainHosts
{
	PLAIN_LOOPBACK,
	PLAIN_IMDS,					/* and nothing else than plain http */
	PLAIN_CONTAINER
} PlainHosts;

typedef struct AuthMethod
{
	const char *name;
	AwsAuth		auth;
} AuthMethod;

static const AuthMethod methods[] = {
	{"default", AWS_AUTH_DEFAULT},
	{"environment", AWS_AUTH_ENVIRONMENT},
	{"web-identity", AWS_AUTH_WEB_IDENTITY},
	{"container", AWS_AUTH_CONTAINER},
	{"imds", AWS_AUTH_IMDS},
};

/* Which methods a setting is for: sets of them. */
typedef struct CredentialRule
{
	const char *name;
	unsigned	allowed;
	PgeStatus	(*check) (const KmsSetting *setting, char *detail);
} CredentialRule;

static PgeStatus check_path(const KmsSetting *setting, char *detail);
static PgeStatus check_role_arn(const KmsSetting *setting, char *detail);
static PgeStatus check_session_name(const KmsSetting *setting, char *detail);
static PgeStatus check_sts(const KmsSetting *setting, char *detail);
static PgeStatus check_imds(const KmsSetting *setting, char *detail);
static PgeStatus check_container(const KmsSetting *setting, char *detail);
static bool find_auth(const char *value, AwsAuth *auth, const char **profile);
static PgeStatus check_auth(const KmsSetting *setting, bool spawned, AwsAuth *auth, char *detail);
static bool is_profile_name(const char *name);
static bool read_server(const char *text, PlainHosts plain, AwsServer *server);
static bool may_be_plain(const char *host, PlainHosts plain);

static const CredentialRule rules[] = {
	{"credentials_file", PROFILES, check_path},
	{"config_file", PROFILES, check_path},
	{"role_arn", BIT(AWS_AUTH_WEB_IDENTITY), check_role_arn},
	{"role_session_name", BIT(AWS_AUTH_WEB_IDENTITY), check_session_name},
	{"web_identity_token_file", BIT(AWS_AUTH_WEB_IDENTITY), check_path},
	{"sts_endpoint", PROFILES | BIT(AWS_AUTH_WEB_IDENTITY), check_sts},
	{"imds_endpoint", PROFILES | BIT(AWS_AUTH_IMDS), check_imds},
	{"container_endpoint", PROFILES | BIT(AWS_AUTH_CONTAINER), check_container},
};

PgeStatus
pge_aws_credentials_check(const KmsInstance *instance, bool spawned, int *line, char *detail)
{
	const KmsSetting *setting = pge_kms_setting_of(instance, "auth");
	AwsAuth		auth = AWS_AUTH_DEFAULT;
	PgeStatus	status = PGE_OK;

	*line = instance->line;
	if (setting != NULL)
	{
		*line = setting->line;
		status = check_auth(setting, spawned, &auth, detail);
	}
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) && status == PGE_OK; i++)
	{
		setting = pge_kms_setting_of(instance, rules[i].name);
		if (setting == NULL)
			continue;
		*line = setting->line;
		if ((rules[i].allowed & BIT(auth)) == 0)
		{
			pge_kms_detail(detail, "%s is not for auth = %s.", rules[i].name,
						   auth == AWS_AUTH_DEFAULT ? "default" : pge_kms_setting(instance, "auth"));
			return PGE_INVALID;
		}
		status = rules[i].check(setting, detail);
	}
	return status;
}

static PgeStatus
check_auth(const KmsSetting *setting, bool spawned, AwsAuth *auth, char *detail)
{
	const char *profile;

	if (!find_auth(setting->value, auth, &profile))
		pge_kms_detail(detail, "auth is one of default, environment, profile:NAME, web-identity, container, imds.");
	else if (*auth == AWS_AUTH_PROFILE && !is_profile_name(profile))
		pge_kms_detail(detail, "auth = profile:NAME needs a profile's name of 1 to %d bytes.", AWS_PROFILE_NAME_MAX);
	else if (*auth == AWS_AUTH_ENVIRONMENT && spawned)
		pge_kms_detail(detail, "auth = environment is for an agent that is a service of its own (pg_envelope.agent = external): "
					   "one that the server starts is given no secret in its environment, where every process of the server had it too.");
	else
		return PGE_OK;
	return PGE_INVALID;
}

static bool
find_auth(const char *value, AwsAuth *auth, const char **profile)
{
	*profile = NULL;
	if (strncmp(value, PROFILE_PREFIX, strlen(PROFILE_PREFIX)) == 0)
	{
		*auth = AWS_AUTH_PROFILE;
		*profile = value + strlen(PROFILE_PREFIX);
		return true;
	}
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(value, methods[i].name) == 0)
		{
			*auth = methods[i].auth;
			return true;
		}
	return false;
}

static bool
is_profile_name(const char *name)
{
	return name[0] != '\0' && name[0] != ' ' && strlen(name) <= AWS_PROFILE_NAME_MAX;
}

static PgeStatus
check_path(const KmsSetting *setting, char *detail)
{
	if (setting->value[0] == '/')
		return PGE_OK;
	pge_kms_detail(detail, "%s needs a path that begins with '/'.", setting->name);
	return PGE_INVALID;
}

static PgeStatus
check_role_arn(const KmsSetting *setting, char *detail)
{
	const AwsRole role = {.arn = pge_bytes(setting->value, strlen(setting->value))};

	return pge_aws_role_check(&role, detail);
}

static PgeStatus
check_session_name(const KmsSetting *setting, char *detail)
{
	static const char any[] = "arn:aws:iam::111122223333:role/any";
	const AwsRole role = {.arn = pge_bytes(any, sizeof(any) - 1), .session_name = pge_bytes(setting->value, strlen(setting->value))};

	return pge_aws_role_check(&role, detail);
}

static PgeStatus
check_sts(const KmsSetting *setting, char *detail)
{
	AwsServer	unused;

	if (read_server(setting->value, PLAIN_LOOPBACK, &unused))
		return PGE_OK;
	pge_kms_detail(detail, "sts_endpoint is https://host or https://host:port (http:// is taken for a loopback address only).");
	return PGE_INVALID;
}

static PgeStatus
check_imds(const KmsSetting *setting, char *detail)
{
	AwsServer	unused;

	if (read_server(setting->value, PLAIN_IMDS, &unused))
		return PGE_OK;
	pge_kms_detail(detail, "imds_endpoint is " IMDS_SERVER ", http://[fd00:ec2::254], or http:// and a loopback address.");
	return PGE_INVALID;
}

static PgeStatus
check_container(const KmsSetting *setting, char *detail)
{
	AwsServer	unused;

	if (read_server(setting->value, PLAIN_CONTAINER, &unused))
		return PGE_OK;
	pge_kms_detail(detail, "container_endpoint is https://host, " CONTAINER_SERVER ", http://169.254.170.23, http://[fd00:ec2::23], "
				   "or http:// and a loopback address.");
	return PGE_INVALID;
}

/* The scheme's own port is not sent, and so is not part of "host". */
static bool
read_server(const char *text, PlainHosts plain, AwsServer *server)
{
	char		why[KMS_DETAIL_LEN];
	KeyUriSplit split;
	const char *usual;
	size_t		len;
	bool		https;

	if (pge_key_uri_split(pge_bytes(text, strlen(text)), &split, why) != PGE_OK || !split.has_authority ||
		split.path.len > 0 || split.instance[0] != '\0' ||
		pge_key_uri_server(split.authority, server->host, why) != PGE_OK)
		return false;
	https = pge_key_uri_scheme_is(&split, "https");
	if (https ? plain == PLAIN_IMDS : !pge_key_uri_scheme_is(&split, "http") || !may_be_plain(server->host, plain))
		return false;
	usual = https ? ":443" : ":80";
	len = strlen(server->host);
	if (len > strlen(usual) && strcmp(server->host + len - strlen(usual), usual) == 0)
		server->host[len - strlen(usual)] = '\0';
	snprintf(server->base, sizeof(server->base), "%s://%s", https ? "https" : "http", server->host);
	return true;
}

/* Literals, for a name can be pointed anywhere; http.h looks again. */
static bool
may_be_plain(const char *host, PlainHosts plain)
{
	static const char *const imds[] = {"169.254.169.254", "[fd00:ec2::254]", NULL};
	static const char *const container[] = {"169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", NULL};
	static const char *const none[] = {NULL};
	char		name[KEY_URI_SERVER_MAX + 1];

	if (pge_key_uri_is_loopback(host))
		return true;
	snprintf(name, sizeof(name), "%s", host);
	if (name[0] == '[')
		name[strcspn(name, "]") + 1] = '\0';
	else
		name[strcspn(name, ":")] = '\0';
	for (const char *const *known = plain == PLAIN_IMDS ? imds : plain == PLAIN_CONTAINER ? container : none; *known != NULL; known++)
		if (strcmp(name, *known) == 0)
			return true;
	return false;
}

AwsAuth
pge_aws_auth(const KmsInstance *instance, const char **profile)
{
	const char *value = pge_kms_setting(instance, "auth");
	AwsAuth		auth = AWS_AUTH_DEFAULT;

	*profile = NULL;
	if (value != NULL)
		(void) find_auth(value, &auth, profile);
	return auth;
}

/* The region's own: it answers when others do not, and the answer's clock is near. */
void
pge_aws_sts_server(const KmsInstance *instance, const char *region, AwsServer *server)
{
	const char *own = pge_kms_setting(instance, "sts_endpoint");

	if (own != NULL && read_server(own, PLAIN_LOOPBACK, server))
		return;
	snprintf(server->host, sizeof(server->host), "sts.%s.%s", region, pge_aws_suffix(region));
	snprintf(server->base, sizeof(server->base), "https://%s", server->host);
}

void
pge_aws_imds_server(const KmsInstance *instance, AwsServer *server)
{
	const char *own = pge_kms_setting(instance, "imds_endpoint");

	(void) read_server(own != NULL ? own : IMDS_SERVER, PLAIN_IMDS, server);
}

void
pge_aws_container_server(const KmsInstance *instance, AwsServer *server)
{
	const char *own = pge_kms_setting(instance, "container_endpoint");

	(void) read_server(own != NULL ? own : CONTAINER_SERVER, PLAIN_CONTAINER, server);
}
