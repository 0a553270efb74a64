/*
 * fake_providers.h -- a registry of providers that only read: "local", "vault"
 * and "other", for tests of the configuration.  Included once per program.
 *
 * "vault" takes vault://server/path and needs an address, https://host[:port];
 * "other" checks nothing and has no server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_FAKE_PROVIDERS_H
#define PGE_TEST_FAKE_PROVIDERS_H

#include <stdio.h>
#include <string.h>

#include "agent/kms/kms.h"
#include "agent/kms/kms_detail.h"

static int	fake_checks;		/* calls of check() */

static PgeStatus
fake_vault_parse_uri(PgeBytes uri, KeyUri *key, char *detail)
{
	KeyUriSplit parts;
	PgeStatus	status = pge_key_uri_split(uri, &parts, detail);

	memset(key, 0, sizeof(*key));
	if (status == PGE_OK && !pge_key_uri_scheme_is(&parts, "vault"))
		return PGE_KEK_NOT_FOUND;
	if (status == PGE_OK && parts.authority.len > 0)
		status = pge_key_uri_server(parts.authority, key->server, detail);
	if (status == PGE_OK)
		status = pge_key_uri_path(parts.path, key->path, detail);
	memcpy(key->scheme, "vault", 6);
	memcpy(key->instance, parts.instance, sizeof(key->instance));
	return status;
}

static PgeStatus
fake_vault_check(KmsInstance *instance, int *line, char *detail)
{
	const KmsSetting *address = pge_kms_setting_of(instance, "address");

	fake_checks++;
	if (address == NULL)
	{
		pge_kms_detail(detail, "address is missing.");
		return PGE_INVALID;
	}
	*line = address->line;
	if (strncmp(address->value, "https://", 8) != 0)
	{
		pge_kms_detail(detail, "address does not begin with https://.");
		return PGE_INVALID;
	}
	return pge_key_uri_server(pge_bytes(address->value + 8, strlen(address->value + 8)), instance->server, detail);
}

static const char *const fake_vault_settings[] = {"address", "ca_file", "token_file", NULL};
static const KmsProvider fake_local = {.name = "local"};
static const KmsProvider fake_vault = {
	.name = "vault", .settings = fake_vault_settings,
	.parse_uri = fake_vault_parse_uri, .check = fake_vault_check
};
static const KmsProvider fake_other = {.name = "other"};

const KmsProvider *const *
pge_kms_providers(void)
{
	static const KmsProvider *const providers[] = {&fake_local, &fake_vault, &fake_other, NULL};

	return providers;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	for (const KmsProvider *const *p = pge_kms_providers(); *p != NULL; p++)
	{
		if (strcmp((*p)->name, name) == 0)
			return *p;
	}
	return NULL;
}

#endif							/* PGE_TEST_FAKE_PROVIDERS_H */
