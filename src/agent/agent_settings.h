/*
 * agent_settings.h -- what the keeper's SETTINGS frame says, or the section [agent].
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_AGENT_SETTINGS_H
#define PGE_AGENT_AGENT_SETTINGS_H

#include <sys/types.h>
#include <sys/un.h>

#include "agent/kms/kms.h"
#include "format/frame.h"

typedef struct AgentSettings
{
	char		keyring_file[PGE_FRAME_VALUE_MAX + 1];
	char		passphrase_command[PGE_FRAME_VALUE_MAX + 1];
	char		kms_config_file[PGE_FRAME_VALUE_MAX + 1];	/* "": none */
	int			kms_concurrency;
	int			kms_timeout_ms;
	bool		external;		/* all of them are of kms_config_file's
								 * [agent], */
	uid_t		server_uid;		/* and these */
	char		socket[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
} AgentSettings;

/*
 * Names that this version has no use for are left aside (the keeper may be
 * newer).  PGE_INVALID: *what tells why, and *settings is not to be used.
 */
extern PgeStatus pge_agent_settings_read(const PgeFrame *frame,
										 AgentSettings *settings,
										 const char **what);

/* What the section says takes the place of all but kms_config_file.  The parser has
 * seen to it that it fits. */
extern void pge_agent_settings_take(AgentSettings *settings, const KmsAgentSection *section);

/* Spans of the result point into settings. */
extern KmsSettings pge_agent_settings_kms(const AgentSettings *settings);

#endif							/* PGE_AGENT_AGENT_SETTINGS_H */
