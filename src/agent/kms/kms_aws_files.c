/*-------------------------------------------------------------------------
 *
 * kms_aws_files.c
 *	  A credential from AWS's shared files, and by the roles that they name.
 *
 * A role's keys may be another profile's, and that one may be a role again.  Both
 * files are read anew each time, and wiped when the last of these is done.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/kms/kms_aws_credentials_private.h"
#include "agent/kms/kms_aws_profile.h"
#include "agent/kms/kms_aws_sign.h"
#include "base/secret.h"

#define CHAIN_MAX	5			/* profiles that name each other */
#define PASSWD_MAX	4096

/* Both files, while a profile is followed. */
typedef struct ProfileTexts
{
	PgeBuffer	config;
	bool		config_is_public;
	PgeBuffer	credentials;
} ProfileTexts;

static PgeStatus read_files(AwsCredentials *c, ProfileTexts *texts, char *detail);
static PgeStatus find_file(const AwsCredentials *c, AwsFile *file, const char *setting, const char *variable,
						   const char *name, char *detail);
static bool home_directory(char *home, size_t size);
static PgeStatus read_file(AwsFile *file, bool needed, PgeBuffer *text, bool *is_public, char *detail);
static PgeStatus follow(AwsCredentials *c, const HttpLimits *limits, const ProfileTexts *texts, PgeBytes name,
						int depth, char *detail);
static PgeStatus read_profile(const AwsCredentials *c, const ProfileTexts *texts, PgeBytes name, AwsProfile *profile,
							  char *detail);
static PgeStatus tell_profile(PgeStatus status, PgeBytes name, const char *why, char *detail);
static PgeStatus take_keys(AwsCredentials *c, const AwsProfile *profile, char *detail);
static PgeStatus take_role(AwsCredentials *c, const HttpLimits *limits, const ProfileTexts *texts, PgeBytes name,
						   const AwsProfile *profile, AwsProfileKind kind, int depth, char *detail);
static PgeStatus keys_of_profile(AwsCredentials *c, const HttpLimits *limits, const ProfileTexts *texts, PgeBytes name,
								 const AwsProfile *profile, int depth, char *detail);
static PgeStatus keys_of_source(AwsCredentials *c, const HttpLimits *limits, PgeBytes source, char *detail);
static bool equals(PgeBytes text, const char *s);

PgeStatus
pge_aws_from_profile(AwsCredentials *c, const HttpLimits *limits, const char *profile, char *detail)
{
	ProfileTexts texts = {{NULL, 0, 0}, false, {NULL, 0, 0}};
	PgeStatus	status = read_files(c, &texts, detail);

	if (status == PGE_OK)
		status = follow(c, limits, &texts, pge_bytes(profile, strlen(profile)), 1, detail);
	pge_secret_file_free(&texts.config);
	pge_secret_file_free(&texts.credentials);
	return status;
}

static PgeStatus
read_files(AwsCredentials *c, ProfileTexts *texts, char *detail)
{
	bool		named = pge_kms_setting(c->instance, "credentials_file") != NULL;
	bool		config_named = pge_kms_setting(c->instance, "config_file") != NULL;
	bool		is_public = false;
	PgeStatus	status = find_file(c, &c->config, "config_file", "AWS_CONFIG_FILE", "config", detail);

	if (status == PGE_OK)
		status = find_file(c, &c->credentials, "credentials_file", "AWS_SHARED_CREDENTIALS_FILE", "credentials", detail);
	if (status == PGE_OK)
		status = read_file(&c->config, config_named, &texts->config, &texts->config_is_public, detail);
	if (status == PGE_OK)
		status = read_file(&c->credentials, named, &texts->credentials, &is_public, detail);
	if (status != PGE_OK || !is_public)
		return status;
	pge_kms_detail(detail, "File \"%s\" was not taken: everybody may read it (chmod o-r).", c->credentials.path);
	return PGE_UNAUTHENTICATED;
}

/* Without a home there is no such file. */
static PgeStatus
find_file(const AwsCredentials *c, AwsFile *file, const char *setting, const char *variable, const char *name,
		  char *detail)
{
	const char *path = pge_kms_setting(c->instance, setting);
	char		home[PATH_MAX];
	char		usual[PATH_MAX];
	int			len;

	if (path == NULL)
		path = pge_aws_environment(variable);
	if (path == NULL && home_directory(home, sizeof(home)))
	{
		len = snprintf(usual, sizeof(usual), "%s/.aws/%s", home, name);
		path = len > 0 && (size_t) len < sizeof(usual) ? usual : NULL;
	}
	return path == NULL ? PGE_OK : pge_aws_file_set(file, pge_bytes(path, strlen(path)), detail);
}

static bool
home_directory(char *home, size_t size)
{
	const char *set = pge_aws_environment("HOME");
	char		room[PASSWD_MAX];
	struct passwd entry;
	struct passwd *found = NULL;

	if (set == NULL && getpwuid_r(geteuid(), &entry, room, sizeof(room), &found) == 0 && found != NULL)
		set = entry.pw_dir;
	return set != NULL && set[0] == '/' && (size_t) snprintf(home, size, "%s", set) < size;
}

static PgeStatus
read_file(AwsFile *file, bool needed, PgeBuffer *text, bool *is_public, char *detail)
{
	if (file->path[0] == '\0')
		return PGE_OK;
	if (!needed && access(file->path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
		return PGE_OK;
	return pge_secret_file_read_text(&file->file, AWS_PROFILE_FILE_MAX, text, is_public, detail);
}

static PgeStatus
follow(AwsCredentials *c, const HttpLimits *limits, const ProfileTexts *texts, PgeBytes name, int depth, char *detail)
{
	char		why[KMS_DETAIL_LEN] = "";
	AwsProfile	profile;
	AwsProfileKind kind = AWS_PROFILE_OF_NOTHING;
	PgeStatus	status = read_profile(c, texts, name, &profile, detail);

	if (status != PGE_OK)
		return status;
	if (!profile.found)
		return tell_profile(PGE_KEK_NOT_FOUND, name, "There is none of that name.", detail);
	status = pge_aws_profile_kind(&profile, &kind, why);
	if (status != PGE_OK)
		return tell_profile(status, name, why, detail);
	if (kind == AWS_PROFILE_OF_NOTHING)
		return tell_profile(PGE_KEK_NOT_FOUND, name, "It has no credential.", detail);
	status = kind == AWS_PROFILE_OF_KEYS ? take_keys(c, &profile, why) :
		take_role(c, limits, texts, name, &profile, kind, depth, why);
	return status == PGE_OK ? PGE_OK : tell_profile(status, name, why, detail);
}

static PgeStatus
read_profile(const AwsCredentials *c, const ProfileTexts *texts, PgeBytes name, AwsProfile *profile, char *detail)
{
	AwsProfile	above;
	char		why[KMS_DETAIL_LEN] = "";
	const char *path = c->config.path;
	PgeStatus	status = pge_aws_profile_read(pge_buffer_bytes(&texts->config), AWS_CONFIG_FILE, name, profile, why);

	if (status == PGE_OK && texts->config_is_public && profile->values[AWS_PROFILE_SECRET].data != NULL)
	{
		pge_kms_detail(detail, "File \"%s\" has a secret key, and everybody may read it (chmod o-r).", path);
		return PGE_UNAUTHENTICATED;
	}
	if (status == PGE_OK)
	{
		path = c->credentials.path;
		status = pge_aws_profile_read(pge_buffer_bytes(&texts->credentials), AWS_CREDENTIALS_FILE, name, &above, why);
	}
	if (status != PGE_OK)
	{
		pge_kms_detail(detail, "File \"%s\" cannot be taken. %s", path, why);
		return PGE_INVALID;
	}
	pge_aws_profile_merge(profile, &above);
	return PGE_OK;
}

/* A name that may stand in a message. */
static PgeStatus
tell_profile(PgeStatus status, PgeBytes name, const char *why, char *detail)
{
	if (pge_aws_is_word(name, 64))
		pge_kms_detail(detail, "AWS profile \"%.*s\": %s", (int) name.len, (const char *) name.data, why);
	else
		pge_kms_detail(detail, "The AWS profile: %s", why);
	return status;
}

static PgeStatus
take_keys(AwsCredentials *c, const AwsProfile *profile, char *detail)
{
	const AwsKeys keys = {
		.access_key_id = profile->values[AWS_PROFILE_ACCESS_KEY_ID],
		.secret = profile->values[AWS_PROFILE_SECRET],
		.session_token = profile->values[AWS_PROFILE_SESSION_TOKEN],
	};

	c->issued.expires_s = 0;
	if (pge_aws_keys_join(&keys, c->issued.token) == PGE_OK)
		return PGE_OK;
	pge_kms_detail(detail, "Its access key, secret or session token has bytes that no such key has.");
	return PGE_INVALID;
}

static PgeStatus
take_role(AwsCredentials *c, const HttpLimits *limits, const ProfileTexts *texts, PgeBytes name,
		  const AwsProfile *profile, AwsProfileKind kind, int depth, char *detail)
{
	AwsRole		role = {
		.arn = profile->values[AWS_PROFILE_ROLE_ARN],
		.session_name = profile->values[AWS_PROFILE_ROLE_SESSION_NAME],
		.external_id = profile->values[AWS_PROFILE_EXTERNAL_ID],
		.duration_s = profile->values[AWS_PROFILE_DURATION_SECONDS],
	};
	PgeStatus	status = pge_aws_role_check(&role, detail);

	if (status != PGE_OK)
		return status;
	if (kind == AWS_PROFILE_OF_WEB_IDENTITY)
		return pge_aws_assume_with_token(c, limits, &role, profile->values[AWS_PROFILE_WEB_IDENTITY_TOKEN_FILE], detail);
	if (kind == AWS_PROFILE_OF_PROFILE)
		status = keys_of_profile(c, limits, texts, name, profile, depth, detail);
	else
		status = keys_of_source(c, limits, profile->values[AWS_PROFILE_CREDENTIAL_SOURCE], detail);
	/* what is missing there is not missing here */
	if (status == PGE_KEK_NOT_FOUND)
		return PGE_UNAUTHENTICATED;
	return status == PGE_OK ? pge_aws_assume_role(c, limits, &role, detail) : status;
}

/* A profile that names itself means its own keys. */
static PgeStatus
keys_of_profile(AwsCredentials *c, const HttpLimits *limits, const ProfileTexts *texts, PgeBytes name,
				const AwsProfile *profile, int depth, char *detail)
{
	PgeBytes	source = profile->values[AWS_PROFILE_SOURCE_PROFILE];

	if (source.len == name.len && memcmp(source.data, name.data, name.len) == 0)
	{
		if (profile->values[AWS_PROFILE_ACCESS_KEY_ID].data != NULL && profile->values[AWS_PROFILE_SECRET].data != NULL)
			return take_keys(c, profile, detail);
		pge_kms_detail(detail, "It is its own source_profile, and has no keys.");
		return PGE_INVALID;
	}
	if (depth == CHAIN_MAX)
	{
		pge_kms_detail(detail, "More than %d profiles name each other as source_profile.", CHAIN_MAX);
		return PGE_INVALID;
	}
	return follow(c, limits, texts, source, depth + 1, detail);
}

static PgeStatus
keys_of_source(AwsCredentials *c, const HttpLimits *limits, PgeBytes source, char *detail)
{
	if (equals(source, "EcsContainer"))
		return pge_aws_from_container(c, limits, detail);
	if (equals(source, "Ec2InstanceMetadata"))
		return pge_aws_from_imds(c, limits, detail);
	if (!equals(source, "Environment"))
		pge_kms_detail(detail, "credential_source is one of Environment, EcsContainer, Ec2InstanceMetadata.");
	else if (c->spawned)
		pge_kms_detail(detail, "credential_source = Environment is for an agent that is a service of its own (pg_envelope.agent = external).");
	else
		return pge_aws_from_environment(c, detail);
	return PGE_INVALID;
}

static bool
equals(PgeBytes text, const char *s)
{
	return text.len == strlen(s) && memcmp(text.data, s, text.len) == 0;
}
