/*
 * kms_local.h -- the embedded key service: KEKs in a keyring file.
 *
 * URIs are local:<uuid>; a KEK's versions are "1", "2", ...; wrapped DEKs are of
 * form PGE_WRAP_LOCAL (README.md).  Named by kms_registry.c only.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_LOCAL_H
#define PGE_AGENT_KMS_LOCAL_H

#include "agent/kms/kms.h"

extern const KmsProvider pge_kms_local;

#endif							/* PGE_AGENT_KMS_LOCAL_H */
