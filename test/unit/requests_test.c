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
	NO_URI,

	/* of groups: to the one that "odd" says */
	ONE_FAILS,
	ONE_OTHER_KEY,				/* is unwrapped */
	ONE_OTHER_WRAPPING,			/* its neighbour's, which opens */
	ONE_LEFT_OUT,				/* has no result at all */
	ONE_CANCELLED,				/* while its first call is under way */
	TURNED						/* everybody has his neighbour's result */
} Lie;

#define GROUP		7

static Lie	lie;
static int	calls;
static char said[64];			/* by whom, and what: "fU rW" */
static uint64_t deadline_ms;
static uint64_t heard_deadline_ms;
static bool heard_immediate;
static atomic_bool cancelled;
static atomic_bool group_cancelled;
static KmsSessions *sessions;
static AgentAnswer answer;
static int	odd;				/* one of a group, by the first byte of its
								 * key */
static atomic_bool *cancel_odd;
static uint8_t in_service;		/* keys up to this first byte are rewrapped by
								 * the service */
static int	strays;				/* calls of a group that do not agree */
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
	snprintf(said + len, sizeof(said) - len, "%s%c%c", len > 0 ? " " : "", instance->provider->name[0], "WUDCRXYB"[call->operation]);
	heard_immediate = call->immediate;
	memset(result, 0, sizeof(*result));
	snprintf(result->kek_version, sizeof(result->kek_version), "1");
	if (call->operation == KMS_WRAP)
	{
		memcpy(result->wrapped, call->dek->bytes, PGE_DEK_LEN);
		result->wrapped_len = lie == NO_WRAPPING ? 0 : lie == HUGE_WRAPPING ? SIZE_MAX : PGE_DEK_LEN;
	}
	if (call->operation == KMS_REWRAP)
		memcpy(result->wrapped, call->wrapped.data, result->wrapped_len = PGE_DEK_LEN);
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

static uint8_t
key_of(const KmsCall *call)
{
	return call->operation == KMS_WRAP ? call->dek->bytes[0] : call->wrapped.data[0];
}

/* What a service makes of a group, with a lie about one of it. */
static void
perform_many(KmsSession *session, const KmsCall *group, KmsResult *results, int n)
{
	char		sum[sizeof(said)];
	size_t		len = strlen(said);
	KmsResult	first;

	memcpy(sum, said, sizeof(sum));
	snprintf(sum + len, sizeof(sum) - len, "%sm%c%d", len > 0 ? " " : "", "WUDCRX"[group->operation], n);
	for (int i = 0; i < n; i++)
	{
		const KmsCall *call = &group[i];
		bool		lied_to = key_of(call) == odd;

		strays += call->operation != group->operation || call->key != group->key || call->from != group->from ||
			(call->from != NULL) != (call->operation == KMS_REWRAP) || call->deadline_ms != group->deadline_ms ||
			call->cancelled != &group_cancelled || !all_zero((const uint8_t *) &results[i], sizeof(results[i]));
		if (lied_to && lie == ONE_LEFT_OUT)
			continue;
		fake_perform(session, call, &results[i]);
		if (!lied_to)
			continue;
		if (lie == ONE_FAILS && call->operation != KMS_UNWRAP)
			results[i] = (KmsResult)
		{
			.status = PGE_DENIED, .detail = "not this one"
		};
		if (lie == ONE_OTHER_KEY && call->operation == KMS_UNWRAP)
			results[i].dek.bytes[5] ^= 1;
		if (lie == ONE_OTHER_WRAPPING)
			results[i].wrapped[0] ^= 1;
		if (lie == ONE_CANCELLED)
			atomic_store(cancel_odd, true);
	}
	first = results[0];
	for (int i = 0; lie == TURNED && i < n; i++)
		results[i] = i < n - 1 ? results[i + 1] : first;
	memcpy(said, sum, sizeof(said));
}

static bool
rewraps(const KeyUri *from, const KeyUri *to, PgeBytes wrapped)
{
	return strcmp(from->path, "many:1") == 0 && strcmp(to->path, "many:2") == 0 && wrapped.data[0] <= in_service;
}

static PgeStatus
parse_many(PgeBytes uri, KeyUri *key, char *detail)
{
	(void) detail;
	memset(key, 0, sizeof(*key));
	memcpy(key->path, uri.data, uri.len);
	return uri.len > 0 && uri.data[0] == 'm' ? PGE_OK : PGE_KEK_NOT_FOUND;
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
static const KmsProvider many = {
	.name = "many", .settings = no_settings, .parse_uri = parse_many, .format_uri = format_uri, .open = fake_open, .perform = fake_perform, .close = fake_close,
	.perform_many = perform_many, .rewraps = rewraps
};
static const KmsProvider *const fakes[] = {&fake, &remote, &many, NULL};

const KmsProvider *const *
pge_kms_providers(void)
{
	return fakes;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	for (int i = 0; fakes[i] != NULL; i++)
		if (strcmp(name, fakes[i]->name) == 0)
			return fakes[i];
	return NULL;
}

static void
perform(Lie how, const PgeFrame *request)
{
	lie = how;
	calls = 0;
	said[0] = '\0';
	pge_answer_wipe(&answer);
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
	check(is_bare_failure(PGE_DENIED) && calls == 0 && strstr(answer.detail, "append \", 00000000-0000-0000-0000-000000000000\" to its line allow_keyrings") != NULL,
		  "those of another are not, and it is named");
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

/* By name: nobody destroys by a section that does not say so. */
static void
check_destruction(void)
{
	static const uint8_t one = 1;
	PgeFrame	request = {.type = PGE_FRAME_DESTROY_KEK, .nuris = 1, .uri = {text_bytes("fake:1")}, .database = text_bytes("app")};
	const char *what;

	configure("[fake]\nallow_databases = app\n");
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && calls == 0 && strstr(answer.detail, "allow_destroy = on") != NULL, "no KEK is destroyed unless its section says so");
	request.type = PGE_FRAME_RESTORE_KEK;
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && calls == 0, "nor is that called off");
	configure("[fake]\nallow_databases = app\nallow_destroy = on\n");
	perform(HONEST, &request);
	check(answer.status == PGE_OK && strcmp(said, "fB") == 0 && answer.nkek_versions == 1 && answer.uri[0] == '\0', "RESTORE_KEK: %s", said);
	request.type = PGE_FRAME_DESTROY_KEK;
	perform(HONEST, &request);
	check(answer.status == PGE_OK && strcmp(said, "fY") == 0 && !heard_immediate && answer.nkek_versions == 0, "DESTROY_KEK: %s", said);
	request.immediate = pge_bytes(&one, 1);
	check_status(pge_request_check(&request, &what), PGE_OK, "(immediate is 1)");
	perform(HONEST, &request);
	check(answer.status == PGE_OK && calls == 1 && heard_immediate, "at once");
	request.immediate = text_bytes("0");
	check_status(pge_request_check(&request, &what), PGE_MALFORMED, "or another byte, which is none");
	request.database = text_bytes("other");
	request.immediate = pge_bytes(NULL, 0);
	perform(HONEST, &request);
	check(is_bare_failure(PGE_DENIED) && calls == 0, "not for a database that is not listed");
	request.nuris = 2;
	check_status(pge_request_check(&request, &what), PGE_MALFORMED, "one at a time");
	request.nuris = 0;
	check_status(pge_request_check(&request, &what), PGE_MALFORMED, "and one that is named");
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

/* --- groups --------------------------------------------------------------------- */

/* Each member has a key, a binding and an answer of its own. */
typedef struct Asked
{
	PgeSecret	dek;
	uint8_t		binding[PGE_BINDING_MAX];
	uint8_t		check[PGE_CHECK_VALUE_LEN];
	PgeFrame	frame;
	AgentAnswer answer;
	atomic_bool cancelled;
}			Asked;

static Asked asked[KMS_MANY_MAX];

static void
make_group(uint16_t type, int n, const char *from, const char *to)
{
	for (int i = 0; i < n; i++)
	{
		char		key_id[16];
		PgeBinding	binding = {.dek_id = (uint32_t) i + 1, .version = 1, .purpose = PGE_PURPOSE_AEAD, .algorithm = 1};
		PgeBuffer	out = {asked[i].binding, 0, sizeof(asked[i].binding)};

		(void) snprintf(key_id, sizeof(key_id), "acme %d", i);
		binding.key_id = text_bytes(key_id);
		if (pge_binding_encode(&binding, &out) != PGE_OK)
			abort();
		asked[i].dek = (PgeSecret)
		{
			{
				(uint8_t) i, (uint8_t) (i >> 8), 1
			}
		};
		asked[i].frame = (PgeFrame)
		{
			.type = (uint8_t) type, .uri =
			{
				text_bytes(from)
			}, .nuris = 1, .binding = pge_buffer_bytes(&out)
		};
		if (pge_check_value(&asked[i].dek, asked[i].frame.binding, asked[i].check) != PGE_OK)
			abort();
		if (to != NULL)
			asked[i].frame.uri[asked[i].frame.nuris++] = text_bytes(to);
		if (type == PGE_FRAME_WRAP_NEW)
			continue;
		asked[i].frame.nwrapped = 1;
		asked[i].frame.wrapped[0] = pge_bytes(asked[i].dek.bytes, PGE_DEK_LEN);
		asked[i].frame.check_value = pge_bytes(asked[i].check, sizeof(asked[i].check));
	}
}

static void
perform_group(Lie how, int n)
{
	static AgentRequest requests[KMS_MANY_MAX];

	lie = how;
	calls = strays = 0;
	said[0] = '\0';
	for (int i = 0; i < n; i++)
	{
		pge_answer_wipe(&asked[i].answer);
		atomic_store(&asked[i].cancelled, false);
		requests[i] = (AgentRequest)
		{
			&asked[i].frame, deadline_ms, &asked[i].cancelled, &asked[i].answer
		};
	}
	cancel_odd = &asked[odd < n ? odd : 0].cancelled;
	pge_requests_perform(sessions, requests, n, &group_cancelled);
	check(strays == 0, "calls of a group agree, and find their results zeroed");
}

/* Its own key, or its own wrapping, and nothing else. */
static bool
is_right(const Asked * one)
{
	const AgentAnswer *got = &one->answer;

	if (got->status != PGE_OK)
		return false;
	if (one->frame.type == PGE_FRAME_UNWRAP)
		return got->has_dek && got->nwrapped == 0 && memcmp(got->dek.bytes, one->dek.bytes, PGE_DEK_LEN) == 0;
	return !got->has_dek && got->nwrapped == 1 && got->nkek_versions == 1 && got->wrapped[0].len == PGE_DEK_LEN &&
		memcmp(got->wrapped[0].bytes, one->dek.bytes, PGE_DEK_LEN) == 0;
}

static int
count_right(int n)
{
	int			right = 0;

	for (int i = 0; i < n; i++)
		right += is_right(&asked[i]);
	return right;
}

/* All but the odd one, which has failed so, with nothing left of its key. */
static bool
all_but_one(int n, PgeStatus status)
{
	bool		bare;

	pge_answer_wipe(&answer);
	answer = asked[odd].answer;
	bare = is_bare_failure(status);
	memset(&answer, 0, sizeof(answer)); /* what it owns is still the other's */
	return bare && count_right(n) == n - 1;
}

static void
check_groups(void)
{
	configure("[many m]\nallow_keys = many:*\n");
	odd = 3;
	in_service = 0;

	make_group(PGE_FRAME_UNWRAP, GROUP, "many:1", NULL);
	perform_group(HONEST, GROUP);
	check(count_right(GROUP) == GROUP && strcmp(said, "mU7") == 0, "unwraps of a group are one call: %s", said);
	perform_group(ONE_OTHER_KEY, GROUP);
	check(all_but_one(GROUP, PGE_WRAPPING_DAMAGED), "another key for one of them is found out, and the others have theirs");
	perform_group(ONE_LEFT_OUT, GROUP);
	check(all_but_one(GROUP, PGE_WRAPPING_DAMAGED), "so is no key at all");
	perform_group(TURNED, GROUP);
	check(count_right(GROUP) == 0 && asked[0].answer.status == PGE_WRAPPING_DAMAGED, "nobody gets his neighbour's key");
	asked[odd].frame.binding.len--;
	perform_group(HONEST, GROUP);
	check(all_but_one(GROUP, PGE_MALFORMED) && strcmp(said, "mU6") == 0, "one that is malformed does not go along: %s", said);

	make_group(PGE_FRAME_REWRAP, GROUP, "many:1", "many:2");
	asked[0].dek.bytes[0] = 100;	/* 0 would be the service's */
	check_status(pge_check_value(&asked[0].dek, asked[0].frame.binding, asked[0].check), PGE_OK, "(its check value)");
	perform_group(HONEST, GROUP);
	check(count_right(GROUP) == GROUP && strcmp(said, "mU7 mW7 mU7") == 0, "a rewrap unwraps all, wraps all, unwraps all: %s", said);
	perform_group(ONE_FAILS, GROUP);
	check(all_but_one(GROUP, PGE_DENIED) && strcmp(said, "mU7 mW7 mU6") == 0, "who fails drops out: %s", said);
	check(strcmp(asked[odd].answer.detail, "not this one") == 0, "with what was said of it");
	perform_group(ONE_OTHER_KEY, GROUP);
	check(all_but_one(GROUP, PGE_WRAPPING_DAMAGED) && strcmp(said, "mU7 mW6 mU6") == 0, "nobody's key is wrapped for another: %s", said);
	perform_group(ONE_OTHER_WRAPPING, GROUP);
	check(all_but_one(GROUP, PGE_WRAPPING_DAMAGED), "a neighbour's wrapping is found out");
	perform_group(ONE_CANCELLED, GROUP);
	check(all_but_one(GROUP, PGE_AGENT_UNREACHABLE) && strcmp(said, "mU7 mW6 mU6") == 0, "who is cancelled drops out at once: %s", said);
	perform_group(TURNED, GROUP);
	check(count_right(GROUP) == 0 && strcmp(said, "mU7") == 0, "results in another order are nobody's");
}

/* What the service can take to the other key itself. */
static void
check_rewraps_of_service(void)
{
	PgeStatus	status;

	in_service = 200;
	make_group(PGE_FRAME_REWRAP, GROUP, "many:1", "many:2");
	perform_group(HONEST, GROUP);
	check(count_right(GROUP) == GROUP && strcmp(said, "mX7 mU7") == 0, "a service that can rewraps itself, and is seen to have: %s", said);
	perform_group(ONE_OTHER_WRAPPING, GROUP);
	check(all_but_one(GROUP, PGE_WRAPPING_DAMAGED), "a neighbour's wrapping is found out");
	perform_group(ONE_FAILS, GROUP);
	check(all_but_one(GROUP, PGE_DENIED) && strcmp(said, "mX7 mU6") == 0, "who fails drops out: %s", said);
	perform_group(ONE_LEFT_OUT, GROUP);
	check(all_but_one(GROUP, PGE_WRAPPING_DAMAGED), "no wrapping is none");
	perform_group(TURNED, GROUP);
	check(count_right(GROUP) == 0, "results in another order are nobody's");
	in_service = 3;
	perform_group(HONEST, GROUP);
	check(count_right(GROUP) == GROUP && strcmp(said, "mU3 mW3 mU3 mX4 mU4") == 0, "what it cannot comes by way of us: %s", said);
	in_service = 200;
	perform_group(HONEST, 1);
	check(count_right(1) == 1 && strcmp(said, "mX mU") == 0, "one alone is no group: %s", said);

	make_group(PGE_FRAME_REWRAP, 1, "many:1", "fake:2");
	perform_group(HONEST, 1);
	check(count_right(1) == 1 && strcmp(said, "mU fW fU") == 0, "of two services neither can: %s", said);
	configure("[many m]\nallow_keys = many:1\n");
	make_group(PGE_FRAME_REWRAP, 1, "many:1", "many:2");
	perform_group(HONEST, 1);
	status = asked[0].answer.status;
	check(status == PGE_INVALID && strcmp(said, "mU") == 0, "nor one with a key that is not allowed: %s", said);
	configure("[many m]\nallow_keys = many:*\n");
}

static void
check_new_keys(void)
{
	make_group(PGE_FRAME_WRAP_NEW, GROUP, "many:1", "fake:2");
	odd = 1000;
	perform_group(HONEST, GROUP);
	check(strncmp(said, "mW7 mU7 fW fW", 13) == 0, "new keys are wrapped together under each KEK: %s", said);
	for (int i = 0; i < GROUP; i++)
	{
		const AgentAnswer *got = &asked[i].answer;
		PgeSecret	dek;
		uint8_t		check_value[PGE_CHECK_VALUE_LEN];

		memcpy(dek.bytes, got->wrapped[0].bytes, PGE_DEK_LEN);
		check(got->status == PGE_OK && got->nwrapped == 2 && got->nkek_versions == 2 && got->has_check_value &&
			  memcmp(got->wrapped[1].bytes, dek.bytes, PGE_DEK_LEN) == 0, "each under both");
		check(pge_check_value(&dek, asked[i].frame.binding, check_value) == PGE_OK &&
			  memcmp(check_value, got->check_value, sizeof(check_value)) == 0, "with the check value of its own");
		check(i == 0 || memcmp(got->wrapped[0].bytes, asked[i - 1].answer.wrapped[0].bytes, PGE_DEK_LEN) != 0, "no two are one key");
	}
}

/* Of deadlines the first counts, but not for him whose time is over. */
static void
check_group_deadlines(void)
{
	AgentRequest requests[3];

	make_group(PGE_FRAME_UNWRAP, KMS_MANY_MAX, "many:1", NULL);
	odd = 1;
	deadline_ms = UINT64_MAX;
	perform_group(HONEST, KMS_MANY_MAX);
	check(count_right(KMS_MANY_MAX) == KMS_MANY_MAX && strcmp(said, "mU500") == 0, "as many as a group can have: %s", said);
	deadline_ms = 0;
	for (int i = 0; i < 3; i++)
	{
		pge_answer_wipe(&asked[i].answer);
		requests[i] = (AgentRequest)
		{
			&asked[i].frame, i == 1 ? 1 : UINT64_MAX - (uint64_t) i, &asked[i].cancelled, &asked[i].answer
		};
	}
	said[0] = '\0';
	pge_requests_perform(sessions, requests, 3, &group_cancelled);
	check(all_but_one(3, PGE_UNAVAILABLE) && strcmp(said, "mU2") == 0 && heard_deadline_ms == UINT64_MAX - 2, "who is late drops out, and the first deadline is that of all: %s", said);
	for (int i = 0; i < KMS_MANY_MAX; i++)
		pge_answer_wipe(&asked[i].answer);
}

static void
check_agreement(void)
{
	PgeFrame	a = {.type = PGE_FRAME_REWRAP, .nuris = 2, .uri = {text_bytes("many:1"), text_bytes("many:2")}};
	PgeFrame	b = a;

	check(pge_requests_agree(&a, &b), "the same of the same keys");
	b.uri[1] = text_bytes("many:3");
	check(!pge_requests_agree(&a, &b), "of another key");
	b.uri[1] = text_bytes("many:20");
	check(!pge_requests_agree(&a, &b), "of one that begins so");
	b = a;
	b.nuris = 1;
	check(!pge_requests_agree(&a, &b), "of one less");
	b.type = a.type = PGE_FRAME_ROTATE_KEK;
	b.nuris = a.nuris = 1;
	check(!pge_requests_agree(&a, &b), "what changes a KEK is asked alone");
	b.type = PGE_FRAME_UNWRAP;
	check(!pge_requests_agree(&a, &b), "something else");
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
	check_destruction();
	check_deadline();
	check_groups();
	check_rewraps_of_service();
	check_new_keys();
	check_group_deadlines();
	check_agreement();
	pge_answer_wipe(&answer);
	return check_done();
}
