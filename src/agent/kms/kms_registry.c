/*-------------------------------------------------------------------------
 *
 * kms_registry.c
 *	  The list of key services in this build.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/kms/kms.h"
#include "agent/kms/kms_local.h"

static const KmsProvider *const providers[] = {
	&pge_kms_local,				/* first: it makes KEKs that were given no URI */
	NULL
};

const KmsProvider *
pge_kms_provider_of(PgeBytes uri)
{
	if (uri.len == 0)
		return providers[0];
	for (int i = 0; providers[i] != NULL; i++)
	{
		size_t		len = strlen(providers[i]->scheme);

		if (uri.len > len && memcmp(uri.data, providers[i]->scheme, len) == 0 &&
			uri.data[len] == ':')
			return providers[i];
	}
	return NULL;
}

const KmsProvider *const *
pge_kms_providers(void)
{
	return providers;
}
