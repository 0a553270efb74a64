/*-------------------------------------------------------------------------
 *
 * kms_sessions.c
 *	  The open session of each key service of this build.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/kms/kms_detail.h"
#include "agent/kms_sessions.h"

PgeStatus
pge_kms_sessions_open(KmsSessions *sessions, const KmsSettings *settings,
					  const char **scheme)
{
	const KmsProvider *const *list = pge_kms_providers();
	char		detail[KMS_DETAIL_LEN];

	memset(sessions, 0, sizeof(*sessions));
	for (int i = 0; list[i] != NULL; i++)
	{
		KmsSessionEntry *entry = &sessions->entries[sessions->count];
		PgeStatus	status = PGE_TOO_LARGE;

		*scheme = list[i]->name;
		if (sessions->count < KMS_SESSIONS_MAX)
			status = list[i]->open(settings, &entry->session, detail);
		if (status != PGE_OK)
		{
			pge_kms_sessions_close(sessions);
			return status;
		}
		entry->provider = list[i];
		sessions->count++;
	}
	return PGE_OK;
}

PgeStatus
pge_kms_sessions_reload(KmsSessions *sessions, const KmsSettings *settings,
						const char **scheme)
{
	PgeStatus	result = PGE_OK;

	for (int i = 0; i < sessions->count; i++)
	{
		KmsSessionEntry *entry = &sessions->entries[i];
		PgeStatus	status = entry->provider->reload(entry->session, settings);

		if (status != PGE_OK)
		{
			*scheme = entry->provider->name;
			result = status;
		}
	}
	return result;
}

void
pge_kms_sessions_close(KmsSessions *sessions)
{
	for (int i = 0; i < sessions->count; i++)
		sessions->entries[i].provider->close(sessions->entries[i].session);
	sessions->count = 0;
}

int
pge_kms_sessions_find(const KmsSessions *sessions, PgeBytes uri)
{
	KeyUri		key;
	char		detail[KMS_DETAIL_LEN];

	for (int i = 0; i < sessions->count; i++)
		if (uri.len == 0 || sessions->entries[i].provider->parse_uri(uri, &key, detail) != PGE_KEK_NOT_FOUND)
			return i;
	return -1;
}
