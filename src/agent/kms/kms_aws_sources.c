/*-------------------------------------------------------------------------
 *
 * kms_aws_sources.c
 *	  A credential from the environment, from STS, a container's service, IMDS.
 *
 * A credential's life is counted by the clock of who gave it out: what that says of itself
 * (Date) counts once it is far from ours.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/kms/key_memory.h"
#include "agent/kms/kms_aws_credentials_private.h"
#include "agent/kms/kms_aws_sign.h"
#include "base/secret.h"

#define SKEW_MAX_S			60
#define SKEW_BELIEVED_S		86400
#define URL_MAX				4096
#define ROLE_NAME_MAX		64
#define IMDS_TOKEN_MAX		1024
#define IMDS_TOKEN_PATH		"/latest/api/token"
#define IMDS_ROLE_PATH		"/latest/meta-data/iam/security-credentials/"
#define IMDS_TOKEN_LIFE		"21600"

static PgeStatus sign(const AwsCredentials *c, PgeBytes form, AwsSignature *signature, HttpRequest *request, char *detail);
static PgeStatus ask_with_token(AwsCredentials *c, const HttpLimits *limits, AwsRole *role, char *token, char *detail);
static PgeStatus ask_sts(AwsCredentials *c, const HttpLimits *limits, const AwsRole *role, char *detail);
static PgeStatus ask_sts_once(AwsCredentials *c, const HttpLimits *limits, const AwsRole *role, PgeBytes form,
							  int64_t *skew_s, char *detail);
static PgeStatus container_url(const AwsCredentials *c, char url[URL_MAX], char *detail);
static PgeStatus container_token(AwsCredentials *c, char *token, size_t size, char *detail);
static PgeStatus judge_container(const HttpAnswer *answer, char *detail);
static PgeStatus new_imds_token(AwsCredentials *c, const HttpLimits *limits, char token[IMDS_TOKEN_MAX], char *detail);
static PgeStatus get_from_imds(AwsCredentials *c, const HttpLimits *limits, char token[IMDS_TOKEN_MAX], bool *renewed,
							   const char *path, HttpAnswer *answer, char *detail);
static PgeStatus get_once(AwsCredentials *c, const HttpLimits *limits, const char *token, const char *path,
						  HttpAnswer *answer, char *detail);
static PgeStatus read_role(const HttpAnswer *answer, char path[URL_MAX], char *detail);
static PgeStatus take_issued(AwsCredentials *c, const HttpAnswer *answer, char *detail);
static PgeStatus service_of(AwsCredentials *c, bool metadata, HttpPool **pool, char *detail);
static int64_t skew_of(const HttpAnswer *answer);
static bool is_skewed(int64_t by_s);
static PgeStatus no_memory(char *detail);
static bool is_visible(const char *text, bool with_blanks);

/* --- the environment ------------------------------------------------------ */

PgeStatus
pge_aws_from_environment(AwsCredentials *c, char *detail)
{
	const char *id = pge_aws_environment("AWS_ACCESS_KEY_ID");
	const char *secret = pge_aws_environment("AWS_SECRET_ACCESS_KEY");
	const char *token = pge_aws_environment("AWS_SESSION_TOKEN");
	AwsKeys		keys;

	if (id == NULL && secret == NULL)
	{
		pge_kms_detail(detail, "AWS_ACCESS_KEY_ID is not in the environment of the agent.");
		return PGE_KEK_NOT_FOUND;
	}
	if (id == NULL || secret == NULL)
	{
		pge_kms_detail(detail, "The environment of the agent has %s, and no %s.", id != NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
					   id != NULL ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
		return PGE_INVALID;
	}
	keys.access_key_id = pge_bytes(id, strlen(id));
	keys.secret = pge_bytes(secret, strlen(secret));
	keys.session_token = token == NULL ? pge_bytes(NULL, 0) : pge_bytes(token, strlen(token));
	c->issued.expires_s = 0;
	if (pge_aws_keys_join(&keys, c->issued.token) == PGE_OK)
		return PGE_OK;
	pge_kms_detail(detail, "The credential in the environment of the agent has bytes that no such credential has.");
	return PGE_INVALID;
}

/* --- STS ------------------------------------------------------------------- */

PgeStatus
pge_aws_assume_role(AwsCredentials *c, const HttpLimits *limits, const AwsRole *role, char *detail)
{
	/* keys that were given out, and are over, are no reason to be refused */
	uint64_t	unused;
	PgeStatus	status = pge_aws_issued_life(&c->issued, c->issued_s, &unused, detail);

	return status == PGE_OK ? ask_sts(c, limits, role, detail) : status;
}

/* A token that is refused may have been exchanged just then. */
PgeStatus
pge_aws_assume_with_token(AwsCredentials *c, const HttpLimits *limits, AwsRole *role, PgeBytes token_file, char *detail)
{
	char	   *token;
	PgeStatus	status = pge_aws_role_check(role, detail);

	if (status == PGE_OK)
		status = pge_aws_file_set(&c->token, token_file, detail);
	if (status != PGE_OK)
		return status;

	/*
	 * orchestrators make them so, in a file system that is the container's
	 * alone
	 */
	c->token.file.may_be_public = true;
	token = pge_key_calloc(1, AWS_WEB_TOKEN_MAX + 1);
	if (token == NULL)
		return no_memory(detail);
	status = ask_with_token(c, limits, role, token, detail);
	if (status == PGE_UNAUTHENTICATED && pge_secret_file_changed(&c->token.file))
		status = ask_with_token(c, limits, role, token, detail);
	pge_secret_wipe(token, AWS_WEB_TOKEN_MAX + 1);
	free(token);
	return status;
}

static PgeStatus
ask_with_token(AwsCredentials *c, const HttpLimits *limits, AwsRole *role, char *token, char *detail)
{
	PgeStatus	status = pge_secret_file_read(&c->token.file, token, AWS_WEB_TOKEN_MAX + 1, detail);

	role->web_token = pge_bytes(token, strlen(token));
	if (status == PGE_OK)
		status = ask_sts(c, limits, role, detail);
	role->web_token = pge_bytes(NULL, 0);
	return status;
}

/* Once more if the time of the request may have been what was wrong. */
static PgeStatus
ask_sts(AwsCredentials *c, const HttpLimits *limits, const AwsRole *role, char *detail)
{
	PgeBuffer	form;
	int64_t		skew_s;
	PgeStatus	status = pge_aws_sts_form(role, &form);

	if (status != PGE_OK)
	{
		pge_kms_detail(detail, "The request for STS could not be made: %s.", pge_status_name(status));
		return status;
	}
	status = ask_sts_once(c, limits, role, pge_buffer_bytes(&form), &skew_s, detail);
	if (status == PGE_UNAUTHENTICATED && role->web_token.len == 0 && is_skewed(skew_s - c->skew_s))
	{
		c->skew_s = skew_s;
		status = ask_sts_once(c, limits, role, pge_buffer_bytes(&form), &skew_s, detail);
	}
	pge_aws_sts_form_free(&form);
	return status;
}

static PgeStatus
ask_sts_once(AwsCredentials *c, const HttpLimits *limits, const AwsRole *role, PgeBytes form, int64_t *skew_s,
			 char *detail)
{
	char		url[AWS_SERVER_MAX + 2];
	AwsSignature signature;
	HttpRequest request = {
		.method = "POST", .url = url, .nheaders = 1, .headers = {{"Content-Type", AWS_STS_CONTENT_TYPE}}, .body = form,
		.deadline_ms = limits->deadline_ms, .cancelled = limits->cancelled,
	};
	HttpAnswer	answer = {0};
	HttpPool   *pool;
	PgeStatus	status = service_of(c, false, &pool, detail);

	*skew_s = c->skew_s;
	snprintf(url, sizeof(url), "%s/", c->sts.base);
	if (status == PGE_OK && role->web_token.len == 0)
		status = sign(c, form, &signature, &request, detail);
	if (status != PGE_OK)
		return status;
	status = pge_http_exchange(pool, &request, &answer, detail);
	if (status == PGE_OK)
	{
		*skew_s = skew_of(&answer);
		c->issued_s = (int64_t) time(NULL) + *skew_s;
		status = pge_aws_sts_read(&answer, &c->next, detail);
	}
	if (status == PGE_OK)
		pge_secret_copy(&c->issued, &c->next, sizeof(c->issued));
	pge_secret_wipe(&c->next, sizeof(c->next));
	pge_http_answer_wipe(&answer);
	return status;
}

/* With the keys in "issued". */
static PgeStatus
sign(const AwsCredentials *c, PgeBytes form, AwsSignature *signature, HttpRequest *request, char *detail)
{
	AwsKeys		keys;
	const AwsSignRequest to_sign = {
		.host = c->sts.host, .region = c->region, .service = "sts", .content_type = AWS_STS_CONTENT_TYPE, .body = form,
	};
	PgeStatus	status = pge_aws_keys_split(c->issued.token, &keys);

	if (status == PGE_OK)
		status = pge_aws_sign(&to_sign, &keys, (int64_t) time(NULL) + c->skew_s, signature);
	if (status != PGE_OK)
	{
		pge_kms_detail(detail, "The request for STS could not be signed: %s.", pge_status_name(status));
		return status;
	}
	request->headers[request->nheaders++] = (HttpHeader)
	{
		"X-Amz-Date", signature->date
	};
	request->headers[request->nheaders++] = (HttpHeader)
	{
		"Authorization", signature->authorization
	};
	/* the last of the three: a NUL is behind it */
	if (keys.session_token.len > 0)
		request->headers[request->nheaders++] = (HttpHeader)
	{
		"X-Amz-Security-Token", (const char *) keys.session_token.data
	};
	return PGE_OK;
}

/* --- a container's service --------------------------------------------------- */

PgeStatus
pge_aws_from_container(AwsCredentials *c, const HttpLimits *limits, char *detail)
{
	char		url[URL_MAX];
	char	   *token;
	HttpRequest request = {
		.method = "GET", .url = url, .nheaders = 1, .headers = {{"Accept", "application/json"}},
		.deadline_ms = limits->deadline_ms, .cancelled = limits->cancelled,
	};
	HttpAnswer	answer = {0};
	HttpPool   *pool;
	PgeStatus	status = container_url(c, url, detail);

	if (status != PGE_OK)
		return status;
	token = pge_key_calloc(1, HTTP_TOKEN_MAX + 1);
	status = token == NULL ? no_memory(detail) : container_token(c, token, HTTP_TOKEN_MAX + 1, detail);
	if (status == PGE_OK)
		status = service_of(c, true, &pool, detail);
	if (status == PGE_OK && token[0] != '\0')
		request.headers[request.nheaders++] = (HttpHeader)
	{
		"Authorization", token
	};
	if (status == PGE_OK)
		status = pge_http_exchange(pool, &request, &answer, detail);
	if (status == PGE_OK)
		status = judge_container(&answer, detail);
	if (status == PGE_OK)
		status = take_issued(c, &answer, detail);
	pge_http_answer_wipe(&answer);
	if (token != NULL)
		pge_secret_wipe(token, HTTP_TOKEN_MAX + 1);
	free(token);
	return status;
}

/* Where a full one may lead http.h says: https, loopback, a metadata service. */
static PgeStatus
container_url(const AwsCredentials *c, char url[URL_MAX], char *detail)
{
	const char *relative = pge_aws_environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = pge_aws_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	int			len;

	if (relative == NULL && full == NULL)
	{
		pge_kms_detail(detail, "No container's service is named: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not in the environment of the agent.");
		return PGE_KEK_NOT_FOUND;
	}
	if (relative != NULL && (relative[0] != '/' || !is_visible(relative, false)))
	{
		pge_kms_detail(detail, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI has to be a path that begins with '/'.");
		return PGE_INVALID;
	}
	if (relative != NULL)
		len = snprintf(url, URL_MAX, "%s%s", c->container.base, relative);
	else
		len = snprintf(url, URL_MAX, "%s", full);
	if (len > 0 && len < URL_MAX)
		return PGE_OK;
	pge_kms_detail(detail, "The URI of the container's service is too long.");
	return PGE_INVALID;
}

/* "": it wants none.  The file is read each time, because it is exchanged. */
static PgeStatus
container_token(AwsCredentials *c, char *token, size_t size, char *detail)
{
	const char *file = pge_aws_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *value = c->spawned ? NULL : pge_aws_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	PgeStatus	status;

	if (file != NULL)
	{
		status = pge_aws_file_set(&c->token, pge_bytes(file, strlen(file)), detail);
		c->token.file.may_be_public = true;
		return status == PGE_OK ? pge_secret_file_read(&c->token.file, token, size, detail) : status;
	}
	if (value == NULL)
		return PGE_OK;
	if (strlen(value) >= size || !is_visible(value, true))
	{
		pge_kms_detail(detail, "AWS_CONTAINER_AUTHORIZATION_TOKEN is not one line of ASCII characters.");
		return PGE_INVALID;
	}
	memcpy(token, value, strlen(value) + 1);
	return PGE_OK;
}

static PgeStatus
judge_container(const HttpAnswer *answer, char *detail)
{
	int			status = answer->status;

	if (status == 200)
		return PGE_OK;
	if (status == 400 || status == 401 || status == 403 || status == 404)
	{
		pge_kms_detail(detail, status == 404 ? "The container's service has no credential for us (HTTP %d): does the task have a role?" :
					   "The container's service refuses us (HTTP %d): is the authorization token the right one?", status);
		return PGE_UNAUTHENTICATED;
	}
	pge_kms_detail(detail, "The container's service gives no credential (HTTP %d).", status);
	return status == 429 ? PGE_THROTTLED : PGE_UNAVAILABLE;
}

/* --- an instance's service ------------------------------------------------------ */

/* The token is asked for each time: it is seldom, and nothing is kept that could be stolen. */
PgeStatus
pge_aws_from_imds(AwsCredentials *c, const HttpLimits *limits, char *detail)
{
	char		path[URL_MAX];
	char	   *token = pge_key_calloc(1, IMDS_TOKEN_MAX);
	bool		renewed = false;
	HttpAnswer	answer = {0};
	PgeStatus	status = token == NULL ? no_memory(detail) : new_imds_token(c, limits, token, detail);

	if (status == PGE_OK)
		status = get_from_imds(c, limits, token, &renewed, IMDS_ROLE_PATH, &answer, detail);
	if (status == PGE_OK)
		status = read_role(&answer, path, detail);
	pge_http_answer_wipe(&answer);
	if (status == PGE_OK)
		status = get_from_imds(c, limits, token, &renewed, path, &answer, detail);
	if (status == PGE_OK)
		status = take_issued(c, &answer, detail);
	pge_http_answer_wipe(&answer);
	if (token != NULL)
		pge_secret_wipe(token, IMDS_TOKEN_MAX);
	free(token);
	return status;
}

static PgeStatus
new_imds_token(AwsCredentials *c, const HttpLimits *limits, char token[IMDS_TOKEN_MAX], char *detail)
{
	char		url[URL_MAX];
	HttpRequest request = {
		.method = "PUT", .url = url, .nheaders = 1, .headers = {{"X-aws-ec2-metadata-token-ttl-seconds", IMDS_TOKEN_LIFE}},
		.body = {(const uint8_t *) "", 0}, .deadline_ms = limits->deadline_ms, .cancelled = limits->cancelled,
	};
	HttpAnswer	answer = {0};
	HttpPool   *pool;
	PgeStatus	status = service_of(c, true, &pool, detail);

	snprintf(url, sizeof(url), "%s" IMDS_TOKEN_PATH, c->imds.base);
	if (status == PGE_OK)
		status = pge_http_exchange(pool, &request, &answer, detail);
	if (status == PGE_OK && answer.status != 200)
	{
		status = answer.status == 403 || answer.status == 404 || answer.status == 405 ? PGE_DENIED : PGE_UNAVAILABLE;
		pge_kms_detail(detail, answer.status == 403 ? "The instance's metadata service is switched off (HTTP 403)." :
					   status == PGE_DENIED ? "The instance's metadata service knows version 1 only (HTTP %d), which is not asked." :
					   "The instance's metadata service gives no token (HTTP %d).", answer.status);
	}
	else if (status == PGE_OK && (answer.len == 0 || answer.len >= IMDS_TOKEN_MAX || strlen((char *) answer.body) != answer.len ||
								  !is_visible((char *) answer.body, false)))
	{
		pge_kms_detail(detail, "The instance's metadata service gives something that is no token.");
		status = PGE_UNAVAILABLE;
	}
	else if (status == PGE_OK)
		memcpy(token, answer.body, answer.len + 1);
	pge_http_answer_wipe(&answer);
	return status;
}

/* 401 says that the token has expired: one new one, once. */
static PgeStatus
get_from_imds(AwsCredentials *c, const HttpLimits *limits, char token[IMDS_TOKEN_MAX], bool *renewed, const char *path,
			  HttpAnswer *answer, char *detail)
{
	PgeStatus	status = get_once(c, limits, token, path, answer, detail);

	if (status != PGE_UNAUTHENTICATED || *renewed)
		return status;
	*renewed = true;
	pge_http_answer_wipe(answer);
	status = new_imds_token(c, limits, token, detail);
	return status == PGE_OK ? get_once(c, limits, token, path, answer, detail) : status;
}

static PgeStatus
get_once(AwsCredentials *c, const HttpLimits *limits, const char *token, const char *path, HttpAnswer *answer,
		 char *detail)
{
	char		url[URL_MAX + AWS_SERVER_MAX];
	HttpRequest request = {
		.method = "GET", .url = url, .nheaders = 1, .headers = {{"X-aws-ec2-metadata-token", token}},
		.deadline_ms = limits->deadline_ms, .cancelled = limits->cancelled,
	};
	HttpPool   *pool;
	PgeStatus	status = service_of(c, true, &pool, detail);

	snprintf(url, sizeof(url), "%s%s", c->imds.base, path);
	if (status == PGE_OK)
		status = pge_http_exchange(pool, &request, answer, detail);
	if (status != PGE_OK || answer->status == 200)
		return status;
	if (answer->status == 401)
	{
		pge_kms_detail(detail, "The instance's metadata service refuses its own token (HTTP 401).");
		return PGE_UNAUTHENTICATED;
	}
	if (answer->status == 403 || answer->status == 404)
	{
		pge_kms_detail(detail, answer->status == 404 ? "The instance has no role (HTTP %d): attach an instance profile." :
					   "The instance's metadata service is switched off (HTTP %d).", answer->status);
		return PGE_DENIED;
	}
	pge_kms_detail(detail, "The instance's metadata service gives no credential (HTTP %d).", answer->status);
	return answer->status == 429 ? PGE_THROTTLED : PGE_UNAVAILABLE;
}

/* The first line is the role's name, which becomes part of a path. */
static PgeStatus
read_role(const HttpAnswer *answer, char path[URL_MAX], char *detail)
{
	const uint8_t *newline = memchr(answer->body, '\n', answer->len);
	size_t		len = newline == NULL ? answer->len : (size_t) (newline - answer->body);

	if (!pge_aws_is_word(pge_bytes(answer->body, len), ROLE_NAME_MAX) || (len <= 2 && answer->body[0] == '.'))
	{
		pge_kms_detail(detail, "The instance's metadata service names no role.");
		return PGE_UNAVAILABLE;
	}
	snprintf(path, URL_MAX, IMDS_ROLE_PATH "%.*s", (int) len, (const char *) answer->body);
	return PGE_OK;
}

/* --- what they share ------------------------------------------------------------- */

static PgeStatus
take_issued(AwsCredentials *c, const HttpAnswer *answer, char *detail)
{
	c->issued_s = (int64_t) time(NULL) + skew_of(answer);
	return pge_aws_read_issued(pge_bytes(answer->body, answer->len), &c->issued, detail);
}

/* A pool each: a metadata service is no service for others, and they have no CA of ours. */
static PgeStatus
service_of(AwsCredentials *c, bool metadata, HttpPool **pool, char *detail)
{
	HttpPool  **place = metadata ? &c->metadata : &c->services;
	const HttpIdentity identity = {
		.ca_file = metadata ? NULL : pge_kms_setting(c->instance, "ca_file"),
		.connections = 1,
		.metadata = metadata,
	};
	PgeStatus	status = *place != NULL ? PGE_OK : pge_http_pool_new(&identity, place, detail);

	*pool = *place;
	return status;
}

/* A second or two of difference say nothing; and no service makes us sign for next year. */
static int64_t
skew_of(const HttpAnswer *answer)
{
	int64_t		skew_s = answer->date == 0 ? 0 : answer->date - (int64_t) time(NULL);

	return is_skewed(skew_s) && skew_s <= SKEW_BELIEVED_S && skew_s >= -SKEW_BELIEVED_S ? skew_s : 0;
}

static bool
is_skewed(int64_t by_s)
{
	return by_s > SKEW_MAX_S || by_s < -SKEW_MAX_S;
}

static PgeStatus
no_memory(char *detail)
{
	pge_kms_detail(detail, "There was no memory for AWS's credentials.");
	return PGE_OUT_OF_MEMORY;
}

static bool
is_visible(const char *text, bool with_blanks)
{
	for (const char *p = text; *p != '\0'; p++)
		if ((*p <= ' ' && !(with_blanks && *p == ' ')) || *p >= 0x7f)
			return false;
	return true;
}
