/*-------------------------------------------------------------------------
 *
 * kms_config.c
 *	  Parses the configuration of key services.
 *
 * What a line says is never repeated in an error unless it is a known name or
 * looks like one: somebody may have pasted a token there.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "agent/kms/kms.h"
#include "agent/kms/kms_config.h"
#include "agent/kms/kms_detail.h"

typedef struct Parser
{
	KmsConfig  *config;
	KmsInstance *instance;		/* whose section it is; NULL: before the first */
	int			line;
	char	   *detail;
}			Parser;

/* Takes one element of a list; "element" ends in '\0' and is not empty. */
typedef PgeStatus (*TakeElement) (Parser * parser, const char *element);

static PgeStatus parse_lines(Parser * parser, PgeBytes text);
static PgeStatus parse_line(Parser * parser, PgeBytes bytes);
static PgeStatus check_text(Parser * parser, PgeBytes bytes);
static PgeStatus parse_heading(Parser * parser, char *text);
static PgeStatus start_section(Parser * parser, const char *provider_name, const char *name);
static PgeStatus add_instance(Parser * parser, const KmsProvider *provider, const char *name);
static PgeStatus check_sections(Parser * parser);
static PgeStatus check_section(Parser * parser, KmsInstance *instance);
static PgeStatus parse_setting(Parser * parser, char *text);
static PgeStatus take_setting(Parser * parser, const char *name, char *value);
static PgeStatus take_list(Parser * parser, const char *name, char *value, bool given, TakeElement take);
static PgeStatus take_key(Parser * parser, const char *element);
static PgeStatus take_database(Parser * parser, const char *element);
static PgeStatus take_keyring(Parser * parser, const char *element);
static PgeStatus take_destroy(Parser * parser, const char *name, const char *value);
static PgeStatus take_own(Parser * parser, const char *name, const char *value);
static PgeStatus unknown_setting(Parser * parser, const char *name);
static PgeStatus given_twice(Parser * parser, const char *name);
static PgeStatus unknown_provider(Parser * parser, const char *name);
static bool is_embedded(const KmsProvider *provider);
static bool is_single(const KmsProvider *provider);
static bool is_setting_name(const char *name);
static bool is_instance_name(const char *name);
static bool parse_uuid(const char *text, uint8_t uuid[PGE_UUID_LEN]);
static int	hex_digit(char c);
static PgeStatus add_text(Parser * parser, char ***list, int *count, const char *element);
static void *one_more(void *list, int count, size_t size);
static char *trim(char *text);
static void cut_comment(char *text);
static PgeStatus out_of_memory(Parser * parser);

PgeStatus
pge_kms_config_parse(PgeBytes text, KmsConfig **config, int *line, char *detail)
{
	Parser		parser = {.detail = detail};
	PgeStatus	status;

	*config = NULL;
	*line = 0;
	parser.config = calloc(1, sizeof(KmsConfig));
	if (parser.config == NULL)
		return out_of_memory(&parser);
	parser.config->count = 1;
	parser.config->instances[0].provider = pge_kms_providers()[0];
	parser.config->instances[0].many = KMS_MANY_MAX;
	parser.config->agent.provider = &pge_kms_agent_section;
	status = parse_lines(&parser, text);
	if (status == PGE_OK)
		status = check_sections(&parser);
	if (status == PGE_OK)
		*config = parser.config;
	else
	{
		*line = parser.line;
		pge_kms_config_free(parser.config);
	}
	return status;
}

static PgeStatus
parse_lines(Parser * parser, PgeBytes text)
{
	size_t		at = 0;
	PgeStatus	status = PGE_OK;

	if (text.len > KMS_CONFIG_FILE_MAX)
	{
		pge_kms_detail(parser->detail, "it is longer than %d bytes.", KMS_CONFIG_FILE_MAX);
		return PGE_INVALID;
	}
	while (status == PGE_OK && at < text.len)
	{
		const uint8_t *start = text.data + at;
		const uint8_t *newline = memchr(start, '\n', text.len - at);
		size_t		len = newline == NULL ? text.len - at : (size_t) (newline - start);

		parser->line++;
		status = parse_line(parser, pge_bytes(start, len));
		at += len + 1;
	}
	return status;
}

static PgeStatus
parse_line(Parser * parser, PgeBytes bytes)
{
	char		copy[KMS_CONFIG_LINE_MAX + 1];
	char	   *text;
	PgeStatus	status = check_text(parser, bytes);

	if (status != PGE_OK)
		return status;
	if (bytes.len > 0)
		memcpy(copy, bytes.data, bytes.len);
	copy[bytes.len] = '\0';
	cut_comment(copy);
	text = trim(copy);
	if (text[0] == '\0')
		return PGE_OK;
	return text[0] == '[' ? parse_heading(parser, text) : parse_setting(parser, text);
}

static PgeStatus
check_text(Parser * parser, PgeBytes bytes)
{
	if (bytes.len > KMS_CONFIG_LINE_MAX)
	{
		pge_kms_detail(parser->detail, "the line is longer than %d bytes.", KMS_CONFIG_LINE_MAX);
		return PGE_INVALID;
	}
	if (bytes.len > 0 && bytes.data[bytes.len - 1] == '\r')
	{
		pge_kms_detail(parser->detail, "the line ends in a carriage return: save the file with Unix line ends.");
		return PGE_INVALID;
	}
	if (parser->line == 1 && bytes.len >= 3 && memcmp(bytes.data, "\xef\xbb\xbf", 3) == 0)
	{
		pge_kms_detail(parser->detail, "the file begins with a byte order mark: save it without.");
		return PGE_INVALID;
	}
	for (size_t i = 0; i < bytes.len; i++)
	{
		if ((bytes.data[i] < 0x20 && bytes.data[i] != '\t') || bytes.data[i] == 0x7f)
		{
			pge_kms_detail(parser->detail, "the line has a control character (byte 0x%02x).", bytes.data[i]);
			return PGE_INVALID;
		}
	}
	if (!pge_kms_is_utf8(bytes))
	{
		pge_kms_detail(parser->detail, "the line is not UTF-8, or has a control character.");
		return PGE_INVALID;
	}
	return PGE_OK;
}

/* '#' begins one only where a line begins: it may be part of a file's name. */
static void
cut_comment(char *text)
{
	char	   *start = text + strspn(text, " \t");

	if (*start == ';' || *start == '#')
	{
		*text = '\0';
		return;
	}
	for (char *p = start; *p != '\0'; p++)
	{
		if (*p == ';' && (p[-1] == ' ' || p[-1] == '\t'))
		{
			*p = '\0';
			return;
		}
	}
}

static char *
trim(char *text)
{
	size_t		len;

	text += strspn(text, " \t");
	len = strlen(text);
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		text[--len] = '\0';
	return text;
}

/* "[provider name]", "[local]" or "[agent]" */
static PgeStatus
parse_heading(Parser * parser, char *text)
{
	size_t		len = strlen(text);
	char	   *provider_name;
	char	   *name;

	if (text[len - 1] != ']')
	{
		pge_kms_detail(parser->detail, "the heading of a section does not end in \"]\".");
		return PGE_INVALID;
	}
	text[len - 1] = '\0';
	provider_name = trim(text + 1);
	name = provider_name + strcspn(provider_name, " \t");
	if (*name != '\0')
		*name++ = '\0';
	return start_section(parser, provider_name, trim(name));
}

static PgeStatus
start_section(Parser * parser, const char *provider_name, const char *name)
{
	const KmsProvider *provider = pge_kms_provider_named(provider_name);
	KmsConfig  *config = parser->config;

	if (strcmp(provider_name, pge_kms_agent_section.name) == 0)
		provider = &pge_kms_agent_section;
	if (provider == NULL)
		return unknown_provider(parser, provider_name);
	if (is_single(provider) != (name[0] == '\0'))
	{
		pge_kms_detail(parser->detail, name[0] == '\0' ? "the section needs a name: [%s NAME]." : "the section has no name: [%s].",
					   provider->name);
		return PGE_INVALID;
	}
	if (name[0] != '\0' && !is_instance_name(name))
	{
		pge_kms_detail(parser->detail, "a section's name has 1 to %d letters, digits, \"-\", \"_\" and \".\", and begins with a letter or a digit.",
					   KMS_INSTANCE_NAME_MAX);
		return PGE_INVALID;
	}
	for (int i = -1; i < config->count; i++)
	{
		const KmsInstance *other = i < 0 ? &config->agent : &config->instances[i];
		char		heading[KMS_INSTANCE_HEADING_LEN];

		if (other->line > 0 && other->provider == provider && strcmp(other->name, name) == 0)
		{
			pge_kms_detail(parser->detail, "section %s is there already, at line %d.",
						   pge_kms_instance_heading(other, heading), other->line);
			return PGE_INVALID;
		}
	}
	return add_instance(parser, provider, name);
}

/* The local keyring's has been there from the beginning. */
static PgeStatus
add_instance(Parser * parser, const KmsProvider *provider, const char *name)
{
	KmsConfig  *config = parser->config;

	if (provider == &pge_kms_agent_section)
		parser->instance = &config->agent;
	else if (is_embedded(provider))
		parser->instance = &config->instances[0];
	else if (config->count < KMS_INSTANCES_MAX)
	{
		parser->instance = &config->instances[config->count++];
		parser->instance->provider = provider;
		parser->instance->many = KMS_MANY_MAX;
		memcpy(parser->instance->name, name, strlen(name) + 1);
	}
	else
	{
		pge_kms_detail(parser->detail, "there are more than %d sections.", KMS_INSTANCES_MAX - 1);
		return PGE_INVALID;
	}
	parser->instance->line = parser->line;
	return PGE_OK;
}

/* In the file's order but for [agent] and [local]: whoever has it wrong reads of one after the other. */
static PgeStatus
check_sections(Parser * parser)
{
	KmsConfig  *config = parser->config;
	PgeStatus	status = check_section(parser, &config->agent);

	for (int i = 0; i < config->count && status == PGE_OK; i++)
	{
		config->instances[i].spawned = config->agent.line == 0;
		status = check_section(parser, &config->instances[i]);
	}
	return status;
}

/* The provider may find fault with a line of it, or with the whole. */
static PgeStatus
check_section(Parser * parser, KmsInstance *instance)
{
	int			line = 0;
	PgeStatus	status;

	if (instance->line == 0 || instance->provider->check == NULL)
		return PGE_OK;
	status = instance->provider->check(instance, &line, parser->detail);
	if (status != PGE_OK)
		parser->line = line > 0 ? line : instance->line;
	return status;
}

/* The registry's first: there is one keyring, so its section has no name. */
static bool
is_embedded(const KmsProvider *provider)
{
	return provider == pge_kms_providers()[0];
}

static bool
is_single(const KmsProvider *provider)
{
	return is_embedded(provider) || provider == &pge_kms_agent_section;
}

static PgeStatus
unknown_provider(Parser * parser, const char *name)
{
	if (is_setting_name(name))
		pge_kms_detail(parser->detail, "unknown kind of section \"%s\"; there are:", name);
	else
		pge_kms_detail(parser->detail, "a section begins with [ and one of:");
	for (const KmsProvider *const *p = pge_kms_providers(); *p != NULL; p++)
		pge_kms_detail_append(parser->detail, "%s,", (*p)->name);
	pge_kms_detail_append(parser->detail, "%s.", pge_kms_agent_section.name);
	return PGE_INVALID;
}

/* "name = value" */
static PgeStatus
parse_setting(Parser * parser, char *text)
{
	char	   *equals = strchr(text, '=');
	char	   *name;
	char	   *value;

	if (equals == NULL)
	{
		pge_kms_detail(parser->detail, "the line is neither a section's \"[provider name]\" nor \"name = value\".");
		return PGE_INVALID;
	}
	*equals = '\0';
	name = trim(text);
	value = trim(equals + 1);
	if (*value == ';')
		*value = '\0';			/* a comment without a blank before it */
	if (!is_setting_name(name))
	{
		pge_kms_detail(parser->detail, "a setting's name has 1 to 63 lower-case letters, digits and \"_\".");
		return PGE_INVALID;
	}
	if (parser->instance == NULL)
	{
		pge_kms_detail(parser->detail, "setting \"%s\" stands before the first section.", name);
		return PGE_INVALID;
	}
	return take_setting(parser, name, value);
}

static PgeStatus
take_setting(Parser * parser, const char *name, char *value)
{
	const KmsInstance *instance = parser->instance;

	if (instance->provider == &pge_kms_agent_section)
		return take_own(parser, name, value);
	if (strcmp(name, "allow_keys") == 0 && !is_embedded(instance->provider))
	{
		PgeStatus	status = take_list(parser, name, value, instance->keys_line > 0, take_key);

		parser->instance->keys_line = parser->line;
		return status;
	}
	if (strcmp(name, "allow_databases") == 0)
		return take_list(parser, name, value, instance->ndatabases > 0, take_database);
	if (strcmp(name, "allow_keyrings") == 0)
		return take_list(parser, name, value, instance->nkeyrings > 0, take_keyring);
	if (strcmp(name, "allow_destroy") == 0)
		return take_destroy(parser, name, value);
	return take_own(parser, name, value);
}

/* "element, element, ..."; an empty element, and so an empty list, is an error. */
static PgeStatus
take_list(Parser * parser, const char *name, char *value, bool given, TakeElement take)
{
	char	   *next = value;

	if (given)
		return given_twice(parser, name);
	while (next != NULL)
	{
		char	   *comma = strchr(next, ',');
		char	   *element;
		PgeStatus	status;

		if (comma != NULL)
			*comma = '\0';
		element = trim(next);
		if (element[0] == '\0')
		{
			pge_kms_detail(parser->detail, "%s is empty, or has nothing before or behind a comma.", name);
			return PGE_INVALID;
		}
		status = take(parser, element);
		if (status != PGE_OK)
			return status;
		next = comma == NULL ? NULL : comma + 1;
	}
	return PGE_OK;
}

static PgeStatus
take_key(Parser * parser, const char *element)
{
	PgeStatus	status = pge_key_pattern_check(element, parser->detail);

	if (status != PGE_OK)
		return status;
	return add_text(parser, &parser->instance->keys, &parser->instance->nkeys, element);
}

static PgeStatus
take_database(Parser * parser, const char *element)
{
	if (strlen(element) > KMS_DATABASE_NAME_MAX)
	{
		pge_kms_detail(parser->detail, "a database's name has at most %d bytes.", KMS_DATABASE_NAME_MAX);
		return PGE_INVALID;
	}
	return add_text(parser, &parser->instance->databases, &parser->instance->ndatabases, element);
}

static PgeStatus
take_keyring(Parser * parser, const char *element)
{
	KmsInstance *instance = parser->instance;
	uint8_t		uuid[PGE_UUID_LEN];
	void	   *longer;

	if (!parse_uuid(element, uuid))
	{
		pge_kms_detail(parser->detail, "allow_keyrings has something that is not a UUID (SELECT uuid FROM envelope.keyring).");
		return PGE_INVALID;
	}
	longer = one_more(instance->keyrings, instance->nkeyrings, sizeof(uuid));
	if (longer == NULL)
		return out_of_memory(parser);
	instance->keyrings = longer;
	memcpy(instance->keyrings[instance->nkeyrings++], uuid, sizeof(uuid));
	return PGE_OK;
}

/* Hyphens where they are in 8-4-4-4-12, digits in any case. */
static bool
parse_uuid(const char *text, uint8_t uuid[PGE_UUID_LEN])
{
	if (strlen(text) != 36)
		return false;
	for (int i = 0; i < PGE_UUID_LEN; i++)
	{
		bool		hyphen = i == 4 || i == 6 || i == 8 || i == 10;

		if (hyphen && *text++ != '-')
			return false;
		if (hex_digit(text[0]) < 0 || hex_digit(text[1]) < 0)
			return false;
		uuid[i] = (uint8_t) (hex_digit(text[0]) * 16 + hex_digit(text[1]));
		text += 2;
	}
	return true;
}

static int
hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *found = c == '\0' ? NULL : strchr(digits, c);

	return found == NULL ? -1 : (int) ((found - digits) % 16);
}

static PgeStatus
take_destroy(Parser * parser, const char *name, const char *value)
{
	KmsInstance *instance = parser->instance;

	if (instance->destroy_line > 0)
		return given_twice(parser, name);
	instance->destroy_line = parser->line;
	instance->destroy = strcmp(value, "on") == 0;
	if (instance->destroy || strcmp(value, "off") == 0)
		return PGE_OK;
	pge_kms_detail(parser->detail, "%s is \"on\" or \"off\".", name);
	return PGE_INVALID;
}

/* A setting that the provider lists. */
static PgeStatus
take_own(Parser * parser, const char *name, const char *value)
{
	KmsInstance *instance = parser->instance;
	const char *const *known = instance->provider->settings;
	KmsSetting	setting = {.line = parser->line};
	void	   *longer;

	while (known != NULL && *known != NULL && strcmp(*known, name) != 0)
		known++;
	if (known == NULL || *known == NULL)
		return unknown_setting(parser, name);
	if (pge_kms_setting(instance, name) != NULL)
		return given_twice(parser, name);
	if (value[0] == '\0')
	{
		pge_kms_detail(parser->detail, "setting \"%s\" has no value.", name);
		return PGE_INVALID;
	}
	longer = one_more(instance->settings, instance->nsettings, sizeof(setting));
	if (longer == NULL)
		return out_of_memory(parser);
	instance->settings = longer;
	setting.name = strdup(name);
	setting.value = strdup(value);
	instance->settings[instance->nsettings++] = setting;
	return setting.name == NULL || setting.value == NULL ? out_of_memory(parser) : PGE_OK;
}

static PgeStatus
unknown_setting(Parser * parser, const char *name)
{
	char		heading[KMS_INSTANCE_HEADING_LEN];

	pge_kms_detail(parser->detail, "unknown setting \"%s\" of %s.", name,
				   pge_kms_instance_heading(parser->instance, heading));
	return PGE_INVALID;
}

static PgeStatus
given_twice(Parser * parser, const char *name)
{
	char		heading[KMS_INSTANCE_HEADING_LEN];

	pge_kms_detail(parser->detail, "setting \"%s\" of %s is given twice.", name,
				   pge_kms_instance_heading(parser->instance, heading));
	return PGE_INVALID;
}

static bool
is_setting_name(const char *name)
{
	size_t		len = strlen(name);

	return len > 0 && len <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static bool
is_instance_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t		len = strlen(name);

	return len > 0 && len <= KMS_INSTANCE_NAME_MAX && strspn(name, allowed) == len && strchr("-_.", name[0]) == NULL;
}

static PgeStatus
add_text(Parser * parser, char ***list, int *count, const char *element)
{
	char	  **longer = one_more(*list, *count, sizeof(char *));

	if (longer == NULL)
		return out_of_memory(parser);
	*list = longer;
	longer[*count] = strdup(element);
	if (longer[*count] == NULL)
		return out_of_memory(parser);
	(*count)++;
	return PGE_OK;
}

/* A line's elements are few: no need to grow by more. */
static void *
one_more(void *list, int count, size_t size)
{
	return realloc(list, (size_t) (count + 1) * size);
}

static PgeStatus
out_of_memory(Parser * parser)
{
	pge_kms_detail(parser->detail, "out of memory.");
	return PGE_OUT_OF_MEMORY;
}
