/*-------------------------------------------------------------------------
 *
 * kms_vault_batch_messages_test.c
 *	  What is said to Vault of many DEKs at once, and what is taken of its answers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/json.h"
#include "agent/kms/kms_vault_batch_messages.h"
#include "check.h"
#include "vault_answers.h"

#define ITEMS	3

static char detail[KMS_DETAIL_LEN];
static const PgeSecret deks[ITEMS] = {
	SECRET_OF('A'), SECRET_OF('B'), SECRET_OF('C')
};
static KmsCall calls[KMS_MANY_MAX];
static KmsResult results[KMS_MANY_MAX];
static VaultItem items[KMS_MANY_MAX];

/* All of them, with nothing in their results. */
static void
prepare_many(PgeWrapForm form, int n)
{
	for (int i = 0; i < n; i++)
	{
		calls[i] = (KmsCall)
		{
			.binding = text_bytes("binding bytes"), .dek = &deks[i % ITEMS]
		};
		memset(&results[i], 0, sizeof(results[i]));
		items[i] = (VaultItem)
		{
			.call = &calls[i], .form = form, .ciphertext = text_bytes("vault:v1:xx"), .result = &results[i]
		};
	}
}

static void
prepare(PgeWrapForm form)
{
	prepare_many(form, 10);
}

/* No key, no wrapping, and why. */
static bool
has_nothing(const KmsResult *result)
{
	return result->status != PGE_OK && all_zero(result->dek.bytes, PGE_DEK_LEN) && result->wrapped_len == 0 &&
		result->detail[0] != '\0';
}

/* Of an answer that means nothing nothing is taken. */
static bool
is_untouched(int n)
{
	KmsResult	none;

	memset(&none, 0, sizeof(none));
	for (int i = 0; i < n; i++)
		if (memcmp(&results[i], &none, sizeof(none)) != 0)
			return false;
	return true;
}

static void
check_body(VaultOperation operation, PgeWrapForm form, int n, const char *expected, const char *claim)
{
	PgeBuffer	body;

	prepare(form);
	check_status(pge_vault_batch_body(operation, items, n, &body), expected != NULL ? PGE_OK : PGE_INVALID, "%s", claim);
	check(expected == NULL ? body.data == NULL : same_bytes(pge_buffer_bytes(&body), text_bytes(expected)), "%s: its bytes", claim);
	pge_json_text_free(&body);
}

static void
check_bodies(void)
{
	PgeBuffer	body;

	check_body(VAULT_ENCRYPT, PGE_WRAP_VAULT_CONTEXT, 2,
			   "{\"batch_input\":[{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"context\":\"YmluZGluZyBieXRlcw==\",\"reference\":\"0\"},"
			   "{\"plaintext\":\"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=\",\"context\":\"YmluZGluZyBieXRlcw==\",\"reference\":\"1\"}]}", "wraps by a derived key");
	check_body(VAULT_ENCRYPT, PGE_WRAP_VAULT_AAD, 1,
			   "{\"batch_input\":[{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"associated_data\":\"YmluZGluZyBieXRlcw==\",\"reference\":\"0\"}]}", "a wrap by another");
	check_body(VAULT_DECRYPT, PGE_WRAP_VAULT_AAD, 1,
			   "{\"batch_input\":[{\"ciphertext\":\"vault:v1:xx\",\"associated_data\":\"YmluZGluZyBieXRlcw==\",\"reference\":\"0\"}]}", "an unwrap");
	check_body(VAULT_REWRAP, PGE_WRAP_VAULT_CONTEXT, 1,
			   "{\"batch_input\":[{\"ciphertext\":\"vault:v1:xx\",\"context\":\"YmluZGluZyBieXRlcw==\",\"reference\":\"0\"}]}", "a rewrap");
	check_body(VAULT_REWRAP, PGE_WRAP_VAULT_AAD, 1, NULL, "no rewrap that would leave the binding out");
	check_body(VAULT_ENCRYPT, PGE_WRAP_LOCAL, 1, NULL, "no wrap without a place for the binding");
	check_body(VAULT_ENCRYPT, PGE_WRAP_VAULT_AAD, 0, NULL, "no empty batch");
	prepare(PGE_WRAP_VAULT_CONTEXT);
	items[1].form = PGE_WRAP_VAULT_AAD;
	check_status(pge_vault_batch_body(VAULT_DECRYPT, items, 2, &body), PGE_INVALID, "a context in all items or in none");
	check(body.data == NULL, "and no body");
	prepare(PGE_WRAP_VAULT_CONTEXT);
	calls[1].binding = pge_bytes(NULL, 0);
	check_status(pge_vault_batch_body(VAULT_DECRYPT, items, 2, &body), PGE_INVALID, "never without a binding");
	prepare(PGE_WRAP_VAULT_CONTEXT);
	calls[1].dek = NULL;
	check_status(pge_vault_batch_body(VAULT_ENCRYPT, items, 2, &body), PGE_INVALID, "nor without a data key");
	check_status(pge_vault_batch_body(VAULT_DECRYPT, items, KMS_MANY_MAX + 1, &body), PGE_INVALID, "nor too many");
}

/* Of the recorded answers: what became of each of the first items. */
typedef struct Outcome
{
	const char *answer;
	VaultOperation operation;
	int			n;
	PgeStatus	statuses[7];
} Outcome;

static const Outcome outcomes[] = {
	{"batch_encrypt_ctx", VAULT_ENCRYPT, 3, {PGE_OK, PGE_OK, PGE_OK}},
	{"batch_decrypt_ctx", VAULT_DECRYPT, 3, {PGE_OK, PGE_OK, PGE_OK}},
	{"batch_decrypt_aad", VAULT_DECRYPT, 3, {PGE_OK, PGE_OK, PGE_OK}},
	{"batch_rewrap", VAULT_REWRAP, 3, {PGE_OK, PGE_OK, PGE_OK}},
	{"batch_decrypt_one_bad", VAULT_DECRYPT, 3, {PGE_OK, PGE_WRAPPING_DAMAGED, PGE_OK}},
	{"batch_rewrap_one_bad", VAULT_REWRAP, 3, {PGE_OK, PGE_WRAPPING_DAMAGED, PGE_OK}},
	{"batch_decrypt_all_bad", VAULT_DECRYPT, 2, {PGE_WRAPPING_DAMAGED, PGE_WRAPPING_DAMAGED}},
	{"batch_decrypt_garbage", VAULT_DECRYPT, 7, {PGE_WRAPPING_DAMAGED, PGE_OK, PGE_WRAPPING_DAMAGED, PGE_WRAPPING_DAMAGED, PGE_WRAPPING_DAMAGED, PGE_UNAVAILABLE, PGE_WRAPPING_DAMAGED}},
	{"batch_rewrap_garbage", VAULT_REWRAP, 7, {PGE_WRAPPING_DAMAGED, PGE_OK, PGE_WRAPPING_DAMAGED, PGE_WRAPPING_DAMAGED, PGE_UNAVAILABLE, PGE_WRAPPING_DAMAGED, PGE_WRAPPING_DAMAGED}},
	{"batch_decrypt_too_old", VAULT_DECRYPT, 3, {PGE_KEK_UNUSABLE, PGE_KEK_UNUSABLE, PGE_KEK_UNUSABLE}},
	{"batch_rewrap_too_old", VAULT_REWRAP, 3, {PGE_KEK_UNUSABLE, PGE_KEK_UNUSABLE, PGE_KEK_UNUSABLE}},
	{"batch_decrypt_soft", VAULT_DECRYPT, 2, {PGE_KEK_UNUSABLE, PGE_KEK_UNUSABLE}},
	{"batch_rewrap_soft", VAULT_REWRAP, 2, {PGE_KEK_UNUSABLE, PGE_KEK_UNUSABLE}},
	{"batch_enc_badb64", VAULT_ENCRYPT, 2, {PGE_UNAVAILABLE, PGE_OK}},
	{"batch_enc_rsa", VAULT_ENCRYPT, 2, {PGE_KEK_UNUSABLE, PGE_KEK_UNUSABLE}},
};

static void
check_outcome(const Outcome *outcome)
{
	HttpAnswer	answer = recorded(outcome->answer);

	prepare(PGE_WRAP_VAULT_CONTEXT);
	check_status(pge_vault_classify(&answer, detail), PGE_OK, "%s is an answer", outcome->answer);
	check_status(pge_vault_read_batch(&answer, outcome->operation, items, outcome->n, detail), PGE_OK, "%s is read", outcome->answer);
	for (int i = 0; i < outcome->n; i++)
	{
		check_status(results[i].status, outcome->statuses[i], "%s: item %d", outcome->answer, i);
		if (results[i].status != PGE_OK)
			check(has_nothing(&results[i]), "%s: item %d has nothing but a sentence: %s", outcome->answer, i, results[i].detail);
		else if (outcome->operation == VAULT_DECRYPT)
			check(memcmp(results[i].dek.bytes, deks[i].bytes, PGE_DEK_LEN) == 0, "%s: item %d has its own data key", outcome->answer, i);
		else
			check(results[i].wrapped_len == 3 + 89 && memcmp(results[i].wrapped, "\1\3\0vault:v", 10) == 0 &&
				  results[i].wrapped[10] == (uint8_t) results[i].kek_version[0], "%s: item %d has a wrapping of version %s", outcome->answer, i, results[i].kek_version);
	}
	free(answer.body);
}

static void
check_refusals(void)
{
	static const struct
	{
		const char *answer;
		PgeStatus	status;
		bool		too_much;
	}			refusals[] = {
		{"batch_too_complex", PGE_INVALID, true}, {"batch_too_large", PGE_INVALID, true}, {"batch_mixed_context", PGE_INVALID, false},
		{"batch_missing_key_rewrap", PGE_KEK_NOT_FOUND, false}, {"batch_decrypt_one_bad", PGE_OK, false}, {"sealed", PGE_UNAVAILABLE, false},
	};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
	{
		HttpAnswer	answer = recorded(refusals[i].answer);

		check_status(pge_vault_classify(&answer, detail), refusals[i].status, "%s", refusals[i].answer);
		check(pge_vault_is_too_much(&answer) == refusals[i].too_much, "%s: too much at once?", refusals[i].answer);
		free(answer.body);
	}
}

/* With "%s" for the three items, at this HTTP status. */
static PgeStatus
read_text(int http_status, VaultOperation operation, const char *format, const char *in, int n)
{
	static char body[8192];
	HttpAnswer	answer;

	snprintf(body, sizeof(body), format, in);
	answer = answer_of(http_status, body);
	prepare(PGE_WRAP_VAULT_CONTEXT);
	return pge_vault_read_batch(&answer, operation, items, n, detail);
}

#define ENVELOPE	"{\"request_id\":\"x\",\"data\":{\"batch_results\":[%s]}}"
#define GOOD(ref)	"{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"reference\":\"" ref "\"}"
#define OLD_GOOD	"{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\"}"

/* What is not the answer to these two items is none at all. */
static void
check_places(void)
{
	static const char *const wrong[] = {
		GOOD("1") "," GOOD("0"), GOOD("0"), GOOD("0") "," GOOD("1") "," GOOD("2"), GOOD("0") "," GOOD("0"), GOOD("0") "," GOOD("2"), GOOD("0") "," GOOD(""),
		GOOD("0") "," GOOD("01"), GOOD("0") "," GOOD("1 "), GOOD("0") "," GOOD("1\\u0000"), GOOD("0") ",{\"plaintext\":\"x\",\"reference\":1}",
		GOOD("0") ",{\"plaintext\":\"x\",\"reference\":null}", GOOD("0") ",null", GOOD("0") ",[]", GOOD("0") ",\"x\"", GOOD("0") ",[" GOOD("1") "]", "",
		OLD_GOOD "," GOOD("0"), GOOD("0") "," GOOD("1") "," "null", GOOD("0") ",{\"error\":\"x\",\"reference\":\"0\"}",
		GOOD("0") ",{\"plaintext\":\"QQ==\",\"reference\":\"1\",\"reference\":\"1\"}", GOOD("0") ",{\"plaintext\":\"QQ==\",\"plaintext\":\"QQ==\",\"reference\":\"1\"}",
	};
	static const char *const shapes[] = {
		"{\"data\":{\"batch_results\":{\"0\":%s}}}", "{\"data\":[%s]}", "{\"batch_results\":[%s]}", "[%s]", "{\"data\":{\"batch_results\":[[%s]]}}",
		"{\"data\":null,\"auth\":{\"batch_results\":[%s]}}", "{\"data\":{\"batch_results\":[%s]},\"data\":{}}", "{\"data\":{\"batch_result\":[%s]}}",
	};
	const char *two = GOOD("0") "," GOOD("1");

	check_status(read_text(200, VAULT_DECRYPT, ENVELOPE, two, 2), PGE_OK, "(two are read)");
	check(results[0].status == PGE_OK && results[1].status == PGE_OK, "(and are good)");
	check(read_text(200, VAULT_DECRYPT, ENVELOPE, OLD_GOOD "," OLD_GOOD, 2) == PGE_OK && results[1].status == PGE_OK, "a service that knows no references");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check(read_text(200, VAULT_DECRYPT, ENVELOPE, wrong[i], 2) == PGE_UNAVAILABLE && is_untouched(2), "not of these two: %s", wrong[i]);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		check(read_text(200, VAULT_DECRYPT, shapes[i], two, 2) == PGE_UNAVAILABLE && is_untouched(2), "no batch: %s", shapes[i]);
}

/* An item that is wrong, and its neighbours good. */
static void
check_item(VaultOperation operation, const char *members, PgeStatus expected)
{
	const char *good = operation == VAULT_DECRYPT ? "\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\"" : "\"ciphertext\":\"vault:v1:AAAA\",\"key_version\":1";
	char		three[2048];

	snprintf(three, sizeof(three), "{%s,\"reference\":\"0\"},{%s%s\"reference\":\"1\"},{%s,\"reference\":\"2\"}", good, members, members[0] != '\0' ? "," : "", good);
	check_status(read_text(200, operation, ENVELOPE, three, 3), PGE_OK, "an item: %s", members);
	check(results[1].status == expected && (expected == PGE_OK || has_nothing(&results[1])), "is \"%s\": %s", pge_status_name(expected), results[1].detail);
	check(results[0].status == PGE_OK && results[2].status == PGE_OK, "and its neighbours are good");
}

static void
check_items(void)
{
	static const char *const no_deks[] = {
		"", "\"plaintext\":null", "\"plaintext\":7", "\"plaintext\":\"!\"", "\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE\"", "\"ciphertext\":\"x\",\"key_version\":1",
		"\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"error\":null", "\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"error\":\"\"",
		"\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"error\":\"canary\"", "\"error\":[\"invalid ciphertext\"],\"x\":1", "\"error\":7",
	};
	static const char *const no_wrappings[] = {
		"", "\"ciphertext\":\"vault:v1:AAAA\"", "\"ciphertext\":\"vault:v2:AAAA\",\"key_version\":1", "\"ciphertext\":\"vault:v1:AAAA\",\"key_version\":0",
		"\"ciphertext\":\"vault:v1:AAAA\",\"key_version\":\"1\"", "\"ciphertext\":\"vault:v1:A A\",\"key_version\":1", "\"ciphertext\":\"\",\"key_version\":1",
		"\"ciphertext\":\"vault:v1:AAAA\",\"key_version\":1,\"error\":\"canary\"", "\"plaintext\":\"QQ==\"", "\"ciphertext\":7,\"key_version\":1", "\"ciphertext\":\"vault:v1:AAAA\",\"key_version\":1.5",
	};

	for (size_t i = 0; i < sizeof(no_deks) / sizeof(no_deks[0]); i++)
		check_item(VAULT_DECRYPT, no_deks[i], i == 9 ? PGE_WRAPPING_DAMAGED : PGE_UNAVAILABLE);
	check_item(VAULT_DECRYPT, "\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==\"", PGE_WRAPPING_DAMAGED);
	check_item(VAULT_DECRYPT, "\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\"", PGE_WRAPPING_DAMAGED);
	check_item(VAULT_DECRYPT, "\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"error\":\"cipher: message authentication failed\"", PGE_WRAPPING_DAMAGED);
	for (size_t i = 0; i < sizeof(no_wrappings) / sizeof(no_wrappings[0]); i++)
	{
		check_item(VAULT_ENCRYPT, no_wrappings[i], PGE_UNAVAILABLE);
		check_item(VAULT_REWRAP, no_wrappings[i], PGE_UNAVAILABLE);
	}
	check(strstr(results[1].detail, "canary") == NULL, "the service's words are not passed on");
}

/* HTTP 400 and 207 say nothing against the items; a 500 must have one that is worth it. */
static void
check_statuses(void)
{
	static const struct
	{
		int			http_status;
		const char *items;
		PgeStatus	status;
	}			answers[] = {
		{400, OLD_GOOD, PGE_OK}, {207, OLD_GOOD, PGE_OK}, {500, OLD_GOOD, PGE_OK}, {400, "{\"error\":\"x\"}", PGE_OK}, {500, "{\"error\":\"x\"}", PGE_UNAVAILABLE},
		{500, "{\"error\":\"x\"}," OLD_GOOD, PGE_OK}, {500, "{\"error\":\"encryption key not found\"}", PGE_UNAVAILABLE},
		{500, "{\"error\":\"cipher: message authentication failed\"}", PGE_OK}, {500, "", PGE_UNAVAILABLE}, {500, "null", PGE_UNAVAILABLE}, {500, "7,\"x\"", PGE_UNAVAILABLE},
		{206, OLD_GOOD, PGE_UNAVAILABLE}, {404, OLD_GOOD, PGE_UNAVAILABLE}, {403, OLD_GOOD, PGE_UNAVAILABLE}, {503, OLD_GOOD, PGE_UNAVAILABLE}, {413, OLD_GOOD, PGE_INVALID},
	};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
	{
		char		body[1024];
		HttpAnswer	answer;

		snprintf(body, sizeof(body), ENVELOPE, answers[i].items);
		answer = answer_of(answers[i].http_status, body);
		check_status(pge_vault_classify(&answer, detail), answers[i].status, "HTTP %d %s", answers[i].http_status, answers[i].items);
	}
	check(read_text(500, VAULT_DECRYPT, ENVELOPE, "{\"error\":\"encryption key not found\"}," OLD_GOOD, 2) == PGE_OK && results[0].status == PGE_UNAVAILABLE &&
		  results[1].status == PGE_OK, "what a 500 says of a key is not concluded from");
}

/* Whatever is missing of it. */
static void
check_cut(const char *name, VaultOperation operation)
{
	HttpAnswer	answer = recorded(name);
	size_t		whole = answer.len;
	bool		holds = true;

	/* (its last byte is a line's end) */
	for (answer.len = 0; answer.len + 1 < whole; answer.len++)
	{
		uint8_t    *exact = malloc(answer.len + 1);
		HttpAnswer	cut = {.status = answer.status, .body = exact, .len = answer.len};

		if (exact == NULL)
			abort();
		memcpy(exact, answer.body, answer.len);
		exact[answer.len] = 0;
		prepare(PGE_WRAP_VAULT_CONTEXT);
		holds = holds && pge_vault_read_batch(&cut, operation, items, 3, detail) == PGE_UNAVAILABLE && is_untouched(3);
		free(exact);
	}
	check(holds, "%s, cut off at each of %zu bytes", name, whole);
	free(answer.body);
}

/* 500 as long as Transit makes them, and longer ones. */
static void
check_sizes(void)
{
	static uint8_t binding[PGE_BINDING_MAX];
	static char longest[VAULT_CIPHERTEXT_MAX];
	PgeBuffer	body;
	size_t		len;

	prepare_many(PGE_WRAP_VAULT_CONTEXT, KMS_MANY_MAX);
	memset(longest, 'A', sizeof(longest));
	for (int i = 0; i < KMS_MANY_MAX; i++)
	{
		calls[i].binding = pge_bytes(binding, sizeof(binding));
		items[i].ciphertext = pge_bytes(longest, 89);
	}
	check_status(pge_vault_batch_body(VAULT_REWRAP, items, KMS_MANY_MAX, &body), PGE_OK, "500 of the longest bindings");
	check(body.len < HTTP_ANSWER_MAX / 3, "are sent in %zu bytes", body.len);
	pge_json_text_free(&body);
	items[7].ciphertext = pge_bytes(longest, sizeof(longest));
	check(pge_vault_batch_body(VAULT_REWRAP, items, KMS_MANY_MAX, &body) == PGE_OK, "with one of the longest ciphertexts");
	pge_json_text_free(&body);

	len = (size_t) snprintf((char *) text, sizeof(text), "{\"data\":{\"batch_results\":[");
	for (int i = 0; i < KMS_MANY_MAX; i++)
		len += (size_t) snprintf((char *) text + len, sizeof(text) - len, "%s{\"ciphertext\":\"vault:v1:%.1000s\",\"key_version\":1,\"reference\":\"%d\"}", i > 0 ? "," : "", longest, i);
	len += (size_t) snprintf((char *) text + len, sizeof(text) - len, "]}}");
	{
		HttpAnswer	answer = {.status = 200, .body = text, .len = len};

		prepare_many(PGE_WRAP_VAULT_CONTEXT, KMS_MANY_MAX);
		check_status(pge_vault_read_batch(&answer, VAULT_REWRAP, items, KMS_MANY_MAX, detail), PGE_OK, "500 answers of %zu bytes are taken", len);
		check(results[0].status == PGE_OK && results[KMS_MANY_MAX - 1].wrapped_len == 3 + 9 + 1000, "the first, and the last");
	}
}

int
main(void)
{
	pge_json_init();
	check_bodies();
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
		check_outcome(&outcomes[i]);
	check_refusals();
	check_places();
	check_items();
	check_statuses();
	check_cut("batch_decrypt_ctx", VAULT_DECRYPT);
	check_cut("batch_decrypt_one_bad", VAULT_DECRYPT);
	check_cut("batch_encrypt_ctx", VAULT_ENCRYPT);
	check_cut("batch_rewrap_one_bad", VAULT_REWRAP);
	check_sizes();
	return check_done();
}
