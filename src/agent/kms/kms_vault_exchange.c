/*-------------------------------------------------------------------------
 *
 * kms_vault_exchange.c
 *	  Sends requests to Vault: where to, with which headers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "agent/kms/kms_vault_private.h"

/* What one exchange sends; for the service's build(). */
typedef struct VaultExchange
{
	const VaultSession *vault;
	const char *method;
	char		url[VAULT_URL_MAX + 1];
	PgeBuffer	body;			/* data NULL: none */
} VaultExchange;

static PgeStatus build(void *arg, const HttpCredential *credential, HttpRequest *request, char *detail);
static void fill_request(const VaultExchange *exchange, const char *token, HttpRequest *request);
static const char *method_of(VaultOperation operation);
static void tell_denied(VaultOperation operation, const char *path, char *detail);

PgeStatus
pge_vault_exchange(VaultSession *vault, const KmsCall *call, VaultOperation operation, PgeBuffer *body,
				   HttpAnswer *answer, char *detail)
{
	VaultExchange sent = {.vault = vault, .method = method_of(operation)};
	char		path[VAULT_PATH_MAX + 1];
	const HttpServiceCall service_call = {
		.build = build,
		.arg = &sent,
		.repeatable = operation != VAULT_ROTATE && operation != VAULT_DELETE,
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

static const char *
method_of(VaultOperation operation)
{
	if (operation == VAULT_DESCRIBE)
		return "GET";
	return operation == VAULT_DELETE ? "DELETE" : "POST";
}

static void
tell_denied(VaultOperation operation, const char *path, char *detail)
{
	pge_kms_detail(detail, "The service denies it (HTTP 403): give the agent's policy \"%s\" on %s.",
				   operation == VAULT_DESCRIBE ? "read" : operation == VAULT_DELETE ? "delete" : "update", path);
}

PgeBytes
pge_vault_body(const HttpAnswer *answer)
{
	return pge_bytes(answer->body, answer->len);
}

PgeStatus
pge_vault_exchange_of_token(VaultSession *vault, const HttpLimits *limits, const char *method, const char *path,
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
