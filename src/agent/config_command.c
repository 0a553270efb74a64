/*-------------------------------------------------------------------------
 *
 * config_command.c
 *	  pg_envelope_agent check-config: what a configuration file says.
 *
 * The same reading as the server's, so run it as the server's user.  No
 * service is asked.  The settings hold names of files, never what is in them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "agent/commands.h"
#include "agent/kms/kms_config.h"
#include "agent/kms/kms_detail.h"

static const char usage_text[] =
"Usage: pg_envelope_agent check-config FILE\n"
"\n"
"Reads FILE as the server reads pg_envelope.kms_config_file, or, if it has a\n"
"section [agent], as \"serve --config FILE\" does, and prints each section as it\n"
"was understood, or the first line that is wrong and why. Run it as the user of\n"
"the server or of that service. No key service is asked.\n"
"\n"
"Exit status: 0 the file is good, 1 it is not (the reason is on stderr),\n"
"2 wrong usage.\n";

static void print_agent(const KmsConfig *config);
static void print_instance(const KmsInstance *instance);
static void print_texts(const char *name, char *const *texts, int count, const char *none);
static void print_keyrings(const KmsInstance *instance);

int
pge_command_check_config(int argc, char **argv)
{
	KmsConfig  *config;
	char		detail[KMS_DETAIL_LEN] = "";

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
	{
		fputs(usage_text, stdout);
		return COMMAND_OK;
	}
	if (argc != 2 || argv[1][0] == '\0' || argv[1][0] == '-')
	{
		fprintf(stderr, "pg_envelope_agent: check-config needs one file; try \"pg_envelope_agent check-config --help\"\n");
		return COMMAND_USAGE;
	}
	if (pge_kms_config_read(argv[1], &config, detail) != PGE_OK)
	{
		fprintf(stderr, "pg_envelope_agent: %s\n", detail);
		return COMMAND_FAILED;
	}
	print_agent(config);
	for (int i = 0; i < config->count; i++)
		print_instance(&config->instances[i]);
	pge_kms_config_free(config);
	return COMMAND_OK;
}

/* Of an agent that is a service; its defaults too, as it will use them. */
static void
print_agent(const KmsConfig *config)
{
	KmsAgentSection section;

	if (!pge_kms_config_agent(config, &section))
		return;
	printf("[agent], line %d\n", config->agent.line);
	printf("  server_user = %s (user id %u)\n", section.server_user, (unsigned) section.server_uid);
	printf("  socket = %s\n", section.socket);
	printf("  keyring_file = %s\n", section.keyring_file);
	printf("  keyring_passphrase_command = %s\n", section.keyring_passphrase_command);
	printf("  concurrency = %d\n", section.concurrency);
	printf("  timeout_ms = %d\n", section.timeout_ms);
}

static void
print_instance(const KmsInstance *instance)
{
	char		heading[KMS_INSTANCE_HEADING_LEN];

	pge_kms_instance_heading(instance, heading);
	if (instance->line > 0)
		printf("%s, line %d\n", heading, instance->line);
	else
		printf("%s, not in the file\n", heading);
	for (int i = 0; i < instance->nsettings; i++)
		printf("  %s = %s\n", instance->settings[i].name, instance->settings[i].value);
	if (instance->server[0] != '\0')
	{
		printf("  server of its keys' URIs: %s\n", instance->server);
		print_texts("allow_keys", instance->keys, instance->nkeys, "none: SQL can name no key of it");
	}
	print_texts("allow_databases", instance->databases, instance->ndatabases, "any");
	print_keyrings(instance);
	printf("  allow_destroy = %s\n", instance->destroy ? "on" : "off");
}

static void
print_texts(const char *name, char *const *texts, int count, const char *none)
{
	if (count == 0)
		printf("  %s: %s\n", name, none);
	for (int i = 0; i < count; i++)
	{
		if (i == 0)
			printf("  %s = ", name);
		printf("%s%s", i == 0 ? "" : ", ", texts[i]);
	}
	if (count > 0)
		printf("\n");
}

static void
print_keyrings(const KmsInstance *instance)
{
	if (instance->nkeyrings == 0)
		printf("  allow_keyrings: any\n");
	for (int i = 0; i < instance->nkeyrings; i++)
	{
		printf("%s", i == 0 ? "  allow_keyrings = " : ", ");
		for (int b = 0; b < PGE_UUID_LEN; b++)
			printf("%02x%s", instance->keyrings[i][b], b == 3 || b == 5 || b == 7 || b == 9 ? "-" : "");
	}
	if (instance->nkeyrings > 0)
		printf("\n");
}
