/*-------------------------------------------------------------------------
 *
 * agent_settings.c
 *	  What the keeper's SETTINGS frame says, or the section [agent].
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent_settings.h"
#include "agent/jobs.h"

#define CONCURRENCY_DEFAULT		16

static bool is_named(PgeBytes name, const char *wanted);
static bool copy_text(PgeBytes value, char *out, size_t size);
static bool copy_number(PgeBytes value, int max, int *out);

PgeStatus
pge_agent_settings_read(const PgeFrame *frame, AgentSettings *settings,
						const char **what)
{
	memset(settings, 0, sizeof(*settings));
	settings->kms_concurrency = CONCURRENCY_DEFAULT;
	for (int i = 0; i < frame->npairs; i++)
	{
		PgeBytes	name = frame->name[i];
		PgeBytes	value = frame->value[i];
		bool		fits = true;

		if (is_named(name, "keyring_file"))
			fits = copy_text(value, settings->keyring_file,
							 sizeof(settings->keyring_file));
		else if (is_named(name, "keyring_passphrase_command"))
			fits = copy_text(value, settings->passphrase_command,
							 sizeof(settings->passphrase_command));
		else if (is_named(name, "kms_config_file"))
			fits = copy_text(value, settings->kms_config_file,
							 sizeof(settings->kms_config_file));
		else if (is_named(name, "kms_concurrency"))
			fits = copy_number(value, JOBS_CONCURRENCY_MAX, &settings->kms_concurrency);
		else if (is_named(name, "kms_timeout_ms"))
			fits = copy_number(value, INT_MAX, &settings->kms_timeout_ms);
		if (!fits)
		{
			*what = "a value is out of its bounds";
			return PGE_INVALID;
		}
	}
	return PGE_OK;
}

void
pge_agent_settings_take(AgentSettings *settings, const KmsAgentSection *section)
{
	settings->external = true;
	settings->server_uid = section->server_uid;
	snprintf(settings->socket, sizeof(settings->socket), "%s", section->socket);
	snprintf(settings->keyring_file, sizeof(settings->keyring_file), "%s", section->keyring_file);
	snprintf(settings->passphrase_command, sizeof(settings->passphrase_command), "%s",
			 section->keyring_passphrase_command);
	settings->kms_concurrency = section->concurrency;
	settings->kms_timeout_ms = section->timeout_ms;
}

KmsSettings
pge_agent_settings_kms(const AgentSettings *settings)
{
	KmsSettings kms = {
		.keyring_file = settings->keyring_file,
		.keyring_passphrase_command = settings->passphrase_command,
		.timeout_ms = settings->kms_timeout_ms,
		.concurrency = settings->kms_concurrency,
		.external = settings->external,
	};

	return kms;
}

static bool
is_named(PgeBytes name, const char *wanted)
{
	return name.len == strlen(wanted) &&
		strncmp((const char *) name.data, wanted, name.len) == 0;
}

static bool
copy_text(PgeBytes value, char *out, size_t size)
{
	if (value.len >= size)
		return false;
	if (value.len > 0)
		memcpy(out, value.data, value.len);
	out[value.len] = '\0';
	return true;
}

/* 1 to "max". */
static bool
copy_number(PgeBytes value, int max, int *out)
{
	int64_t		number = 0;

	if (value.len == 0 || value.len > 10)
		return false;
	for (size_t i = 0; i < value.len; i++)
	{
		if (value.data[i] < '0' || value.data[i] > '9')
			return false;
		number = number * 10 + (value.data[i] - '0');
	}
	*out = (int) number;
	return number >= 1 && number <= max;
}
