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
#include <stdlib.h>
#include <string.h>

#include "agent/kms/monotonic.h"
#include "agent/requests.h"
#include "base/crash_point.h"
#include "crypto/random.h"
#include "format/binding.h"

/* One request of a group under way. */
typedef struct Member
{
	const AgentRequest *asked;
	uint8_t		keyring[PGE_UUID_LEN];	/* of the binding: whose key it is */
	bool		failed;			/* as its answer says */
	KmsOperation next;			/* what is to be called for it */
	PgeBytes	wrapped;		/* and with what: the request's, then the new
								 * one */
	bool		has_dek;
	PgeSecret	dek;			/* what each wrapping has to give */
} Member;

typedef struct RequestGroup
{
	const KmsSessions *sessions;
	const PgeFrame *frame;		/* type and URIs are those of all */
	const atomic_bool *cancelled;
	int			n;
	Member	   *members;
	int			ncalls;			/* the last ones, */
	Member	   *called[KMS_MANY_MAX];	/* whose they were, */
	KmsCall    *calls;
	KmsResult  *results;		/* and what came of them */
} RequestGroup;

static bool begin_group(RequestGroup *group, const AgentRequest *requests);
static void end_group(RequestGroup *group);
static void perform_unwrap(RequestGroup *group);
static void perform_wrap_new(RequestGroup *group);
static void perform_rewrap(RequestGroup *group);
static void perform_on_kek(RequestGroup *group, KmsOperation operation);
static void check_bindings(RequestGroup *group);
static void draw_key(Member *member);
static void choose_rewrapper(const RequestGroup *group, Member *member);
static void unwrap_compared(RequestGroup *group, PgeBytes uri);
static void complete_version(AgentAnswer *answer, const KmsResult *result);
static void wrap_proved(RequestGroup *group, KmsOperation operation, PgeBytes uri);
static void take_wrapping(Member *member, const KmsResult *result);
static PgeStatus compare_key(Member *member, const KmsResult *result);
static void call_service(RequestGroup *group, KmsOperation operation, PgeBytes uri);
static PgeStatus check_caller(Member *member);
static void add_call(RequestGroup *group, Member *member, const KmsCall *like);
static void perform_calls(RequestGroup *group, const KmsTarget *target);
static void end_calls(RequestGroup *group);
static void take_result(Member *member, KmsOperation operation, const KmsTarget *target, KmsResult *result);
static PgeStatus check_result(Member *member, KmsOperation operation, KmsResult *result);
static PgeStatus check_admission(Member *member, KmsOperation operation, const KmsInstance *instance);
static PgeStatus name_key(Member *member, const KmsTarget *target, KmsResult *result);
static bool is_fit_name(const char *name);
static PgeStatus fail(Member *member, PgeStatus status, const char *detail);
static bool is_late(const Member *member);
static void add_kek_version(Member *member, const KmsResult *result);

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
		case PGE_FRAME_RESTORE_KEK:
			complete = request->nuris == 1;
			break;
		case PGE_FRAME_DESTROY_KEK:
			complete = request->nuris == 1 &&
				(request->immediate.len == 0 || request->immediate.data[0] == 1);
			break;
		default:
			*what = "This is no request.";
			return PGE_MALFORMED;
	}
	*what = "The request does not have the fields that it needs.";
	return complete ? PGE_OK : PGE_MALFORMED;
}

bool
pge_requests_agree(const PgeFrame *a, const PgeFrame *b)
{
	bool		agree = a->type == b->type && a->nuris == b->nuris &&
	(a->type == PGE_FRAME_UNWRAP || a->type == PGE_FRAME_WRAP_NEW || a->type == PGE_FRAME_REWRAP);

	for (int i = 0; agree && i < a->nuris; i++)
		agree = a->uri[i].len == b->uri[i].len &&
			memcmp(a->uri[i].data, b->uri[i].data, a->uri[i].len) == 0;
	return agree;
}

void
pge_requests_perform(const KmsSessions *sessions, const AgentRequest *requests, int n,
					 const atomic_bool *cancelled)
{
	RequestGroup group = {
		.sessions = sessions,
		.frame = requests[0].frame,
		.cancelled = cancelled,
		.n = n,
	};

	if (begin_group(&group, requests))
	{
		switch (group.frame->type)
		{
			case PGE_FRAME_UNWRAP:
				perform_unwrap(&group);
				break;
			case PGE_FRAME_WRAP_NEW:
				perform_wrap_new(&group);
				break;
			case PGE_FRAME_REWRAP:
				perform_rewrap(&group);
				break;
			case PGE_FRAME_CREATE_KEK:
				perform_on_kek(&group, KMS_CREATE);
				break;
			case PGE_FRAME_ROTATE_KEK:
				perform_on_kek(&group, KMS_ROTATE);
				break;
			case PGE_FRAME_DESCRIBE_KEK:
				perform_on_kek(&group, KMS_DESCRIBE);
				break;
			case PGE_FRAME_DESTROY_KEK:
				perform_on_kek(&group, KMS_DESTROY);
				break;
			case PGE_FRAME_RESTORE_KEK:
				perform_on_kek(&group, KMS_RESTORE);
				break;
			default:
				fail(&group.members[0], PGE_MALFORMED, "This is no request.");
				break;
		}
	}
	end_group(&group);
}

void
pge_request_perform(const KmsSessions *sessions, const PgeFrame *request,
					uint64_t deadline_ms, const atomic_bool *cancelled,
					AgentAnswer *answer)
{
	const AgentRequest one = {request, deadline_ms, cancelled, answer};

	pge_requests_perform(sessions, &one, 1, cancelled);
}

void
pge_answer_wipe(AgentAnswer *answer)
{
	for (int i = 0; i < PGE_WRAPPINGS_MAX; i++)
	{
		AnswerWrapping *wrapping = &answer->wrapped[i];

		if (wrapping->bytes != NULL)
			pge_secret_wipe(wrapping->bytes, wrapping->len);
		free(wrapping->bytes);
	}
	pge_secret_wipe(answer, sizeof(*answer));
}

void
pge_answer_fail(AgentAnswer *answer, PgeStatus status, const char *detail)
{
	char		kept[sizeof(answer->detail)];

	/* "detail" may be the answer's own. */
	snprintf(kept, sizeof(kept), "%s", detail);
	pge_answer_wipe(answer);
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

/* false: memory is short. */
static bool
begin_group(RequestGroup *group, const AgentRequest *requests)
{
	size_t		n = (size_t) group->n;

	group->members = calloc(n, sizeof(*group->members));
	group->calls = calloc(n, sizeof(*group->calls));
	group->results = calloc(n, sizeof(*group->results));
	if (group->members == NULL || group->calls == NULL || group->results == NULL)
	{
		for (int i = 0; i < group->n; i++)
			pge_answer_fail(requests[i].answer, PGE_OUT_OF_MEMORY, "The agent is out of memory.");
		return false;
	}
	for (int i = 0; i < group->n; i++)
	{
		group->members[i].asked = &requests[i];
		group->members[i].wrapped = requests[i].frame->wrapped[0];	/* {NULL, 0} if there is
																	 * none */
	}
	return true;
}

static void
end_group(RequestGroup *group)
{
	if (group->results != NULL)
		pge_secret_wipe(group->results, (size_t) group->n * sizeof(*group->results));
	if (group->members != NULL)
		pge_secret_wipe(group->members, (size_t) group->n * sizeof(*group->members));
	free(group->members);
	free(group->calls);
	free(group->results);
}

static void
perform_unwrap(RequestGroup *group)
{
	check_bindings(group);
	for (int i = 0; i < group->n; i++)
		group->members[i].next = KMS_UNWRAP;
	unwrap_compared(group, group->frame->uri[0]);
	for (int i = 0; i < group->n; i++)
	{
		Member	   *member = &group->members[i];

		if (member->failed)
			continue;
		pge_secret_copy(&member->asked->answer->dek, &member->dek, sizeof(PgeSecret));
		member->asked->answer->has_dek = true;
	}
}

static void
perform_wrap_new(RequestGroup *group)
{
	check_bindings(group);
	for (int i = 0; i < group->n; i++)
		if (!group->members[i].failed)
			draw_key(&group->members[i]);
	for (int i = 0; i < group->frame->nuris; i++)
		wrap_proved(group, KMS_WRAP, group->frame->uri[i]);
	for (int i = 0; i < group->n; i++)
		if (!group->members[i].failed)
			group->members[i].asked->answer->has_check_value = true;
}

/* What the service cannot take to the other key itself comes by way of us. */
static void
perform_rewrap(RequestGroup *group)
{
	check_bindings(group);
	for (int i = 0; i < group->n; i++)
		choose_rewrapper(group, &group->members[i]);
	unwrap_compared(group, group->frame->uri[0]);
	wrap_proved(group, KMS_WRAP, group->frame->uri[1]);
	wrap_proved(group, KMS_REWRAP, group->frame->uri[1]);
	PGE_CRASH_POINT_EXIT("agent-rewrap.rewrapped");
}

/* Of one. */
static void
perform_on_kek(RequestGroup *group, KmsOperation operation)
{
	Member	   *member = &group->members[0];
	AgentAnswer *answer = member->asked->answer;

	member->next = operation;
	call_service(group, operation, group->frame->uri[0]);	/* {NULL, 0} if there is
															 * none */
	if (member->failed)
		return;
	if (operation != KMS_DESTROY)
		add_kek_version(member, &group->results[0]);
	if (operation == KMS_CREATE || operation == KMS_DESCRIBE)
		snprintf(answer->uri, sizeof(answer->uri), "%s", group->results[0].uri);
}

/* A data key bound to what no reader can rebuild would be a lost one. */
static void
check_bindings(RequestGroup *group)
{
	for (int i = 0; i < group->n; i++)
	{
		Member	   *member = &group->members[i];
		PgeBinding	binding;

		if (pge_binding_decode(member->asked->frame->binding, &binding) == PGE_OK)
			memcpy(member->keyring, binding.keyring, PGE_UUID_LEN);
		else
			fail(member, PGE_MALFORMED, "The request's binding is malformed.");
	}
}

static void
draw_key(Member *member)
{
	PgeStatus	status = pge_random_bytes(member->dek.bytes, sizeof(member->dek.bytes));

	if (status == PGE_OK)
		status = pge_check_value(&member->dek, member->asked->frame->binding, member->asked->answer->check_value);
	PGE_CRASH_POINT_STATUS("agent-wrap.drawn", status);
	if (status != PGE_OK)
		fail(member, status, "The agent could not make a data key.");
	member->has_dek = status == PGE_OK;
	member->next = KMS_WRAP;
}

static void
choose_rewrapper(const RequestGroup *group, Member *member)
{
	const PgeFrame *frame = group->frame;
	char		detail[KMS_DETAIL_LEN];
	KmsTarget	from;
	KmsTarget	to;

	member->next = KMS_UNWRAP;
	if (pge_kms_sessions_find(group->sessions, frame->uri[0], &from, detail) == PGE_OK &&
		pge_kms_sessions_find(group->sessions, frame->uri[1], &to, detail) == PGE_OK &&
		pge_kms_target_rewraps(&from, &to, member->wrapped))
		member->next = KMS_REWRAP;
}

/* Each unwraps to its key: the one that we know, or that its check value belongs to. */
static void
unwrap_compared(RequestGroup *group, PgeBytes uri)
{
	call_service(group, KMS_UNWRAP, uri);
	for (int i = 0; i < group->ncalls; i++)
		if (!group->called[i]->failed && compare_key(group->called[i], &group->results[i]) == PGE_OK)
		{
			complete_version(group->called[i]->asked->answer, &group->results[i]);
			group->called[i]->next = KMS_WRAP;
		}
	end_calls(group);
}

/* A service may tell only here by which version of its key it has wrapped. */
static void
complete_version(AgentAnswer *answer, const KmsResult *result)
{
	int			last = answer->nwrapped;	/* not proved before */

	if (answer->nkek_versions > last && answer->kek_version[last][0] == '\0')
		snprintf(answer->kek_version[last], sizeof(answer->kek_version[last]), "%s", result->kek_version);
}

/* Adds wrappings to the answers once they have been seen to open. */
static void
wrap_proved(RequestGroup *group, KmsOperation operation, PgeBytes uri)
{
	call_service(group, operation, uri);
	for (int i = 0; i < group->ncalls; i++)
		if (!group->called[i]->failed)
			take_wrapping(group->called[i], &group->results[i]);
	end_calls(group);
	PGE_CRASH_POINT_EXIT("agent-wrap.wrapped");
	unwrap_compared(group, uri);
	for (int i = 0; i < group->ncalls; i++)
		if (!group->called[i]->failed)
			group->called[i]->asked->answer->nwrapped++;
	PGE_CRASH_POINT_EXIT("agent-wrap.proved");
}

static void
take_wrapping(Member *member, const KmsResult *result)
{
	AgentAnswer *answer = member->asked->answer;
	AnswerWrapping *wrapping = &answer->wrapped[answer->nwrapped];

	wrapping->bytes = malloc(result->wrapped_len);
	if (wrapping->bytes == NULL)
	{
		fail(member, PGE_OUT_OF_MEMORY, "The agent is out of memory.");
		return;
	}
	memcpy(wrapping->bytes, result->wrapped, result->wrapped_len);
	wrapping->len = result->wrapped_len;
	add_kek_version(member, result);
	member->wrapped = pge_bytes(wrapping->bytes, wrapping->len);
	member->next = KMS_UNWRAP;
}

static PgeStatus
compare_key(Member *member, const KmsResult *result)
{
	const PgeFrame *frame = member->asked->frame;
	uint8_t		check[PGE_CHECK_VALUE_LEN];
	PgeStatus	status;

	if (member->has_dek)
		return pge_secret_equal(result->dek.bytes, member->dek.bytes, PGE_DEK_LEN) ? PGE_OK :
			fail(member, PGE_WRAPPING_DAMAGED, "The key service gave another key back than it had wrapped.");
	status = pge_check_value(&result->dek, frame->binding, check);
	PGE_CRASH_POINT_STATUS("agent-unwrap.unwrapped", status);
	if (status != PGE_OK)
		return fail(member, status, "The agent could not compute a check value.");
	if (!pge_secret_equal(check, frame->check_value.data, sizeof(check)))
		return fail(member, PGE_WRAPPING_DAMAGED,
					"The unwrapped key is not the one that the check value belongs to.");
	pge_secret_copy(&member->dek, &result->dek, sizeof(PgeSecret));
	member->has_dek = true;
	return PGE_OK;
}

/* Calls it for all members whose next call this is. */
static void
call_service(RequestGroup *group, KmsOperation operation, PgeBytes uri)
{
	char		detail[KMS_DETAIL_LEN] = "";
	KmsTarget	target;
	KmsTarget	from;
	KmsCall		call = {
		.operation = operation,
		.immediate = group->frame->immediate.len > 0,
		.cancelled = group->cancelled
	};
	PgeStatus	status = pge_kms_sessions_find(group->sessions, uri, &target, detail);

	if (status == PGE_OK && operation == KMS_REWRAP)
	{
		status = pge_kms_sessions_find(group->sessions, group->frame->uri[0], &from, detail);
		call.from = &from.key;
	}
	/* nobody was asked whether it is there */
	if (status == PGE_KEK_NOT_FOUND && (operation == KMS_DESTROY || operation == KMS_RESTORE))
		status = PGE_INVALID;
	group->ncalls = 0;
	for (int i = 0; i < group->n; i++)
	{
		Member	   *member = &group->members[i];

		if (member->failed || member->next != operation || check_caller(member) != PGE_OK)
			continue;
		if (status != PGE_OK)
			fail(member, status, detail);
		else if (check_admission(member, operation, target.instance) == PGE_OK)
			add_call(group, member, &call);
	}
	perform_calls(group, &target);
	for (int i = 0; i < group->ncalls; i++)
		take_result(group->called[i], operation, &target, &group->results[i]);
}

/* Is it still wanted, and is there time? */
static PgeStatus
check_caller(Member *member)
{
	if (atomic_load(member->asked->cancelled))
		return fail(member, PGE_AGENT_UNREACHABLE, "Nobody waits for this any more.");
	if (is_late(member))
		return fail(member, PGE_UNAVAILABLE, "The request's time was over before the key service could be called.");
	return PGE_OK;
}

static void
add_call(RequestGroup *group, Member *member, const KmsCall *like)
{
	KmsCall    *call = &group->calls[group->ncalls];

	*call = *like;
	call->binding = member->asked->frame->binding;
	if (like->operation == KMS_WRAP)
		call->dek = &member->dek;
	else
		call->wrapped = member->wrapped;
	group->called[group->ncalls++] = member;
}

/* The first deadline of those that are left is that of all. */
static void
perform_calls(RequestGroup *group, const KmsTarget *target)
{
	uint64_t	deadline_ms = 0;

	for (int i = 0; i < group->ncalls; i++)
	{
		uint64_t	own_ms = group->called[i]->asked->deadline_ms;

		if (own_ms != 0 && (deadline_ms == 0 || own_ms < deadline_ms))
			deadline_ms = own_ms;
	}
	for (int i = 0; i < group->ncalls; i++)
		group->calls[i].deadline_ms = deadline_ms;
	if (group->ncalls > 0)
		pge_kms_target_perform(target, group->calls, group->results, group->ncalls);
}

static void
end_calls(RequestGroup *group)
{
	pge_secret_wipe(group->results, (size_t) group->ncalls * sizeof(*group->results));
}

static void
take_result(Member *member, KmsOperation operation, const KmsTarget *target, KmsResult *result)
{
	AgentAnswer *answer = member->asked->answer;
	PgeStatus	status = check_result(member, operation, result);

	if (status == PGE_OK && (operation == KMS_DESCRIBE || operation == KMS_CREATE))
		status = name_key(member, target, result);
	/* what a call that worked has to say is not for the user but for the log */
	if (status == PGE_OK && result->detail[0] != '\0')
		snprintf(answer->detail, sizeof(answer->detail), "%s", result->detail);
	answer->alarm = answer->alarm || result->alarm;
}

/* A provider is ours, but what it passes on came from a service. */
static PgeStatus
check_result(Member *member, KmsOperation operation, KmsResult *result)
{
	result->detail[sizeof(result->detail) - 1] = '\0';
	result->kek_version[sizeof(result->kek_version) - 1] = '\0';
	result->uri[sizeof(result->uri) - 1] = '\0';
	if (result->status != PGE_OK)
		return fail(member, result->status, result->detail);
	if ((operation == KMS_WRAP || operation == KMS_REWRAP) &&
		(result->wrapped_len == 0 || result->wrapped_len > PGE_WRAPPED_MAX))
		return fail(member, PGE_WRAPPING_DAMAGED,
					"The key service gave no usable wrapping back.");
	if (operation == KMS_CREATE && !is_fit_name(result->uri))
		return fail(member, PGE_UNAVAILABLE, "The key service did not name the new key.");
	if (operation == KMS_DESCRIBE && result->uri[0] != '\0' && !is_fit_name(result->uri))
		return fail(member, PGE_UNAVAILABLE, "The key service's name of the key is no URI.");
	return PGE_OK;
}

/* Who describes a KEK gets nothing of it, and changes nothing. */
static PgeStatus
check_admission(Member *member, KmsOperation operation, const KmsInstance *instance)
{
	const PgeFrame *frame = member->asked->frame;
	char		detail[KMS_DETAIL_LEN] = "";
	PgeStatus	status = PGE_INVALID;

	switch (operation)
	{
		case KMS_WRAP:
		case KMS_UNWRAP:
		case KMS_REWRAP:
			status = pge_kms_instance_admits(instance, frame->database,
											 pge_bytes(member->keyring, PGE_UUID_LEN), detail);
			break;
		case KMS_CREATE:
		case KMS_ROTATE:
			status = pge_kms_instance_admits_database(instance, frame->database, detail);
			break;
		case KMS_DESCRIBE:
			status = PGE_OK;
			break;
		case KMS_DESTROY:
		case KMS_RESTORE:
			status = pge_kms_instance_admits_destruction(instance, frame->database, detail);
			break;
	}
	return status == PGE_OK ? PGE_OK : fail(member, status, detail);
}

/* What SQL stores. */
static PgeStatus
name_key(Member *member, const KmsTarget *target, KmsResult *result)
{
	char		detail[KMS_DETAIL_LEN] = "";
	char		uri[PGE_KEK_URI_MAX + 1];
	PgeStatus	status = pge_kms_target_uri(target, result->uri, uri, detail);

	if (status != PGE_OK)
		return fail(member, status, detail);
	memcpy(result->uri, uri, sizeof(uri));
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
fail(Member *member, PgeStatus status, const char *detail)
{
	pge_answer_fail(member->asked->answer, status, detail);
	member->failed = true;
	return status;
}

static bool
is_late(const Member *member)
{
	return member->asked->deadline_ms != 0 && pge_monotonic_ms() >= member->asked->deadline_ms;
}

static void
add_kek_version(Member *member, const KmsResult *result)
{
	AgentAnswer *answer = member->asked->answer;

	snprintf(answer->kek_version[answer->nkek_versions],
			 sizeof(answer->kek_version[0]), "%s", result->kek_version);
	answer->nkek_versions++;
}
