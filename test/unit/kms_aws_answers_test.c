/*-------------------------------------------------------------------------
 *
 * kms_aws_answers_test.c
 *	  What AWS's credential services and profile files say, and what is made of it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/json.h"
#include "agent/kms/kms_aws_issued.h"
#include "agent/kms/kms_aws_profile.h"
#include "agent/kms/kms_aws_sign.h"
#include "agent/kms/kms_aws_sts.h"
#include "agent/kms/xml.h"
#include "check.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof(array[0])))
#define CANARY			"c4nary"
#define ROLE			"arn:aws:iam::111122223333:role/app"
#define CREDENTIALS(id, secret, token, expiration) \
	"<Credentials><AccessKeyId>" id "</AccessKeyId><SecretAccessKey>" secret "</SecretAccessKey><SessionToken>" token \
	"</SessionToken><Expiration>" expiration "</Expiration></Credentials>"
#define RESULT(inner)	"<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>" inner \
	"</AssumeRoleResult></AssumeRoleResponse>"
#define GOOD_CREDENTIALS	CREDENTIALS("ASIA1", CANARY "+/=", CANARY "==", "2030-01-02T03:04:05Z")
#define GOOD_XML		"<?xml version=\"1.0\"?>\n" RESULT(GOOD_CREDENTIALS) "\n"
#define GOOD_JSON		"{\"Code\":\"Success\",\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"" CANARY "\",\"Token\":\"" CANARY "==\"," \
	"\"Expiration\":\"2030-01-02T03:04:05Z\"}"
#define EXPIRES_S		INT64_C(1893553445)

static char detail[KMS_DETAIL_LEN];
static AwsIssued issued;

/* A copy with its exact length on the heap, so that a byte beyond is seen. */
static PgeStatus
read_sts(int status, PgeBytes xml)
{
	uint8_t    *copy = malloc(xml.len > 0 ? xml.len : 1);
	HttpAnswer	answer = {.status = status, .body = copy, .len = xml.len};
	PgeStatus	got;

	if (copy == NULL)
		abort();
	memcpy(copy, xml.data, xml.len);
	memset(&issued, 0x5a, sizeof(issued));
	detail[0] = '\0';
	got = pge_aws_sts_read(&answer, &issued, detail);
	free(copy);
	if ((got == PGE_OK) != (detail[0] == '\0') || strstr(detail, CANARY) != NULL ||
		(got != PGE_OK && !all_zero((uint8_t *) &issued, sizeof(issued))))
		return PGE_CRYPTO_FAILED;
	return got;
}

static PgeStatus
read_json(PgeBytes json)
{
	uint8_t    *copy = malloc(json.len > 0 ? json.len : 1);
	PgeStatus	got;

	if (copy == NULL)
		abort();
	memcpy(copy, json.data, json.len);
	memset(&issued, 0x5a, sizeof(issued));
	detail[0] = '\0';
	got = pge_aws_read_issued(pge_bytes(copy, json.len), &issued, detail);
	free(copy);
	if ((got == PGE_OK) != (detail[0] == '\0') || strstr(detail, CANARY) != NULL ||
		(got != PGE_OK && !all_zero((uint8_t *) &issued, sizeof(issued))))
		return PGE_CRYPTO_FAILED;
	return got;
}

static void
test_times(void)
{
	static const struct
	{
		const char *text;
		int64_t		seconds;	/* -1: no time */
	}			cases[] = {
		{"1970-01-01T00:00:00Z", 0}, {"2000-02-29T12:00:00Z", 951825600}, {"2030-01-02T03:04:05Z", EXPIRES_S},
		{"2026-11-22T14:31:27.123Z", 1795357887}, {"2100-03-01T00:00:00Z", INT64_C(4107542400)}, {"2024-12-31T23:59:59Z", 1735689599},
		{"9999-12-31T23:59:59Z", INT64_C(253402300799)}, {"2026-11-22T14:31:27.123456789Z", 1795357887},
		{"", -1}, {"2026-11-22T14:31:27", -1}, {"2026-11-22T14:31:27z", -1}, {"2026-11-22 14:31:27Z", -1},
		{"2026-11-22T14:31:27+00:00", -1}, {"2026-11-22T14:31Z", -1}, {"2026-13-22T14:31:27Z", -1}, {"2026-00-22T14:31:27Z", -1},
		{"2026-02-29T14:31:27Z", -1}, {"2100-02-29T00:00:00Z", -1}, {"2026-11-31T14:31:27Z", -1}, {"2026-11-00T14:31:27Z", -1},
		{"2026-11-22T24:31:27Z", -1}, {"2026-11-22T14:60:27Z", -1}, {"2026-11-22T14:31:60Z", -1}, {"1969-12-31T23:59:59Z", -1},
		{"2026-11-22T14:31:27.Z", -1}, {"2026-11-22T14:31:27,1Z", -1}, {"2026-11-22T14:31:27.xZ", -1}, {"-026-11-22T14:31:27Z", -1},
		{"2026-11-22T14:31:27.1234567890Z", -1}, {" 2026-11-22T14:31:27Z", -1}, {"2026-11-22T14:31:27Z ", -1}, {"1893553445", -1},
		{"20261-1-22T14:31:27Z", -1}, {"0000-00-00T00:00:00Z", -1},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		int64_t		seconds;
		bool		is_time = pge_aws_parse_time(text_bytes(cases[i].text), &seconds);

		check(is_time == (cases[i].seconds >= 0) && seconds == (is_time ? cases[i].seconds : 0), "\"%s\"", cases[i].text);
	}
}

static void
test_life(void)
{
	uint64_t	life_ms;

	issued.expires_s = 1000;
	check(pge_aws_issued_life(&issued, 999, &life_ms, detail) == PGE_OK && life_ms == 1000, "a second is left");
	check(pge_aws_issued_life(&issued, 1000, &life_ms, detail) == PGE_UNAVAILABLE && life_ms == 0, "none is: it is over");
	check(pge_aws_issued_life(&issued, 2000, &life_ms, detail) == PGE_UNAVAILABLE && life_ms == 0, "it is long over");
	issued.expires_s = 0;
	check(pge_aws_issued_life(&issued, 2000, &life_ms, detail) == PGE_OK && life_ms == 0, "keys do not expire");
}

static bool
has_keys(const char *id, const char *secret, const char *token)
{
	AwsKeys		keys;

	return pge_aws_keys_split(issued.token, &keys) == PGE_OK && same_bytes(keys.access_key_id, text_bytes(id)) &&
		same_bytes(keys.secret, text_bytes(secret)) && same_bytes(keys.session_token, text_bytes(token)) && issued.expires_s == EXPIRES_S;
}

static void
test_sts_answers(void)
{
	static const char *const good[] = {
		GOOD_XML,
		RESULT("<AssumedRoleUser><Arn>x</Arn><AssumedRoleId>y</AssumedRoleId></AssumedRoleUser>" GOOD_CREDENTIALS "<PackedPolicySize>6</PackedPolicySize>"),
		"\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?>" RESULT(GOOD_CREDENTIALS),
		"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>" GOOD_CREDENTIALS
		"</AssumeRoleWithWebIdentityResult><ResponseMetadata/></AssumeRoleWithWebIdentityResponse >",
		RESULT("<Credentials>\n <AccessKeyId>ASIA1</AccessKeyId>\r\n<SecretAccessKey> " CANARY "+/= </SecretAccessKey>"
			   "<SessionToken a='1' b = \"2\">" CANARY "==\n</SessionToken><Expiration>2030-01-02T03:04:05.999Z</Expiration></Credentials>"),
	};
	static const char *const bad[] = {
		"", " ", "x", "<", ">", "</a>", "<a>", "<a/>", "<a></b>", "<a/><b/>", "<a/>x", "x<a/>", "<a", "<a b>", "<a b=c/>", "<a b=\"c/>", "<a b=\"<\"/>",
		"<?xml", "<?xml version=\"1.0\"?>", "<!DOCTYPE a [<!ENTITY x \"y\">]>" GOOD_XML, "<!--x-->" GOOD_XML, "<?pi?>" GOOD_XML,
		GOOD_XML "x", GOOD_XML "<a/>", GOOD_XML GOOD_XML, "{}", "null", GOOD_JSON, "<html><body>" CANARY "</body></html>",
		RESULT(""), RESULT("<Credentials/>"), RESULT(GOOD_CREDENTIALS GOOD_CREDENTIALS), RESULT("x" GOOD_CREDENTIALS),
		RESULT(CREDENTIALS("", CANARY, CANARY, "2030-01-02T03:04:05Z")), RESULT(CREDENTIALS("ASIA1", "", CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", CANARY, "", "2030-01-02T03:04:05Z")), RESULT(CREDENTIALS("ASIA1", CANARY, CANARY, "")),
		RESULT(CREDENTIALS("ASIA1", CANARY, CANARY, "tomorrow")), RESULT(CREDENTIALS("ASIA 1", CANARY, CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", CANARY " " CANARY, CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", CANARY, CANARY "\n" CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", CANARY "&x;", CANARY, "2030-01-02T03:04:05Z")), RESULT(CREDENTIALS("ASIA1", CANARY "&#65;", CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", CANARY "&", CANARY, "2030-01-02T03:04:05Z")), RESULT(CREDENTIALS("ASIA1", CANARY "&lt", CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", "<![CDATA[" CANARY "]]>", CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", CANARY "<x/>", CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", CANARY "\xc3\xa9", CANARY, "2030-01-02T03:04:05Z")),
		RESULT(CREDENTIALS("ASIA1", CANARY "<AccessKeyId>y</AccessKeyId>", CANARY, "2030-01-02T03:04:05Z")),
		RESULT("<Other>" GOOD_CREDENTIALS "</Other>"), "<AssumeRoleResponse>" GOOD_CREDENTIALS "</AssumeRoleResponse>", GOOD_CREDENTIALS,
		"<Other><AssumeRoleResult>" GOOD_CREDENTIALS "</AssumeRoleResult></Other>",
		"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
		"<assumeroleresponse><assumeroleresult>" GOOD_CREDENTIALS "</assumeroleresult></assumeroleresponse>",
		"<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a></a></a></a></a></a></a></a></a>",
	};
	static const int statuses[] = {100, 201, 204, 301, 302, 304, 400, 401, 403, 404, 407, 413, 418, 451, 500, 502, 503, 504, 599};
	char		long_xml[20000];
	PgeBytes	whole = text_bytes(GOOD_XML);
	int			refused = 0;
	int			len;

	for (int i = 0; i < LENGTH(good); i++)
	{
		check_status(read_sts(200, text_bytes(good[i])), PGE_OK, "XML %d is read", i);
		check(has_keys("ASIA1", CANARY "+/=", CANARY "=="), "XML %d: what it says", i);
	}
	check_status(read_sts(200, text_bytes(RESULT(CREDENTIALS("ASIA1", "&lt;&gt;&amp;&quot;&apos;&amp;lt;", "t", "2030-01-02T03:04:05Z")))),
				 PGE_OK, "entities are replaced");
	check(has_keys("ASIA1", "<>&\"'&lt;", "t"), "once");
	for (int i = 0; i < LENGTH(bad); i++)
		check_status(read_sts(200, text_bytes(bad[i])), PGE_UNAVAILABLE, "bad XML %d is refused", i);
	for (size_t cut = 0; cut + 1 < whole.len; cut++)
		if (read_sts(200, pge_bytes(whole.data, cut)) == PGE_UNAVAILABLE)
			refused++;
	check(refused == (int) whole.len - 1, "cut at each of its %d bytes it is refused", (int) whole.len - 1);
	refused = 0;
	for (int i = 0; i < LENGTH(statuses); i++)
		if (read_sts(statuses[i], whole) == PGE_UNAVAILABLE)
			refused++;
	check(refused == LENGTH(statuses), "with any other status of HTTP, too (%d)", refused);
	check_status(read_sts(429, whole), PGE_THROTTLED, "429 is too often");
	len = snprintf(long_xml, sizeof(long_xml), "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>x</SecretAccessKey>"
				   "<Expiration>2030-01-02T03:04:05Z</Expiration><SessionToken>");
	memset(long_xml + len, 'y', AWS_SESSION_TOKEN_MAX + 1);
	for (int beyond = 0; beyond < 2; beyond++)
	{
		int			at = len + AWS_SESSION_TOKEN_MAX + beyond;

		snprintf(long_xml + at, sizeof(long_xml) - (size_t) at, "</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>");
		check_status(read_sts(200, text_bytes(long_xml)), beyond == 0 ? PGE_OK : PGE_UNAVAILABLE, "a token of the longest length%s",
					 beyond == 0 ? "" : " and one byte");
		memset(long_xml + at, 'y', 1);
	}
}

/* Whoever stands before STS may put into it what it was sent. */
static void
test_sts_request_ids(void)
{
	static const char *const ids[] = {"01234567-89ab-4cde-8f01-23456789abcd", CANARY, CANARY "-89ab-4cde-8f01-23456789abcd", ""};
	static const char error[] = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>";

	for (int i = 0; i < LENGTH(ids); i++)
	{
		HttpAnswer	answer = {.status = 403, .body = (uint8_t *) error, .len = sizeof(error) - 1};

		snprintf(answer.request_id, sizeof(answer.request_id), "%s", ids[i]);
		check_status(pge_aws_sts_read(&answer, &issued, detail), PGE_DENIED, "an error of STS with the request id \"%s\"", ids[i]);
		check(strstr(detail, i == 0 ? ids[0] : "request unknown") != NULL && strstr(detail, CANARY) == NULL, "says %s", detail);
	}
}

static void
test_json_answers(void)
{
	static const char *const bad[] = {
		"", "null", "[]", "{}", "\"x\"", "7", "{", "{}}", GOOD_JSON "x", GOOD_XML,
		"{\"AccessKeyId\":\"ASIA1\",\"AccessKeyId\":\"ASIA2\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":7,\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":null,\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":[\"x\"],\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":{},\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":1893553445}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"accesskeyid\":\"ASIA1\",\"secretaccesskey\":\"x\",\"token\":\"y\",\"expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA 1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\\ny\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\\r\\nX: z\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"\\u00e9\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"soon\"}",
		"{\"Code\":\"success\",\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"Code\":null,\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}",
		"{\"Code\":\"\",\"Message\":\"" CANARY "\"}", "{\"Code\":\"Failed\",\"Message\":\"" CANARY "\"}", "{\"Code\":\"" CANARY "\\n\"}",
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
	};
	PgeBytes	whole = text_bytes(GOOD_JSON);
	uint64_t	life_ms;
	int			refused = 0;

	check_status(read_json(whole), PGE_OK, "JSON of an instance");
	check(has_keys("ASIA1", CANARY, CANARY "=="), "what it says");
	check_status(read_json(text_bytes("{\"RoleArn\":\"x\",\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"2030-01-02T03:04:05Z\"}")),
				 PGE_OK, "JSON of a container");
	for (int i = 0; i < LENGTH(bad); i++)
		check_status(read_json(text_bytes(bad[i])), PGE_UNAVAILABLE, "bad JSON %d is refused", i);
	for (size_t cut = 0; cut < whole.len; cut++)
		if (read_json(pge_bytes(whole.data, cut)) == PGE_UNAVAILABLE)
			refused++;
	check(refused == (int) whole.len, "cut at each of its %d bytes it is refused", (int) whole.len);
	check_status(read_json(text_bytes("{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"x\",\"Token\":\"y\",\"Expiration\":\"1970-01-01T00:00:00Z\"}")),
				 PGE_OK, "JSON of a credential that expired when time began");
	check_status(pge_aws_issued_life(&issued, EXPIRES_S, &life_ms, detail), PGE_UNAVAILABLE, "which is not one that lives for ever");
	check_status(read_json(text_bytes("{\"Code\":\"AssumeRoleUnauthorizedAccess\"}")), PGE_DENIED, "a role that the instance may not take");
}

static void
test_forms(void)
{
	static const struct
	{
		AwsRole		role;
		const char *said;		/* NULL: right */
	}			cases[] = {
#define SPAN(s)	{(const uint8_t *) (s), sizeof(s) - 1}
		{{.arn = SPAN(ROLE)}, NULL},
		{{.arn = SPAN("arn:aws-us-gov:iam::111122223333:role/a/b+=,.@-_")}, NULL},
		{{.arn = SPAN(ROLE), .session_name = SPAN("a+=,.@-_b"), .external_id = SPAN("a:/b"), .duration_s = SPAN("43200")}, NULL},
		{{.arn = SPAN("")}, "role_arn"}, {{.arn = SPAN("app")}, "role_arn"}, {{.arn = SPAN("arn:aws:iam::111122223333:user/x")}, "role_arn"},
		{{.arn = SPAN(ROLE "&x=y")}, "role_arn"}, {{.arn = SPAN(ROLE " ")}, "role_arn"}, {{.arn = SPAN(ROLE "\n")}, "role_arn"},
		{{.arn = SPAN(ROLE), .session_name = SPAN("a")}, "role_session_name"}, {{.arn = SPAN(ROLE), .session_name = SPAN("a b")}, "role_session_name"},
		{{.arn = SPAN(ROLE), .session_name = SPAN("0123456789012345678901234567890123456789012345678901234567890123x")}, "role_session_name"},
		{{.arn = SPAN(ROLE), .external_id = SPAN("x")}, "external_id"}, {{.arn = SPAN(ROLE), .external_id = SPAN("x&y")}, "external_id"},
		{{.arn = SPAN(ROLE), .duration_s = SPAN("899")}, "duration_seconds"}, {{.arn = SPAN(ROLE), .duration_s = SPAN("43201")}, "duration_seconds"},
		{{.arn = SPAN(ROLE), .duration_s = SPAN("-900")}, "duration_seconds"}, {{.arn = SPAN(ROLE), .duration_s = SPAN("9e3")}, "duration_seconds"},
		{{.arn = SPAN(ROLE), .duration_s = SPAN("00000000900")}, "duration_seconds"}, {{.arn = SPAN(ROLE), .duration_s = SPAN("99999999999999999999")}, "duration_seconds"},
	};
	AwsRole		role = cases[2].role;
	PgeBuffer	form;

	for (int i = 0; i < LENGTH(cases); i++)
	{
		PgeStatus	status = pge_aws_role_check(&cases[i].role, detail);

		check(cases[i].said == NULL ? status == PGE_OK : status == PGE_INVALID && strncmp(detail, cases[i].said, strlen(cases[i].said)) == 0,
			  "role %d: %s", i, cases[i].said == NULL ? "right" : detail);
	}
	check(pge_aws_sts_form(&role, &form) == PGE_OK &&
		  same_bytes(pge_buffer_bytes(&form), text_bytes("Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fapp"
														 "&RoleSessionName=a%2B%3D%2C.%40-_b&DurationSeconds=43200&ExternalId=a%3A%2Fb")), "AssumeRole's form");
	pge_aws_sts_form_free(&form);
	role = (AwsRole)
	{
		.arn = SPAN(ROLE), .web_token = SPAN("a.b-c_d~&=%+\xff")
	};
	check(pge_aws_sts_form(&role, &form) == PGE_OK &&
		  same_bytes(pge_buffer_bytes(&form), text_bytes("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fapp"
														 "&RoleSessionName=pg_envelope&WebIdentityToken=a.b-c_d~%26%3D%25%2B%FF")), "AssumeRoleWithWebIdentity's form");
	pge_aws_sts_form_free(&form);
}

/* What a profile of both files is found to be. */
static void
test_profiles(void)
{
	static const struct
	{
		const char *config;
		const char *credentials;
		PgeStatus	read;
		PgeStatus	judged;
		AwsProfileKind kind;
		const char *said;		/* or the secret */
	}			cases[] = {
#define KEYS(id, secret)	"aws_access_key_id = " id "\naws_secret_access_key = " secret "\n"
		{"", "", PGE_OK, PGE_OK, AWS_PROFILE_OF_NOTHING, NULL},
		{"[profile app]\nregion = x\n", "", PGE_OK, PGE_OK, AWS_PROFILE_OF_NOTHING, NULL},
		{"", "[app]\n" KEYS("A", "s1"), PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s1"},
		{"[profile app]\n" KEYS("A", "s2"), "", PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s2"},
		{"[profile app]\n" KEYS("A", "s2"), "[app]\n" KEYS("B", "s3"), PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s3"},
		{"[profile app]\n" KEYS("A", "s2") "aws_session_token = t\n", "[app]\naws_access_key_id = B\n", PGE_OK, PGE_INVALID, 0, "no aws_secret_access_key"},
		{"[app]\n" KEYS("A", "s"), "[profile app]\n" KEYS("A", "s"), PGE_OK, PGE_OK, AWS_PROFILE_OF_NOTHING, NULL},
		{"[ profile\t\"app\" ] # c\n" KEYS("A", "s4"), "", PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s4"},
		{"[profile 'app']\n" KEYS("A", "s4"), "", PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s4"},
		{"[profile app\n", "", PGE_MALFORMED, 0, 0, "Line 1"},
		{"[]\n", "", PGE_MALFORMED, 0, 0, "Line 1"},
		{"[profile app] x\n", "", PGE_MALFORMED, 0, 0, "Line 1"},
		{"[profile app]\n[profile app]\n", "", PGE_MALFORMED, 0, 0, "second time"},
		{"[profile app]\n[profile \"app\"]\n", "", PGE_MALFORMED, 0, 0, "Line 2"},
		{"[profile b]\n[profile b]\n", "", PGE_OK, PGE_OK, AWS_PROFILE_OF_NOTHING, NULL},
		{"x = y\n", "", PGE_MALFORMED, 0, 0, "before the first"},
		{"", "[app]\n" CANARY "\n", PGE_MALFORMED, 0, 0, "Line 2"},
		{"", "[app]\naws_secret_access_key: " CANARY "=\n", PGE_MALFORMED, 0, 0, "letters, digits"},
		{"", "[app]\n= " CANARY "\n", PGE_MALFORMED, 0, 0, "Line 2"},
		{"", "[app]\naws_secret_access_key =\n", PGE_MALFORMED, 0, 0, "no value"},
		{"", "[app]\naws_secret_access_key = a\naws_secret_access_key = b\n", PGE_MALFORMED, 0, 0, "second time"},
		{"", "[app]\nAWS_Access_Key_ID = A\nAWS_SECRET_ACCESS_KEY = s5\n", PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s5"},
		{"", "[app]\r\naws_access_key_id=A\r\naws_secret_access_key=s6\r\n", PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s6"},
		{"", "[app]\n" KEYS("A", "s7") "aws_session_token =\n", PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s7"},
		{"", "; c\n# c\n\n[app] ; c\n  # c\naws_access_key_id = A # c\naws_secret_access_key = s#8;x ; c\n", PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s#8;x"},
		{"", "[app]\n  aws_access_key_id = A\n  aws_secret_access_key = s9\n", PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s9"},
		{"", "[app]\naws_access_key_id = A\naws_secret_access_key = a\n  b\n", PGE_MALFORMED, 0, 0, "Line 4"},
		{"", "[app]\naws_access_key_id = A\x01\n", PGE_MALFORMED, 0, 0, "control character"},
		{"", "[app]\ns3 =\n  aws_access_key_id = X\n  no equals here\n" KEYS("A", "s0"), PGE_OK, PGE_OK, AWS_PROFILE_OF_KEYS, "s0"},
		{"[sso-session app]\nsso_region = x\n[services app]\nkms =\n  endpoint_url = x\n", "", PGE_OK, PGE_OK, AWS_PROFILE_OF_NOTHING, NULL},
		{"", "[app]\naws_access_key_id = A\n", PGE_OK, PGE_INVALID, 0, "no aws_secret_access_key"},
		{"", "[app]\naws_secret_access_key = " CANARY "\n", PGE_OK, PGE_INVALID, 0, "no aws_access_key_id"},
		{"", "[app]\naws_session_token = " CANARY "\n", PGE_OK, PGE_INVALID, 0, "no aws_access_key_id"},
		{"[profile app]\nrole_arn = x\nsource_profile = y\n", "[app]\n" KEYS("A", "s"), PGE_OK, PGE_OK, AWS_PROFILE_OF_PROFILE, NULL},
		{"[profile app]\nrole_arn = x\ncredential_source = y\n", "", PGE_OK, PGE_OK, AWS_PROFILE_OF_SOURCE, NULL},
		{"[profile app]\nrole_arn = x\nweb_identity_token_file = /y\n", "", PGE_OK, PGE_OK, AWS_PROFILE_OF_WEB_IDENTITY, NULL},
		{"[profile app]\nrole_arn = x\n", "[app]\n" KEYS("A", "s"), PGE_OK, PGE_INVALID, 0, "none of source_profile"},
		{"[profile app]\nrole_arn = x\nsource_profile = y\ncredential_source = z\n", "", PGE_OK, PGE_INVALID, 0, "more than one of"},
		{"[profile app]\nrole_arn = x\nsource_profile = y\nweb_identity_token_file = /z\n", "", PGE_OK, PGE_INVALID, 0, "more than one of"},
		{"[profile app]\nrole_arn = x\nexternal_id = e\nweb_identity_token_file = /z\n", "", PGE_OK, PGE_INVALID, 0, "external_id"},
		{"[profile app]\nsource_profile = y\n", "", PGE_OK, PGE_INVALID, 0, "no role_arn"},
		{"[profile app]\nweb_identity_token_file = /y\n", "", PGE_OK, PGE_INVALID, 0, "no role_arn"},
		{"[profile app]\ncredential_process = /bin/true\n", "[app]\n" KEYS("A", "s"), PGE_OK, PGE_INVALID, 0, "no program is run"},
		{"", "[app]\nCredential_Process = /bin/true\n", PGE_OK, PGE_INVALID, 0, "credential_process"},
		{"[profile app]\nsso_start_url = x\n", "", PGE_OK, PGE_INVALID, 0, "log in"},
		{"[profile app]\nsso_session = x\n", "", PGE_OK, PGE_INVALID, 0, "log in"},
		{"[profile app]\nlogin_session = x\n", "", PGE_OK, PGE_INVALID, 0, "log in"},
		{"[profile app]\nrole_arn = x\nsource_profile = y\nmfa_serial = z\n", "", PGE_OK, PGE_INVALID, 0, "mfa_serial"},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		PgeBytes	name = text_bytes("app");
		AwsProfile	profile;
		AwsProfile	above;
		AwsProfileKind kind;
		PgeStatus	status;

		detail[0] = '\0';
		status = pge_aws_profile_read(text_bytes(cases[i].config), AWS_CONFIG_FILE, name, &profile, detail);
		if (status == PGE_OK)
			status = pge_aws_profile_read(text_bytes(cases[i].credentials), AWS_CREDENTIALS_FILE, name, &above, detail);
		check(status == cases[i].read && strstr(detail, CANARY) == NULL, "profile %d is %s%s", i, status == PGE_OK ? "read" : "refused: ", detail);
		if (status == PGE_OK)
		{
			pge_aws_profile_merge(&profile, &above);
			status = pge_aws_profile_kind(&profile, &kind, detail);
			check(status == cases[i].judged && kind == cases[i].kind, "profile %d: %d %s", i, (int) kind, detail);
		}
		if (status == PGE_OK && kind == AWS_PROFILE_OF_KEYS)
			check(same_bytes(profile.values[AWS_PROFILE_SECRET], text_bytes(cases[i].said)), "profile %d: its secret", i);
		else if (cases[i].said != NULL)
			check(strstr(detail, cases[i].said) != NULL, "profile %d: says why", i);
	}
}

int
main(void)
{
	pge_json_init();
	test_times();
	test_life();
	test_sts_answers();
	test_sts_request_ids();
	test_json_answers();
	test_forms();
	test_profiles();
	return check_done();
}
