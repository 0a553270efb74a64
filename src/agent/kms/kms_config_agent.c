/*-------------------------------------------------------------------------
 *
 * kms_config_agent.c
 *	  The section [agent]: how an agent runs that no server starts.
 *
 * To the parser it is a section like those of key services, of a kind that no
 * URI names.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "agent/kms/kms.h"
#include "agent/kms/kms_config.h"
#include "agent/kms/kms_detail.h"

#define NAME_ROOM	16384		/* for what the system keeps of a user */

static PgeStatus check_section(KmsInstance *instance, int *line, char *detail);
static bool is_path(const KmsSetting *setting, size_t max);
static bool read_number(const KmsSetting *setting, int preset, int min, int max, int *number);

static const char *const section_settings[] = {
	"concurrency", "keyring_file", "keyring_passphrase_command", "server_user", "socket", "timeout_ms", NULL
};

const KmsProvider pge_kms_agent_section = {
	.name = "agent", .settings = section_settings, .check = check_section,
};

bool
pge_kms_config_agent(const KmsConfig *config, KmsAgentSection *section)
{
	const KmsInstance *agent = &config->agent;
	const char *file = pge_kms_setting(agent, "keyring_file");
	const char *command = pge_kms_setting(agent, "keyring_passphrase_command");
	const char *path = pge_kms_setting(agent, "socket");

	section->server_user = pge_kms_setting(agent, "server_user");
	section->server_uid = config->server_uid;
	section->socket = path != NULL ? path : KMS_AGENT_SOCKET;
	section->keyring_file = file != NULL ? file : KMS_AGENT_KEYRING;
	section->keyring_passphrase_command = command != NULL ? command : "";
	(void) read_number(pge_kms_setting_of(agent, "concurrency"), KMS_AGENT_CONCURRENCY, 1, 256, &section->concurrency);
	(void) read_number(pge_kms_setting_of(agent, "timeout_ms"), KMS_AGENT_TIMEOUT_MS, 100, 600000, &section->timeout_ms);
	return agent->line > 0;
}

PgeStatus
pge_kms_config_find_user(KmsConfig *config, int *line, char *detail)
{
	const KmsSetting *setting = pge_kms_setting_of(&config->agent, "server_user");
	struct passwd user;
	struct passwd *found = NULL;
	char	   *room;
	int			error;

	*line = 0;
	if (setting == NULL)
		return PGE_OK;
	room = malloc(NAME_ROOM);
	error = room == NULL ? ENOMEM : getpwnam_r(setting->value, &user, room, NAME_ROOM, &found);
	if (found != NULL)
		config->server_uid = user.pw_uid;
	free(room);
	if (found != NULL && config->server_uid != 0)
		return PGE_OK;
	*line = setting->line;
	if (found != NULL)
		pge_kms_detail(detail, "server_user is \"%s\", as whom no server runs.", setting->value);
	else if (error == 0 || error == ENOENT)
		pge_kms_detail(detail, "there is no user \"%s\" on this host.", setting->value);
	else
		pge_kms_detail(detail, "user \"%s\" could not be looked up: %s.", setting->value, strerror(error));
	return PGE_INVALID;
}

static PgeStatus
check_section(KmsInstance *instance, int *line, char *detail)
{
	static const char *const paths[] = {"keyring_file", "socket"};
	int			number;

	for (int i = 0; i < 2; i++)
	{
		const KmsSetting *setting = pge_kms_setting_of(instance, paths[i]);
		size_t		max = i == 0 ? KMS_CONFIG_LINE_MAX : sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1;

		if (setting == NULL || is_path(setting, max))
			continue;
		*line = setting->line;
		pge_kms_detail(detail, "%s has to begin with \"/\", and has at most %zu bytes.", setting->name, max);
		return PGE_INVALID;
	}
	for (int i = 0; i < instance->nsettings; i++)
	{
		const KmsSetting *setting = &instance->settings[i];
		bool		is_time = strcmp(setting->name, "timeout_ms") == 0;
		int			min = is_time ? 100 : 1;
		int			max = is_time ? 600000 : 256;

		if ((!is_time && strcmp(setting->name, "concurrency") != 0) ||
			read_number(setting, 0, min, max, &number))
			continue;
		*line = setting->line;
		pge_kms_detail(detail, "%s has to be a number from %d to %d.", setting->name, min, max);
		return PGE_INVALID;
	}
	if (pge_kms_setting(instance, "server_user") != NULL)
		return PGE_OK;
	pge_kms_detail(detail, "section [agent] needs the line server_user = NAME: the operating-system user of the server.");
	return PGE_INVALID;
}

static bool
is_path(const KmsSetting *setting, size_t max)
{
	return setting->value[0] == '/' && strlen(setting->value) <= max;
}

/* NULL: "preset". */
static bool
read_number(const KmsSetting *setting, int preset, int min, int max, int *number)
{
	size_t		len = setting == NULL ? 0 : strlen(setting->value);

	*number = preset;
	if (setting == NULL)
		return true;
	if (len == 0 || len > 6 || strspn(setting->value, "0123456789") != len)
		return false;
	*number = (int) strtol(setting->value, NULL, 10);
	return *number >= min && *number <= max;
}
