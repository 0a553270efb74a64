/*-------------------------------------------------------------------------
 *
 * kms_aws_messages_test.c
 *	  What is said to AWS KMS, and what its answers mean.
 *
 * The shapes are those of botocore's model of the service and of moto 5.2.5.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/json.h"
#include "agent/kms/kms_aws_errors.h"
#include "agent/kms/kms_aws_messages.h"
#include "check.h"
#include "format/binding.h"
#include "format/wrapped_key.h"

#define ARN			"arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define OTHER		"arn:aws:kms:eu-west-1:111122223333:key/other"
#define MATERIAL	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MATERIAL_2	"fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define CONTEXT(key_id) "{\"pge_keyring\":\"00112233-4455-6677-8899-aabbccddeeff\",\"pge_key_id\":\"" key_id "\",\"pge_dek_id\":\"4294967295\",\"pge_version\":\"7\",\"pge_purpose\":\"1\",\"pge_algorithm\":\"2\"}"
#define DEK_TEXT	"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
#define SYMMETRIC	"\"SYMMETRIC_DEFAULT\""
#define CANARY		"canary-4be1"

static char detail[KMS_DETAIL_LEN];
static const PgeSecret dek = SECRET_OF('A');
static uint8_t binding_bytes[PGE_BINDING_MAX];

static PgeBytes
binding_of(const char *key_id)
{
	PgeBinding	binding = {
		.keyring = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
		.dek_id = UINT32_MAX, .version = 7, .purpose = 1, .algorithm = 2, .key_id = text_bytes(key_id),
	};
	PgeBuffer	out = {binding_bytes, 0, sizeof(binding_bytes)};

	if (pge_binding_encode(&binding, &out) != PGE_OK)
		abort();
	return pge_buffer_bytes(&out);
}

static void
check_body(PgeStatus status, PgeBuffer *body, const char *expected, const char *claim)
{
	check_status(status, PGE_OK, "%s", claim);
	if (!check(status == PGE_OK && same_bytes(pge_buffer_bytes(body), text_bytes(expected)), "%s: its bytes", claim) && status == PGE_OK)
		printf("#   %s\n", (const char *) body->data);
	pge_json_text_free(body);
}

static void
check_bodies(void)
{
	static char longest[PGE_KEY_ID_MAX + 1];
	PgeBuffer	body;
	PgeBytes	binding = binding_of("acme");

	check_body(pge_aws_encrypt_body(ARN, binding, &dek, &body), &body,
			   "{\"KeyId\":\"" ARN "\",\"Plaintext\":\"" DEK_TEXT "\",\"EncryptionContext\":" CONTEXT("acme") ",\"EncryptionAlgorithm\":" SYMMETRIC "}", "Encrypt");
	check_body(pge_aws_decrypt_body(ARN, binding, text_bytes("blob"), &body), &body,
			   "{\"KeyId\":\"" ARN "\",\"CiphertextBlob\":\"YmxvYg==\",\"EncryptionContext\":" CONTEXT("acme") ",\"EncryptionAlgorithm\":" SYMMETRIC "}", "Decrypt");
	check_body(pge_aws_reencrypt_body(ARN, OTHER, binding, text_bytes("blob"), &body), &body,
			   "{\"SourceKeyId\":\"" ARN "\",\"DestinationKeyId\":\"" OTHER "\",\"CiphertextBlob\":\"YmxvYg==\",\"SourceEncryptionContext\":" CONTEXT("acme")
			   ",\"DestinationEncryptionContext\":" CONTEXT("acme") ",\"SourceEncryptionAlgorithm\":" SYMMETRIC ",\"DestinationEncryptionAlgorithm\":" SYMMETRIC "}", "ReEncrypt");
	check_body(pge_aws_key_body(ARN, 0, &body), &body, "{\"KeyId\":\"" ARN "\"}", "DescribeKey and the like");
	check_body(pge_aws_key_body(ARN, 7, &body), &body, "{\"KeyId\":\"" ARN "\",\"PendingWindowInDays\":7}", "ScheduleKeyDeletion");
	check_body(pge_aws_decrypt_body("k", binding_of("a b%/\xc3\xa4~!\""), text_bytes("blob"), &body), &body,
			   "{\"KeyId\":\"k\",\"CiphertextBlob\":\"YmxvYg==\",\"EncryptionContext\":" CONTEXT("a%20b%25/%C3%A4~!\\\"") ",\"EncryptionAlgorithm\":" SYMMETRIC "}",
			   "a name with blanks, '%', UTF-8");
	memset(longest, 0xf0, 1);
	for (int i = 0; i < 63; i++)
		memcpy(longest + (size_t) i * 4, "\xf0\x9f\x94\x91", 4);
	check_status(pge_aws_encrypt_body(ARN, binding_of(longest), &dek, &body), PGE_OK, "the longest name fits");
	pge_json_text_free(&body);
	check_status(pge_aws_encrypt_body(ARN, pge_bytes(NULL, 0), &dek, &body), PGE_INVALID, "no wrap without a binding");
	check(body.data == NULL, "and no body");
	check_status(pge_aws_encrypt_body(ARN, text_bytes("no binding"), &dek, &body), PGE_INVALID, "nor with what is none");
	check_status(pge_aws_decrypt_body(ARN, pge_bytes(NULL, 0), text_bytes("blob"), &body), PGE_INVALID, "nor an unwrap");
	check_status(pge_aws_decrypt_body(ARN, binding_of("acme"), pge_bytes(NULL, 0), &body), PGE_INVALID, "nor one of nothing");
	check_status(pge_aws_reencrypt_body(ARN, OTHER, pge_bytes(NULL, 0), text_bytes("blob"), &body), PGE_INVALID, "nor a rewrap");
}

static HttpAnswer
answer_of(int status, const char *body)
{
	HttpAnswer	answer = {.status = status, .body = (uint8_t *) body, .len = strlen(body)};

	return answer;
}

typedef struct Meaning
{
	int			http;
	const char *body;
	const char *type_header;
	PgeStatus	status;
	const char *says;
} Meaning;

#define TYPE(code)	"{\"__type\":\"" code "\",\"message\":\"" CANARY "\"}"
#define XML(code)	"<?xml version=\"1.0\"?>\n<ErrorResponse><Errors><Error><Code>" code "</Code><Message>" CANARY "</Message></Error></Errors></ErrorResponse>"
#define LATE		"{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired: 20150830T123600Z is now earlier than x " CANARY "\"}"

static const Meaning meanings[] = {
	{200, "{}", "", PGE_OK, ""}, {200, "", "", PGE_OK, ""}, {200, "null", "", PGE_OK, ""}, {200, "{\"KeyId\":\"x\"}", "", PGE_OK, ""},
	{200, "{\"KeyId\":", "", PGE_UNAVAILABLE, "not what AWS KMS answers"}, {200, "[]", "", PGE_UNAVAILABLE, "not what"}, {200, "<html>" CANARY, "", PGE_UNAVAILABLE, "not what"},
	{200, "{\"a\":1,\"a\":2}", "", PGE_UNAVAILABLE, "not what"}, {200, "nul", "", PGE_UNAVAILABLE, "not what"}, {200, " null", "", PGE_UNAVAILABLE, "not what"},
	{400, TYPE("NotFoundException"), "", PGE_KEK_NOT_FOUND, "no such key"}, {400, TYPE("com.amazonaws.kms#NotFoundException"), "", PGE_KEK_NOT_FOUND, "no such key"},
	{400, TYPE("a#b#NotFoundException:http://internal.amazon.com/coral/com.amazon.coral.service/"), "", PGE_KEK_NOT_FOUND, "no such key"},
	{400, "{\"message\":\"x\"}", "NotFoundException:http://x/", PGE_KEK_NOT_FOUND, "no such key"}, {400, "", "NotFoundException", PGE_KEK_NOT_FOUND, "no such key"},
	{400, "{\"code\":\"NotFoundException\",\"Message\":\"x\"}", "", PGE_KEK_NOT_FOUND, "no such key"},
	{400, "{\"code\":\"DisabledException\"}", "NotFoundException", PGE_KEK_NOT_FOUND, "no such key"},
	{400, "{\"__type\":\"DisabledException\",\"code\":\"NotFoundException\"}", "NotFoundException", PGE_KEK_UNUSABLE, "disabled"},
	{400, "{\"__type\":\"InvalidCiphertextException\"}", "", PGE_WRAPPING_DAMAGED, "another row"}, {400, TYPE("IncorrectKeyException"), "", PGE_WRAPPING_DAMAGED, "another key"},
	{400, TYPE("DisabledException"), "", PGE_KEK_UNUSABLE, "EnableKey"}, {400, TYPE("KMSInvalidStateException"), "", PGE_KEK_UNUSABLE, "pending deletion"},
	{400, TYPE("CustomKeyStoreInvalidStateException"), "", PGE_KEK_UNUSABLE, "key store of the key"}, {400, TYPE("CloudHsmClusterNotActiveException"), "", PGE_KEK_UNUSABLE, "key store of the key"},
	{400, TYPE("InvalidKeyUsageException"), "", PGE_KEK_UNUSABLE, "symmetric"}, {400, TYPE("UnsupportedOperationException"), "", PGE_KEK_UNUSABLE, "does not do this"},
	{400, TYPE("ConflictException"), "", PGE_KEK_UNUSABLE, "Something else"}, {400, TYPE("LimitExceededException"), "", PGE_USED_UP, "25 times"},
	{400, TYPE("AccessDeniedException"), "", PGE_DENIED, "denies"}, {403, TYPE("AccessDeniedException"), "", PGE_DENIED, "denies"}, {403, XML("AccessDenied"), "", PGE_DENIED, "denies"},
	{403, TYPE("OptInRequired"), "", PGE_DENIED, "opted in"}, {403, TYPE("NotAuthorized"), "", PGE_DENIED, "denies"},
	{400, TYPE("ExpiredTokenException"), "", PGE_UNAUTHENTICATED, "expired"}, {403, XML("ExpiredToken"), "", PGE_UNAUTHENTICATED, "expired"},
	{403, XML("InvalidClientTokenId"), "", PGE_UNAUTHENTICATED, "refuses"}, {400, TYPE("UnrecognizedClientException"), "", PGE_UNAUTHENTICATED, "refuses"},
	{403, XML("SignatureDoesNotMatch"), "", PGE_UNAUTHENTICATED, "refuses"}, {400, TYPE("InvalidSignatureException"), "", PGE_UNAUTHENTICATED, "refuses"},
	{400, TYPE("IncompleteSignatureException"), "", PGE_UNAUTHENTICATED, "refuses"}, {400, TYPE("MissingAuthenticationTokenException"), "", PGE_UNAUTHENTICATED, "refuses"},
	{400, LATE, "", PGE_INVALID, "clock"}, {403, "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature not yet current: x\"}", "", PGE_INVALID, "clock"},
	{403, "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired: x</Message></Error></ErrorResponse>", "", PGE_INVALID, "clock"},
	{400, TYPE("RequestExpired"), "", PGE_INVALID, "clock"}, {403, XML("RequestTimeTooSkewed"), "", PGE_INVALID, "clock"},
	{400, "{\"__type\":\"NotFoundException\",\"message\":\"Signature expired\"}", "", PGE_KEK_NOT_FOUND, "no such key"},
	{400, TYPE("ThrottlingException"), "", PGE_THROTTLED, "throttles"}, {429, TYPE("Throttling"), "", PGE_THROTTLED, "throttles"}, {400, TYPE("TooManyRequestsException"), "", PGE_THROTTLED, "throttles"},
	{400, TYPE("RequestLimitExceeded"), "", PGE_THROTTLED, "throttles"}, {503, TYPE("SlowDown"), "", PGE_THROTTLED, "throttles"}, {400, TYPE("PriorRequestNotComplete"), "", PGE_THROTTLED, "throttles"},
	{400, TYPE("ThrottledException"), "", PGE_THROTTLED, "throttles"}, {400, TYPE("RequestThrottled"), "", PGE_THROTTLED, "throttles"}, {400, TYPE("RequestThrottledException"), "", PGE_THROTTLED, "throttles"},
	{500, TYPE("KMSInternalException"), "", PGE_UNAVAILABLE, "could not do it now"}, {503, TYPE("DependencyTimeoutException"), "", PGE_UNAVAILABLE, "does not reach the key"}, {400, TYPE("KeyUnavailableException"), "", PGE_UNAVAILABLE, "does not reach the key"},
	{400, TYPE("RequestTimeoutException"), "", PGE_UNAVAILABLE, "could not"}, {408, TYPE("RequestTimeout"), "", PGE_UNAVAILABLE, "could not"}, {500, TYPE("InternalFailure"), "", PGE_UNAVAILABLE, "could not"},
	{400, TYPE("ValidationException"), "", PGE_INVALID, "ValidationException"}, {400, TYPE("InvalidArnException"), "", PGE_INVALID, "ARN"}, {400, TYPE("DryRunOperationException"), "", PGE_INVALID, "DryRun"}, {400, TYPE("InvalidGrantTokenException"), "", PGE_INVALID, "wrong"},
	{400, TYPE("Canary" CANARY), "", PGE_INVALID, "HTTP 400"}, {400, TYPE("canary4be1"), "", PGE_INVALID, "HTTP 400"}, {403, "<html>" CANARY "</html>", "", PGE_DENIED, "HTTP 403"}, {401, "", "", PGE_DENIED, "HTTP 401"},
	{404, "<html>no</html>", "", PGE_INVALID, "HTTP 404"}, {400, "<Code>NotFoundException</Code>", "", PGE_INVALID, "HTTP 400"}, {400, "<ErrorResponse><Code>NotFoundException", "", PGE_INVALID, "HTTP 400"},
	{400, "<ErrorResponse><Code></Code>", "", PGE_INVALID, "HTTP 400"}, {413, "", "", PGE_INVALID, "HTTP 413"}, {408, "", "", PGE_UNAVAILABLE, "HTTP 408"}, {429, "<html>", "", PGE_THROTTLED, "HTTP 429"},
	{500, "<html>" CANARY, "", PGE_UNAVAILABLE, "HTTP 500"}, {502, "", "", PGE_UNAVAILABLE, "HTTP 502"}, {503, "{}", "", PGE_UNAVAILABLE, "HTTP 503"}, {504, "gateway", "", PGE_UNAVAILABLE, "HTTP 504"},
	{301, "", "", PGE_UNAVAILABLE, "redirects"}, {307, TYPE("Redirect"), "", PGE_UNAVAILABLE, "redirects"}, {201, "{}", "", PGE_UNAVAILABLE, "HTTP 201"}, {204, "", "", PGE_UNAVAILABLE, "HTTP 204"},
	{400, "{\"__type\":null}", "", PGE_INVALID, "HTTP 400"}, {400, "{\"__type\":7}", "", PGE_INVALID, "HTTP 400"}, {400, "{\"__type\":\"\"}", "", PGE_INVALID, "HTTP 400"}, {400, "{\"__type\":\"#\"}", "", PGE_INVALID, "HTTP 400"},
	{400, "{\"__type\":\"NotFoundException\",\"__type\":\"DisabledException\"}", "", PGE_INVALID, "HTTP 400"}, {400, TYPE(" NotFoundException"), "", PGE_INVALID, "HTTP 400"},
	{400, TYPE("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "", PGE_INVALID, "HTTP 400"},
};

static void
check_meanings(void)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
	{
		const Meaning *meaning = &meanings[i];
		HttpAnswer	answer = answer_of(meaning->http, meaning->body);
		PgeStatus	status;

		snprintf(answer.error_type, sizeof(answer.error_type), "%s", meaning->type_header);
		snprintf(answer.request_id, sizeof(answer.request_id), "%s", CANARY);
		status = pge_aws_classify(&answer, detail);
		if (!check(status == meaning->status && strstr(detail, meaning->says) != NULL && strstr(detail, CANARY) == NULL,
				   "HTTP %d %.60s: %s", meaning->http, meaning->body, pge_status_name(meaning->status)))
			printf("#   %s: %s\n", pge_status_name(status), detail);
		check(pge_aws_is_clock_error(&answer) == (strcmp(meaning->says, "clock") == 0), "and it is about the time or not");
		check(pge_aws_is_of_key(&answer) == (strcmp(meaning->says, "does not reach the key") == 0), "and of one key alone or not");
	}
}

static void
check_request_ids(void)
{
	HttpAnswer	answer = answer_of(400, TYPE("NotFoundException"));

	snprintf(answer.request_id, sizeof(answer.request_id), "01234567-89ab-4cde-8f01-23456789abcd");
	check(pge_aws_classify(&answer, detail) == PGE_KEK_NOT_FOUND && strstr(detail, "(AWS request 01234567-89ab-4cde-8f01-23456789abcd.)") != NULL, "the request's id is told: %s", detail);
	answer.request_id[0] = 'g';
	check(pge_aws_classify(&answer, detail) == PGE_KEK_NOT_FOUND && strstr(detail, "AWS request") == NULL, "but not what is no UUID");
	snprintf(answer.request_id, sizeof(answer.request_id), "01234567-89ab-4cde-8f01-23456789abcd0");
	check(pge_aws_classify(&answer, detail) == PGE_KEK_NOT_FOUND && strstr(detail, "AWS request") == NULL, "nor more than one");
}

#define META(more)	"{\"KeyMetadata\":{\"Arn\":\"" ARN "\",\"KeyId\":\"x\"," more "}}"
#define GOOD_KEY	"\"KeyState\":\"Enabled\",\"KeySpec\":\"SYMMETRIC_DEFAULT\",\"KeyUsage\":\"ENCRYPT_DECRYPT\",\"KeyManager\":\"CUSTOMER\",\"Origin\":\"AWS_KMS\""

static void
check_keys(void)
{
	static const char *const wrong[] = {
		"", "{}", "null", "{\"KeyMetadata\":null}", "{\"KeyMetadata\":[]}", "{\"KeyMetadata\":{\"KeyState\":\"Enabled\",\"KeySpec\":\"SYMMETRIC_DEFAULT\"}}",
		META("\"KeyState\":\"Enabled\""), META("\"KeySpec\":\"SYMMETRIC_DEFAULT\""), META("\"KeyState\":7,\"KeySpec\":\"SYMMETRIC_DEFAULT\""),
		META("\"KeyState\":\"Enabled and so on\",\"KeySpec\":\"SYMMETRIC_DEFAULT\""), META("\"KeyState\":\"Enabled\",\"KeySpec\":\"" CANARY "\""),
	};
	static const struct
	{
		const char *body;
		PgeStatus	status;
		const char *says;
	}			kinds[] = {
		{META(GOOD_KEY), PGE_OK, ""}, {META("\"KeyState\":\"Enabled\",\"CustomerMasterKeySpec\":\"SYMMETRIC_DEFAULT\",\"KeyUsage\":null"), PGE_OK, ""},
		{META("\"KeyState\":\"Updating\",\"KeySpec\":\"SYMMETRIC_DEFAULT\""), PGE_OK, ""},
		{META("\"KeyState\":\"Disabled\",\"KeySpec\":\"SYMMETRIC_DEFAULT\""), PGE_KEK_UNUSABLE, "disabled"},
		{META("\"KeyState\":\"PendingDeletion\",\"KeySpec\":\"SYMMETRIC_DEFAULT\",\"DeletionDate\":1797949860.5"), PGE_KEK_UNUSABLE, "2026-12-22 14:31 UTC"},
		{META("\"KeyState\":\"PendingDeletion\",\"KeySpec\":\"SYMMETRIC_DEFAULT\",\"DeletionDate\":\"soon\""), PGE_KEK_UNUSABLE, "PendingDeletion"},
		{META("\"KeyState\":\"PendingImport\",\"KeySpec\":\"SYMMETRIC_DEFAULT\""), PGE_KEK_UNUSABLE, "PendingImport"},
		{META("\"KeyState\":\"Unavailable\",\"KeySpec\":\"SYMMETRIC_DEFAULT\""), PGE_KEK_UNUSABLE, "Unavailable"},
		{META("\"KeyState\":\"Enabled\",\"KeySpec\":\"RSA_2048\",\"KeyUsage\":\"ENCRYPT_DECRYPT\""), PGE_KEK_UNUSABLE, "RSA_2048"},
		{META("\"KeyState\":\"Enabled\",\"KeySpec\":\"SYMMETRIC_DEFAULT\",\"KeyUsage\":\"GENERATE_VERIFY_MAC\""), PGE_KEK_UNUSABLE, "symmetric"},
		{META("\"KeyState\":\"Enabled\",\"KeySpec\":\"SYMMETRIC_DEFAULT\",\"KeyManager\":\"AWS\""), PGE_KEK_UNUSABLE, "AWS manages"},
	};
	AwsKeyInfo	key;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check(pge_aws_read_key(text_bytes(wrong[i]), &key, detail) == PGE_UNAVAILABLE && detail[0] != '\0' && strstr(detail, CANARY) == NULL, "no key: %s", wrong[i]);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		check_status(pge_aws_read_key(text_bytes(kinds[i].body), &key, detail), PGE_OK, "a key is read");
		detail[0] = '\0';
		check(pge_aws_check_key(&key, detail) == kinds[i].status && strstr(detail, kinds[i].says) != NULL, "%.40s...: %s", strstr(kinds[i].body, "KeyState"), detail);
	}
	check(pge_aws_read_key(text_bytes(META(GOOD_KEY ",\"CurrentKeyMaterialId\":\"" MATERIAL "\",\"ExpirationModel\":\"KEY_MATERIAL_EXPIRES\"")), &key, detail) == PGE_OK &&
		  strcmp(key.arn, ARN) == 0 && strcmp(key.material, MATERIAL) == 0 && key.expires && !key.of_aws, "its parts");
	detail[0] = '\0';
	pge_aws_tell_key(&key, detail);
	check(strstr(detail, ARN) != NULL && strstr(detail, "AWS_KMS") != NULL && strstr(detail, "01234567...") != NULL && strstr(detail, "expires") != NULL, "are told: %s", detail);
	check(pge_aws_read_key(text_bytes(META(GOOD_KEY ",\"CurrentKeyMaterialId\":\"" CANARY "\"")), &key, detail) == PGE_OK && key.material[0] == '\0', "material of another form is not known");
}

static void
check_wrapped_is(const char *body, PgeStatus expected, const char *claim)
{
	uint8_t		room[PGE_WRAPPED_MAX];
	PgeBuffer	wrapped = {room, 0, sizeof(room)};
	PgeBytes	ciphertext = {NULL, 0};
	PgeStatus	status = pge_aws_read_wrapped(text_bytes(body), ARN, &wrapped, detail);

	check(status == expected && (status == PGE_OK || (wrapped.len == 0 && detail[0] != '\0')), "%s", claim);
	if (status == PGE_OK)
		check(pge_aws_read_stored(pge_buffer_bytes(&wrapped), &ciphertext, detail) == PGE_OK && same_bytes(ciphertext, text_bytes("blob")), "and is read again");
}

static void
check_wrapped(void)
{
	static char large[16384];
	size_t		at = (size_t) snprintf(large, sizeof(large), "{\"KeyId\":\"" ARN "\",\"CiphertextBlob\":\"");
	uint8_t		room[PGE_WRAPPED_MAX];
	PgeBuffer	wrapped = {room, 0, sizeof(room)};

	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"KeyId\":\"" ARN "\",\"EncryptionAlgorithm\":" SYMMETRIC "}", PGE_OK, "a wrapping");
	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"KeyId\":\"" ARN "\"}", PGE_OK, "without the algorithm");
	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"KeyId\":\"" OTHER "\"}", PGE_UNAVAILABLE, "of another key");
	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYg==\"}", PGE_UNAVAILABLE, "of no key");
	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"KeyId\":\"" ARN "x\"}", PGE_UNAVAILABLE, "of a longer one");
	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"KeyId\":\"" ARN "\",\"EncryptionAlgorithm\":\"RSAES_OAEP_SHA_256\"}", PGE_UNAVAILABLE, "by RSA, which binds nothing");
	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"KeyId\":\"" ARN "\",\"EncryptionAlgorithm\":null}", PGE_UNAVAILABLE, "by null");
	check_wrapped_is("{\"CiphertextBlob\":\"\",\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "of nothing");
	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYg=\",\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "base64 that is none");
	check_wrapped_is("{\"CiphertextBlob\":\"YmxvYh==\",\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "base64 with bits left");
	check_wrapped_is("{\"CiphertextBlob\":7,\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "a number");
	check_wrapped_is("{\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "no blob");
	check_wrapped_is("", PGE_UNAVAILABLE, "nothing");
	memset(large + at, 'A', 8192 + 4);
	snprintf(large + at + 8192, sizeof(large) - at - 8192, "\"}");
	check(pge_aws_read_wrapped(text_bytes(large), ARN, &wrapped, detail) == PGE_OK && wrapped.len == 6144 + PGE_WRAPPED_HEADER_LEN, "6,144 bytes are the most");
	snprintf(large + at + 8192, sizeof(large) - at - 8192, "AAAA\"}");
	check_status(pge_aws_read_wrapped(text_bytes(large), ARN, &wrapped, detail), PGE_UNAVAILABLE, "three more are too many");
}

static void
check_rewrapped_is(const char *body, PgeStatus expected, const char *version, const char *claim)
{
	uint8_t		room[PGE_WRAPPED_MAX];
	PgeBuffer	wrapped = {room, 0, sizeof(room)};
	char		kek_version[PGE_KEK_VERSION_MAX + 1];
	PgeStatus	status = pge_aws_read_rewrapped(text_bytes(body), OTHER, ARN, &wrapped, kek_version, detail);

	check(status == expected && strcmp(kek_version, version) == 0 && (status == PGE_OK) == (wrapped.len > 0), "%s", claim);
}

static void
check_rewrapped(void)
{
	check_rewrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"SourceKeyId\":\"" OTHER "\",\"KeyId\":\"" ARN "\",\"SourceEncryptionAlgorithm\":" SYMMETRIC ",\"DestinationEncryptionAlgorithm\":" SYMMETRIC
					   ",\"SourceKeyMaterialId\":\"" MATERIAL_2 "\",\"DestinationKeyMaterialId\":\"" MATERIAL "\"}", PGE_OK, MATERIAL, "a rewrapping, with the material of the new key");
	check_rewrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"SourceKeyId\":\"" OTHER "\",\"KeyId\":\"" ARN "\"}", PGE_OK, "", "where that is not told");
	check_rewrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"SourceKeyId\":\"" ARN "\",\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "", "from another key");
	check_rewrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"SourceKeyId\":\"" OTHER "\",\"KeyId\":\"" OTHER "\"}", PGE_UNAVAILABLE, "", "to another key");
	check_rewrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "", "from none");
	check_rewrapped_is("{\"CiphertextBlob\":\"YmxvYg==\",\"SourceKeyId\":\"" OTHER "\",\"KeyId\":\"" ARN "\",\"DestinationEncryptionAlgorithm\":\"SM2PKE\"}", PGE_UNAVAILABLE, "", "by another algorithm");
}

static void
check_dek_is(const char *body, PgeStatus expected, const char *claim)
{
	char		kek_version[PGE_KEK_VERSION_MAX + 1];
	PgeSecret	got;
	PgeStatus	status;

	memset(&got, 0x5a, sizeof(got));
	status = pge_aws_read_dek(text_bytes(body), ARN, &got, kek_version, detail);
	check(status == expected, "%s", claim);
	if (status == PGE_OK)
		check(memcmp(got.bytes, dek.bytes, PGE_DEK_LEN) == 0, "%s: its bytes", claim);
	else
		check(all_zero(got.bytes, PGE_DEK_LEN) && kek_version[0] == '\0' && strstr(detail, "QUFB") == NULL, "%s: nothing is left", claim);
}

static void
check_deks(void)
{
	char		kek_version[PGE_KEK_VERSION_MAX + 1];
	PgeSecret	got;

	check_dek_is("{\"Plaintext\":\"" DEK_TEXT "\",\"KeyId\":\"" ARN "\",\"EncryptionAlgorithm\":" SYMMETRIC "}", PGE_OK, "a DEK");
	check(pge_aws_read_dek(text_bytes("{\"Plaintext\":\"" DEK_TEXT "\",\"KeyId\":\"" ARN "\",\"KeyMaterialId\":\"" MATERIAL "\"}"), ARN, &got, kek_version, detail) == PGE_OK &&
		  strcmp(kek_version, MATERIAL) == 0, "and the material");
	check_dek_is("{\"Plaintext\":\"" DEK_TEXT "\",\"KeyId\":\"" OTHER "\"}", PGE_UNAVAILABLE, "of another key");
	check_dek_is("{\"Plaintext\":\"" DEK_TEXT "\"}", PGE_UNAVAILABLE, "of no key");
	check_dek_is("{\"Plaintext\":\"" DEK_TEXT "\",\"KeyId\":\"" ARN "\",\"EncryptionAlgorithm\":\"RSAES_OAEP_SHA_1\"}", PGE_UNAVAILABLE, "by RSA");
	check_dek_is("{\"Plaintext\":\"QUFB\",\"KeyId\":\"" ARN "\"}", PGE_WRAPPING_DAMAGED, "three bytes");
	check_dek_is("{\"Plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\",\"KeyId\":\"" ARN "\"}", PGE_WRAPPING_DAMAGED, "33 bytes");
	check_dek_is("{\"Plaintext\":\"\",\"KeyId\":\"" ARN "\"}", PGE_WRAPPING_DAMAGED, "none");
	check_dek_is("{\"Plaintext\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE\",\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "base64 that is none");
	check_dek_is("{\"Plaintext\":null,\"KeyId\":\"" ARN "\"}", PGE_UNAVAILABLE, "null");
	check_dek_is("{\"Plaintext\":\"" DEK_TEXT "\",\"KeyId\":\"" ARN "\"", PGE_UNAVAILABLE, "cut off");
}

static void
check_rest(void)
{
	static const uint8_t vault[] = {1, 3, 0, 'x'};
	static const uint8_t local[] = {1, 1, 0, 'x'};
	static const uint8_t half[] = {1, 2, 1, 'x'};
	PgeBytes	ciphertext;
	size_t		count = 9;

	check(pge_aws_read_rotations(text_bytes("{\"Rotations\":[],\"Truncated\":false}"), &count, detail) == PGE_OK && count == 0, "no rotation");
	check(pge_aws_read_rotations(text_bytes("{\"Rotations\":[{},{}]}"), &count, detail) == PGE_OK && count == 2, "two");
	check_status(pge_aws_read_rotations(text_bytes("{\"Rotations\":{}}"), &count, detail), PGE_UNAVAILABLE, "no list of them");
	check_status(pge_aws_read_stored(pge_bytes(vault, sizeof(vault)), &ciphertext, detail), PGE_WRAPPING_DAMAGED, "Vault's wrapping is not AWS's");
	check_status(pge_aws_read_stored(pge_bytes(local, sizeof(local)), &ciphertext, detail), PGE_WRAPPING_DAMAGED, "nor a local one");
	check_status(pge_aws_read_stored(pge_bytes(half, sizeof(half)), &ciphertext, detail), PGE_WRAPPING_DAMAGED, "nor one with a half");
	check_status(pge_aws_read_stored(pge_bytes(NULL, 0), &ciphertext, detail), PGE_WRAPPING_DAMAGED, "nor nothing");
	check(strcmp(pge_aws_target(AWS_ENCRYPT), "TrentService.Encrypt") == 0 && strcmp(pge_aws_target(AWS_ENABLE), "TrentService.EnableKey") == 0 &&
		  strcmp(pge_aws_right(AWS_REENCRYPT), "kms:ReEncryptFrom and kms:ReEncryptTo") == 0, "each operation has its name and its right");
}

int
main(void)
{
	pge_json_init();
	check_bodies();
	check_meanings();
	check_request_ids();
	check_keys();
	check_wrapped();
	check_rewrapped();
	check_deks();
	check_rest();
	return check_done();
}
