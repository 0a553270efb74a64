/*
 * kms_vault_private.h -- what the files of Vault's provider share.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_VAULT_PRIVATE_H
#define PGE_AGENT_KMS_VAULT_PRIVATE_H

#include <pthread.h>

#include "agent/kms/http_service.h"
#include "agent/kms/kms.h"
#include "agent/kms/kms_vault_messages.h"
#include "agent/kms/kms_vault_settings.h"
#include "agent/kms/secret_file.h"

#define KEYS_REMEMBERED		256
#define VAULT_URL_MAX		(VAULT_BASE_MAX + VAULT_PATH_MAX)

typedef struct RememberedKey
{
	char		path[PGE_KEK_URI_MAX + 1];	/* "": a free place */
	VaultKeyInfo key;
	uint64_t	until_ms;		/* monotonic */
} RememberedKey;

typedef struct VaultSession
{
	const KmsInstance *instance;
	VaultAuth	auth;
	char		base[VAULT_BASE_MAX + 1];
	char		login_path[VAULT_PATH_MAX + 1];
	HttpPool   *pool;
	HttpService *service;

	/* of the service's thread */
	SecretFile	secret;			/* token, secret id or JWT */
	SecretFile	role_id;
	uint64_t	granted_ms;		/* lifetime of a new token */

	atomic_int	batch_most;		/* items that the service takes at once, */
	_Atomic uint64_t batch_most_until_ms;	/* until more are tried again */

	pthread_mutex_t lock;
	RememberedKey keys[KEYS_REMEMBERED];	/* under "lock"; kms_vault_keys.c */
} VaultSession;

/* --- kms_vault_keys.c: how keys are --- */

/* Asks the service, and remembers it. */
extern PgeStatus pge_vault_ask_key(VaultSession *vault, const KmsCall *call, VaultKeyInfo *key, char *detail);

/* As it is remembered, if it is. */
extern PgeStatus pge_vault_know_key(VaultSession *vault, const KmsCall *call, VaultKeyInfo *key, char *detail);

/* PGE_KEK_UNUSABLE: its context binds nothing. */
extern PgeStatus pge_vault_check_derived(const VaultKeyInfo *key, char *detail);

/* The same of the key with whose context something has opened. */
extern PgeStatus pge_vault_check_bound(VaultSession *vault, const KmsCall *call, char *detail);

/* --- kms_vault_destroy.c: KMS_DESTROY --- */

extern PgeStatus pge_vault_destroy(VaultSession *vault, const KmsCall *call, KmsResult *result);

/* --- kms_vault_exchange.c: what is sent --- */

/* About the call's key.  "body" NULL: none; it stays the caller's. */
extern PgeStatus pge_vault_exchange(VaultSession *vault, const KmsCall *call, VaultOperation operation,
									PgeBuffer *body, HttpAnswer *answer, char *detail);

/* Once, with this token; NULL: a login. */
extern PgeStatus pge_vault_exchange_of_token(VaultSession *vault, const HttpLimits *limits, const char *method,
											 const char *path, const char *token, PgeBuffer *body,
											 HttpAnswer *answer, char *detail);
extern PgeBytes pge_vault_body(const HttpAnswer *answer);

/* --- kms_vault_batch.c: many at once --- */

extern bool pge_vault_rewraps(const KeyUri *from, const KeyUri *to, PgeBytes wrapped);

/* As KmsProvider's perform_many; one is enough. */
extern void pge_vault_perform_batch(VaultSession *vault, const KmsCall *calls, KmsResult *results, int n);

/* --- kms_vault_token.c: the token, on the service's thread --- */

extern const HttpServiceProvider pge_vault_service;

#endif							/* PGE_AGENT_KMS_VAULT_PRIVATE_H */
