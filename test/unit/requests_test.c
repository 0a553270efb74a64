/*-------------------------------------------------------------------------
 *
 * requests_test.c
 *	  The agent's requests on a key service that lies.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <sys/stat.h>
#include <unistd.h>

#include "agent/requests.h"
#include "check.h"
#include "format/binding.h"

typedef enum Lie
{
	HONEST,
	OTHER_KEY,					/* unwraps to another key */
	NO_WRAPPING,
	HUGE_WRAPPING,
	NO_STRING_ENDS,
	FAILS_TO_UNWRAP,
	NO_URI
} Lie;

static Lie	lie;
static int	calls;
static char said[64];			/* by whom, and what: "fU rW" */
static uint64_t deadline_ms;
static uint64_t heard_deadline_ms;
static atomic_bool cancelled;
static KmsSessions *sessions;
static AgentAnswer answer;
static uint8_t binding_bytes[PGE_BINDING_MAX];
static PgeBytes bound;

static PgeStatus
fake_open(const KmsSettings *settings, KmsSession **session, char *detail)
{
	detail[0] = '\0';
	*session = (KmsSession *) settings->instance;
	return PGE_OK;
}

static PgeStatus
fake_reload(KmsSession *session, const KmsSettings *settings)
{
	(void) session;
	(void) settings;
	return PGE_OK;
}

static void
fake_close(KmsSession *session)
{
	(void) session;
}

static void
fake_perform(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	const KmsInstance *instance = (const KmsInstance *) session;
	size_t		len = strlen(said);

	calls++;
	heard_deadline_ms = call->deadline_ms;
	snprintf(said + len, sizeof(said) - len, "%s%c%c", len > 0 ? " " : "", instance->provider->name[0], "WUDCR"[call->operation]);
	memset(result, 0, sizeof(*result));
	snprintf(result->kek_version, sizeof(result->kek_version), "1");
	if (call->operation == KMS_WRAP)
	{
		memcpy(result->wrapped, call->dek->bytes, PGE_DEK_LEN);
		result->wrapped_len = lie == NO_WRAPPING ? 0 : lie == HUGE_WRAPPING ? SIZE_MAX : PGE_DEK_LEN;
	}
	if (call->operation == KMS_UNWRAP)
	{
		memcpy(result->dek.bytes, call->wrapped.data, PGE_DEK_LEN);
		result->dek.bytes[31] ^= lie == OTHER_KEY;
	}
	if (call->operation == KMS_CREATE && lie != NO_URI)
		snprintf(result->uri, sizeof(result->uri), "fake:1");
	if (lie == NO_STRING_ENDS)
	{
		memset(result->kek_version, '1', sizeof(result->kek_version));
		memset(result->uri, '\n', sizeof(result->uri));
		memset(result->detail, '\x1b', sizeof(result->detail));
	}
	if (lie == FAILS_TO_UNWRAP && call->operation == KMS_UNWRAP)
	{
		result->status = PGE_UNAVAILABLE;
		snprintf(result->detail, sizeof(result->detail), "gone");
	}
}

static PgeStatus
parse_uri(PgeBytes uri, KeyUri *key, char *detail)
{
	(void) detail;
	memset(key, 0, sizeof(*key));
	memcpy(key->path, uri.data, uri.len);
	return uri.len > 0 && uri.data[0] == 'f' ? PGE_OK : PGE_KEK_NOT_FOUND;
}

static PgeStatus
parse_remote(PgeBytes uri, KeyUri *key, char *detail)
{
	(void) detail;
	memset(key, 0, sizeof(*key));
	memcpy(key->path, uri.data, uri.len);
	if (uri.len > 7 && uri.data[7] == '@')
		memcpy(key->instance, "r", 2);
	return uri.len > 0 && uri.data[0] == 'r' ? PGE_OK : PGE_KEK_NOT_FOUND;
}

static PgeStatus
format_uri(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1])
{
	(void) server;
	memcpy(uri, key->path, sizeof(key->path));
	return PGE_OK;
}

/* What names its instance grows too long. */
static PgeStatus
format_remote(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1])
{
	return key->instance[0] != '\0' ? PGE_TOO_LARGE : format_uri(key, server, uri);
}

static const char *const no_settings[] = {NULL};
static const KmsProvider fake = {
	.name = "fake", .settings = no_settings, .parse_uri = parse_uri, .format_uri = format_uri, .open = fake_open, .reload = fake_reload, .perform = fake_perform, .close = fake_close
};
static const KmsProvider remote = {
	.name = "remote", .settings = no_settings, .parse_uri = parse_remote, .format_uri = format_remote, .open = fake_open, .perform = fake_perform, .close = fake_close
};
static const KmsProvider *const fakes[] = {&fake, &remote, NULL};

const KmsProvider *const *
pge_kms_providers(void)
{
	return fakes;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, fake.name) == 0 ? &fake : strcmp(name, remote.name) == 0 ? &remote : NULL;
}

static void
perform(Lie how, const PgeFrame *request)
{
	lie = how;
	calls = 0;
	said[0] = '\0';
	memset(&answer, 0, sizeof(answer));
	pge_request_perform(sessions, request, deadline_ms, &cancelled, &answer);
}

/* Nothing but status and detail is left, and no key in any corner. */
static bool
is_bare_failure(PgeStatus status)
{
	AgentAnswer bare;

	memset(&bare, 0, sizeof(bare));
	bare.status = status;
	memcpy(bare.detail, answer.detail, sizeof(bare.detail));
	return answer.status == status && answer.detail[0] != '\0' &&
		memcmp(&bare, &answer, sizeof(bare)) == 0;
}

static void
check_wrap_new(void)
{
	PgeFrame	request = {
		.type = PGE_FRAME_WRAP_NEW, .nuris = 2, .uri = {text_bytes("fake:1"), text_bytes("fake:2")}, .binding = bound
	};
	uint8_t		first[PGE_DEK_LEN];

	perform(HONEST, &request);
	check(answer.status == PGE_OK && answer.nwrapped == 2 && answer.nkek_versions == 2 && answer.has_check_value, "WRAP_NEW under two KEKs");
	check(calls == 4, "unwraps each wrapping again");
	check(!answer.has_dek && all_zero(answer.dek.bytes, PGE_DEK_LEN), "and keeps the key to itself");
	check(memcmp(answer.wrapped[0].bytes, answer.wrapped[1].bytes, PGE_DEK_LEN) == 0, "both are of one key");
	memcpy(first, answer.wrapped[0].bytes, PGE_DEK_LEN);
	perform(HONEST, &request);
	check(memcmp(first, answer.wrapped[0].bytes, PGE_DEK_LEN) != 0, "the next one is another");
	perform(OTHER_KEY, &request);
	check(is_bare_failure(PGE_WRAPPING_DAMAGED), "a service that gives another key back than it wrapped is found out");
	perform(FAILS_TO_UNWRAP, &request);
	check(is_bare_failure(PGE_UNAVAILABLE) && calls == 2, "so is one that does not open what it wrapped");
	perform(NO_WRAPPING, &request);
	check(is_bare_failure(PGE_WRAPPING_DAMAGED), "an empty wrapping");
	perform(HUGE_WRAPPING, &request);
	check(is_bare_failure(PGE_WRAPPING_DAMAGED), "a length past the result's room");
	request.binding.len--;
	perform(HONEST, &request);
	check(is_bare_failure(PGE_MALFORMED) && calls == 0, "a malformed binding reaches no service");
}

static void
check_rewrap(void)
{
	PgeSecret	dek = {{7, 7, 7}};
	uint8_t		check[PGE_CHECK_VALUE_LEN];
	PgeFrame	request = {
		.type = PGE_FRAME_REWRAP, .nuris = 2, .uri = {text_bytes("fake:1"), text_bytes("fake:2")}, .binding = bound,
		.nwrapped = 1, .wrapped = {pge_bytes(dek.bytes, PGE_DEK_LEN)},
		.check_value = pge_bytes(check, sizeof(check))
	};

	check_status(pge_check_value(&dek, bound, check), PGE_OK, "(a check value)");
	perform(HONEST, &request);
	check(answer.status == PGE_OK && answer.nwrapped == 1 && calls == 3 && !answer.has_dek, "REWRAP unwraps, wraps, unwraps");
	perform(OTHER_KEY, &request);
	check(is_bare_failure(PGE_WRAPPING_DAMAGED) && calls == 1, "a wrong key is not wrapped again");
	request.type = PGE_FRAME_UNWRAP;
	request.nuris = 1;
	perform(OTHER_KEY, &request);
	check(is_bare_failure(PGE_WRAPPING_DAMAGED), "nor given away by UNWRAP");
	perform(HONEST, &request);
	check(answer.has_dek && memcmp(answer.dek.bytes, dek.bytes, PGE_DEK_LEN) == 0, "the right one is");
	pge_answer_fail(&answer, PGE_UNAVAILABLE, "later");
	check(is_bare_failure(PGE_UNAVAILABLE), "until the answer fails");
	atomic_store(&cancelled, true);
	perform(HONEST, &request);
	check(calls == 0 && answer.status != PGE_OK, "nothing is called for nobody");
	atomic_store(&cancelled, false);
}

static void
check_texts(void)
{
	PgeFrame	request = {.type = PGE_FRAME_CREATE_KEK};
	PgeFrame	frame;
	PgeBuffer	out = new_buffer(PGE_FRAME_MAX);

	perform(NO_URI, &request);
	check(answer.status == PGE_UNAVAILABLE, "a new KEK without a name is none");
	perform(HONEST, &request);
	pge_answer_to_frame(&answer, 5, &frame);
	check_status(pge_frame_encode(&frame, &out), PGE_OK, "CREATE_KEK's answer fits into a frame");
	check(frame.ticket == 5 && frame.nuris == 1 && frame.nkek_versions == 1, "with name and version");
	perform(NO_STRING_ENDS, &request);
	check(is_bare_failure(PGE_UNAVAILABLE), "a name that no frame takes is none");
	request.type = PGE_FRAME_DESCRIBE_KEK;
	request.nuris = 1;
	request.uri[0] = text_bytes("fake:1");
	perform(HONEST, &request);
	check(answer.status == PGE_OK && strcmp(answer.uri, "fake:1") == 0, "a KEK that is described has its canonical URI");
	perform(NO_STRING_ENDS, &request);
	check(is_bare_failure(PGE_UNAVAILABLE), "or one that the service gives it, but not any");
	request.type = PGE_FRAME_ROTATE_KEK;
	perform(NO_STRING_ENDS, &request);
	check(strlen(answer.kek_version[0]) <= PGE_KEK_VERSION_MAX, "strings without an end are cut");
	pge_answer_to_frame(&answer, 5, &frame);
	check(frame.detail.len > 0 && frame.detail.data[0] == '?', "control characters do not get through");
	free(out.data);
}

static void
configure(const char *text)
{
	static const KmsSettings nothing;
	char		path[] = "/tmp/requests_test.XXXXXX";
	char		detail[KMS_DETAIL_LEN];
	int			fd = mkstemp(path);

	if (fd < 0 || fchmod(fd, 0600) != 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text) || close(fd) != 0)
		abort();
	pge_kms_sessions_release(sessions);
	check_status(pge_kms_sessions_open(&nothing, path, &sessions, detail), PGE_OK, "(sessions)");
	check(sessions->problem[0] == '\0', "(as configured) %s", sessions->problem);
	(void) unlink(path);
}

/* Two services, of which one is for one database only. */
static void
check_two_services(void)
{
	PgeSecret	dek = {{7, 7, 7}};
	uint8_t		check[PGE_CHECK_VALUE_LEN];
	PgeFrame	request = {
		.type = PGE_FRAME_REWRAP, .nuris = 2, .uri = {text_bytes("fake:1"), text_bytes("remote:1")}, .binding = bound,
		.nwrapped = 1, .wrapped = {pge_bytes(dek.bytes, PGE_DEK_LEN)},
		.check_value = pge_bytes(check, sizeof(check)), .database = text_bytes("app")
	};

	configure("[remote r]\nallow_keys = remote:*\nallow_databases = app\n");
	check_status(pge_check_value(&dek, bound, check), PGE_OK, "(a check value)");
	perform(HONEST, &request);
	check(answer.status == PGE_OK && strcmp(said, "fU rW rU") == 0, "REWRAP asks the old service, then the new one: %s", said);
	request.database = text_bytes("other");
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && strcmp(said, "fU") == 0, "which is not asked for a database that it is not for");
	check(strstr(answer.detail, "[remote r]") != NULL && strstr(answer.detail, "allow_databases") != NULL, "as the detail says");
	request.database = pge_bytes(NULL, 0);
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED), "nor for one without a name");
	request.uri[1] = text_bytes("rest:1");
	perform(HONEST, &request);
	check(is_bare_failure(PGE_INVALID) && strstr(answer.detail, "rest:1") != NULL, "nor for a key that is not allowed");
	request.uri[1] = text_bytes("nowhere:1");
	perform(HONEST, &request);
	check(is_bare_failure(PGE_KEK_NOT_FOUND), "what no service has is not found");
	request = (PgeFrame)
	{
		.type = PGE_FRAME_WRAP_NEW, .nuris = 2, .uri =
		{
			text_bytes("fake:1"), text_bytes("remote:1")
		}, .binding = bound, .database = text_bytes("app")
	};
	perform(HONEST, &request);
	check(answer.status == PGE_OK && strcmp(said, "fW fU rW rU") == 0, "WRAP_NEW under a KEK of each");
	request = (PgeFrame)
	{
		.type = PGE_FRAME_DESCRIBE_KEK, .nuris = 1, .uri =
		{
			text_bytes("remote:1")
		}
	};
	perform(HONEST, &request);
	check(answer.status == PGE_OK && strcmp(answer.uri, "remote:1") == 0, "a KEK that is described has a name to be stored");
	request.uri[0] = text_bytes("remote:@");
	perform(HONEST, &request);
	check(is_bare_failure(PGE_INVALID), "or an error, if that is too long: %s", answer.detail);
}

static void
check_admission(void)
{
	PgeFrame	request = {.type = PGE_FRAME_WRAP_NEW, .nuris = 1, .uri = {text_bytes("fake:1")}, .binding = bound, .database = text_bytes("app")};
	PgeFrame	unwrap = {.type = PGE_FRAME_UNWRAP, .nuris = 1, .uri = {text_bytes("fake:1")}, .binding = bound, .database = text_bytes("app"),
	.nwrapped = 1, .wrapped = {text_bytes("a wrapping")}, .check_value = bound};

	configure("[fake]\nallow_keyrings = 00000000-0000-0000-0000-000000000000\n");
	perform(HONEST, &request);
	check(answer.status == PGE_OK, "the data keys of a keyring that is listed are wrapped");
	configure("[fake]\nallow_keyrings = 00000000-0000-0000-0000-000000000001\n");
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && calls == 0 && strstr(answer.detail, "allow_keyrings") != NULL, "those of another are not");
	perform(HONEST, &unwrap);
	check(is_bare_failure(PGE_DENIED) && calls == 0, "nor unwrapped");
	configure("[fake]\nallow_databases = apps, ap\n");
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && calls == 0, "a database's name is a whole one");
	request.type = PGE_FRAME_DESCRIBE_KEK;
	perform(HONEST, &request);
	check(answer.status == PGE_OK, "who asks what a KEK is gets no key");
	request.type = PGE_FRAME_ROTATE_KEK;
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && calls == 0, "who is not admitted rotates none");
	request.type = PGE_FRAME_CREATE_KEK;
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && calls == 0, "takes up none");
	request.nuris = 0;
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && calls == 0, "and leaves no orphan");
	request.database = text_bytes("ap");
	perform(HONEST, &request);
	check(answer.status == PGE_OK && calls == 1, "who is makes one");
}

static void
check_deadline(void)
{
	PgeFrame	request = {.type = PGE_FRAME_WRAP_NEW, .nuris = 1, .uri = {text_bytes("fake:1")}, .binding = bound};

	configure("");
	deadline_ms = UINT64_MAX;
	perform(HONEST, &request);
	check(answer.status == PGE_OK && heard_deadline_ms == UINT64_MAX, "a call is told when it has to end");
	deadline_ms = 1;
	perform(HONEST, &request);
	check(is_bare_failure(PGE_UNAVAILABLE) && calls == 0, "after that nothing is begun");
	deadline_ms = 0;
	perform(HONEST, &request);
	check(answer.status == PGE_OK && heard_deadline_ms == 0, "it may be unknown");
}

int
main(void)
{
	PgeBinding	binding = {.dek_id = 7, .version = 1, .purpose = PGE_PURPOSE_AEAD, .algorithm = 1, .key_id = text_bytes("acme")};
	PgeBuffer	out = {binding_bytes, 0, sizeof(binding_bytes)};

	check_status(pge_binding_encode(&binding, &out), PGE_OK, "(a binding)");
	bound = pge_buffer_bytes(&out);
	configure("");
	check_wrap_new();
	check_rewrap();
	check_texts();
	check_two_services();
	check_admission();
	check_deadline();
	return check_done();
}
