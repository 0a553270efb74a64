/*-------------------------------------------------------------------------
 *
 * kms_vault.c
 *	  KEKs in the Transit engine of HashiCorp Vault or OpenBao.
 *
 * A wrap asks first how the key is, because the binding goes another way for a
 * derived key.  An unwrap goes by the form that is stored; but who writes the table
 * could say "context" of a key that is not derived, which would bind nothing: so
 * it counts only for a key that is (known for KEY_REMEMBERED_MS).  An unknown
 * name must never reach "encrypt", which makes a key of that name for a token
 * that may.
 *
 * Locks: "lock" alone, for what is remembered of keys; nothing waits under it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kms/http_reach.h"
#include "agent/kms/http_service.h"
#include "agent/kms/json.h"
#include "agent/kms/kms_vault.h"
#include "agent/kms/kms_vault_messages.h"
#include "agent/kms/kms_vault_settings.h"
#include "agent/kms/monotonic.h"
#include "agent/kms/secret_file.h"

#define KEY_REMEMBERED_MS	600000
#define KEYS_REMEMBERED		256
#define URL_MAX				(VAULT_BASE_MAX + VAULT_PATH_MAX)
#define ROLE_ID_MAX			1024

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

	pthread_mutex_t lock;
	RememberedKey keys[KEYS_REMEMBERED];	/* under "lock" */
} VaultSession;

/* What one exchange sends; for the service's build(). */
typedef struct VaultExchange
{
	const VaultSession *vault;
	const char *method;
	char		url[URL_MAX + 1];
	PgeBuffer	body;			/* data NULL: none */
} VaultExchange;

static PgeStatus vault_open(const KmsSettings *settings, KmsSession **session, char *detail);
static void vault_perform(KmsSession *session, const KmsCall *call, KmsResult *result);
static void vault_reach(KmsSession *session, const KmsCall *call, KmsWay *way);
static void vault_close(KmsSession *session);

static PgeStatus start_service(VaultSession *vault, const KmsSettings *settings, char *detail);
static PgeStatus dispatch(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus wrap(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus unwrap(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus check_bound(VaultSession *vault, const KmsCall *call, char *detail);
static PgeStatus describe(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus create(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus rotate(VaultSession *vault, const KmsCall *call, KmsResult *result);
static PgeStatus look_after_rotation(VaultSession *vault, const KmsCall *call, int64_t before,
									 bool sent, VaultKeyInfo *key, char *detail);
static PgeStatus ask_key(VaultSession *vault, const KmsCall *call, VaultKeyInfo *key, char *detail);
static PgeStatus know_key(VaultSession *vault, const KmsCall *call, VaultKeyInfo *key, char *detail);
static void remember_key(VaultSession *vault, const char *path, const VaultKeyInfo *key);
static PgeStatus exchange(VaultSession *vault, const KmsCall *call, VaultOperation operation,
						  PgeBuffer *body, HttpAnswer *answer, char *detail);
static PgeStatus build(void *arg, const HttpCredential *credential, HttpRequest *request, char *detail);
static void fill_request(const VaultExchange *exchange, const char *token, HttpRequest *request);
static void tell_denied(VaultOperation operation, const char *path, char *detail);
static PgeBytes body_of(const HttpAnswer *answer);

static PgeStatus obtain(void *arg, const HttpLimits *limits, HttpCredential *credential, char *detail);
static PgeStatus log_in(VaultSession *vault, const HttpLimits *limits, HttpCredential *credential, char *detail);
static PgeStatus take_token(VaultSession *vault, const HttpLimits *limits, HttpCredential *credential, char *detail);
static PgeStatus renew(void *arg, const HttpLimits *limits, const HttpCredential *current,
					   HttpCredential *renewed, char *detail);
static PgeStatus verify(void *arg, const HttpLimits *limits, const HttpCredential *current, char *detail);
static bool changed(void *arg);
static PgeStatus exchange_of_token(VaultSession *vault, const HttpLimits *limits, const char *method,
								   const char *path, const char *token, PgeBuffer *body,
								   HttpAnswer *answer, char *detail);

const KmsProvider pge_kms_vault = {
	.name = "vault", .settings = pge_vault_settings,
	.parse_uri = pge_vault_parse_uri, .check = pge_vault_check,
	.open = vault_open, .perform = vault_perform, .reach = vault_reach, .close = vault_close,
};

static const HttpServiceProvider vault_service = {
	.credential = {.obtain = obtain, .renew = renew, .verify = verify, .changed = changed},
	.classify = pge_vault_classify,
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
		.provider = &vault_service,
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
	char		url[URL_MAX + 1];

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
			break;
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
	PgeStatus	status = call->dek == NULL ? PGE_INVALID : ask_key(vault, call, &key, result->detail);

	if (status == PGE_OK)
		status = pge_vault_check_key(&key, result->detail);
	if (status == PGE_OK)
		status = pge_vault_encrypt_body(pge_vault_form(&key), call->binding, call->dek, &body);
	if (status == PGE_OK)
		status = exchange(vault, call, VAULT_ENCRYPT, &body, &answer, result->detail);
	if (status == PGE_OK)
		status = pge_vault_read_wrapped(body_of(&answer), pge_vault_form(&key), &wrapped,
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
		status = exchange(vault, call, VAULT_DECRYPT, &body, &answer, result->detail);
	if (status == PGE_OK)
		status = pge_vault_read_dek(body_of(&answer), &result->dek, result->detail);
	if (status == PGE_OK && form == PGE_WRAP_VAULT_CONTEXT)
		status = check_bound(vault, call, result->detail);
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

/* Has the context counted, with which this has opened? */
static PgeStatus
check_bound(VaultSession *vault, const KmsCall *call, char *detail)
{
	VaultKeyInfo key;
	PgeStatus	status = know_key(vault, call, &key, detail);

	if (status != PGE_OK || key.derived)
		return status;
	pge_kms_detail(detail, "The key is not a derived one, so that the service opens this for any row: it was made anew, or the wrapping was forged.");
	return PGE_KEK_UNUSABLE;
}

static PgeStatus
describe(VaultSession *vault, const KmsCall *call, KmsResult *result)
{
	VaultKeyInfo key;
	PgeStatus	status = ask_key(vault, call, &key, result->detail);

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
	PgeStatus	status = ask_key(vault, call, &key, result->detail);

	if (status != PGE_OK)
		return status;
	before = key.latest_version;
	status = exchange(vault, call, VAULT_ROTATE, NULL, &answer, result->detail);
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
	status = ask_key(vault, call, key, detail);
	if (status == PGE_OK && key->latest_version > before)
		return PGE_OK;
	if (status == PGE_OK)
		pge_kms_detail(detail, "%s The key was not rotated.", why);
	else
		pge_kms_detail(detail, "The key may have been rotated: look at its version before you repeat it. %s", why);
	return PGE_UNAVAILABLE;
}

static PgeStatus
ask_key(VaultSession *vault, const KmsCall *call, VaultKeyInfo *key, char *detail)
{
	HttpAnswer	answer = {0};
	PgeStatus	status = exchange(vault, call, VAULT_DESCRIBE, NULL, &answer, detail);

	if (status == PGE_OK)
		status = pge_vault_read_key(body_of(&answer), key, detail);
	pge_http_answer_wipe(&answer);
	if (status == PGE_OK)
		remember_key(vault, call->key->path, key);
	return status;
}

static PgeStatus
know_key(VaultSession *vault, const KmsCall *call, VaultKeyInfo *key, char *detail)
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
	return known ? PGE_OK : ask_key(vault, call, key, detail);
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

/* "body" NULL: none; it stays the caller's. */
static PgeStatus
exchange(VaultSession *vault, const KmsCall *call, VaultOperation operation, PgeBuffer *body,
		 HttpAnswer *answer, char *detail)
{
	VaultExchange sent = {.vault = vault, .method = operation == VAULT_DESCRIBE ? "GET" : "POST"};
	char		path[VAULT_PATH_MAX + 1];
	const HttpServiceCall service_call = {
		.build = build,
		.arg = &sent,
		.repeatable = operation != VAULT_ROTATE,
		.deadline_ms = call->deadline_ms,
		.cancelled = call->cancelled,
	};
	PgeStatus	status = pge_vault_path(call->key->path, operation, path);

	if (status != PGE_OK)
		return status;
	snprintf(sent.url, sizeof(sent.url), "%s%s", vault->base, path);
	if (body != NULL)
		sent.body = *body;
	status = pge_http_service_call(vault->service, &service_call, answer, detail);
	if (status == PGE_DENIED)
		tell_denied(operation, path, detail);
	return status;
}

static PgeStatus
build(void *arg, const HttpCredential *credential, HttpRequest *request, char *detail)
{
	(void) detail;
	fill_request(arg, credential->token, request);
	return PGE_OK;
}

/* "token" NULL: a login. */
static void
fill_request(const VaultExchange *exchange, const char *token, HttpRequest *request)
{
	const char *namespace = pge_kms_setting(exchange->vault->instance, "namespace");
	int			n = 0;

	request->method = exchange->method;
	request->url = exchange->url;
	request->body = pge_buffer_bytes(&exchange->body);
	request->headers[n++] = (HttpHeader)
	{
		"X-Vault-Request", "true"
	};
	if (token != NULL)
		request->headers[n++] = (HttpHeader)
	{
		"X-Vault-Token", token
	};
	if (namespace != NULL)
		request->headers[n++] = (HttpHeader)
	{
		"X-Vault-Namespace", namespace
	};
	if (exchange->body.data != NULL)
		request->headers[n++] = (HttpHeader)
	{
		"Content-Type", "application/json"
	};
	request->nheaders = n;
}

static void
tell_denied(VaultOperation operation, const char *path, char *detail)
{
	pge_kms_detail(detail, "The service denies it (HTTP 403): give the agent's policy \"%s\" on %s.",
				   operation == VAULT_DESCRIBE ? "read" : "update", path);
}

static PgeBytes
body_of(const HttpAnswer *answer)
{
	return pge_bytes(answer->body, answer->len);
}

/* --- the token, on the service's thread --- */

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
		status = exchange_of_token(vault, limits, "POST", vault->login_path, NULL, &body, &answer, detail);
	if (status == PGE_OK)
		status = pge_vault_read_login(body_of(&answer), credential, detail);
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
		status = exchange_of_token(vault, limits, "GET", "auth/token/lookup-self", credential->token, NULL,
								   &answer, detail);
	if (status == PGE_OK)
		status = pge_vault_read_self(body_of(&answer), credential, detail);
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
	PgeStatus	status = exchange_of_token(vault, limits, "POST", "auth/token/renew-self", current->token,
										   NULL, &answer, detail);

	if (status == PGE_OK)
		status = pge_vault_read_login(body_of(&answer), renewed, detail);
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
	PgeStatus	status = exchange_of_token(arg, limits, "GET", "auth/token/lookup-self", current->token, NULL,
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

static PgeStatus
exchange_of_token(VaultSession *vault, const HttpLimits *limits, const char *method, const char *path,
				  const char *token, PgeBuffer *body, HttpAnswer *answer, char *detail)
{
	VaultExchange sent = {.vault = vault, .method = method};
	HttpRequest request = {.deadline_ms = limits->deadline_ms, .cancelled = limits->cancelled};
	PgeStatus	status;

	snprintf(sent.url, sizeof(sent.url), "%s%s", vault->base, path);
	if (body != NULL)
		sent.body = *body;
	fill_request(&sent, token, &request);
	status = pge_http_exchange(vault->pool, &request, answer, detail);
	return status == PGE_OK ? pge_vault_classify_login(answer, detail) : status;
}
