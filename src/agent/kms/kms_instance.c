/*-------------------------------------------------------------------------
 *
 * kms_instance.c
 *	  Which configured key service serves a key, and whom.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kms/kms.h"
#include "agent/kms/kms_config.h"
#include "agent/kms/kms_detail.h"

#define SCHEME_SHOWN	32

static bool is_addressed(const KmsInstance *instance, const KeyUri *key, const KmsProvider *provider);
static bool allows_key(const KmsInstance *instance, const char *path);
static void say_not_configured(const KmsConfig *config, const KeyUri *key, const KmsProvider *provider, char *detail);
static void say_not_allowed(const KmsInstance *instance, int addressed, const char *path, char *detail);
static const char *file_of(const KmsInstance *instance);
static void say_several(const KmsConfig *config, const KeyUri *key, const KmsProvider *provider, char *detail);
static PgeStatus say_not_for(const KmsInstance *instance, const char *what, const char *list, char *detail);
static PgeStatus say_not_of(const KmsInstance *instance, PgeBytes keyring, char *detail);
static void free_instance(KmsInstance *instance);
static void free_texts(char **texts, int count);
static bool same_settings(const KmsInstance *a, const KmsInstance *b);

PgeStatus
pge_kms_parse_uri(PgeBytes uri, KeyUri *key, const KmsProvider **provider, char *detail)
{
	const KmsProvider *const *list = pge_kms_providers();
	int			shown = 0;

	for (int i = 0; list[i] != NULL; i++)
	{
		PgeStatus	status = list[i]->parse_uri(uri, key, detail);

		*provider = list[i];
		if (status != PGE_KEK_NOT_FOUND)
			return status;
	}
	while (shown < (int) uri.len && shown < SCHEME_SHOWN && uri.data[shown] != ':')
		shown++;
	pge_kms_detail(detail, "This version of pg_envelope has no key service \"%.*s\".",
				   shown, (const char *) uri.data);
	return PGE_KEK_NOT_FOUND;
}

PgeStatus
pge_kms_format_uri(const KeyUri *key, const char *name, const KmsInstance *instance,
				   char uri[PGE_KEK_URI_MAX + 1], char *detail)
{
	KeyUri		named = *key;
	PgeStatus	status;

	snprintf(named.instance, sizeof(named.instance), "%s", name);
	if (instance->provider->format_uri != NULL)
		status = instance->provider->format_uri(&named, instance->server, uri);
	else
		status = pge_key_uri_format(&named, instance->server, uri);
	if (status == PGE_OK)
		return PGE_OK;
	pge_kms_detail(detail, "With its server and its instance the URI is longer than %d bytes.", PGE_KEK_URI_MAX);
	return PGE_INVALID;
}

void
pge_kms_config_free(KmsConfig *config)
{
	if (config == NULL)
		return;
	for (int i = 0; i < config->count; i++)
		free_instance(&config->instances[i]);
	free_instance(&config->agent);
	free(config);
}

static void
free_instance(KmsInstance *instance)
{
	for (int s = 0; s < instance->nsettings; s++)
	{
		free(instance->settings[s].name);
		free(instance->settings[s].value);
	}
	free(instance->settings);
	free_texts(instance->keys, instance->nkeys);
	free_texts(instance->databases, instance->ndatabases);
	free(instance->keyrings);
}

static void
free_texts(char **texts, int count)
{
	for (int i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

const KmsSetting *
pge_kms_setting_of(const KmsInstance *instance, const char *name)
{
	for (int i = 0; i < instance->nsettings; i++)
	{
		if (strcmp(instance->settings[i].name, name) == 0)
			return &instance->settings[i];
	}
	return NULL;
}

const char *
pge_kms_setting(const KmsInstance *instance, const char *name)
{
	const KmsSetting *setting = pge_kms_setting_of(instance, name);

	return setting == NULL ? NULL : setting->value;
}

const char *
pge_kms_instance_heading(const KmsInstance *instance, char heading[KMS_INSTANCE_HEADING_LEN])
{
	snprintf(heading, KMS_INSTANCE_HEADING_LEN, "[%s%s%s]", instance->provider->name,
			 instance->name[0] != '\0' ? " " : "", instance->name);
	return heading;
}

bool
pge_kms_instance_same_service(const KmsInstance *a, const KmsInstance *b)
{
	return a->provider == b->provider && strcmp(a->name, b->name) == 0 &&
		strcmp(a->server, b->server) == 0 && same_settings(a, b);
}

/* In any order; none is there twice. */
static bool
same_settings(const KmsInstance *a, const KmsInstance *b)
{
	if (a->nsettings != b->nsettings)
		return false;
	for (int i = 0; i < a->nsettings; i++)
	{
		const char *other = pge_kms_setting(b, a->settings[i].name);

		if (other == NULL || strcmp(a->settings[i].value, other) != 0)
			return false;
	}
	return true;
}

PgeStatus
pge_kms_config_find(const KmsConfig *config, const KeyUri *key, const KmsProvider *provider,
					const KmsInstance **instance, char *detail)
{
	const KmsInstance *refusing = NULL;
	int			addressed = 0;
	int			serving = 0;

	*instance = NULL;
	for (int i = 0; i < config->count; i++)
	{
		const KmsInstance *candidate = &config->instances[i];

		if (!is_addressed(candidate, key, provider))
			continue;
		addressed++;
		if (!allows_key(candidate, key->path))
			refusing = candidate;
		else if (serving++ == 0)
			*instance = candidate;
	}
	if (serving == 1)
		return PGE_OK;
	*instance = NULL;
	if (serving > 1)
		say_several(config, key, provider, detail);
	else if (refusing != NULL)
		say_not_allowed(refusing, addressed, key->path, detail);
	else
		say_not_configured(config, key, provider, detail);
	return PGE_INVALID;
}

static bool
is_addressed(const KmsInstance *instance, const KeyUri *key, const KmsProvider *provider)
{
	return instance->provider == provider &&
		(key->instance[0] == '\0' || strcmp(key->instance, instance->name) == 0) &&
		(key->server[0] == '\0' || pge_key_uri_server_matches(key->server, instance->server));
}

/* What the local keyring has, it has made itself. */
static bool
allows_key(const KmsInstance *instance, const char *path)
{
	if (instance->provider == pge_kms_providers()[0])
		return true;
	for (int i = 0; i < instance->nkeys; i++)
	{
		if (pge_key_pattern_matches(instance->keys[i], path))
			return true;
	}
	return false;
}

/* Of an agent that is a service it is its own, whatever the server's setting says. */
static const char *
file_of(const KmsInstance *instance)
{
	return instance->spawned ? "pg_envelope.kms_config_file" : "the agent's own configuration file";
}

static void
say_several(const KmsConfig *config, const KeyUri *key, const KmsProvider *provider, char *detail)
{
	pge_kms_detail(detail, "Several sections of %s serve this key: add ?instance=NAME to the URI, with one of the names",
				   file_of(config->instances));
	for (int i = 0; i < config->count; i++)
	{
		const KmsInstance *instance = &config->instances[i];

		if (is_addressed(instance, key, provider) && allows_key(instance, key->path))
			pge_kms_detail_append(detail, "\"%s\"", instance->name);
	}
}

/* The file is the administrator's; that its lines are named helps whoever asks him. */
static void
say_not_allowed(const KmsInstance *instance, int addressed, const char *path, char *detail)
{
	char		heading[KMS_INSTANCE_HEADING_LEN];

	pge_kms_instance_heading(instance, heading);
	if (addressed > 1)
		pge_kms_detail(detail, "None of the %d sections of %s with this address allows the key. One of them, as %s, needs the line",
					   addressed, file_of(instance), heading);
	else
		pge_kms_detail(detail, "Section %s of %s does not allow the key. It needs the line", heading, file_of(instance));
	if (instance->keys_line == 0)
		pge_kms_detail_append(detail, "allow_keys = %s", path);
	else
		pge_kms_detail_append(detail, "allow_keys = ..., %s (behind the patterns of line %d)", path, instance->keys_line);
}

static void
say_not_configured(const KmsConfig *config, const KeyUri *key, const KmsProvider *provider, char *detail)
{
	const char *file = file_of(config->instances);
	int			named = 0;

	for (int i = 0; i < config->count; i++)
		named += config->instances[i].provider == provider && strcmp(config->instances[i].name, key->instance) == 0;
	if (key->instance[0] != '\0' && named == 0)
		pge_kms_detail(detail, "There is no section [%s %s] in %s.", provider->name, key->instance, file);
	else if (key->instance[0] != '\0')
		pge_kms_detail(detail, "Section [%s %s] of %s is not for \"%s\".", provider->name, key->instance, file, key->server);
	else if (key->server[0] != '\0')
		pge_kms_detail(detail, "No section [%s NAME] of %s is for \"%s\".", provider->name, file, key->server);
	else
		pge_kms_detail(detail, "There is no section [%s NAME] in %s.", provider->name, file);
}

/*
 * Who asks says from which database it does; so this stops a mistake, and
 * nobody who has taken a backend over.
 */
PgeStatus
pge_kms_instance_admits_database(const KmsInstance *instance, PgeBytes database, char *detail)
{
	for (int i = 0; i < instance->ndatabases; i++)
	{
		size_t		len = strlen(instance->databases[i]);

		if (len == database.len && memcmp(instance->databases[i], database.data, len) == 0)
			return PGE_OK;
	}
	return instance->ndatabases == 0 ? PGE_OK : say_not_for(instance, "database", "allow_databases", detail);
}

PgeStatus
pge_kms_instance_admits_destruction(const KmsInstance *instance, PgeBytes database, char *detail)
{
	char		heading[KMS_INSTANCE_HEADING_LEN];
	PgeStatus	status = pge_kms_instance_admits_database(instance, database, detail);

	if (status != PGE_OK || instance->destroy)
		return status;
	pge_kms_instance_heading(instance, heading);
	if (instance->line == 0)
		pge_kms_detail(detail, "SQL may destroy no KEK of the local keyring. For that %s needs a section %s with the line allow_destroy = on",
					   file_of(instance), heading);
	else
		pge_kms_detail(detail, "Section %s of %s does not let SQL destroy KEKs or call that off. It needs the line allow_destroy = on",
					   heading, file_of(instance));
	return PGE_DENIED;
}

PgeStatus
pge_kms_instance_admits(const KmsInstance *instance, PgeBytes database, PgeBytes keyring, char *detail)
{
	PgeStatus	status = pge_kms_instance_admits_database(instance, database, detail);

	if (status != PGE_OK || instance->nkeyrings == 0)
		return status;
	for (int i = 0; i < instance->nkeyrings; i++)
	{
		if (keyring.len == PGE_UUID_LEN && memcmp(instance->keyrings[i], keyring.data, PGE_UUID_LEN) == 0)
			return PGE_OK;
	}
	return say_not_of(instance, keyring, detail);
}

/* An imported data key is of another keyring than its database: so it is named. */
static PgeStatus
say_not_of(const KmsInstance *instance, PgeBytes keyring, char *detail)
{
	static const char digits[] = "0123456789abcdef";
	char		heading[KMS_INSTANCE_HEADING_LEN];
	char		uuid[2 * PGE_UUID_LEN + 4 + 1] = "";
	char	   *p = uuid;

	for (size_t i = 0; i < keyring.len && keyring.len == PGE_UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[keyring.data[i] >> 4];
		*p++ = digits[keyring.data[i] & 0x0f];
	}
	pge_kms_detail(detail, "Section %s of %s is not for data keys of the keyring %s. To let it wrap and unwrap them, append \", %s\" to its line allow_keyrings.",
				   pge_kms_instance_heading(instance, heading), file_of(instance), uuid, uuid);
	return PGE_DENIED;
}

static PgeStatus
say_not_for(const KmsInstance *instance, const char *what, const char *list, char *detail)
{
	char		heading[KMS_INSTANCE_HEADING_LEN];

	pge_kms_detail(detail, "Section %s of %s has this %s not in its %s.",
				   pge_kms_instance_heading(instance, heading), file_of(instance), what, list);
	return PGE_DENIED;
}
