/*-------------------------------------------------------------------------
 *
 * requests.c
 *	  What a backend may ask, as straight-line code.
 *
 * No new wrapping leaves here before it was unwrapped again and gave the same
 * data key: a wrapping that does not open is a lost key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "agent/kms/monotonic.h"
#include "agent/requests.h"
#include "crypto/random.h"
#include "format/binding.h"

/* One request under way.  "result" is that of the last call. */
typedef struct RequestRun
{
	const KmsSessions *sessions;
	const PgeFrame *request;
	uint8_t		keyring[PGE_UUID_LEN];	/* of the binding: whose key it is */
	uint64_t	deadline_ms;
	const atomic_bool *cancelled;
	AgentAnswer *answer;
	KmsResult	result;
} RequestRun;

static void perform_unwrap(RequestRun *run);
static void perform_wrap_new(RequestRun *run);
static void perform_rewrap(RequestRun *run);
static void perform_on_kek(RequestRun *run, KmsOperation operation);
static PgeStatus check_binding(RequestRun *run);
static PgeStatus unwrap_checked(RequestRun *run, PgeSecret *dek);
static PgeStatus wrap_proved(RequestRun *run, PgeBytes uri,
							 const PgeSecret *dek);
static PgeStatus call_service(RequestRun *run, KmsOperation operation,
							  PgeBytes uri, PgeBytes wrapped,
							  const PgeSecret *dek);
static PgeStatus check_result(RequestRun *run, KmsOperation operation);
static PgeStatus check_admission(const RequestRun *run, KmsOperation operation,
								 const KmsInstance *instance, char *detail);
static PgeStatus name_key(RequestRun *run, const KmsTarget *target);
static bool is_fit_name(const char *name);
static PgeStatus fail(RequestRun *run, PgeStatus status, const char *detail);
static bool is_late(const RequestRun *run);
static void add_kek_version(RequestRun *run);

PgeStatus
pge_request_check(const PgeFrame *request, const char **what)
{
	bool		complete = false;

	switch (request->type)
	{
		case PGE_FRAME_UNWRAP:
			complete = request->nuris == 1 && request->nwrapped == 1 &&
				request->binding.len > 0 && request->check_value.len > 0;
			break;
		case PGE_FRAME_WRAP_NEW:
			complete = request->nuris >= 1 && request->binding.len > 0;
			break;
		case PGE_FRAME_REWRAP:
			complete = request->nuris == 2 && request->nwrapped == 1 &&
				request->binding.len > 0 && request->check_value.len > 0;
			break;
		case PGE_FRAME_CREATE_KEK:
			complete = request->nuris <= 1;
			break;
		case PGE_FRAME_ROTATE_KEK:
		case PGE_FRAME_DESCRIBE_KEK:
			complete = request->nuris == 1;
			break;
		default:
			*what = "This is no request.";
			return PGE_MALFORMED;
	}
	*what = "The request does not have the fields that it needs.";
	return complete ? PGE_OK : PGE_MALFORMED;
}

void
pge_request_perform(const KmsSessions *sessions, const PgeFrame *request,
					uint64_t deadline_ms, const atomic_bool *cancelled,
					AgentAnswer *answer)
{
	RequestRun	run = {
		.sessions = sessions,
		.request = request,
		.deadline_ms = deadline_ms,
		.cancelled = cancelled,
		.answer = answer,
	};

	switch (request->type)
	{
		case PGE_FRAME_UNWRAP:
			perform_unwrap(&run);
			break;
		case PGE_FRAME_WRAP_NEW:
			perform_wrap_new(&run);
			break;
		case PGE_FRAME_REWRAP:
			perform_rewrap(&run);
			break;
		case PGE_FRAME_CREATE_KEK:
			perform_on_kek(&run, KMS_CREATE);
			break;
		case PGE_FRAME_ROTATE_KEK:
			perform_on_kek(&run, KMS_ROTATE);
			break;
		case PGE_FRAME_DESCRIBE_KEK:
			perform_on_kek(&run, KMS_DESCRIBE);
			break;
		default:
			fail(&run, PGE_MALFORMED, "This is no request.");
			break;
	}
	pge_secret_wipe(&run.result, sizeof(run.result));
}

void
pge_answer_fail(AgentAnswer *answer, PgeStatus status, const char *detail)
{
	char		kept[sizeof(answer->detail)];

	/* "detail" may be the answer's own. */
	snprintf(kept, sizeof(kept), "%s", detail);
	pge_secret_wipe(answer, sizeof(*answer));
	answer->status = status;
	snprintf(answer->detail, sizeof(answer->detail), "%s", kept);
}

void
pge_answer_to_frame(AgentAnswer *answer, uint64_t ticket, PgeFrame *frame)
{
	memset(frame, 0, sizeof(*frame));
	frame->type = PGE_FRAME_ANSWER;
	frame->status = (uint16_t) answer->status;
	frame->ticket = ticket;
	pge_frame_clean_text(answer->detail);
	frame->detail = pge_bytes(answer->detail, strlen(answer->detail));
	if (answer->has_dek)
		frame->dek = pge_bytes(answer->dek.bytes, sizeof(answer->dek.bytes));
	if (answer->has_check_value)
		frame->check_value = pge_bytes(answer->check_value,
									   PGE_CHECK_VALUE_LEN);
	if (answer->uri[0] != '\0')
	{
		frame->nuris = 1;
		frame->uri[0] = pge_bytes(answer->uri, strlen(answer->uri));
	}
	frame->nwrapped = answer->nwrapped;
	for (int i = 0; i < answer->nwrapped; i++)
		frame->wrapped[i] = pge_bytes(answer->wrapped[i].bytes,
									  answer->wrapped[i].len);
	frame->nkek_versions = answer->nkek_versions;
	for (int i = 0; i < answer->nkek_versions; i++)
	{
		pge_frame_clean_text(answer->kek_version[i]);
		frame->kek_version[i] = pge_bytes(answer->kek_version[i],
										  strlen(answer->kek_version[i]));
	}
}

static void
perform_unwrap(RequestRun *run)
{
	if (check_binding(run) != PGE_OK ||
		unwrap_checked(run, &run->answer->dek) != PGE_OK)
		return;
	run->answer->has_dek = true;
}

static void
perform_wrap_new(RequestRun *run)
{
	AgentAnswer *answer = run->answer;
	PgeSecret	dek;
	PgeStatus	status;

	if (check_binding(run) != PGE_OK)
		return;
	status = pge_random_bytes(dek.bytes, sizeof(dek.bytes));
	if (status == PGE_OK)
		status = pge_check_value(&dek, run->request->binding,
								 answer->check_value);
	if (status != PGE_OK)
		fail(run, status, "The agent could not make a data key.");
	for (int i = 0; status == PGE_OK && i < run->request->nuris; i++)
		status = wrap_proved(run, run->request->uri[i], &dek);
	answer->has_check_value = status == PGE_OK;
	pge_secret_wipe(&dek, sizeof(dek));
}

static void
perform_rewrap(RequestRun *run)
{
	PgeSecret	dek;

	if (check_binding(run) == PGE_OK && unwrap_checked(run, &dek) == PGE_OK)
		(void) wrap_proved(run, run->request->uri[1], &dek);
	pge_secret_wipe(&dek, sizeof(dek));
}

static void
perform_on_kek(RequestRun *run, KmsOperation operation)
{
	AgentAnswer *answer = run->answer;
	PgeBytes	uri = run->request->uri[0]; /* {NULL, 0} if there is none */

	if (call_service(run, operation, uri, pge_bytes(NULL, 0), NULL) != PGE_OK)
		return;
	add_kek_version(run);
	if (operation != KMS_ROTATE)
		snprintf(answer->uri, sizeof(answer->uri), "%s", run->result.uri);
}

/* A data key bound to what no reader can rebuild would be a lost one. */
static PgeStatus
check_binding(RequestRun *run)
{
	PgeBinding	binding;

	if (pge_binding_decode(run->request->binding, &binding) != PGE_OK)
		return fail(run, PGE_MALFORMED, "The request's binding is malformed.");
	memcpy(run->keyring, binding.keyring, PGE_UUID_LEN);
	return PGE_OK;
}

/* Unwraps the request's wrapping; *dek is wiped unless PGE_OK. */
static PgeStatus
unwrap_checked(RequestRun *run, PgeSecret *dek)
{
	const PgeFrame *request = run->request;
	uint8_t		check[PGE_CHECK_VALUE_LEN];
	PgeStatus	status;

	status = call_service(run, KMS_UNWRAP, request->uri[0],
						  request->wrapped[0], NULL);
	if (status == PGE_OK)
	{
		status = pge_check_value(&run->result.dek, request->binding, check);
		if (status != PGE_OK)
			fail(run, status, "The agent could not compute a check value.");
	}
	if (status == PGE_OK &&
		!pge_secret_equal(check, request->check_value.data, sizeof(check)))
		status = fail(run, PGE_WRAPPING_DAMAGED,
					  "The unwrapped key is not the one that the check value belongs to.");
	if (status == PGE_OK)
		*dek = run->result.dek;
	else
		pge_secret_wipe(dek, sizeof(*dek));
	pge_secret_wipe(&run->result, sizeof(run->result));
	return status;
}

/* Adds a wrapping to the answer once it has been seen to open. */
static PgeStatus
wrap_proved(RequestRun *run, PgeBytes uri, const PgeSecret *dek)
{
	AgentAnswer *answer = run->answer;
	AnswerWrapping *wrapping = &answer->wrapped[answer->nwrapped];
	PgeStatus	status;

	status = call_service(run, KMS_WRAP, uri, pge_bytes(NULL, 0), dek);
	if (status != PGE_OK)
		return status;
	memcpy(wrapping->bytes, run->result.wrapped, run->result.wrapped_len);
	wrapping->len = run->result.wrapped_len;
	add_kek_version(run);

	status = call_service(run, KMS_UNWRAP, uri,
						  pge_bytes(wrapping->bytes, wrapping->len), NULL);
	if (status != PGE_OK)
		return status;
	if (!pge_secret_equal(run->result.dek.bytes, dek->bytes, PGE_DEK_LEN))
		return fail(run, PGE_WRAPPING_DAMAGED,
					"The key service gave another key back than it had wrapped.");
	answer->nwrapped++;
	return PGE_OK;
}

static PgeStatus
call_service(RequestRun *run, KmsOperation operation, PgeBytes uri,
			 PgeBytes wrapped, const PgeSecret *dek)
{
	char		detail[KMS_DETAIL_LEN] = "";
	KmsTarget	target;
	PgeStatus	status;
	KmsCall		call = {
		.operation = operation,
		.binding = run->request->binding,
		.wrapped = wrapped,
		.dek = dek,
		.deadline_ms = run->deadline_ms,
		.cancelled = run->cancelled,
	};

	pge_secret_wipe(&run->result, sizeof(run->result));
	if (atomic_load(run->cancelled))
		return fail(run, PGE_AGENT_UNREACHABLE, "Nobody waits for this any more.");
	if (is_late(run))
		return fail(run, PGE_UNAVAILABLE, "The request's time was over before the key service could be called.");
	status = pge_kms_sessions_find(run->sessions, uri, &target, detail);
	if (status == PGE_OK)
		status = check_admission(run, operation, target.instance, detail);
	if (status != PGE_OK)
		return fail(run, status, detail);
	pge_kms_target_perform(&target, &call, &run->result);
	status = check_result(run, operation);
	if (status == PGE_OK && (operation == KMS_DESCRIBE || operation == KMS_CREATE))
		status = name_key(run, &target);
	/* what a call that worked has to say is not for the user but for the log */
	if (status == PGE_OK && run->result.detail[0] != '\0')
		snprintf(run->answer->detail, sizeof(run->answer->detail), "%s", run->result.detail);
	run->answer->alarm = run->answer->alarm || run->result.alarm;
	return status;
}

/* A provider is ours, but what it passes on came from a service. */
static PgeStatus
check_result(RequestRun *run, KmsOperation operation)
{
	KmsResult  *result = &run->result;

	result->detail[sizeof(result->detail) - 1] = '\0';
	result->kek_version[sizeof(result->kek_version) - 1] = '\0';
	result->uri[sizeof(result->uri) - 1] = '\0';
	if (result->status != PGE_OK)
		return fail(run, result->status, result->detail);
	if (operation == KMS_WRAP &&
		(result->wrapped_len == 0 || result->wrapped_len > PGE_WRAPPED_MAX))
		return fail(run, PGE_WRAPPING_DAMAGED,
					"The key service gave no usable wrapping back.");
	if (operation == KMS_CREATE && !is_fit_name(result->uri))
		return fail(run, PGE_UNAVAILABLE, "The key service did not name the new key.");
	if (operation == KMS_DESCRIBE && result->uri[0] != '\0' && !is_fit_name(result->uri))
		return fail(run, PGE_UNAVAILABLE, "The key service's name of the key is no URI.");
	return PGE_OK;
}

/* Who describes a KEK gets nothing of it, and changes nothing. */
static PgeStatus
check_admission(const RequestRun *run, KmsOperation operation, const KmsInstance *instance, char *detail)
{
	switch (operation)
	{
		case KMS_WRAP:
		case KMS_UNWRAP:
		case KMS_REWRAP:
			return pge_kms_instance_admits(instance, run->request->database,
										   pge_bytes(run->keyring, PGE_UUID_LEN), detail);
		case KMS_CREATE:
		case KMS_ROTATE:
			return pge_kms_instance_admits_database(instance, run->request->database, detail);
		case KMS_DESCRIBE:
			return PGE_OK;
	}
	return PGE_INVALID;
}

/* What SQL stores. */
static PgeStatus
name_key(RequestRun *run, const KmsTarget *target)
{
	char		detail[KMS_DETAIL_LEN] = "";
	char		uri[PGE_KEK_URI_MAX + 1];
	PgeStatus	status = pge_kms_target_uri(target, run->result.uri, uri, detail);

	if (status != PGE_OK)
		return fail(run, status, detail);
	memcpy(run->result.uri, uri, sizeof(uri));
	return PGE_OK;
}

/* A text can be made fit for a frame; a name made so would be another's. */
static bool
is_fit_name(const char *name)
{
	char		clean[sizeof(((KmsResult *) NULL)->uri)];

	snprintf(clean, sizeof(clean), "%s", name);
	pge_frame_clean_text(clean);
	return name[0] != '\0' && strcmp(clean, name) == 0;
}

static PgeStatus
fail(RequestRun *run, PgeStatus status, const char *detail)
{
	pge_answer_fail(run->answer, status, detail);
	return status;
}

static bool
is_late(const RequestRun *run)
{
	return run->deadline_ms != 0 && pge_monotonic_ms() >= run->deadline_ms;
}

static void
add_kek_version(RequestRun *run)
{
	AgentAnswer *answer = run->answer;

	snprintf(answer->kek_version[answer->nkek_versions],
			 sizeof(answer->kek_version[0]), "%s", run->result.kek_version);
	answer->nkek_versions++;
}
