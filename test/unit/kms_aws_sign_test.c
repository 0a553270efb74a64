/*-------------------------------------------------------------------------
 *
 * kms_aws_sign_test.c
 *	  Signature Version 4: AWS's own examples, and what is never signed.
 *
 * kms_aws_botocore_test.c holds the same code to botocore's signer.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/kms_aws_sign.h"
#include "check.h"

/* Of AWS's Signature Version 4 test suite (aws-sig-v4-test-suite), 2015-08-30 12:36:00 UTC. */
#define SUITE_NOW_S		INT64_C(1440938160)
#define SUITE_DATE		"20150830T123600Z"
#define SUITE_SCOPE		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
#define TARGET			"TrentService.Encrypt"

static const struct
{
	const char *name;
	const char *content_type;
	const char *authorization;
}			suite[] = {

	{"post-x-www-form-urlencoded", "application/x-www-form-urlencoded",
		SUITE_SCOPE "SignedHeaders=content-type;host;x-amz-date, "
	"Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	{"post-x-www-form-urlencoded-parameters", "application/x-www-form-urlencoded; charset=utf8",
		SUITE_SCOPE "SignedHeaders=content-type;host;x-amz-date, "
	"Signature=1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"},
};

static AwsKeys
example_keys(const char *session_token)
{
	AwsKeys		keys = {text_bytes("AKIDEXAMPLE"), text_bytes("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), text_bytes(session_token)};

	return keys;
}

static AwsSignRequest
example_request(void)
{
	AwsSignRequest request = {
		.host = "example.amazonaws.com", .region = "us-east-1", .service = "service",
		.content_type = "application/x-www-form-urlencoded", .body = text_bytes("Param1=value1"),
	};

	return request;
}

static void
test_suite(void)
{
	AwsKeys		keys = example_keys("");

	for (size_t i = 0; i < sizeof(suite) / sizeof(suite[0]); i++)
	{
		AwsSignRequest request = example_request();
		AwsSignature signature;

		request.content_type = suite[i].content_type;
		check_status(pge_aws_sign(&request, &keys, SUITE_NOW_S, &signature), PGE_OK, "%s is signed", suite[i].name);
		check(strcmp(signature.date, SUITE_DATE) == 0, "%s: at its time", suite[i].name);
		if (!check(strcmp(signature.authorization, suite[i].authorization) == 0, "%s: as AWS has it", suite[i].name))
			printf("#   %s\n", signature.authorization);
	}
}

static bool
changes_signature(const AwsSignRequest *request, const AwsKeys *keys, int64_t now_s)
{
	AwsSignature signature;

	return pge_aws_sign(request, keys, now_s, &signature) == PGE_OK &&
		strstr(signature.authorization, strstr(suite[0].authorization, "Signature=")) == NULL;
}

static void
test_all_is_signed(void)
{
	AwsSignRequest request;
	AwsKeys		keys = example_keys("");
	AwsSignature signature;

	request = example_request();
	request.host = "example.amazonaws.com:8443";
	check(changes_signature(&request, &keys, SUITE_NOW_S), "the host is signed, and its port");
	request = example_request();
	request.region = "us-east-2";
	check(changes_signature(&request, &keys, SUITE_NOW_S), "the region is");
	request = example_request();
	request.service = "kms";
	check(changes_signature(&request, &keys, SUITE_NOW_S), "the service is");
	request = example_request();
	request.target = TARGET;
	check(changes_signature(&request, &keys, SUITE_NOW_S), "the target is");
	request = example_request();
	request.body = text_bytes("Param1=value2");
	check(changes_signature(&request, &keys, SUITE_NOW_S), "the body is");
	request = example_request();
	check(changes_signature(&request, &keys, SUITE_NOW_S + 1), "the second is");
	keys = example_keys("session");
	check(changes_signature(&request, &keys, SUITE_NOW_S), "the session token is");
	request.target = TARGET;
	check(pge_aws_sign(&request, &keys, SUITE_NOW_S, &signature) == PGE_OK &&
		  strstr(signature.authorization, "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target,") != NULL,
		  "all five headers are named");
	check(strstr(signature.authorization, "session") == NULL && strstr(signature.authorization, "wJalr") == NULL,
		  "neither secret nor session token stands there");
}

static void
refused(AwsSignRequest request, const AwsKeys *keys, int64_t now_s, const char *what)
{
	AwsSignature signature;

	check_status(pge_aws_sign(&request, keys, now_s, &signature), PGE_INVALID, "%s is not signed", what);
	check(signature.authorization[0] == '\0', "and nothing is written for %s", what);
}

static void
test_refused(void)
{
	static const char *const bad_values[] = {
		"", " lead", "trail ", "two  blanks", "tab\there", "line\nX-Amz-Target: other", "cr\rhere", "del\x7f", "\xc3\xa4",
	};
	static const char *const bad_scope[] = {"", "us/east", "us east", "us,east", "us-east-1\n", "\xc3\xa4"};
	AwsKeys		keys = example_keys("");
	AwsSignRequest request;

	for (size_t i = 0; i < sizeof(bad_values) / sizeof(bad_values[0]); i++)
	{
		request = example_request();
		request.host = bad_values[i];
		refused(request, &keys, SUITE_NOW_S, "such a host");
		request = example_request();
		request.content_type = bad_values[i];
		refused(request, &keys, SUITE_NOW_S, "such a type");
		request = example_request();
		request.target = bad_values[i];
		refused(request, &keys, SUITE_NOW_S, "such a target");
	}
	for (size_t i = 0; i < sizeof(bad_scope) / sizeof(bad_scope[0]); i++)
	{
		request = example_request();
		request.region = bad_scope[i];
		refused(request, &keys, SUITE_NOW_S, "such a region");
		request = example_request();
		request.service = bad_scope[i];
		refused(request, &keys, SUITE_NOW_S, "such a service");
	}
	refused(example_request(), &keys, -1, "before 1970");
	refused(example_request(), &keys, INT64_C(253402300800), "the year 10000");
	refused(example_request(), &keys, INT64_MAX, "the end of time");
	keys.secret = pge_bytes(NULL, 0);
	refused(example_request(), &keys, SUITE_NOW_S, "without a secret");
}

static void
fill(char *text, size_t len)
{
	memset(text, 'a', len);
	text[len] = '\0';
}

static void
test_keys(void)
{
	static const char *const bad_tokens[] = {
		"", "\n", "\n\n", "AKID", "AKID\nsecret", "AKID\n\nsession", "\nsecret\n", "AK/ID\nsecret\n", "AKID\nsec ret\n",
		"AKID\nsecret\nses\nsion", "AKID\nsecret\nsession\n", "AKID\nsecret\nses sion", "AKID\nsec\x7fret\n", "AKID\r\nsecret\n",
		"AKID\ns\303\244cret\n", "AK,ID\nsecret\n",
	};
	static char longest[HTTP_TOKEN_MAX + 1];
	char		token[HTTP_TOKEN_MAX + 1];
	AwsKeys		keys = example_keys("session==");
	AwsKeys		back;

	check_status(pge_aws_keys_join(&keys, token), PGE_OK, "three parts are joined");
	check_status(pge_aws_keys_split(token, &back), PGE_OK, "and taken apart");
	check(same_bytes(keys.access_key_id, back.access_key_id) && same_bytes(keys.secret, back.secret) &&
		  same_bytes(keys.session_token, back.session_token), "into what they were");
	keys = example_keys("");
	check(pge_aws_keys_join(&keys, token) == PGE_OK && pge_aws_keys_split(token, &back) == PGE_OK && back.session_token.len == 0,
		  "a long-term key has no third");
	fill(longest, AWS_SESSION_TOKEN_MAX);
	keys = example_keys(longest);
	check(pge_aws_keys_join(&keys, token) == PGE_OK && pge_aws_keys_split(token, &back) == PGE_OK &&
		  back.session_token.len == AWS_SESSION_TOKEN_MAX, "the longest session token fits");
	fill(longest, AWS_SESSION_TOKEN_MAX + 1);
	keys = example_keys(longest);
	memset(token, 'x', sizeof(token));
	check_status(pge_aws_keys_join(&keys, token), PGE_INVALID, "a longer one does not");
	check(all_zero((const uint8_t *) token, sizeof(token)), "and what was there is wiped");
	fill(longest, AWS_SECRET_MAX + 1);
	keys = example_keys("");
	keys.secret = text_bytes(longest);
	check_status(pge_aws_keys_join(&keys, token), PGE_INVALID, "nor too long a secret");
	fill(longest, AWS_ACCESS_KEY_ID_MAX + 1);
	keys = example_keys("");
	keys.access_key_id = text_bytes(longest);
	check_status(pge_aws_keys_join(&keys, token), PGE_INVALID, "nor too long an access key id");
	for (size_t i = 0; i < sizeof(bad_tokens) / sizeof(bad_tokens[0]); i++)
		check(pge_aws_keys_split(bad_tokens[i], &back) == PGE_INVALID && back.secret.data == NULL, "bad token %zu", i);
}

static void
test_longest(void)
{
	static char name[65];
	static char id[AWS_ACCESS_KEY_ID_MAX + 1];
	AwsSignRequest request = example_request();
	AwsKeys		keys = example_keys("session");
	AwsSignature signature;

	fill(name, 64);
	fill(id, AWS_ACCESS_KEY_ID_MAX);
	request.region = name;
	request.service = name;
	request.target = TARGET;
	keys.access_key_id = text_bytes(id);
	check_status(pge_aws_sign(&request, &keys, SUITE_NOW_S, &signature), PGE_OK, "the longest of all is signed");
	check(strlen(strstr(signature.authorization, "Signature=")) == 10 + 64, "and is whole");
}

int
main(void)
{
	test_suite();
	test_all_is_signed();
	test_refused();
	test_keys();
	test_longest();
	return check_done();
}
