/*-------------------------------------------------------------------------
 *
 * kms_config_fuzz.c
 *	  Whatever is taken as a configuration keeps the parser's promises, and is
 *	  the same when it is written out and read again.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "../unit/fake_providers.h"
#include "exact_copy.h"

static char written[2 * KMS_CONFIG_FILE_MAX];
static size_t written_len;

static void
write_text(const char *text)
{
	size_t		len = strlen(text);

	require(written_len + len < sizeof(written));
	memcpy(written + written_len, text, len + 1);
	written_len += len;
}

static void
write_list(const char *name, char *const *texts, int count)
{
	if (count == 0)
		return;
	write_text(name);
	for (int i = 0; i < count; i++)
	{
		require(texts[i][0] != '\0' && strchr(texts[i], ',') == NULL);
		write_text(i == 0 ? " = " : ",");
		write_text(texts[i]);
	}
	write_text("\n");
}

static void
write_keyrings(const KmsInstance *instance)
{
	for (int i = 0; i < instance->nkeyrings; i++)
	{
		const uint8_t *u = instance->keyrings[i];
		char		text[64];

		snprintf(text, sizeof(text), "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
				 i == 0 ? "allow_keyrings = " : ",", u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9],
				 u[10], u[11], u[12], u[13], u[14], u[15]);
		write_text(text);
	}
	if (instance->nkeyrings > 0)
		write_text("\n");
}

static void
write_instance(const KmsInstance *instance)
{
	char		heading[KMS_INSTANCE_HEADING_LEN];

	if (instance->line == 0)
		return;
	write_text(pge_kms_instance_heading(instance, heading));
	write_text("\n");
	for (int i = 0; i < instance->nsettings; i++)
	{
		require(instance->settings[i].value[0] != '\0' && instance->settings[i].line > instance->line);
		write_text(instance->settings[i].name);
		write_text(" = ");
		write_text(instance->settings[i].value);
		write_text("\n");
	}
	write_list("allow_keys", instance->keys, instance->nkeys);
	write_list("allow_databases", instance->databases, instance->ndatabases);
	write_keyrings(instance);
	if (instance->destroy_line > 0)
		write_text(instance->destroy ? "allow_destroy = on\n" : "allow_destroy = off\n");
}

static void
require_same_texts(char **one, int count, char **other, int other_count)
{
	require(count == other_count);
	for (int i = 0; i < count; i++)
		require(strcmp(one[i], other[i]) == 0);
}

/* The same instances: those of the file in its order, whatever place [local] has. */
static void
require_same_again(const KmsConfig *config)
{
	KmsConfig  *again;
	char		detail[KMS_DETAIL_LEN];
	int			line;

	written_len = 0;
	written[0] = '\0';
	for (int i = 0; i < config->count; i++)
		write_instance(&config->instances[i]);
	require(pge_kms_config_parse(pge_bytes(written, written_len), &again, &line, detail) == PGE_OK);
	require(again->count == config->count);
	for (int i = 0; i < config->count; i++)
	{
		const KmsInstance *one = &config->instances[i];
		const KmsInstance *other = &again->instances[i];

		require(pge_kms_instance_same_service(one, other));
		require_same_texts(one->keys, one->nkeys, other->keys, other->nkeys);
		require_same_texts(one->databases, one->ndatabases, other->databases, other->ndatabases);
		require(one->destroy == other->destroy && (one->destroy_line > 0) == (other->destroy_line > 0));
		require(one->nkeyrings == other->nkeyrings &&
				(one->nkeyrings == 0 || memcmp(one->keyrings, other->keyrings, sizeof(*one->keyrings) * (size_t) one->nkeyrings) == 0));
	}
	pge_kms_config_free(again);
}

static void
require_promises(const KmsConfig *config)
{
	char		detail[KMS_DETAIL_LEN];

	require(config->count >= 1 && config->count <= KMS_INSTANCES_MAX);
	for (int i = 0; i < config->count; i++)
	{
		const KmsInstance *instance = &config->instances[i];

		require((instance->provider == &fake_local) == (i == 0) && (instance->name[0] == '\0') == (i == 0));
		require(instance->provider != &fake_local || (instance->nsettings == 0 && instance->nkeys == 0));
		require(instance->provider != &fake_vault || instance->server[0] != '\0');
		require(!instance->destroy || instance->destroy_line > 0);
		require((instance->nkeys > 0) == (instance->keys_line > 0));
		for (int k = 0; k < instance->nkeys; k++)
			require(pge_key_pattern_check(instance->keys[k], detail) == PGE_OK);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);
	KmsConfig  *config;
	char		detail[KMS_DETAIL_LEN] = "";
	int			line;

	if (pge_kms_config_parse(pge_buffer_bytes(&in), &config, &line, detail) == PGE_OK)
	{
		require_promises(config);
		/* written out, a line may be longer by two blanks */
		if (size < KMS_CONFIG_LINE_MAX)
			require_same_again(config);
		pge_kms_config_free(config);
	}
	else
	{
		int			lines = size > 0;

		for (size_t i = 0; i < size; i++)
			lines += data[i] == '\n';
		require(config == NULL && detail[0] != '\0' && line >= 0 && line <= lines);
		require(line > 0 || size > KMS_CONFIG_FILE_MAX);
	}
	free(in.data);
	return 0;
}
