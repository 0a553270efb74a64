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
#include "agent/kms/kms_aws.h"
#include "agent/kms/kms_vault.h"

static const KmsProvider *const providers[] = {
	&pge_kms_local,				/* first: it makes KEKs that were given no URI */
	&pge_kms_vault,
	&pge_kms_aws,
	NULL
};

const KmsProvider *const *
pge_kms_providers(void)
{
	return providers;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	for (int i = 0; providers[i] != NULL; i++)
		if (strcmp(providers[i]->name, name) == 0)
			return providers[i];
	return NULL;
}
