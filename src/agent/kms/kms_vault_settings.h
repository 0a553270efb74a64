/*
 * kms_vault_settings.h -- what a URI and a section of the configuration say about
 * Vault.
 *
 * Pure, but that check() looks whether the certificates are there.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_VAULT_SETTINGS_H
#define PGE_AGENT_KMS_VAULT_SETTINGS_H

#include "agent/kms/kms_config.h"
#include "agent/kms/kms_vault_messages.h"

/* KmsProvider's of the same names. */
extern const char *const pge_vault_settings[];
extern PgeStatus pge_vault_parse_uri(PgeBytes uri, KeyUri *parsed, char *detail);
extern PgeStatus pge_vault_check(KmsInstance *instance, int *line, char *detail);

/*
 * Of an instance that was checked.  A base is "https://host:port/v1/", and a
 * login path "auth/approle/login", "" for a token file.
 */
#define VAULT_BASE_MAX	(KEY_URI_SERVER_MAX + 16)
extern VaultAuth pge_vault_auth(const KmsInstance *instance);
extern void pge_vault_base(const KmsInstance *instance, char base[VAULT_BASE_MAX + 1]);
extern PgeStatus pge_vault_login_path(const KmsInstance *instance, char path[VAULT_PATH_MAX + 1]);

/* The file with what proves who we are; NULL: the client certificate does. */
extern const char *pge_vault_secret_file(const KmsInstance *instance);

#endif							/* PGE_AGENT_KMS_VAULT_SETTINGS_H */
