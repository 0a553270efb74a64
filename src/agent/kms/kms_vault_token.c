/*-------------------------------------------------------------------------
 *
 * kms_vault_token.c
 *	  Vault's tokens: obtained, renewed, looked at.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/kms/json.h"
#include "agent/kms/kms_vault_private.h"

#define ROLE_ID_MAX			1024

static PgeStatus obtain(void *arg, const HttpLimits *limits, HttpCredential *credential, char *detail);
static PgeStatus log_in(VaultSession *vault, const HttpLimits *limits, HttpCredential *credential, char *detail);
static PgeStatus take_token(VaultSession *vault, const HttpLimits *limits, HttpCredential *credential, char *detail);
static PgeStatus renew(void *arg, const HttpLimits *limits, const HttpCredential *current,
					   HttpCredential *renewed, char *detail);
static PgeStatus verify(void *arg, const HttpLimits *limits, const HttpCredential *current, char *detail);
static bool changed(void *arg);

const HttpServiceProvider pge_vault_service = {
	.credential = {.obtain = obtain, .renew = renew, .verify = verify, .changed = changed},
	.classify = pge_vault_classify,
};

static PgeStatus
obtain(void *arg, const HttpLimits *limits, HttpCredential *credential, char *detail)
{
	VaultSession *vault = arg;

	if (vault->auth == VAULT_AUTH_TOKEN_FILE)
		return take_token(vault, limits, credential, detail);
	return log_in(vault, limits, credential, detail);
}

static PgeStatus
log_in(VaultSession *vault, const HttpLimits *limits, HttpCredential *credential, char *detail)
{
	char		role_id[ROLE_ID_MAX];
	char		secret[HTTP_TOKEN_MAX + 1];
	VaultLogin	login = {.auth = vault->auth, .role = pge_kms_setting(vault->instance, "role")};
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeStatus	status = PGE_OK;

	if (vault->secret.path != NULL)
	{
		status = pge_secret_file_read(&vault->secret, secret, sizeof(secret), detail);
		login.secret = secret;
	}
	if (status == PGE_OK && vault->role_id.path != NULL)
	{
		status = pge_secret_file_read(&vault->role_id, role_id, sizeof(role_id), detail);
		login.role_id = role_id;
	}
	if (status == PGE_OK)
		status = pge_vault_login_body(&login, &body);
	pge_secret_wipe(secret, sizeof(secret));
	if (status == PGE_OK)
		status = pge_vault_exchange_of_token(vault, limits, "POST", vault->login_path, NULL, &body, &answer, detail);
	if (status == PGE_OK)
		status = pge_vault_read_login(pge_vault_body(&answer), credential, detail);
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	if (status == PGE_OK)
		vault->granted_ms = credential->lifetime_ms;
	return status;
}

/* Who writes the file sees to its token; what is left of its life the service knows. */
static PgeStatus
take_token(VaultSession *vault, const HttpLimits *limits, HttpCredential *credential, char *detail)
{
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_secret_file_read(&vault->secret, credential->token, sizeof(credential->token), detail);

	if (status == PGE_OK)
		status = pge_vault_exchange_of_token(vault, limits, "GET", "auth/token/lookup-self", credential->token, NULL,
											 &answer, detail);
	if (status == PGE_OK)
		status = pge_vault_read_self(pge_vault_body(&answer), credential, detail);
	pge_http_answer_wipe(&answer);
	if (status == PGE_OK)
		vault->granted_ms = credential->lifetime_ms;
	return status;
}

/*
 * A token that was given less than a new one gets nears the end of all renewals: the
 * next time another is obtained.
 */
static PgeStatus
renew(void *arg, const HttpLimits *limits, const HttpCredential *current, HttpCredential *renewed,
	  char *detail)
{
	VaultSession *vault = arg;
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_vault_exchange_of_token(vault, limits, "POST", "auth/token/renew-self", current->token,
													 NULL, &answer, detail);

	if (status == PGE_OK)
		status = pge_vault_read_login(pge_vault_body(&answer), renewed, detail);
	pge_http_answer_wipe(&answer);
	if (status == PGE_OK && renewed->lifetime_ms < vault->granted_ms)
		renewed->renewable = false;
	return status;
}

/*
 * 403 is said of a token that has expired and of a right that is missing.  A token that
 * may not even ask about itself is a valid one: a login would change nothing.
 */
static PgeStatus
verify(void *arg, const HttpLimits *limits, const HttpCredential *current, char *detail)
{
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_vault_exchange_of_token(arg, limits, "GET", "auth/token/lookup-self", current->token, NULL,
													 &answer, detail);

	pge_http_answer_wipe(&answer);
	return status == PGE_DENIED ? PGE_OK : status;
}

static bool
changed(void *arg)
{
	const VaultSession *vault = arg;

	return (vault->secret.path != NULL && pge_secret_file_changed(&vault->secret)) ||
		(vault->role_id.path != NULL && pge_secret_file_changed(&vault->role_id));
}
