/*-------------------------------------------------------------------------
 *
 * kms_vault_keys.c
 *	  Asks Vault how a key is, and remembers it for a while.
 *
 * Locks: "lock" alone, for what is remembered; nothing waits under it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "agent/kms/kms_vault_private.h"
#include "agent/kms/monotonic.h"

#define KEY_REMEMBERED_MS	600000

static void remember_key(VaultSession *vault, const char *path, const VaultKeyInfo *key);

PgeStatus
pge_vault_ask_key(VaultSession *vault, const KmsCall *call, VaultKeyInfo *key, char *detail)
{
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_vault_exchange(vault, call, VAULT_DESCRIBE, NULL, &answer, detail);

	if (status == PGE_OK)
		status = pge_vault_read_key(pge_vault_body(&answer), key, detail);
	pge_http_answer_wipe(&answer);
	if (status == PGE_OK)
		remember_key(vault, call->key->path, key);
	return status;
}

PgeStatus
pge_vault_know_key(VaultSession *vault, const KmsCall *call, VaultKeyInfo *key, char *detail)
{
	bool		known = false;

	pthread_mutex_lock(&vault->lock);
	for (int i = 0; i < KEYS_REMEMBERED && !known; i++)
	{
		const RememberedKey *place = &vault->keys[i];

		known = strcmp(place->path, call->key->path) == 0 && place->until_ms > pge_monotonic_ms();
		if (known)
			*key = place->key;
	}
	pthread_mutex_unlock(&vault->lock);
	return known ? PGE_OK : pge_vault_ask_key(vault, call, key, detail);
}

PgeStatus
pge_vault_check_derived(const VaultKeyInfo *key, char *detail)
{
	if (key->derived)
		return PGE_OK;
	pge_kms_detail(detail, "The key is not a derived one, so that the service opens this for any row: it was made anew, or the wrapping was forged.");
	return PGE_KEK_UNUSABLE;
}

PgeStatus
pge_vault_check_bound(VaultSession *vault, const KmsCall *call, char *detail)
{
	VaultKeyInfo key;
	PgeStatus	status = pge_vault_know_key(vault, call, &key, detail);

	return status == PGE_OK ? pge_vault_check_derived(&key, detail) : status;
}

/* In the key's own place, or in that of what is forgotten first. */
static void
remember_key(VaultSession *vault, const char *path, const VaultKeyInfo *key)
{
	RememberedKey *place = &vault->keys[0];

	pthread_mutex_lock(&vault->lock);
	for (int i = 0; i < KEYS_REMEMBERED; i++)
	{
		if (strcmp(vault->keys[i].path, path) == 0)
		{
			place = &vault->keys[i];
			break;
		}
		if (vault->keys[i].until_ms < place->until_ms)
			place = &vault->keys[i];
	}
	snprintf(place->path, sizeof(place->path), "%s", path);
	place->key = *key;
	place->until_ms = pge_monotonic_ms() + KEY_REMEMBERED_MS;
	pthread_mutex_unlock(&vault->lock);
}
