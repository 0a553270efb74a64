/*
 * kms_local_hooks.h -- what tests tell the embedded key service by files.
 *
 * <keyring_file>.delay_ms holds milliseconds that each call takes longer, for tests
 * of waiting, joining and cancelling; with <keyring_file>.dumpable the agent's
 * memory can be read, for tests that look for keys in it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_LOCAL_HOOKS_H
#define PGE_AGENT_KMS_LOCAL_HOOKS_H

#ifdef PGE_TEST_BUILD
#include <stdatomic.h>

extern void pge_kms_local_obey(const char *keyring_file, const atomic_bool *cancelled);
#endif

#endif							/* PGE_AGENT_KMS_LOCAL_HOOKS_H */
