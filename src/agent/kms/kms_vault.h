/*
 * kms_vault.h -- KEKs in the Transit engine of HashiCorp Vault or OpenBao.
 *
 * A KEK's URI is vault://host[:port]/<mount>/keys/<key>; its versions are "1",
 * "2", ...; wrapped DEKs are of the forms PGE_WRAP_VAULT_CONTEXT and
 * PGE_WRAP_VAULT_AAD (README.md).  Keys are made by the service's administrators,
 * never from here.  Named by kms_registry.c only.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_VAULT_H
#define PGE_AGENT_KMS_VAULT_H

#include "agent/kms/kms.h"

extern const KmsProvider pge_kms_vault;

#endif							/* PGE_AGENT_KMS_VAULT_H */
