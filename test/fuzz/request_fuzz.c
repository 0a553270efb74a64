/*-------------------------------------------------------------------------
 *
 * request_fuzz.c
 *	  Any frame as a backend's request, performed by a key service that answers
 *	  what it likes.
 *
 * The first bytes of the input are the service's answers (what they mean stands at
 * serve_lie), the rest is the frame.  Every answer can be sent, and one that is
 * no success carries no key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "agent/requests.h"
#include "exact_copy.h"

#define LIES	8

static uint8_t lies[LIES];
static int	calls;
static PgeSecret last_dek;

static PgeStatus
open_service(const KmsSettings *settings, KmsSession **session, char *detail)
{
	(void) settings;
	detail[0] = '\0';
	*session = NULL;
	return PGE_OK;
}

static PgeStatus
reload_service(KmsSession *session, const KmsSettings *settings)
{
	(void) session;
	(void) settings;
	return PGE_OK;
}

static void
close_service(KmsSession *session)
{
	(void) session;
}

static void
give_wrapping(const KmsCall *call, uint8_t lie, KmsResult *result)
{
	memset(result->wrapped, lie, sizeof(result->wrapped));
	result->wrapped_len = lie & 0x08 ? SIZE_MAX : lie & 0x10 ? 0 : lie & 0x20 ? PGE_WRAPPED_MAX : PGE_DEK_LEN;
	last_dek = *call->dek;
}

/*
 * Bit 0: fails; 1: unwraps to another key; 2: its strings have no end and hold
 * anything; 3 to 5: the wrapping's length.
 */
static void
serve_lie(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	uint8_t		lie = lies[calls++ % LIES];

	(void) session;
	memset(result, 0, sizeof(*result));
	result->status = lie & 0x01 ? PGE_UNAVAILABLE : PGE_OK;
	snprintf(result->kek_version, sizeof(result->kek_version), "%d", calls);
	snprintf(result->uri, sizeof(result->uri), "fake:%d", lie);
	if (call->operation == KMS_WRAP)
		give_wrapping(call, lie, result);
	if (call->operation == KMS_UNWRAP)
	{
		result->dek = last_dek;
		result->dek.bytes[0] ^= (lie & 0x02) != 0;
	}
	if (lie & 0x04)
	{
		memset(result->kek_version, lie, sizeof(result->kek_version));
		memset(result->uri, lie, sizeof(result->uri));
		memset(result->detail, lie, sizeof(result->detail));
	}
}

static PgeStatus
parse_uri(PgeBytes uri, KeyUri *key, char *detail)
{
	(void) detail;
	memset(key, 0, sizeof(*key));
	memcpy(key->path, uri.data, uri.len);
	return uri.len > 0 && uri.data[0] != '!' ? PGE_OK : PGE_KEK_NOT_FOUND;
}

static PgeStatus
format_uri(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1])
{
	(void) server;
	memcpy(uri, key->path, sizeof(key->path));
	return PGE_OK;
}

static const KmsProvider service = {
	.name = "fake", .parse_uri = parse_uri, .format_uri = format_uri, .open = open_service, .reload = reload_service, .perform = serve_lie, .close = close_service
};
static const KmsProvider *const services[] = {&service, NULL};

const KmsProvider *const *
pge_kms_providers(void)
{
	return services;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, service.name) == 0 ? &service : NULL;
}

static void
require_sendable(AgentAnswer *answer)
{
	static PgeFrame frame;
	static uint8_t bytes[PGE_FRAME_MAX];
	PgeBuffer	out = {bytes, 0, sizeof(bytes)};
	PgeFrame	back;

	pge_answer_to_frame(answer, 7, &frame);
	require(pge_frame_encode(&frame, &out) == PGE_OK);
	require(pge_frame_decode(pge_buffer_bytes(&out), &back) == PGE_OK);
	require(back.status == answer->status);
	require(answer->status == PGE_OK ||
			(back.dek.len == 0 && back.nwrapped == 0 && back.check_value.len == 0));
}

static void
perform(const PgeFrame *request)
{
	static KmsSessions *sessions;
	static AgentAnswer answer;
	static const PgeSecret none;
	static atomic_bool cancelled;
	KmsSettings nothing = {0};
	char		detail[KMS_DETAIL_LEN];
	const char *what = NULL;

	if (sessions == NULL)
		require(pge_kms_sessions_open(&nothing, "", &sessions, detail) == PGE_OK);
	if (pge_request_check(request, &what) != PGE_OK)
	{
		require(what != NULL);
		return;
	}
	calls = 0;
	last_dek = none;
	pge_answer_wipe(&answer);
	pge_request_perform(sessions, request, 0, &cancelled, &answer);
	require(answer.status == PGE_OK || memcmp(&answer.dek, &none, sizeof(none)) == 0);
	require_sendable(&answer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in;
	PgeFrame	request;

	if (size < LIES)
		return 0;
	memcpy(lies, data, LIES);
	in = exact_copy(data + LIES, size - LIES);
	if (pge_frame_decode(pge_buffer_bytes(&in), &request) == PGE_OK)
		perform(&request);
	free(in.data);
	return 0;
}
