/*-------------------------------------------------------------------------
 *
 * kms_aws_messages.c
 *	  Builds requests to AWS KMS and reads its answers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/kms/encoding.h"
#include "agent/kms/json.h"
#include "agent/kms/kms_aws_messages.h"
#include "format/binding.h"
#include "format/wrapped_key.h"

#define SYMMETRIC		"SYMMETRIC_DEFAULT"
#define CIPHERTEXT_MAX	6144
#define KEY_ID_TEXT_MAX	(3 * PGE_KEY_ID_MAX)
#define BLOB_TEXT_LEN	BASE64_LEN(PGE_WRAPPED_MAX)
#define CODE_MAX		63
#define YEAR_9999_END_S	INT64_C(253402300799)

static const struct
{
	const char *target;
	const char *right;
}			operations[] = {
	[AWS_ENCRYPT] = {"TrentService.Encrypt", "kms:Encrypt"},
	[AWS_DECRYPT] = {"TrentService.Decrypt", "kms:Decrypt"},
	[AWS_REENCRYPT] = {"TrentService.ReEncrypt", "kms:ReEncryptFrom and kms:ReEncryptTo"},
	[AWS_DESCRIBE] = {"TrentService.DescribeKey", "kms:DescribeKey"},
	[AWS_LIST_ROTATIONS] = {"TrentService.ListKeyRotations", "kms:ListKeyRotations"},
	[AWS_ROTATE] = {"TrentService.RotateKeyOnDemand", "kms:RotateKeyOnDemand"},
	[AWS_SCHEDULE_DELETION] = {"TrentService.ScheduleKeyDeletion", "kms:ScheduleKeyDeletion"},
	[AWS_CANCEL_DELETION] = {"TrentService.CancelKeyDeletion", "kms:CancelKeyDeletion"},
	[AWS_ENABLE] = {"TrentService.EnableKey", "kms:EnableKey"},
};

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

static PgeStatus put_text(json_t *object, const char *name, const char *text);
static PgeStatus put_base64(json_t *object, const char *name, PgeBytes bytes);
static PgeStatus put_context(json_t *object, const char *name, PgeBytes binding);
static PgeStatus put_number(json_t *object, const char *name, uint32_t number);
static void write_uuid(const uint8_t *uuid, char text[37]);
static void write_key_id(PgeBytes key_id, char text[KEY_ID_TEXT_MAX + 1]);
static PgeStatus check_object(const HttpAnswer *answer, char *detail);
static PgeStatus classify_number(int status, char *detail);
static bool read_code(const HttpAnswer *answer, char code[CODE_MAX + 1]);
static bool code_of_json(const HttpAnswer *answer, char code[CODE_MAX + 1]);
static bool code_of_xml(const HttpAnswer *answer, char code[CODE_MAX + 1]);
static bool take_code(PgeBytes text, char code[CODE_MAX + 1]);
static bool is_among(const char *code, const char *const *list, size_t count);
static bool is_uuid(const char *text);
static PgeStatus not_asked_for(char *detail);
static bool read_word(const json_t *object, const char *name, char *word, size_t size);
static int64_t read_seconds(const json_t *object, const char *name);
static void read_material(const json_t *object, const char *name, char material[PGE_KEK_VERSION_MAX + 1]);
static bool is_of_key(const json_t *object, const char *name, const char *arn);
static bool is_symmetric(const json_t *object, const char *name);
static PgeStatus read_blob(const json_t *object, PgeBuffer *wrapped);
static PgeStatus decode_dek(PgeBytes text, PgeSecret *dek);

const char *
pge_aws_target(AwsOperation operation)
{
	return operations[operation].target;
}

const char *
pge_aws_right(AwsOperation operation)
{
	return operations[operation].right;
}

/* --- requests ---------------------------------------------------------------- */

PgeStatus
pge_aws_encrypt_body(const char *key_id, PgeBytes binding, const PgeSecret *dek, PgeBuffer *body)
{
	json_t	   *object = json_object();
	PgeStatus	status = put_text(object, "KeyId", key_id);

	if (status == PGE_OK)
		status = put_base64(object, "Plaintext", pge_bytes(dek->bytes, PGE_DEK_LEN));
	if (status == PGE_OK)
		status = put_context(object, "EncryptionContext", binding);
	if (status == PGE_OK)
		status = put_text(object, "EncryptionAlgorithm", SYMMETRIC);
	return pge_json_finish(object, status, body);
}

PgeStatus
pge_aws_decrypt_body(const char *key_id, PgeBytes binding, PgeBytes ciphertext, PgeBuffer *body)
{
	json_t	   *object = json_object();
	PgeStatus	status = put_text(object, "KeyId", key_id);

	if (status == PGE_OK)
		status = put_base64(object, "CiphertextBlob", ciphertext);
	if (status == PGE_OK)
		status = put_context(object, "EncryptionContext", binding);
	if (status == PGE_OK)
		status = put_text(object, "EncryptionAlgorithm", SYMMETRIC);
	return pge_json_finish(object, status, body);
}

PgeStatus
pge_aws_reencrypt_body(const char *from, const char *to, PgeBytes binding, PgeBytes ciphertext, PgeBuffer *body)
{
	json_t	   *object = json_object();
	PgeStatus	status = put_text(object, "SourceKeyId", from);

	if (status == PGE_OK)
		status = put_text(object, "DestinationKeyId", to);
	if (status == PGE_OK)
		status = put_base64(object, "CiphertextBlob", ciphertext);
	if (status == PGE_OK)
		status = put_context(object, "SourceEncryptionContext", binding);
	if (status == PGE_OK)
		status = put_context(object, "DestinationEncryptionContext", binding);
	if (status == PGE_OK)
		status = put_text(object, "SourceEncryptionAlgorithm", SYMMETRIC);
	if (status == PGE_OK)
		status = put_text(object, "DestinationEncryptionAlgorithm", SYMMETRIC);
	return pge_json_finish(object, status, body);
}

PgeStatus
pge_aws_key_body(const char *key_id, int window_days, PgeBuffer *body)
{
	json_t	   *object = json_object();
	PgeStatus	status = put_text(object, "KeyId", key_id);

	if (status == PGE_OK && window_days > 0)
		status = json_object_set_new(object, "PendingWindowInDays", json_integer(window_days)) == 0 ? PGE_OK : PGE_OUT_OF_MEMORY;
	return pge_json_finish(object, status, body);
}

static PgeStatus
put_text(json_t *object, const char *name, const char *text)
{
	/* (Both may be NULL, and say so.) */
	return json_object_set_new(object, name, pge_json_new_text(pge_bytes(text, strlen(text)))) == 0 ?
		PGE_OK : PGE_OUT_OF_MEMORY;
}

/* A DEK or a ciphertext; never nothing. */
static PgeStatus
put_base64(json_t *object, const char *name, PgeBytes bytes)
{
	char		text[BLOB_TEXT_LEN + 1];
	PgeBuffer	out = {(uint8_t *) text, 0, BLOB_TEXT_LEN};
	PgeStatus	status = bytes.len == 0 ? PGE_INVALID : pge_base64_encode(BASE64_STANDARD, bytes, &out);

	text[out.len] = '\0';
	if (status == PGE_OK)
		status = put_text(object, name, text);
	pge_secret_wipe(text, sizeof(text));
	return status;
}

static PgeStatus
put_context(json_t *object, const char *name, PgeBytes binding)
{
	char		uuid[37];
	char		key_id[KEY_ID_TEXT_MAX + 1];
	PgeBinding	parts;
	json_t	   *context = json_object();
	PgeStatus	status = pge_binding_decode(binding, &parts);

	if (status == PGE_OK)
	{
		write_uuid(parts.keyring, uuid);
		write_key_id(parts.key_id, key_id);
		status = put_text(context, "pge_keyring", uuid);
	}
	if (status == PGE_OK)
		status = put_text(context, "pge_key_id", key_id);
	if (status == PGE_OK)
		status = put_number(context, "pge_dek_id", parts.dek_id);
	if (status == PGE_OK)
		status = put_number(context, "pge_version", parts.version);
	if (status == PGE_OK)
		status = put_number(context, "pge_purpose", parts.purpose);
	if (status == PGE_OK)
		status = put_number(context, "pge_algorithm", parts.algorithm);
	if (status != PGE_OK)
	{
		json_decref(context);
		return status == PGE_OUT_OF_MEMORY ? status : PGE_INVALID;
	}
	return json_object_set_new(object, name, context) == 0 ? PGE_OK : PGE_OUT_OF_MEMORY;
}

static PgeStatus
put_number(json_t *object, const char *name, uint32_t number)
{
	char		text[16];

	snprintf(text, sizeof(text), "%" PRIu32, number);
	return put_text(object, name, text);
}

static void
write_uuid(const uint8_t *uuid, char text[37])
{
	static const char digits[] = "0123456789abcdef";
	char	   *at = text;

	for (int i = 0; i < PGE_UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = digits[uuid[i] >> 4];
		*at++ = digits[uuid[i] & 15];
	}
	*at = '\0';
}

/* Printable ASCII without blanks, as key policies can compare it; one text per name. */
static void
write_key_id(PgeBytes key_id, char text[KEY_ID_TEXT_MAX + 1])
{
	static const char digits[] = "0123456789ABCDEF";
	char	   *at = text;

	for (size_t i = 0; i < key_id.len; i++)
	{
		uint8_t		c = key_id.data[i];

		if (c >= 0x21 && c <= 0x7e && c != '%')
			*at++ = (char) c;
		else
		{
			*at++ = '%';
			*at++ = digits[c >> 4];
			*at++ = digits[c & 15];
		}
	}
	*at = '\0';
}

/* --- what an answer means ---------------------------------------------------- */

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
	return status == PGE_OK || status == PGE_OUT_OF_MEMORY ? status : not_asked_for(detail);
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

/* --- what an answer says ----------------------------------------------------- */

static PgeStatus
not_asked_for(char *detail)
{
	pge_kms_detail(detail, "What came back is not what AWS KMS answers to this.");
	return PGE_UNAVAILABLE;
}

PgeStatus
pge_aws_read_key(PgeBytes body, AwsKeyInfo *key, char detail[KMS_DETAIL_LEN])
{
	json_t	   *object = NULL;
	json_t	   *data;
	char		manager[32] = "";
	char		expiration[32] = "";
	bool		complete = false;

	*key = (AwsKeyInfo)
	{
		.deletion_s = 0
	};
	if (pge_json_parse(body, &object, detail) == PGE_OK)
	{
		data = pge_json_object(object, "KeyMetadata");
		complete = pge_json_string(data, "Arn", key->arn, sizeof(key->arn)) &&
			read_word(data, "KeyState", key->state, sizeof(key->state)) &&
			(read_word(data, "KeySpec", key->spec, sizeof(key->spec)) ||
			 read_word(data, "CustomerMasterKeySpec", key->spec, sizeof(key->spec)));
		(void) read_word(data, "KeyUsage", key->usage, sizeof(key->usage));
		(void) read_word(data, "Origin", key->origin, sizeof(key->origin));
		(void) read_word(data, "KeyManager", manager, sizeof(manager));
		(void) read_word(data, "ExpirationModel", expiration, sizeof(expiration));
		read_material(data, "CurrentKeyMaterialId", key->material);
		key->of_aws = strcmp(manager, "AWS") == 0;
		key->expires = strcmp(expiration, "KEY_MATERIAL_EXPIRES") == 0;
		key->deletion_s = read_seconds(data, "DeletionDate");
		(void) pge_json_bool(data, "MultiRegion", &key->multi_region);
	}
	json_decref(object);
	return complete ? PGE_OK : not_asked_for(detail);
}

/* It is told: so it has to be one of theirs and no sentence. */
static bool
read_word(const json_t *object, const char *name, char *word, size_t size)
{
	if (pge_json_string(object, name, word, size) && word[0] != '\0' &&
		word[strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")] == '\0')
		return true;
	word[0] = '\0';
	return false;
}

/* With a fraction or without, from 1970 to 9999; 0: not there. */
static int64_t
read_seconds(const json_t *object, const char *name)
{
	const json_t *member = json_object_get(object, name);
	double		seconds = json_number_value(member);

	return json_is_number(member) && seconds > 0 && seconds < (double) YEAR_9999_END_S ? (int64_t) seconds : 0;
}

/* 64 hexadecimal digits, or it is not known. */
static void
read_material(const json_t *object, const char *name, char material[PGE_KEK_VERSION_MAX + 1])
{
	if (!pge_json_string(object, name, material, PGE_KEK_VERSION_MAX + 1) || strlen(material) != 64 ||
		material[strspn(material, "0123456789abcdef")] != '\0')
		material[0] = '\0';
}

PgeStatus
pge_aws_check_key(const AwsKeyInfo *key, char detail[KMS_DETAIL_LEN])
{
	char		date[AWS_DATE_LEN];

	pge_aws_write_date(key->deletion_s, date);
	if (strcmp(key->spec, SYMMETRIC) != 0 || (key->usage[0] != '\0' && strcmp(key->usage, "ENCRYPT_DECRYPT") != 0))
		pge_kms_detail(detail, "The key is of the kind %s: KEKs are symmetric keys for encrypting and decrypting (" SYMMETRIC ").", key->spec);
	else if (key->of_aws)
		pge_kms_detail(detail, "The key is one that AWS manages for its own services: make one of your own.");
	else if (strcmp(key->state, "Disabled") == 0)
		pge_kms_detail(detail, "The key is disabled: enable it in AWS KMS (EnableKey).");
	else if (strcmp(key->state, "PendingDeletion") == 0 && key->deletion_s > 0)
		pge_kms_detail(detail, "The key will be deleted on %s: call that off in AWS KMS (CancelKeyDeletion, EnableKey).", date);
	else if (strcmp(key->state, "Enabled") != 0 && strcmp(key->state, "Updating") != 0)
		pge_kms_detail(detail, "The key is in the state %s.", key->state);
	else
		return PGE_OK;
	return PGE_KEK_UNUSABLE;
}

void
pge_aws_tell_key(const AwsKeyInfo *key, char detail[KMS_DETAIL_LEN])
{
	pge_kms_detail_append(detail, "It is %s%s%s.", key->arn, key->origin[0] != '\0' ? ", of origin " : "", key->origin);
	if (key->material[0] != '\0')
		pge_kms_detail_append(detail, "Its current key material is %.8s....", key->material);
	if (key->expires)
		pge_kms_detail_append(detail, "Its imported key material expires: nothing opens after that until it is imported again.");
}

void
pge_aws_write_date(int64_t seconds, char date[AWS_DATE_LEN])
{
	time_t		when = (time_t) seconds;
	struct tm	utc;

	date[0] = '\0';
	if (gmtime_r(&when, &utc) == NULL || strftime(date, AWS_DATE_LEN, "%Y-%m-%d %H:%M UTC", &utc) == 0)
		date[0] = '\0';
}

PgeStatus
pge_aws_read_wrapped(PgeBytes body, const char *arn, PgeBuffer *wrapped, char detail[KMS_DETAIL_LEN])
{
	json_t	   *object = NULL;
	PgeStatus	status = pge_json_parse(body, &object, detail);

	wrapped->len = 0;
	if (status == PGE_OK)
		status = is_of_key(object, "KeyId", arn) && is_symmetric(object, "EncryptionAlgorithm") ?
			read_blob(object, wrapped) : PGE_MALFORMED;
	json_decref(object);
	return status == PGE_OK ? PGE_OK : not_asked_for(detail);
}

PgeStatus
pge_aws_read_rewrapped(PgeBytes body, const char *from, const char *to, PgeBuffer *wrapped,
					   char kek_version[PGE_KEK_VERSION_MAX + 1], char detail[KMS_DETAIL_LEN])
{
	json_t	   *object = NULL;
	PgeStatus	status = pge_json_parse(body, &object, detail);

	wrapped->len = 0;
	kek_version[0] = '\0';
	if (status == PGE_OK)
		status = is_of_key(object, "SourceKeyId", from) && is_of_key(object, "KeyId", to) &&
			is_symmetric(object, "SourceEncryptionAlgorithm") && is_symmetric(object, "DestinationEncryptionAlgorithm") ?
			read_blob(object, wrapped) : PGE_MALFORMED;
	if (status == PGE_OK)
		read_material(object, "DestinationKeyMaterialId", kek_version);
	json_decref(object);
	return status == PGE_OK ? PGE_OK : not_asked_for(detail);
}

PgeStatus
pge_aws_read_dek(PgeBytes body, const char *arn, PgeSecret *dek, char kek_version[PGE_KEK_VERSION_MAX + 1],
				 char detail[KMS_DETAIL_LEN])
{
	json_t	   *object = NULL;
	PgeBytes	text = {NULL, 0};
	PgeStatus	status = pge_json_parse(body, &object, detail);

	kek_version[0] = '\0';
	if (status == PGE_OK)
		status = is_of_key(object, "KeyId", arn) && is_symmetric(object, "EncryptionAlgorithm") &&
			pge_json_text(object, "Plaintext", &text) ? decode_dek(text, dek) : PGE_MALFORMED;
	if (status == PGE_OK)
		read_material(object, "KeyMaterialId", kek_version);
	else
		pge_secret_wipe(dek, sizeof(*dek));
	json_decref(object);
	if (status == PGE_OK)
		return PGE_OK;
	if (status != PGE_WRAPPING_DAMAGED)
		return not_asked_for(detail);
	pge_kms_detail(detail, "What AWS KMS decrypted is not as long as a data key.");
	return PGE_WRAPPING_DAMAGED;
}

/* PGE_WRAPPING_DAMAGED: of another length. */
static PgeStatus
decode_dek(PgeBytes text, PgeSecret *dek)
{
	uint8_t		bytes[PGE_DEK_LEN];
	PgeBuffer	out = {bytes, 0, sizeof(bytes)};
	PgeStatus	status = pge_base64_decode(BASE64_STANDARD, text, &out);

	if (status == PGE_OK && out.len == PGE_DEK_LEN)
		pge_secret_copy(dek->bytes, bytes, PGE_DEK_LEN);
	else if (status != PGE_MALFORMED)
		status = PGE_WRAPPING_DAMAGED;
	pge_secret_wipe(bytes, sizeof(bytes));
	return status;
}

static bool
is_of_key(const json_t *object, const char *name, const char *arn)
{
	char		named[AWS_ARN_MAX + 1];

	return pge_json_string(object, name, named, sizeof(named)) && strcmp(named, arn) == 0;
}

/* Nothing else authenticates the context; who does not say it does as he is told. */
static bool
is_symmetric(const json_t *object, const char *name)
{
	char		algorithm[32];

	return json_object_get(object, name) == NULL ||
		(pge_json_string(object, name, algorithm, sizeof(algorithm)) && strcmp(algorithm, SYMMETRIC) == 0);
}

static PgeStatus
read_blob(const json_t *object, PgeBuffer *wrapped)
{
	uint8_t		bytes[CIPHERTEXT_MAX];
	PgeBuffer	out = {bytes, 0, sizeof(bytes)};
	PgeBytes	text;

	if (!pge_json_text(object, "CiphertextBlob", &text) ||
		pge_base64_decode(BASE64_STANDARD, text, &out) != PGE_OK || out.len == 0)
		return PGE_MALFORMED;
	return pge_wrapped_encode(PGE_WRAP_AWS, PGE_HALF_NONE, pge_buffer_bytes(&out), wrapped);
}

PgeStatus
pge_aws_read_rotations(PgeBytes body, size_t *count, char detail[KMS_DETAIL_LEN])
{
	json_t	   *object = NULL;
	json_t	   *rotations = NULL;
	PgeStatus	status = pge_json_parse(body, &object, detail);

	if (status == PGE_OK)
		rotations = pge_json_array(object, "Rotations");
	*count = json_array_size(rotations);
	status = rotations != NULL ? PGE_OK : not_asked_for(detail);
	json_decref(object);
	return status;
}

PgeStatus
pge_aws_read_stored(PgeBytes wrapped, PgeBytes *ciphertext, char detail[KMS_DETAIL_LEN])
{
	PgeWrapForm form;
	PgeWrapHalf half;

	if (pge_wrapped_decode(wrapped, &form, &half, ciphertext) == PGE_OK && form == PGE_WRAP_AWS &&
		half == PGE_HALF_NONE && ciphertext->len <= CIPHERTEXT_MAX)
		return PGE_OK;
	pge_kms_detail(detail, "This is not what AWS KMS writes.");
	return PGE_WRAPPING_DAMAGED;
}
