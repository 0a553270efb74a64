/*-------------------------------------------------------------------------
 *
 * kms_vault_messages_test.c
 *	  What is said to Vault, and what OpenBao's own answers mean.
 *
 * The answers are the seeds of vault_answer_fuzz, as OpenBao 2.7.2 gave them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/json.h"
#include "agent/kms/kms_vault_messages.h"
#include "check.h"
#include "vault_answers.h"

static char detail[KMS_DETAIL_LEN];
static const PgeSecret dek = SECRET_OF('A');

static void
check_body(PgeStatus status, PgeBuffer *body, const char *expected, const char *claim)
{
	check_status(status, PGE_OK, "%s", claim);
	check(status == PGE_OK && same_bytes(pge_buffer_bytes(body), text_bytes(expected)), "%s: its bytes", claim);
	pge_json_text_free(body);
}

static void
check_paths(void)
{
	static const char *const wrong[] = {"", "x", "keys/x", "/keys/x", "a/keys/", "a/key/x", "a/keys/b/c", "akeys/x", "a/keysx"};
	char		path[VAULT_PATH_MAX + 1];

	check(pge_vault_path("transit/keys/acme", VAULT_ENCRYPT, path) == PGE_OK && strcmp(path, "transit/encrypt/acme") == 0, "encrypt");
	check(pge_vault_path("transit/keys/acme", VAULT_REWRAP, path) == PGE_OK && strcmp(path, "transit/rewrap/acme") == 0, "rewrap");
	check(pge_vault_path("transit/keys/acme", VAULT_DECRYPT, path) == PGE_OK && strcmp(path, "transit/decrypt/acme") == 0, "decrypt");
	check(pge_vault_path("a/keys/b/keys/keys", VAULT_DECRYPT, path) == PGE_OK && strcmp(path, "a/keys/b/decrypt/keys") == 0, "the last \"keys\" ends the mount");
	check(pge_vault_path("team/a/keys/acme", VAULT_DESCRIBE, path) == PGE_OK && strcmp(path, "team/a/keys/acme") == 0, "describe");
	check(pge_vault_path("team/a/keys/acme", VAULT_CONFIGURE, path) == PGE_OK && strcmp(path, "team/a/keys/acme/config") == 0, "configure");
	check(pge_vault_path("team/a/keys/acme", VAULT_DELETE, path) == PGE_OK && strcmp(path, "team/a/keys/acme") == 0, "delete");
	check(pge_vault_path("team/a/keys/acme", VAULT_ROTATE, path) == PGE_OK && strcmp(path, "team/a/keys/acme/rotate") == 0, "rotate");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check_status(pge_vault_path(wrong[i], VAULT_ENCRYPT, path), PGE_INVALID, "\"%s\" is no key", wrong[i]);
}

static void
check_bodies(void)
{
	PgeBytes	binding = text_bytes("binding bytes");
	VaultLogin	approle = {.auth = VAULT_AUTH_APPROLE, .role_id = "r", .secret = "s"};
	VaultLogin	jwt = {.auth = VAULT_AUTH_JWT, .role = "a \"role\"", .secret = "a.b.c"};
	VaultLogin	cert = {.auth = VAULT_AUTH_CERT, .role = "agent"};
	VaultLogin	bare = {.auth = VAULT_AUTH_CERT};
	PgeBuffer	body;

	check_body(pge_vault_encrypt_body(PGE_WRAP_VAULT_CONTEXT, binding, &dek, &body), &body,
			   "{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"context\":\"YmluZGluZyBieXRlcw==\"}", "wrap by a derived key");
	check_body(pge_vault_encrypt_body(PGE_WRAP_VAULT_AAD, binding, &dek, &body), &body,
			   "{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\",\"associated_data\":\"YmluZGluZyBieXRlcw==\"}", "wrap by another");
	check_body(pge_vault_decrypt_body(PGE_WRAP_VAULT_CONTEXT, binding, text_bytes("vault:v1:xx"), &body), &body,
			   "{\"ciphertext\":\"vault:v1:xx\",\"context\":\"YmluZGluZyBieXRlcw==\"}", "unwrap by a derived key");
	check_body(pge_vault_decrypt_body(PGE_WRAP_VAULT_AAD, binding, text_bytes("vault:v1:xx"), &body), &body,
			   "{\"ciphertext\":\"vault:v1:xx\",\"associated_data\":\"YmluZGluZyBieXRlcw==\"}", "unwrap by another");
	check_body(pge_vault_login_body(&approle, &body), &body, "{\"role_id\":\"r\",\"secret_id\":\"s\"}", "approle");
	check_body(pge_vault_login_body(&jwt, &body), &body, "{\"role\":\"a \\\"role\\\"\",\"jwt\":\"a.b.c\"}", "jwt");
	check_body(pge_vault_login_body(&cert, &body), &body, "{\"name\":\"agent\"}", "cert");
	check_body(pge_vault_login_body(&bare, &body), &body, "{}", "cert without a role");
	check_status(pge_vault_encrypt_body(PGE_WRAP_LOCAL, binding, &dek, &body), PGE_INVALID, "no wrap without a place for the binding");
	check(body.data == NULL, "and no body");
	check_status(pge_vault_encrypt_body(PGE_WRAP_VAULT_AAD, pge_bytes(NULL, 0), &dek, &body), PGE_INVALID, "nor without a binding");
	check_status(pge_vault_decrypt_body(PGE_WRAP_VAULT_CONTEXT, pge_bytes(NULL, 0), text_bytes("x"), &body), PGE_INVALID, "nor an unwrap");
}

typedef struct Meaning
{
	const char *answer;
	PgeStatus	status;
	const char *says;			/* in the detail */
} Meaning;

static const Meaning meanings[] = {
	{"describe_derived", PGE_OK, ""}, {"encrypt_ctx", PGE_OK, ""}, {"decrypt_aad", PGE_OK, ""},
	{"rotate", PGE_OK, ""}, {"revoke", PGE_OK, ""}, {"login", PGE_OK, ""}, {"self", PGE_OK, ""},
	{"describe_missing", PGE_KEK_NOT_FOUND, "no key of this name"},
	{"describe_nomount", PGE_KEK_NOT_FOUND, "no Transit engine"},
	{"nsmissing", PGE_KEK_NOT_FOUND, "no such namespace"},
	{"decrypt_missingkey", PGE_KEK_NOT_FOUND, "no key of this name"},
	{"rotate_missing", PGE_KEK_NOT_FOUND, "no key of this name"},
	{"decrypt_ctx_wrong", PGE_WRAPPING_DAMAGED, "another row"},
	{"decrypt_ctx_none", PGE_KEK_UNUSABLE, "derived"},
	{"decrypt_aad_v9", PGE_WRAPPING_DAMAGED, "no such version"},
	{"decrypt_aad_vx", PGE_WRAPPING_DAMAGED, "does not take it"},
	{"decrypt_garbage", PGE_WRAPPING_DAMAGED, "does not take it"},
	{"decrypt_badb64", PGE_WRAPPING_DAMAGED, "does not take it"},
	{"decrypt_tooold", PGE_KEK_UNUSABLE, "min_decryption_version"},
	{"encrypt_soft", PGE_KEK_UNUSABLE, "soft-deleted"},
	{"rotate_soft", PGE_KEK_UNUSABLE, "soft-deleted"},
	{"encrypt_ed", PGE_KEK_UNUSABLE, "cannot encrypt"},
	{"encrypt_rsa_aad", PGE_KEK_UNUSABLE, "no associated data"},
	{"encrypt_badb64", PGE_INVALID, "HTTP 400"}, {"badjson", PGE_INVALID, "HTTP 400"}, {"method", PGE_INVALID, "HTTP 405"},
	{"describe_denied", PGE_UNAUTHENTICATED, "HTTP 403"}, {"revoked_use", PGE_UNAUTHENTICATED, "HTTP 403"},
	{"rotate_denied", PGE_UNAUTHENTICATED, "HTTP 403"},
	{"sealed", PGE_UNAVAILABLE, "sealed"},
};

static void
check_meanings(void)
{
	static const struct
	{
		int			status;
		PgeStatus	meaning;
	}			numbers[] = {
		{201, PGE_UNAVAILABLE}, {206, PGE_UNAVAILABLE}, {307, PGE_UNAVAILABLE}, {401, PGE_UNAUTHENTICATED}, {405, PGE_INVALID},
		{412, PGE_UNAVAILABLE}, {413, PGE_INVALID}, {429, PGE_THROTTLED}, {472, PGE_UNAVAILABLE}, {473, PGE_UNAVAILABLE},
		{500, PGE_UNAVAILABLE}, {502, PGE_UNAVAILABLE}, {503, PGE_UNAVAILABLE}, {504, PGE_UNAVAILABLE}, {0, PGE_UNAVAILABLE},
	};
	static const char *const not_vault[] = {"", "<html>not found</html>", "{}", "[]", "{\"errors\":\"x\"}", "{\"errors\":[\"key not found\"]"};

	/*
	 * a 500 is of the service's own troubles, unless it is of the bytes or of
	 * the key
	 */
	static const Meaning of_storage[] = {
		{"{\"errors\":[\"encryption key not found\"]}", PGE_UNAVAILABLE, ""},
		{"{\"errors\":[\"failed to read: invalid ciphertext\"]}", PGE_UNAVAILABLE, ""},
		{"{\"errors\":[\"cipher: message authentication failed\"]}", PGE_WRAPPING_DAMAGED, ""},
		{"{\"errors\":[\"unsupported key type x\"]}", PGE_KEK_UNUSABLE, ""},
	};
	HttpAnswer	answer;

	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
	{
		answer = recorded(meanings[i].answer);
		check_status(pge_vault_classify(&answer, detail), meanings[i].status, "%s", meanings[i].answer);
		check(strstr(detail, meanings[i].says) != NULL, "%s is told: %s", meanings[i].answer, detail);
		check(answer.status != 200 || detail[0] == '\0', "%s: nothing is told of what worked", meanings[i].answer);
		free(answer.body);
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
	{
		answer = answer_of(numbers[i].status, "{\"errors\":[\"canary\"]}");
		check_status(pge_vault_classify(&answer, detail), numbers[i].meaning, "HTTP %d", numbers[i].status);
		check(strstr(detail, "canary") == NULL, "HTTP %d: the text of the answer is not passed on", numbers[i].status);
	}

	/*
	 * a key that is not there, and an engine that is not: only the first is
	 * gone
	 */
	answer = answer_of(404, "{\"errors\":[]}");
	check(pge_vault_lacks_key(&answer), "404 without an error is of the key");
	answer = answer_of(404, "{\"errors\":[\"no handler for route 'x'\"]}");
	check(!pge_vault_lacks_key(&answer), "with one it is not");
	answer = answer_of(404, "<html>not found</html>");
	check(!pge_vault_lacks_key(&answer), "nor is what is not Vault's");
	answer = answer_of(400, "{\"errors\":[]}");
	check(!pge_vault_lacks_key(&answer), "nor another status");
	/* what a proxy says of a key means nothing */
	for (size_t i = 0; i < sizeof(not_vault) / sizeof(not_vault[0]); i++)
	{
		answer = answer_of(404, not_vault[i]);
		check_status(pge_vault_classify(&answer, detail), PGE_UNAVAILABLE, "404 %s", not_vault[i]);
		answer = answer_of(400, not_vault[i]);
		check_status(pge_vault_classify(&answer, detail), PGE_UNAVAILABLE, "400 %s", not_vault[i]);
		answer = answer_of(200, not_vault[i]);
		check_status(pge_vault_classify(&answer, detail), PGE_UNAVAILABLE, "200 %s", not_vault[i]);
		/* nor what it says of the token: a login would use a secret id up */
		for (int status = 401; status <= 403; status += 2)
		{
			answer = answer_of(status, not_vault[i]);
			check_status(pge_vault_classify(&answer, detail), PGE_UNAVAILABLE, "%d %s", status, not_vault[i]);
			check_status(pge_vault_classify_login(&answer, detail), PGE_UNAVAILABLE, "login: %d %s", status, not_vault[i]);
		}
	}
	for (size_t i = 0; i < sizeof(of_storage) / sizeof(of_storage[0]); i++)
	{
		answer = answer_of(500, of_storage[i].answer);
		check_status(pge_vault_classify(&answer, detail), of_storage[i].status, "500 %s", of_storage[i].answer);
	}
}

static void
check_logins(void)
{
	static const Meaning logins[] = {
		{"login", PGE_OK, ""}, {"login_badsecret", PGE_UNAUTHENTICATED, "refuses the login"}, {"login_nomount", PGE_UNAUTHENTICATED, "mount"},
		{"jwtlogin_noconf", PGE_UNAUTHENTICATED, "HTTP 400"}, {"certlogin_nocert", PGE_UNAUTHENTICATED, "HTTP 400"}, {"sealed", PGE_UNAVAILABLE, "sealed"},
		{"revoked_use", PGE_UNAUTHENTICATED, "HTTP 403"}, {"describe_denied", PGE_DENIED, "auth/token/lookup-self"},
	};
	static const char *const unknown_tokens[] = {
		"{\"errors\":[\"2 errors occurred:\\n\\t* permission denied\\n\\t* invalid token\\n\\n\"]}", "{\"errors\":[]}", "{\"errors\":[1]}",
		"{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\",\"invalid token\"]}",
	};
	static HttpCredential credential;
	HttpAnswer	answer;

	for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]); i++)
	{
		answer = recorded(logins[i].answer);
		check_status(pge_vault_classify_login(&answer, detail), logins[i].status, "login: %s", logins[i].answer);
		check(strstr(detail, logins[i].says) != NULL, "login: %s is told", logins[i].answer);
		free(answer.body);
	}
	for (size_t i = 0; i < sizeof(unknown_tokens) / sizeof(unknown_tokens[0]); i++)
	{
		answer = answer_of(403, unknown_tokens[i]);
		check_status(pge_vault_classify_login(&answer, detail), PGE_UNAUTHENTICATED, "login: %s", unknown_tokens[i]);
	}
	answer = recorded("login");
	check_status(pge_vault_read_login(body_of(&answer), &credential, detail), PGE_OK, "a login is read");
	check(strncmp(credential.token, "s.", 2) == 0 && credential.lifetime_ms == 5000 && credential.renewable, "token, life, renewable");
	free(answer.body);
	answer = recorded("renew_inc");
	check(pge_vault_read_login(body_of(&answer), &credential, detail) == PGE_OK && credential.lifetime_ms == 19000, "a renewal is read");
	free(answer.body);
	answer = recorded("self");
	check(pge_vault_read_self(body_of(&answer), &credential, detail) == PGE_OK && credential.lifetime_ms == 4000 && credential.renewable, "lookup-self is read");
	check(strncmp(credential.token, "s.", 2) == 0, "and leaves the token");
	free(answer.body);
	answer = recorded("rootself");
	check(pge_vault_read_self(body_of(&answer), &credential, detail) == PGE_OK && credential.lifetime_ms == 0 && !credential.renewable, "a token without an end");
	check_status(pge_vault_read_login(body_of(&answer), &credential, detail), PGE_UNAVAILABLE, "lookup-self is no login");
	check(all_zero((uint8_t *) &credential, sizeof(credential)), "and nothing is left of it");
	free(answer.body);
	check(pge_vault_read_self(text_bytes("{\"data\":{\"ttl\":0,\"expire_time\":\"2026-11-22T11:21:22Z\",\"renewable\":true}}"), &credential, detail) == PGE_OK &&
		  credential.lifetime_ms == 1, "the last second of a token is no eternity");
	check_status(pge_vault_read_login(text_bytes("{\"auth\":{\"client_token\":\"a\\nb: c\",\"lease_duration\":5,\"renewable\":true}}"), &credential, detail),
				 PGE_UNAVAILABLE, "a token with a line's end, which would be another header");
	check_status(pge_vault_read_login(text_bytes("{\"auth\":{\"client_token\":\"\",\"lease_duration\":5,\"renewable\":true}}"), &credential, detail),
				 PGE_UNAVAILABLE, "no token");
	check_status(pge_vault_read_login(text_bytes("{\"auth\":{\"client_token\":\"t\",\"lease_duration\":-1,\"renewable\":true}}"), &credential, detail),
				 PGE_UNAVAILABLE, "a negative life");
}

static void
check_keys(void)
{
	VaultKeyInfo key;
	HttpAnswer	answer = recorded("describe_derived");

	check(pge_vault_read_key(body_of(&answer), &key, detail) == PGE_OK && key.derived && key.latest_version == 1 &&
		  key.min_decryption_version == 1 && !key.exportable && !key.plaintext_backup && !key.soft_deleted, "a derived key");
	check(pge_vault_check_key(&key, detail) == PGE_OK && pge_vault_form(&key) == PGE_WRAP_VAULT_CONTEXT, "wraps with a context");
	free(answer.body);
	answer = recorded("describe_plain2");
	check(pge_vault_read_key(body_of(&answer), &key, detail) == PGE_OK && !key.derived && key.latest_version == 2 &&
		  key.min_decryption_version == 2, "one that is not, rotated");
	check(pge_vault_check_key(&key, detail) == PGE_OK && pge_vault_form(&key) == PGE_WRAP_VAULT_AAD, "wraps with associated data");
	free(answer.body);
	answer = recorded("describe_exp");
	detail[0] = '\0';
	check(pge_vault_read_key(body_of(&answer), &key, detail) == PGE_OK && pge_vault_check_key(&key, detail) == PGE_OK, "an exportable key is taken");
	pge_vault_tell_key(&key, detail);
	check(strstr(detail, "exportable") != NULL && strstr(detail, "plaintext backups") != NULL && strstr(detail, "aes256-gcm96, not derived, version 1;") != NULL, "with a warning: %s", detail);
	free(answer.body);
	answer = recorded("create_xc");
	check(pge_vault_read_key(body_of(&answer), &key, detail) == PGE_OK && pge_vault_check_key(&key, detail) == PGE_OK, "xchacha20-poly1305 is taken");
	free(answer.body);
	for (int i = 0; i < 4; i++)
	{
		static const char *const refused[] = {"describe_rsa", "create_ed", "create_128", "describe_soft"};

		answer = recorded(refused[i]);
		check(pge_vault_read_key(body_of(&answer), &key, detail) == PGE_OK && pge_vault_check_key(&key, detail) == PGE_KEK_UNUSABLE, "%s is refused: %s", refused[i], detail);
		free(answer.body);
	}
	answer = recorded("decrypt_aad");
	check_status(pge_vault_read_key(body_of(&answer), &key, detail), PGE_UNAVAILABLE, "a data key is no description");
	free(answer.body);
}

/* The type is the one word of the service's that is told. */
static void
check_foreign_type(void)
{
	static const char *const types[] = {"Canary!", "call 0800 now", "\\u202e", "A"};
	VaultKeyInfo key;
	char		body[512];

	for (size_t i = 0; i <= sizeof(types) / sizeof(types[0]); i++)
	{
		bool		control = i == sizeof(types) / sizeof(types[0]);

		snprintf(body, sizeof(body), "{\"data\":{\"type\":\"%s\",\"derived\":true,\"exportable\":false,\"allow_plaintext_backup\":false,"
				 "\"supports_encryption\":true,\"supports_decryption\":true,\"latest_version\":1,\"min_decryption_version\":1}}",
				 control ? "managed_key-2" : types[i]);
		check_status(pge_vault_read_key(text_bytes(body), &key, detail), control ? PGE_OK : PGE_UNAVAILABLE, "a key of type \"%s\"", control ? "managed_key-2" : types[i]);
	}
}

static void
check_wrappings(void)
{
	static const char *const bad[] = {
		"{\"data\":{\"ciphertext\":\"vault:v2:AAAA\",\"key_version\":1}}", "{\"data\":{\"ciphertext\":\"vault:v1:AAAA\"}}",
		"{\"data\":{\"ciphertext\":\"vault:v1:AAAA\",\"key_version\":0}}", "{\"data\":{\"ciphertext\":\"vault:v1:AAAA\",\"key_version\":\"1\"}}",
		"{\"data\":{\"ciphertext\":\"\",\"key_version\":1}}", "{\"data\":{\"ciphertext\":\"vault:v1:A A\",\"key_version\":1}}",
		"{\"data\":{\"ciphertext\":\"vault:v1:A\\n\",\"key_version\":1}}", "{\"data\":{\"ciphertext\":7,\"key_version\":1}}", "{\"data\":null}", "{}", "",
	};
	PgeBuffer	wrapped = new_buffer(PGE_WRAPPED_MAX);
	char		version[PGE_KEK_VERSION_MAX + 1];
	PgeBytes	ciphertext;
	PgeWrapForm form;
	HttpAnswer	answer = recorded("encrypt_ctx");

	check(pge_vault_read_wrapped(body_of(&answer), PGE_WRAP_VAULT_CONTEXT, &wrapped, version, detail) == PGE_OK && strcmp(version, "1") == 0, "a wrapping and its version");
	check(wrapped.len == 3 + 89 && memcmp(wrapped.data, "\1\3\0vault:v1:", 12) == 0, "form 3, then the service's words");
	check(pge_vault_read_stored(pge_buffer_bytes(&wrapped), &form, &ciphertext, version, detail) == PGE_OK && form == PGE_WRAP_VAULT_CONTEXT &&
		  ciphertext.len == 89 && strcmp(version, "1") == 0, "are found again");
	free(answer.body);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(pge_vault_read_wrapped(text_bytes(bad[i]), PGE_WRAP_VAULT_AAD, &wrapped, version, detail) == PGE_UNAVAILABLE && wrapped.len == 0, "no wrapping: %s", bad[i]);
	check(pge_vault_read_wrapped(text_bytes("{\"data\":{\"ciphertext\":\"own:7:AAAA\",\"key_version\":7}}"), PGE_WRAP_VAULT_AAD, &wrapped, version, detail) == PGE_OK &&
		  strcmp(version, "7") == 0, "another prefix is the administrator's choice");
	check(pge_vault_read_stored(pge_buffer_bytes(&wrapped), &form, &ciphertext, version, detail) == PGE_OK && version[0] == '\0', "whose version is not guessed");
	check_status(pge_vault_read_stored(pge_bytes("\1\1\0vault:v1:AAAA", 16), &form, &ciphertext, version, detail), PGE_WRAPPING_DAMAGED, "a local wrapping is not ours");
	check_status(pge_vault_read_stored(pge_bytes("\1\4\0vault:v1:\"}", 14), &form, &ciphertext, version, detail), PGE_OK, "what JSON has to quote is quoted");
	check_status(pge_vault_read_stored(pge_bytes("\1\4\0vault:v1:\0A", 14), &form, &ciphertext, version, detail), PGE_WRAPPING_DAMAGED, "a zero byte is damage");
	check_status(pge_vault_read_stored(pge_bytes("\1\4\0", 3), &form, &ciphertext, version, detail), PGE_WRAPPING_DAMAGED, "nothing is damage");
	check(pge_vault_read_stored(pge_bytes("\1\4\0vault:v99999999999:A", 23), &form, &ciphertext, version, detail) == PGE_OK && version[0] == '\0', "a version that cannot be is none");
	free(wrapped.data);
}

static void
check_deks(void)
{
	PgeSecret	got = {"something that was there before"};
	HttpAnswer	answer = recorded("decrypt_ctx");

	check(pge_vault_read_dek(body_of(&answer), &got, detail) == PGE_OK && memcmp(got.bytes, dek.bytes, PGE_DEK_LEN) == 0, "a data key");
	/* the answer, cut off at every byte (its last is a line end) */
	for (size_t len = 0; len + 1 < answer.len; len++)
		if (pge_vault_read_dek(pge_bytes(answer.body, len), &got, detail) != PGE_UNAVAILABLE || !all_zero(got.bytes, PGE_DEK_LEN))
			check(false, "cut off at %zu", len);
	free(answer.body);
	memset(&got, 1, sizeof(got));
	check_status(pge_vault_read_dek(text_bytes("{\"data\":{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==\"}}"), &got, detail), PGE_WRAPPING_DAMAGED, "31 bytes");
	check(all_zero(got.bytes, PGE_DEK_LEN), "are wiped");
	memset(&got, 1, sizeof(got));
	check_status(pge_vault_read_dek(text_bytes("{\"data\":{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\"}}"), &got, detail), PGE_WRAPPING_DAMAGED, "33 bytes");
	check(all_zero(got.bytes, PGE_DEK_LEN), "are wiped");
	check_status(pge_vault_read_dek(text_bytes("{\"data\":{\"plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE\"}}"), &got, detail), PGE_UNAVAILABLE, "base64 without its padding");
	check_status(pge_vault_read_dek(text_bytes("{\"data\":{\"plaintext\":\"QQ==\",\"plaintext\":\"QQ==\"}}"), &got, detail), PGE_UNAVAILABLE, "two of them");
}

int
main(void)
{
	pge_json_init();
	check_paths();
	check_bodies();
	check_meanings();
	check_logins();
	check_keys();
	check_foreign_type();
	check_wrappings();
	check_deks();
	return check_done();
}
