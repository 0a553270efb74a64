/*-------------------------------------------------------------------------
 *
 * kms_aws.c
 *	  KEKs in AWS KMS.
 *
 * Every wrapping carries the binding as its encryption context, and every answer has
 * to name the key that was asked.  An alias is resolved by KMS_DESCRIBE and
 * KMS_CREATE, which name the key's ARN; nothing else takes one.
 *
 * A signature holds for five minutes around AWS's time.  If AWS does not like ours, what
 * its answer says of the time is kept for the session, and the request is signed again, once.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/kms/http_reach.h"
#include "agent/kms/http_service.h"
#include "agent/kms/json.h"
#include "agent/kms/kms_aws.h"
#include "agent/kms/kms_aws_credentials.h"
#include "agent/kms/kms_aws_errors.h"
#include "agent/kms/kms_aws_messages.h"
#include "agent/kms/kms_aws_settings.h"
#include "agent/kms/kms_aws_sign.h"
#include "agent/kms/monotonic.h"
#include "format/wrapped_key.h"

#define CLOCK_TOLERATED_S	60	/* what differs by less is not what AWS minds */
#define CLOCK_FOLLOWED_S	86400	/* nothing is signed for another day */
#define LOOKS				8	/* for what AWS does behind its answer */
#define LOOK_PAUSE_MS		250

typedef struct AwsSession
{
	const KmsInstance *instance;
	AwsEndpoint endpoint;
	HttpPool   *pool;
	HttpService *service;
	AwsCredentials *credentials;
	atomic_int_least64_t clock_offset_s;	/* AWS's time less ours */
} AwsSession;

/* What one exchange sends; for the service's build(). */
typedef struct AwsExchange
{
	AwsSession *aws;
	AwsOperation operation;
	PgeBytes	body;
	AwsSignature signature;
	int64_t		clock_offset_s; /* that it was signed with */
} AwsExchange;

/* What a rotation changes. */
typedef struct AwsRotations
{
	AwsKeyInfo	key;
	size_t		count;			/* only where the key tells no material */
} AwsRotations;

static PgeStatus aws_check(KmsInstance *instance, int *line, char *detail);
static PgeStatus aws_open(const KmsSettings *settings, KmsSession **session, char *detail);
static void aws_perform(KmsSession *session, const KmsCall *call, KmsResult *result);
static bool aws_rewraps(const KeyUri *from, const KeyUri *to, PgeBytes wrapped);
static void aws_reach(KmsSession *session, const KmsCall *call, KmsWay *way);
static void aws_close(KmsSession *session);

static PgeStatus start_service(AwsSession *aws, const KmsSettings *settings, char *detail);
static PgeStatus dispatch(AwsSession *aws, const KmsCall *call, KmsResult *result);
static PgeStatus wrap(AwsSession *aws, const KmsCall *call, KmsResult *result);
static PgeStatus unwrap(AwsSession *aws, const KmsCall *call, KmsResult *result);
static PgeStatus rewrap(AwsSession *aws, const KmsCall *call, KmsResult *result);
static PgeStatus describe(AwsSession *aws, const KmsCall *call, KmsResult *result);
static PgeStatus rotate(AwsSession *aws, const KmsCall *call, KmsResult *result);
static PgeStatus look_at_rotations(AwsSession *aws, const KmsCall *call, AwsRotations *seen, char *detail);
static PgeStatus look_after_rotation(AwsSession *aws, const KmsCall *call, const AwsRotations *before, bool answered,
									 KmsResult *result);
static bool is_rotated(const AwsRotations *before, const AwsRotations *after);
static bool pause_looking(const KmsCall *call);
static PgeStatus destroy(AwsSession *aws, const KmsCall *call, KmsResult *result);
static PgeStatus look_after_deletion(AwsSession *aws, const KmsCall *call, PgeStatus status, AwsKeyInfo *key, char *detail);
static void tell_deletion(const AwsKeyInfo *key, char *detail);
static PgeStatus restore(AwsSession *aws, const KmsCall *call, KmsResult *result);
static PgeStatus enable(AwsSession *aws, const KmsCall *call, AwsKeyInfo *key, char *detail);
static PgeStatus change(AwsSession *aws, const KmsCall *call, AwsOperation operation, int window_days, char *detail);
static bool is_to_be_deleted(const AwsKeyInfo *key);
static PgeStatus ask_changed_key(AwsSession *aws, const KmsCall *call, AwsKeyInfo *key, char *detail);
static PgeStatus ask_key(AwsSession *aws, const KmsCall *call, AwsKeyInfo *key, char *detail);
static PgeStatus exchange(AwsSession *aws, const KmsCall *call, AwsOperation operation, const PgeBuffer *body,
						  HttpAnswer *answer, char *detail);
static bool learn_clock(AwsSession *aws, int64_t signed_s, const HttpAnswer *answer, char *detail);
static PgeStatus build(void *arg, const HttpCredential *credential, HttpRequest *request, char *detail);
static void add_header(HttpRequest *request, const char *name, const char *value);
static PgeBytes body_of(const HttpAnswer *answer);

const KmsProvider pge_kms_aws = {
	.name = "aws", .settings = pge_aws_settings,
	.parse_uri = pge_aws_parse_uri, .format_uri = pge_aws_format_uri, .check = aws_check,
	.open = aws_open, .perform = aws_perform, .rewraps = aws_rewraps, .reach = aws_reach, .close = aws_close,
};

static const HttpServiceProvider aws_service = {
	.credential = {.obtain = pge_aws_credentials_obtain, .changed = pge_aws_credentials_changed},
	.classify = pge_aws_classify,
	.is_of_key = pge_aws_is_of_key,
};

static PgeStatus
aws_check(KmsInstance *instance, int *line, char *detail)
{
	PgeStatus	status = pge_aws_check_section(instance, line, detail);

	return status == PGE_OK ? pge_aws_credentials_check(instance, instance->spawned, line, detail) : status;
}

static PgeStatus
aws_open(const KmsSettings *settings, KmsSession **session, char *detail)
{
	AwsSession *aws = calloc(1, sizeof(AwsSession));
	PgeStatus	status;

	*session = NULL;
	if (aws == NULL)
		return PGE_OUT_OF_MEMORY;
	aws->instance = settings->instance;
	status = pge_aws_endpoint(aws->instance, &aws->endpoint, detail);
	if (status == PGE_OK)
		status = start_service(aws, settings, detail);
	if (status == PGE_OK)
		*session = (KmsSession *) aws;
	else
		aws_close((KmsSession *) aws);
	return status;
}

static PgeStatus
start_service(AwsSession *aws, const KmsSettings *settings, char *detail)
{
	const HttpIdentity identity = {
		.ca_file = pge_kms_setting(aws->instance, "ca_file"),
		.connections = settings->concurrency,
	};
	HttpServiceConfig config = {
		.provider = &aws_service,
		.timeout_ms = settings->timeout_ms,
	};
	PgeStatus	status = pge_aws_credentials_open(aws->instance, settings, aws->instance->spawned, aws->instance->server,
												  &aws->credentials, detail);

	if (status == PGE_OK)
		status = pge_http_pool_new(&identity, &aws->pool, detail);
	config.pool = aws->pool;
	config.arg = aws->credentials;
	return status == PGE_OK ? pge_http_service_start(&config, &aws->service, detail) : status;
}

static void
aws_close(KmsSession *session)
{
	AwsSession *aws = (AwsSession *) session;

	if (aws == NULL)
		return;
	pge_http_service_stop(aws->service);
	pge_http_pool_free(aws->pool);
	pge_aws_credentials_close(aws->credentials);
	free(aws);
}

static void
aws_perform(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	AwsSession *aws = (AwsSession *) session;

	memset(result, 0, sizeof(*result));
	result->status = dispatch(aws, call, result);
	if (result->status == PGE_OK)
		return;
	pge_secret_wipe(&result->dek, sizeof(result->dek));
	result->wrapped_len = 0;
	if (call->key != NULL)
		pge_kms_detail_append(result->detail, "(Key \"%s\" of [aws %s].)", call->key->path, aws->instance->name);
}

/* Any answer to a GET will do. */
static void
aws_reach(KmsSession *session, const KmsCall *call, KmsWay *way)
{
	const AwsSession *aws = (AwsSession *) session;
	const HttpLimits limits = {call->deadline_ms, call->cancelled};

	pge_http_reach(aws->pool, aws->service, aws->endpoint.url, &limits, way);
}

static bool
aws_rewraps(const KeyUri *from, const KeyUri *to, PgeBytes wrapped)
{
	char		unused[KMS_DETAIL_LEN];
	PgeBytes	ciphertext;

	return pge_aws_is_key_arn(from) && pge_aws_is_key_arn(to) &&
		pge_aws_read_stored(wrapped, &ciphertext, unused) == PGE_OK;
}

static PgeStatus
dispatch(AwsSession *aws, const KmsCall *call, KmsResult *result)
{
	if (call->key == NULL)
	{
		pge_kms_detail(result->detail, "Keys of AWS KMS are made by its administrators: give the key's URI, aws-kms://ARN.");
		return PGE_INVALID;
	}
	if (call->operation == KMS_DESCRIBE || call->operation == KMS_CREATE)
		return describe(aws, call, result);
	if (!pge_aws_is_key_arn(call->key))
	{
		pge_kms_detail(result->detail, "An alias or an id is taken where a KEK is made, and resolved there: name the key by its ARN.");
		return PGE_INVALID;
	}
	switch (call->operation)
	{
		case KMS_WRAP:
			return wrap(aws, call, result);
		case KMS_UNWRAP:
			return unwrap(aws, call, result);
		case KMS_REWRAP:
			return rewrap(aws, call, result);
		case KMS_ROTATE:
			return rotate(aws, call, result);
		case KMS_DESTROY:
			return destroy(aws, call, result);
		case KMS_RESTORE:
			return restore(aws, call, result);
		case KMS_DESCRIBE:
		case KMS_CREATE:
			break;
	}
	return PGE_INVALID;
}

/* Which key material wrapped it Encrypt does not tell. */
static PgeStatus
wrap(AwsSession *aws, const KmsCall *call, KmsResult *result)
{
	PgeBuffer	wrapped = {result->wrapped, 0, sizeof(result->wrapped)};
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeStatus	status = call->dek == NULL ? PGE_INVALID :
	pge_aws_encrypt_body(call->key->path, call->binding, call->dek, &body);

	if (status == PGE_OK)
		status = exchange(aws, call, AWS_ENCRYPT, &body, &answer, result->detail);
	if (status == PGE_OK)
		status = pge_aws_read_wrapped(body_of(&answer), call->key->path, &wrapped, result->detail);
	result->wrapped_len = wrapped.len;
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

static PgeStatus
unwrap(AwsSession *aws, const KmsCall *call, KmsResult *result)
{
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeBytes	ciphertext;
	PgeStatus	status = pge_aws_read_stored(call->wrapped, &ciphertext, result->detail);

	if (status == PGE_OK)
		status = pge_aws_decrypt_body(call->key->path, call->binding, ciphertext, &body);
	if (status == PGE_OK)
		status = exchange(aws, call, AWS_DECRYPT, &body, &answer, result->detail);
	if (status == PGE_OK)
		status = pge_aws_read_dek(body_of(&answer), call->key->path, &result->dek, result->kek_version, result->detail);
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

static PgeStatus
rewrap(AwsSession *aws, const KmsCall *call, KmsResult *result)
{
	PgeBuffer	wrapped = {result->wrapped, 0, sizeof(result->wrapped)};
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeBytes	ciphertext;
	PgeStatus	status = PGE_INVALID;

	if (call->from != NULL && aws_rewraps(call->from, call->key, call->wrapped))
		status = pge_aws_read_stored(call->wrapped, &ciphertext, result->detail);
	if (status == PGE_OK)
		status = pge_aws_reencrypt_body(call->from->path, call->key->path, call->binding, ciphertext, &body);
	if (status == PGE_OK)
		status = exchange(aws, call, AWS_REENCRYPT, &body, &answer, result->detail);
	if (status == PGE_OK)
		status = pge_aws_read_rewrapped(body_of(&answer), call->from->path, call->key->path, &wrapped,
										result->kek_version, result->detail);
	result->wrapped_len = wrapped.len;
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

/* The key is taken up as it is: its ARN is its name from then on. */
static PgeStatus
describe(AwsSession *aws, const KmsCall *call, KmsResult *result)
{
	AwsKeyInfo	key;
	int			len;
	PgeStatus	status = ask_key(aws, call, &key, result->detail);

	if (status == PGE_OK)
		status = pge_aws_check_key(&key, result->detail);
	if (status != PGE_OK)
		return status;
	len = snprintf(result->uri, sizeof(result->uri), "aws-kms://%s", key.arn);
	if (len < 0 || (size_t) len >= sizeof(result->uri))
		return PGE_INVALID;
	snprintf(result->kek_version, sizeof(result->kek_version), "%s", key.material);
	pge_aws_tell_key(&key, result->detail);
	result->alarm = key.expires;
	return PGE_OK;
}

static PgeStatus
rotate(AwsSession *aws, const KmsCall *call, KmsResult *result)
{
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	AwsRotations before;
	PgeStatus	status = look_at_rotations(aws, call, &before, result->detail);

	if (status == PGE_OK)
		status = pge_aws_check_key(&before.key, result->detail);
	if (status == PGE_OK)
		status = pge_aws_key_body(call->key->path, 0, &body);
	if (status != PGE_OK)
		return status;
	status = exchange(aws, call, AWS_ROTATE, &body, &answer, result->detail);
	if (status == PGE_OK || (status == PGE_UNAVAILABLE && answer.sent))
		status = look_after_rotation(aws, call, &before, status == PGE_OK, result);
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

static PgeStatus
look_at_rotations(AwsSession *aws, const KmsCall *call, AwsRotations *seen, char *detail)
{
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeStatus	status = ask_key(aws, call, &seen->key, detail);

	seen->count = 0;
	if (status != PGE_OK || seen->key.material[0] != '\0')
		return status;
	status = pge_aws_key_body(call->key->path, 0, &body);
	if (status == PGE_OK)
		status = exchange(aws, call, AWS_LIST_ROTATIONS, &body, &answer, detail);
	if (status == PGE_OK)
		status = pge_aws_read_rotations(body_of(&answer), &seen->count, detail);
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

/*
 * AWS rotates after it has answered, mostly within a second; and of an answer that got
 * lost nothing else tells whether there was one.  A key can be rotated so 25 times in
 * its life.
 */
static PgeStatus
look_after_rotation(AwsSession *aws, const KmsCall *call, const AwsRotations *before, bool answered, KmsResult *result)
{
	char		why[KMS_DETAIL_LEN];
	AwsRotations after;
	PgeStatus	status = PGE_OK;

	snprintf(why, sizeof(why), "%s", result->detail);
	for (int look = 0; status == PGE_OK && look < LOOKS; look++)
	{
		if (look > 0 && !pause_looking(call))
			break;
		status = look_at_rotations(aws, call, &after, result->detail);
		if (status == PGE_OK && is_rotated(before, &after))
		{
			snprintf(result->kek_version, sizeof(result->kek_version), "%s", after.key.material);
			return PGE_OK;
		}
	}
	if (answered)
	{
		pge_kms_detail(result->detail, "AWS KMS has taken up the rotation, and has not ended it yet.");
		result->alarm = true;
		return PGE_OK;
	}
	pge_kms_detail(result->detail, "The key may have been rotated: look at its rotations in AWS KMS (ListKeyRotations) before you repeat it. %s", why);
	return PGE_UNAVAILABLE;
}

static bool
is_rotated(const AwsRotations *before, const AwsRotations *after)
{
	return strcmp(before->key.material, after->key.material) != 0 || after->count > before->count;
}

/* false: there is no time for another look. */
static bool
pause_looking(const KmsCall *call)
{
	struct timespec step = {0, LOOK_PAUSE_MS * 1000000L};

	if ((call->deadline_ms != 0 && pge_monotonic_ms() + 2 * LOOK_PAUSE_MS >= call->deadline_ms) ||
		(call->cancelled != NULL && atomic_load(call->cancelled)))
		return false;
	(void) nanosleep(&step, NULL);
	return true;
}

/* AWS deletes no key at once; the least it waits are seven days. */
static PgeStatus
destroy(AwsSession *aws, const KmsCall *call, KmsResult *result)
{
	AwsKeyInfo	key;
	bool		seen;
	PgeStatus	status = ask_key(aws, call, &key, result->detail);

	if (status != PGE_OK)
		return status;

	/*
	 * What it shows may be old: that a deletion is on its way counts once AWS
	 * has refused another for it, or has taken it up
	 */
	seen = is_to_be_deleted(&key);
	status = change(aws, call, AWS_SCHEDULE_DELETION,
					call->immediate ? AWS_WINDOW_DAYS_MIN : AWS_WINDOW_DAYS_MAX, result->detail);
	if (seen && status == PGE_KEK_UNUSABLE)
		status = PGE_OK;
	else if (status == PGE_OK || status == PGE_UNAVAILABLE || status == PGE_KEK_UNUSABLE)
		status = look_after_deletion(aws, call, status, &key, result->detail);
	if (status == PGE_OK)
		tell_deletion(&key, result->detail);
	return status;
}

/* Whatever became of the answer, the key says whether it is to be deleted. */
static PgeStatus
look_after_deletion(AwsSession *aws, const KmsCall *call, PgeStatus status, AwsKeyInfo *key, char *detail)
{
	char		why[KMS_DETAIL_LEN];
	PgeStatus	asked;

	snprintf(why, sizeof(why), "%s", detail);
	asked = ask_changed_key(aws, call, key, detail);
	if (asked == PGE_OK && is_to_be_deleted(key))
		return PGE_OK;
	if (status == PGE_OK)
		pge_kms_detail(detail, "AWS KMS has taken up the deletion of the key, and does not show it yet: look at its state in AWS KMS, and repeat this.");
	else
		pge_kms_detail(detail, "%s%s", why, asked == PGE_OK && status == PGE_UNAVAILABLE ? " The key's deletion is not scheduled." :
					   " The key's deletion may have been scheduled: look at its state in AWS KMS.");
	return status == PGE_OK ? PGE_UNAVAILABLE : status;
}

/* The same key in another region opens what this one wrapped. */
static void
tell_deletion(const AwsKeyInfo *key, char *detail)
{
	char		date[AWS_DATE_LEN];

	pge_aws_write_date(key->deletion_s, date);
	if (strcmp(key->state, "PendingDeletion") != 0)
		pge_kms_detail(detail, "AWS KMS deletes the key some days after the last of its replicas in other regions; until then envelope_enable_kek calls that off.");
	else
		pge_kms_detail(detail, "AWS KMS deletes the key on %s; until then envelope_enable_kek calls that off.",
					   key->deletion_s > 0 ? date : "a day that it does not tell");
	if (key->multi_region)
		pge_kms_detail_append(detail, "It is a multi-Region key: in each other region where it is, it opens what it wrapped until it is deleted there, too.");
}

/*
 * A key whose deletion we have called off is disabled by that, and only then it is ours to
 * enable: who disabled any other had a reason.
 */
static PgeStatus
restore(AwsSession *aws, const KmsCall *call, KmsResult *result)
{
	AwsKeyInfo	key;
	bool		called_off = false;
	PgeStatus	status = ask_key(aws, call, &key, result->detail);

	if (status == PGE_OK && is_to_be_deleted(&key))
	{
		status = change(aws, call, AWS_CANCEL_DELETION, 0, result->detail);
		called_off = status == PGE_OK || status == PGE_UNAVAILABLE;
		/* what is not pending any more somebody else has called off */
		if (called_off || status == PGE_KEK_UNUSABLE)
			status = ask_changed_key(aws, call, &key, result->detail);
	}
	if (status == PGE_OK && called_off && strcmp(key.state, "Disabled") == 0)
		status = enable(aws, call, &key, result->detail);
	if (status == PGE_OK)
		status = pge_aws_check_key(&key, result->detail);
	if (status == PGE_KEK_UNUSABLE && strcmp(key.state, "Disabled") == 0)
		pge_kms_detail_append(result->detail, "Its deletion is not scheduled, and it was not envelope_enable_kek that left it disabled: it is enabled by who may decide that; then repeat this.");
	if (status != PGE_OK)
		return status;
	snprintf(result->kek_version, sizeof(result->kek_version), "%s", key.material);
	pge_kms_detail(result->detail, "AWS KMS keeps the key, and it is enabled.");
	return PGE_OK;
}

/* Whatever became of the answer, the key says whether it is. */
static PgeStatus
enable(AwsSession *aws, const KmsCall *call, AwsKeyInfo *key, char *detail)
{
	PgeStatus	status = change(aws, call, AWS_ENABLE, 0, detail);

	if (status == PGE_OK || status == PGE_UNAVAILABLE)
		status = ask_changed_key(aws, call, key, detail);
	if (status != PGE_OK || strcmp(key->state, "Disabled") == 0)
	{
		if (status == PGE_OK)
			pge_kms_detail(detail, "AWS KMS does not show yet that the key is enabled.");
		pge_kms_detail_append(detail, "Its deletion has been called off, and it is disabled until it is enabled in AWS KMS (EnableKey): do that, then repeat this.");
		return status == PGE_OK ? PGE_UNAVAILABLE : status;
	}
	return PGE_OK;
}

static PgeStatus
change(AwsSession *aws, const KmsCall *call, AwsOperation operation, int window_days, char *detail)
{
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_aws_key_body(call->key->path, window_days, &body);

	if (status == PGE_OK)
		status = exchange(aws, call, operation, &body, &answer, detail);
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

/* One with replicas in other regions waits for them; it opens nothing meanwhile. */
static bool
is_to_be_deleted(const AwsKeyInfo *key)
{
	return strcmp(key->state, "PendingDeletion") == 0 || strcmp(key->state, "PendingReplicaDeletion") == 0;
}

/* What AWS has done to a key it may show a little later. */
static PgeStatus
ask_changed_key(AwsSession *aws, const KmsCall *call, AwsKeyInfo *key, char *detail)
{
	const AwsKeyInfo before = *key;
	PgeStatus	status = ask_key(aws, call, key, detail);

	for (int look = 1; status == PGE_OK && strcmp(key->state, before.state) == 0 && look < LOOKS && pause_looking(call); look++)
		status = ask_key(aws, call, key, detail);
	return status;
}

static PgeStatus
ask_key(AwsSession *aws, const KmsCall *call, AwsKeyInfo *key, char *detail)
{
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_aws_key_body(pge_aws_key_id(call->key), 0, &body);

	*key = (AwsKeyInfo)
	{
		.deletion_s = 0
	};
	if (status == PGE_OK)
		status = exchange(aws, call, AWS_DESCRIBE, &body, &answer, detail);
	if (status == PGE_OK)
		status = pge_aws_read_key(body_of(&answer), key, detail);
	if (status == PGE_OK && !pge_aws_is_arn_of(key->arn, call->key, aws->instance->server))
	{
		pge_kms_detail(detail, "AWS KMS answers for another key than it was asked for.");
		status = PGE_UNAVAILABLE;
	}
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

/* --- one request, signed ------------------------------------------------------ */

static PgeStatus
exchange(AwsSession *aws, const KmsCall *call, AwsOperation operation, const PgeBuffer *body, HttpAnswer *answer,
		 char *detail)
{
	AwsExchange sent = {.aws = aws, .operation = operation, .body = pge_buffer_bytes(body)};
	const HttpServiceCall service_call = {
		.build = build,
		.arg = &sent,
		.repeatable = operation <= AWS_LIST_ROTATIONS,
		.deadline_ms = call->deadline_ms,
		.cancelled = call->cancelled,
	};
	PgeStatus	status = pge_http_service_call(aws->service, &service_call, answer, detail);

	if (status == PGE_INVALID && pge_aws_is_clock_error(answer) && learn_clock(aws, sent.clock_offset_s, answer, detail))
	{
		pge_http_answer_wipe(answer);
		status = pge_http_service_call(aws->service, &service_call, answer, detail);
	}
	if (status == PGE_INVALID && pge_aws_is_clock_error(answer))
		status = PGE_UNAUTHENTICATED;
	if (status == PGE_DENIED)
		pge_kms_detail_append(detail, "See that the policies of the key and of the agent's role allow %s on the key.", pge_aws_right(operation));
	return status;
}

/*
 * false: there is nothing to be learnt, and what was refused will be refused again.  What
 * another call has learnt since this one was signed is no reason: this one was not signed so.
 */
static bool
learn_clock(AwsSession *aws, int64_t signed_s, const HttpAnswer *answer, char *detail)
{
	int64_t		offset_s = answer->date - (int64_t) time(NULL);
	int64_t		wrong_s = offset_s - signed_s;

	if (answer->date == 0 || llabs(wrong_s) <= CLOCK_TOLERATED_S)
		return false;
	if (llabs(offset_s) > CLOCK_FOLLOWED_S)
	{
		pge_kms_detail_append(detail, "It is wrong by more than a day.");
		return false;
	}
	atomic_store(&aws->clock_offset_s, offset_s);
	return true;
}

static PgeStatus
build(void *arg, const HttpCredential *credential, HttpRequest *request, char *detail)
{
	AwsExchange *exchange = arg;
	const AwsSession *aws = exchange->aws;
	const AwsSignRequest to_sign = {
		.host = aws->endpoint.host, .region = aws->instance->server, .service = "kms",
		.content_type = AWS_CONTENT_TYPE, .target = pge_aws_target(exchange->operation), .body = exchange->body,
	};
	AwsKeys		keys;
	PgeStatus	status = pge_aws_keys_split(credential->token, &keys);

	exchange->clock_offset_s = atomic_load(&aws->clock_offset_s);
	if (status == PGE_OK)
		status = pge_aws_sign(&to_sign, &keys, (int64_t) time(NULL) + exchange->clock_offset_s, &exchange->signature);
	if (status != PGE_OK)
	{
		pge_kms_detail(detail, "The request to AWS KMS could not be signed.");
		return status;
	}
	request->method = "POST";
	request->url = aws->endpoint.url;
	request->body = exchange->body;
	add_header(request, "Content-Type", AWS_CONTENT_TYPE);
	add_header(request, "X-Amz-Target", to_sign.target);
	add_header(request, "X-Amz-Date", exchange->signature.date);
	/* (the token's last part ends where the token does) */
	if (keys.session_token.len > 0)
		add_header(request, "X-Amz-Security-Token", (const char *) keys.session_token.data);
	add_header(request, "Authorization", exchange->signature.authorization);
	return PGE_OK;
}

static void
add_header(HttpRequest *request, const char *name, const char *value)
{
	request->headers[request->nheaders++] = (HttpHeader)
	{
		name, value
	};
}

static PgeBytes
body_of(const HttpAnswer *answer)
{
	return pge_bytes(answer->body, answer->len);
}
