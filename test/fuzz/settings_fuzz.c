/*-------------------------------------------------------------------------
 *
 * settings_fuzz.c
 *	  The agent's settings from any frame of the keeper's pipe: what is taken is
 *	  in bounds and is what the frame said.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/agent_settings.h"
#include "agent/jobs.h"
#include "exact_copy.h"

/* The last pair of that name, which is the one that counts. */
static const PgeBytes *
said(const PgeFrame *frame, const char *name)
{
	for (int i = frame->npairs - 1; i >= 0; i--)
	{
		if (frame->name[i].len == strlen(name) &&
			memcmp(frame->name[i].data, name, strlen(name)) == 0)
			return &frame->value[i];
	}
	return NULL;
}

static void
require_text(const PgeBytes *value, const char *text, size_t size)
{
	size_t		len = value == NULL ? 0 : value->len;

	require(len < size && text[len] == '\0');
	require(len == 0 || memcmp(text, value->data, len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static AgentSettings settings;
	PgeBuffer	in = exact_copy(data, size);
	PgeFrame	frame;
	const char *what = NULL;

	if (pge_frame_decode(pge_buffer_bytes(&in), &frame) == PGE_OK)
	{
		if (pge_agent_settings_read(&frame, &settings, &what) == PGE_OK)
		{
			require(settings.kms_concurrency >= 1 && settings.kms_concurrency <= JOBS_CONCURRENCY_MAX);
			require_text(said(&frame, "keyring_file"), settings.keyring_file, sizeof(settings.keyring_file));
			require_text(said(&frame, "kms_config_file"), settings.kms_config_file, sizeof(settings.kms_config_file));
			require_text(said(&frame, "keyring_passphrase_command"), settings.passphrase_command,
						 sizeof(settings.passphrase_command));
		}
		else
			require(what != NULL);
	}
	free(in.data);
	return 0;
}
