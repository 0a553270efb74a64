/*-------------------------------------------------------------------------
 *
 * kms_aws_errors.c
 *	  What an answer of AWS KMS means: was it done, and if not, why.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/kms/json.h"
#include "agent/kms/kms_aws_errors.h"

#define CODE_MAX		63

/* What an error's name means; "detail" NULL: its own name says it. */
typedef struct KnownError
{
	const char *code;
	PgeStatus	status;
	const char *detail;
} KnownError;

#define BUSY_TEXT		"AWS throttles us: too many requests of this account and region."
#define AWS_DOWN_TEXT	"AWS KMS could not do it now."
#define REFUSED_TEXT	"AWS refuses the credential: its key or its signature is not valid there."
#define EXPIRED_TEXT	"AWS refuses the credential: it has expired."
#define KEY_AWAY_TEXT	"AWS KMS does not reach the key now: its key store (a CloudHSM, or one outside of AWS) may be away."
#define STORE_TEXT		"The key store of the key (a CloudHSM, or one outside of AWS) is not available: look at its state in AWS KMS."
#define DENIED_TEXT		"AWS denies it."
#define CLOCK_TEXT		"AWS takes the time of the signature for wrong: set this machine's clock."
#define KIND_TEXT		"The key is of a kind that cannot do this: KEKs are symmetric keys for encrypting and decrypting."

static const KnownError known_errors[] = {
	{"ThrottlingException", PGE_THROTTLED, BUSY_TEXT},
	{"Throttling", PGE_THROTTLED, BUSY_TEXT},
	{"ThrottledException", PGE_THROTTLED, BUSY_TEXT},
	{"RequestThrottled", PGE_THROTTLED, BUSY_TEXT},
	{"RequestThrottledException", PGE_THROTTLED, BUSY_TEXT},
	{"TooManyRequestsException", PGE_THROTTLED, BUSY_TEXT},
	{"RequestLimitExceeded", PGE_THROTTLED, BUSY_TEXT},
	{"SlowDown", PGE_THROTTLED, BUSY_TEXT},
	{"PriorRequestNotComplete", PGE_THROTTLED, BUSY_TEXT},
	{"DependencyTimeoutException", PGE_UNAVAILABLE, KEY_AWAY_TEXT},
	{"KMSInternalException", PGE_UNAVAILABLE, AWS_DOWN_TEXT},
	{"KeyUnavailableException", PGE_UNAVAILABLE, KEY_AWAY_TEXT},
	{"InternalFailure", PGE_UNAVAILABLE, AWS_DOWN_TEXT},
	{"ServiceUnavailable", PGE_UNAVAILABLE, AWS_DOWN_TEXT},
	{"RequestTimeout", PGE_UNAVAILABLE, AWS_DOWN_TEXT},
	{"RequestTimeoutException", PGE_UNAVAILABLE, AWS_DOWN_TEXT},
	{"ExpiredTokenException", PGE_UNAUTHENTICATED, EXPIRED_TEXT},
	{"ExpiredToken", PGE_UNAUTHENTICATED, EXPIRED_TEXT},
	{"InvalidClientTokenId", PGE_UNAUTHENTICATED, REFUSED_TEXT},
	{"UnrecognizedClientException", PGE_UNAUTHENTICATED, REFUSED_TEXT},
	{"InvalidSignatureException", PGE_UNAUTHENTICATED, REFUSED_TEXT},
	{"SignatureDoesNotMatch", PGE_UNAUTHENTICATED, REFUSED_TEXT},
	{"IncompleteSignature", PGE_UNAUTHENTICATED, REFUSED_TEXT},
	{"IncompleteSignatureException", PGE_UNAUTHENTICATED, REFUSED_TEXT},
	{"MissingAuthenticationToken", PGE_UNAUTHENTICATED, REFUSED_TEXT},
	{"MissingAuthenticationTokenException", PGE_UNAUTHENTICATED, REFUSED_TEXT},
	{"AccessDeniedException", PGE_DENIED, DENIED_TEXT},
	{"AccessDenied", PGE_DENIED, DENIED_TEXT},
	{"OptInRequired", PGE_DENIED, "AWS denies it: the account or the region is not opted in."},
	{"NotAuthorized", PGE_DENIED, DENIED_TEXT},
	{"LimitExceededException", PGE_USED_UP, "A quota of AWS KMS is used up: a key can be rotated on demand 25 times in its life. What the key has wrapped goes on to open."},
	{"DisabledException", PGE_KEK_UNUSABLE, "The key is disabled: enable it in AWS KMS (EnableKey)."},
	{"KMSInvalidStateException", PGE_KEK_UNUSABLE, "The key's state does not allow it: it is pending deletion, pending import, or its key store is not available."},
	{"CustomKeyStoreInvalidStateException", PGE_KEK_UNUSABLE, STORE_TEXT},
	{"CustomKeyStoreNotFoundException", PGE_KEK_UNUSABLE, STORE_TEXT},
	{"CloudHsmClusterNotActiveException", PGE_KEK_UNUSABLE, STORE_TEXT},
	{"CloudHsmClusterInvalidConfigurationException", PGE_KEK_UNUSABLE, STORE_TEXT},
	{"XksKeyInvalidConfigurationException", PGE_KEK_UNUSABLE, STORE_TEXT},
	{"XksKeyNotFoundException", PGE_KEK_UNUSABLE, STORE_TEXT},
	{"XksProxyInvalidResponseException", PGE_KEK_UNUSABLE, STORE_TEXT},
	{"XksProxyUriUnreachableException", PGE_KEK_UNUSABLE, STORE_TEXT},
	{"InvalidKeyUsageException", PGE_KEK_UNUSABLE, KIND_TEXT},
	{"UnsupportedOperationException", PGE_KEK_UNUSABLE, "AWS KMS does not do this with a key of this kind or origin."},
	{"ConflictException", PGE_KEK_UNUSABLE, "Something else is being done to the key, as a rotation: look at it before you repeat it."},
	{"InvalidCiphertextException", PGE_WRAPPING_DAMAGED, "AWS KMS does not open it: these are damaged bytes, or of another key or another row."},
	{"IncorrectKeyException", PGE_WRAPPING_DAMAGED, "AWS KMS says that another key has wrapped this."},
	{"NotFoundException", PGE_KEK_NOT_FOUND, "AWS KMS has no such key, or no such alias."},
	{"InvalidArnException", PGE_INVALID, "AWS KMS does not take the key's ARN for one."},
	{"InvalidGrantTokenException", PGE_INVALID, NULL},
	{"ValidationException", PGE_INVALID, NULL},
	{"DryRunOperationException", PGE_INVALID, NULL},
};

static const char *const key_errors[] = {"KeyUnavailableException", "DependencyTimeoutException"};
static const char *const clock_errors[] = {"RequestExpired", "RequestTimeTooSkewed"};

/* These two may be about the time, and then say so. */
static const char *const signature_errors[] = {"InvalidSignatureException", "SignatureDoesNotMatch"};
static const char *const of_time[] = {"Signature expired", "Signature not yet current", "too skewed"};

static PgeStatus check_object(const HttpAnswer *answer, char *detail);
static PgeStatus classify_number(int status, char *detail);
static bool read_code(const HttpAnswer *answer, char code[CODE_MAX + 1]);
static bool code_of_json(const HttpAnswer *answer, char code[CODE_MAX + 1]);
static bool code_of_xml(const HttpAnswer *answer, char code[CODE_MAX + 1]);
static bool take_code(PgeBytes text, char code[CODE_MAX + 1]);
static bool is_among(const char *code, const char *const *list, size_t count);
static bool is_uuid(const char *text);

PgeStatus
pge_aws_classify(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN])
{
	char		code[CODE_MAX + 1];
	const KnownError *known = NULL;
	PgeStatus	status;

	detail[0] = '\0';
	if (answer->status == 200)
		return check_object(answer, detail);
	if (!read_code(answer, code))
		return classify_number(answer->status, detail);
	for (size_t i = 0; i < sizeof(known_errors) / sizeof(known_errors[0]) && known == NULL; i++)
		if (strcmp(known_errors[i].code, code) == 0)
			known = &known_errors[i];
	if (pge_aws_is_clock_error(answer))
	{
		pge_kms_detail(detail, CLOCK_TEXT);
		status = PGE_INVALID;	/* nobody else's credential would do better */
	}
	else if (known != NULL)
	{
		pge_kms_detail(detail, "%s", known->detail != NULL ? known->detail : "AWS KMS takes the request for wrong.");
		pge_kms_detail_append(detail, "(%s)", known->code);
		status = known->status;
	}
	else
		return classify_number(answer->status, detail);
	pge_aws_tell_request(answer, detail);
	return status;
}

/*
 * Cut in the middle, or not AWS's: then the call is worth another try.  Some operations
 * answer with nothing.
 */
static PgeStatus
check_object(const HttpAnswer *answer, char *detail)
{
	json_t	   *object = NULL;
	PgeStatus	status;

	if (answer->len == 0 || (answer->len == 4 && memcmp(answer->body, "null", 4) == 0))
		return PGE_OK;
	status = pge_json_parse(pge_bytes(answer->body, answer->len), &object, detail);
	json_decref(object);
	return status == PGE_OK || status == PGE_OUT_OF_MEMORY ? status : pge_aws_not_asked_for(detail);
}

/* Of an error without a name that we know. */
static PgeStatus
classify_number(int status, char *detail)
{
	pge_kms_detail(detail, "The service says HTTP %d.", status);
	if (status == 429)
		return PGE_THROTTLED;
	if (status == 401 || status == 403)
		return PGE_DENIED;
	if (status >= 400 && status < 500 && status != 408)
		return PGE_INVALID;
	if (status >= 300 && status < 400)
		pge_kms_detail(detail, "The service redirects (HTTP %d), which is not followed.", status);
	return PGE_UNAVAILABLE;
}

/* The others of a key store are final: who answers them is there. */
bool
pge_aws_is_of_key(const HttpAnswer *answer)
{
	char		code[CODE_MAX + 1];

	return read_code(answer, code) && is_among(code, key_errors, 2);
}

bool
pge_aws_is_clock_error(const HttpAnswer *answer)
{
	char		code[CODE_MAX + 1];

	if (answer->status < 400 || answer->status >= 500 || answer->body == NULL || !read_code(answer, code))
		return false;
	if (is_among(code, clock_errors, 2))
		return true;
	for (size_t i = 0; i < 3 && is_among(code, signature_errors, 2); i++)
		if (memmem(answer->body, answer->len, of_time[i], strlen(of_time[i])) != NULL)
			return true;
	return false;
}

static bool
is_among(const char *code, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(code, list[i]) == 0)
			return true;
	return false;
}

/* By the body, or else by the header that some of AWS's front ends set. */
static bool
read_code(const HttpAnswer *answer, char code[CODE_MAX + 1])
{
	if (answer->body == NULL)
		return false;
	return code_of_json(answer, code) || code_of_xml(answer, code) ||
		take_code(pge_bytes(answer->error_type, strlen(answer->error_type)), code);
}

static bool
code_of_json(const HttpAnswer *answer, char code[CODE_MAX + 1])
{
	char		unused[KMS_DETAIL_LEN];
	json_t	   *object = NULL;
	PgeBytes	text;
	bool		found;

	code[0] = '\0';
	if (pge_json_parse(pge_bytes(answer->body, answer->len), &object, unused) != PGE_OK)
		return false;
	found = (pge_json_text(object, "__type", &text) && take_code(text, code)) ||
		(answer->error_type[0] == '\0' && pge_json_text(object, "code", &text) && take_code(text, code));
	json_decref(object);
	return found;
}

/* <ErrorResponse>...<Code>Name</Code>, of the query protocol: said by what stands before KMS. */
static bool
code_of_xml(const HttpAnswer *answer, char code[CODE_MAX + 1])
{
	static const char *const marks[] = {"<ErrorResponse", "<Code>", "</Code>"};
	const uint8_t *at[3] = {answer->body, NULL, NULL};
	const uint8_t *end = answer->body + answer->len;

	for (int i = 0; i < 3; i++)
	{
		const uint8_t *from = i == 0 ? answer->body : at[i - 1] + strlen(marks[i - 1]);

		at[i] = memmem(from, (size_t) (end - from), marks[i], strlen(marks[i]));
		if (at[i] == NULL)
			return false;
	}
	return take_code(pge_bytes(at[1] + strlen(marks[1]), (size_t) (at[2] - at[1]) - strlen(marks[1])), code);
}

/* "com.amazonaws.kms#NotFoundException:http://..." */
static bool
take_code(PgeBytes text, char code[CODE_MAX + 1])
{
	const uint8_t *hash = text.len > 0 ? memrchr(text.data, '#', text.len) : NULL;
	size_t		len = 0;

	code[0] = '\0';
	if (hash != NULL)
		text = pge_bytes(hash + 1, text.len - (size_t) (hash + 1 - text.data));
	while (len < text.len && text.data[len] != ':')
	{
		uint8_t		c = text.data[len];

		if (len == CODE_MAX || ((c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9')))
			return false;
		len++;
	}
	if (len == 0)
		return false;
	memcpy(code, text.data, len);
	code[len] = '\0';
	return true;
}

void
pge_aws_tell_request(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN])
{
	if (is_uuid(answer->request_id))
		pge_kms_detail_append(detail, "(AWS request %s.)", answer->request_id);
}

static bool
is_uuid(const char *text)
{
	for (int i = 0; i < 36; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (text[i] == '\0' || (dash ? text[i] != '-' : strchr("0123456789abcdef", text[i]) == NULL))
			return false;
	}
	return text[36] == '\0';
}

PgeStatus
pge_aws_not_asked_for(char detail[KMS_DETAIL_LEN])
{
	pge_kms_detail(detail, "What came back is not what AWS KMS answers to this.");
	return PGE_UNAVAILABLE;
}
