/*-------------------------------------------------------------------------
 *
 * kms_vault_destroy.c
 *	  Deletes a key of Vault's Transit engine, for good.
 *
 * The engine deletes no key unless the key allows it.  Whether one was deleted is seen
 * by asking for it: the answer may have got lost, and a second DELETE could meet
 * a key of the same name that was made meanwhile.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "agent/kms/kms_vault_private.h"

static PgeStatus find_key(VaultSession *vault, const KmsCall *call, char *detail);
static PgeStatus allow_deletion(VaultSession *vault, const KmsCall *call, char *detail);
static PgeStatus delete_key(VaultSession *vault, const KmsCall *call, bool *sent, char *detail);
static PgeStatus look_after_deletion(VaultSession *vault, const KmsCall *call, char *detail);

PgeStatus
pge_vault_destroy(VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	bool		sent;
	PgeStatus	status;

	if (!call->immediate)
	{
		pge_kms_detail(result->detail, "The service deletes a key at once and knows no way back: say immediate => true.");
		return PGE_INVALID;
	}
	status = find_key(vault, call, result->detail);
	if (status == PGE_OK)
		status = allow_deletion(vault, call, result->detail);
	if (status != PGE_OK)
		return status;
	status = delete_key(vault, call, &sent, result->detail);
	if (status == PGE_OK || status == PGE_KEK_NOT_FOUND || (status == PGE_UNAVAILABLE && sent))
		return look_after_deletion(vault, call, result->detail);
	pge_kms_detail_append(result->detail, "The key was not deleted, but its deletion_allowed is on now.");
	return status;
}

/* Where the engine or the namespace is missing, the key may well be in another. */
static PgeStatus
find_key(VaultSession *vault, const KmsCall *call, char *detail)
{
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_vault_exchange(vault, call, VAULT_DESCRIBE, NULL, &answer, detail);

	if (status == PGE_KEK_NOT_FOUND && !pge_vault_lacks_key(&answer))
	{
		pge_kms_detail_append(detail, "So it is not known whether the key is anywhere.");
		status = PGE_INVALID;
	}
	pge_http_answer_wipe(&answer);
	return status;
}

/* Doing it twice does no harm. */
static PgeStatus
allow_deletion(VaultSession *vault, const KmsCall *call, char *detail)
{
	char		text[] = "{\"deletion_allowed\":true}";
	PgeBuffer	body = {(uint8_t *) text, strlen(text), strlen(text)};
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_vault_exchange(vault, call, VAULT_CONFIGURE, &body, &answer, detail);

	pge_http_answer_wipe(&answer);
	return status;
}

static PgeStatus
delete_key(VaultSession *vault, const KmsCall *call, bool *sent, char *detail)
{
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_vault_exchange(vault, call, VAULT_DELETE, NULL, &answer, detail);

	*sent = answer.sent;
	pge_http_answer_wipe(&answer);
	return status;
}

static PgeStatus
look_after_deletion(VaultSession *vault, const KmsCall *call, char *detail)
{
	char		why[KMS_DETAIL_LEN];
	PgeStatus	status;

	snprintf(why, sizeof(why), "%s", detail);
	detail[0] = '\0';
	status = find_key(vault, call, detail);
	if (status == PGE_KEK_NOT_FOUND)
	{
		pge_kms_detail(detail, "Key \"%s\" of [vault %s] is deleted, which is final. The service's own backups and snapshots still have it.",
					   call->key->path, vault->instance->name);
		return PGE_OK;
	}
	if (status == PGE_OK)
		pge_kms_detail(detail, "%s The key is still there, with deletion_allowed.", why);
	else
		pge_kms_detail(detail, "The key may have been deleted: repeat the call, which does no harm if it was. %s", why);
	return PGE_UNAVAILABLE;
}
