/*-------------------------------------------------------------------------
 *
 * kms_vault.c
 *	  KEKs in the Transit engine of HashiCorp Vault or OpenBao.
 *
 * A wrap asks first how the key is, because the binding goes another way for a
 * derived key.  An unwrap goes by the form that is stored; but who writes the table
 * could say "context" of a key that is not derived, which would bind nothing: so
 * it counts only for a key that is.  An unknown name must never reach "encrypt",
 * which makes a key of that name for a token that may.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kms/http_reach.h"
#include "agent/kms/json.h"
#include "agent/kms/kms_vault.h"
#include "agent/kms/kms_vault_private.h"

static PgeStatus vault_open(const KmsSettings *settings, KmsSession **session, char *detail);
static void vault_perform(KmsSession *session, const KmsCall *call, KmsResult *result);
static void vault_perform_many(KmsSession *session, const KmsCall *calls, KmsResult *results, int n);
static int	vault_takes(const KmsSession *session);
static void vault_reach(KmsSession *session, const KmsCall *call, KmsWay *way);
static void vault_close(KmsSession *session);

static PgeStatus start_service(VaultSession *vault, const KmsSettings *settings, char *detail);
static void finish(const VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus dispatch(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus wrap(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus unwrap(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus describe(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus create(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus rotate(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus look_after_rotation(VaultSession *vault, const KmsCall *call, int64_t before,
									 bool sent, VaultKeyInfo *key, char *detail);

const KmsProvider pge_kms_vault = {
	.name = "vault", .settings = pge_vault_settings,
	.parse_uri = pge_vault_parse_uri, .check = pge_vault_check,
	.open = vault_open, .perform = vault_perform, .perform_many = vault_perform_many,
	.takes = vault_takes, .rewraps = pge_vault_rewraps, .reach = vault_reach, .close = vault_close,
};

static PgeStatus
vault_open(const KmsSettings *settings, KmsSession **session, char *detail)
{
	const KmsInstance *instance = settings->instance;
	VaultSession *vault = calloc(1, sizeof(VaultSession));
	PgeStatus	status;

	*session = NULL;
	if (vault == NULL)
		return PGE_OUT_OF_MEMORY;
	vault->instance = instance;
	vault->auth = pge_vault_auth(instance);
	vault->secret.path = pge_vault_secret_file(instance);
	/* Kubernetes writes it so, into a file system that is the pod's alone */
	vault->secret.may_be_public = vault->auth == VAULT_AUTH_KUBERNETES;
	vault->role_id.path = pge_kms_setting(instance, "role_id_file");
	vault->role_id.may_be_public = true;
	atomic_init(&vault->batch_most, settings->instance->many);
	pge_vault_base(instance, vault->base);
	pthread_mutex_init(&vault->lock, NULL);
	status = pge_vault_login_path(instance, vault->login_path);
	if (status == PGE_OK)
		status = start_service(vault, settings, detail);
	if (status == PGE_OK)
		*session = (KmsSession *) vault;
	else
		vault_close((KmsSession *) vault);
	return status;
}

static PgeStatus
start_service(VaultSession *vault, const KmsSettings *settings, char *detail)
{
	const HttpIdentity identity = {
		.ca_file = pge_kms_setting(vault->instance, "ca_file"),
		.cert_file = pge_kms_setting(vault->instance, "cert_file"),
		.key_file = pge_kms_setting(vault->instance, "key_file"),
		.connections = settings->concurrency,
	};
	PgeStatus	status = pge_http_pool_new(&identity, &vault->pool, detail);
	const HttpServiceConfig config = {
		.pool = vault->pool,
		.provider = &pge_vault_service,
		.arg = vault,
		.timeout_ms = settings->timeout_ms,
	};

	return status == PGE_OK ? pge_http_service_start(&config, &vault->service, detail) : status;
}

static void
vault_close(KmsSession *session)
{
	VaultSession *vault = (VaultSession *) session;

	if (vault == NULL)
		return;
	pge_http_service_stop(vault->service);
	pge_http_pool_free(vault->pool);
	pthread_mutex_destroy(&vault->lock);
	free(vault);
}

static void
vault_perform(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	VaultSession *vault = (VaultSession *) session;

	memset(result, 0, sizeof(*result));
	result->status = dispatch(vault, call, result);
	finish(vault, call, result);
}

static void
vault_perform_many(KmsSession *session, const KmsCall *calls, KmsResult *results, int n)
{
	VaultSession *vault = (VaultSession *) session;

	pge_vault_perform_batch(vault, calls, results, n);
	for (int i = 0; i < n; i++)
		finish(vault, &calls[i], &results[i]);
}

static int
vault_takes(const KmsSession *session)
{
	return atomic_load(&((const VaultSession *) session)->batch_most);
}

/* A result that is none has nothing in it, and says whose it would be. */
static void
finish(const VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	if (result->status == PGE_OK)
		return;
	pge_secret_wipe(&result->dek, sizeof(result->dek));
	result->wrapped_len = 0;
	if (call->key != NULL)
		pge_kms_detail_append(result->detail, "(Key \"%s\" of [vault %s], %s.)", call->key->path,
							  vault->instance->name, vault->instance->server);
}

/* Of its health it tells whoever asks, whatever the namespace. */
static void
vault_reach(KmsSession *session, const KmsCall *call, KmsWay *way)
{
	const VaultSession *vault = (VaultSession *) session;
	const HttpLimits limits = {call->deadline_ms, call->cancelled};
	char		url[VAULT_URL_MAX + 1];

	snprintf(url, sizeof(url), "%ssys/health", vault->base);
	pge_http_reach(vault->pool, vault->service, url, &limits, way);
}

static PgeStatus
dispatch(VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	if (call->key == NULL)
	{
		pge_kms_detail(result->detail, "Keys of Vault are made by its administrators: give the key's URI, vault://host/mount/keys/key.");
		return PGE_INVALID;
	}
	switch (call->operation)
	{
		case KMS_WRAP:
			return wrap(vault, call, result);
		case KMS_UNWRAP:
			return unwrap(vault, call, result);
		case KMS_DESCRIBE:
			return describe(vault, call, result);
		case KMS_CREATE:
			return create(vault, call, result);
		case KMS_ROTATE:
			return rotate(vault, call, result);
		case KMS_REWRAP:
			pge_vault_perform_batch(vault, call, result, 1);
			return result->status;
		case KMS_DESTROY:
			return pge_vault_destroy(vault, call, result);
		case KMS_RESTORE:
			return describe(vault, call, result);	/* nothing is ever
													 * scheduled there */
	}
	return PGE_INVALID;
}

static PgeStatus
wrap(VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	PgeBuffer	wrapped = {result->wrapped, 0, sizeof(result->wrapped)};
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	VaultKeyInfo key;
	PgeStatus	status = call->dek == NULL ? PGE_INVALID : pge_vault_ask_key(vault, call, &key, result->detail);

	if (status == PGE_OK)
		status = pge_vault_check_key(&key, result->detail);
	if (status == PGE_OK)
		status = pge_vault_encrypt_body(pge_vault_form(&key), call->binding, call->dek, &body);
	if (status == PGE_OK)
		status = pge_vault_exchange(vault, call, VAULT_ENCRYPT, &body, &answer, result->detail);
	if (status == PGE_OK)
		status = pge_vault_read_wrapped(pge_vault_body(&answer), pge_vault_form(&key), &wrapped,
										result->kek_version, result->detail);
	result->wrapped_len = wrapped.len;
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

static PgeStatus
unwrap(VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeWrapForm form;
	PgeBytes	ciphertext;
	PgeStatus	status = pge_vault_read_stored(call->wrapped, &form, &ciphertext, result->kek_version,
											   result->detail);

	if (status == PGE_OK)
		status = pge_vault_decrypt_body(form, call->binding, ciphertext, &body);
	if (status == PGE_OK)
		status = pge_vault_exchange(vault, call, VAULT_DECRYPT, &body, &answer, result->detail);
	if (status == PGE_OK)
		status = pge_vault_read_dek(pge_vault_body(&answer), &result->dek, result->detail);
	if (status == PGE_OK && form == PGE_WRAP_VAULT_CONTEXT)
		status = pge_vault_check_bound(vault, call, result->detail);
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

static PgeStatus
describe(VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	VaultKeyInfo key;
	PgeStatus	status = pge_vault_ask_key(vault, call, &key, result->detail);

	if (status == PGE_OK)
		status = pge_vault_check_key(&key, result->detail);
	if (status != PGE_OK)
		return status;
	snprintf(result->kek_version, sizeof(result->kek_version), "%" PRId64, key.latest_version);
	pge_vault_tell_key(&key, result->detail);
	result->alarm = key.exportable || key.plaintext_backup;
	return PGE_OK;
}

/* Takes up a key that is there. */
static PgeStatus
create(VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	PgeStatus	status = describe(vault, call, result);

	if (status == PGE_OK)
		snprintf(result->uri, sizeof(result->uri), "%.*s", (int) call->uri.len, (const char *) call->uri.data);
	return status;
}

static PgeStatus
rotate(VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	HttpAnswer	answer = {0};
	VaultKeyInfo key;
	int64_t		before;
	PgeStatus	status = pge_vault_ask_key(vault, call, &key, result->detail);

	if (status != PGE_OK)
		return status;
	before = key.latest_version;
	status = pge_vault_exchange(vault, call, VAULT_ROTATE, NULL, &answer, result->detail);
	if (status == PGE_OK || status == PGE_UNAVAILABLE)
		status = look_after_rotation(vault, call, before, status == PGE_OK || answer.sent, &key, result->detail);
	pge_http_answer_wipe(&answer);
	if (status == PGE_OK)
		snprintf(result->kek_version, sizeof(result->kek_version), "%" PRId64, key.latest_version);
	return status;
}

/*
 * Whether it was done is seen by the key alone: the answer may have got lost, and a second
 * rotation would make a second version.
 */
static PgeStatus
look_after_rotation(VaultSession *vault, const KmsCall *call, int64_t before, bool sent,
					VaultKeyInfo *key, char *detail)
{
	char		why[KMS_DETAIL_LEN];
	PgeStatus	status;

	if (!sent)
		return PGE_UNAVAILABLE;
	snprintf(why, sizeof(why), "%s", detail);
	status = pge_vault_ask_key(vault, call, key, detail);
	if (status == PGE_OK && key->latest_version > before)
		return PGE_OK;
	if (status == PGE_OK)
		pge_kms_detail(detail, "%s The key was not rotated.", why);
	else
		pge_kms_detail(detail, "The key may have been rotated: look at its version before you repeat it. %s", why);
	return PGE_UNAVAILABLE;
}
