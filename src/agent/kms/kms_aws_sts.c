/*-------------------------------------------------------------------------
 *
 * kms_aws_sts.c
 *	  Forms for STS, and its XML.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kms/kms_aws_sign.h"
#include "agent/kms/kms_aws_sts.h"
#include "agent/kms/key_memory.h"
#include "agent/kms/xml.h"
#include "base/secret.h"

#define DEFAULT_SESSION_NAME	"pg_envelope"
#define VERSION					"2011-06-15"
#define CODE_MAX				64
#define TIME_MAX				40
#define NAMES_MAX				256 /* of all fields, and the fixed values */

typedef enum StsField
{
	STS_ACCESS_KEY_ID,
	STS_SECRET,
	STS_SESSION_TOKEN,
	STS_EXPIRATION,
	STS_FIELDS
} StsField;

/* The five elements' texts, as they stand in the XML. */
typedef struct StsAnswer
{
	PgeBytes	fields[STS_FIELDS];
	PgeBytes	code;			/* of an error */
} StsAnswer;

/* The same, without entities.  In key memory. */
typedef struct StsTexts
{
	uint8_t		id[AWS_ACCESS_KEY_ID_MAX];
	uint8_t		secret[AWS_SECRET_MAX];
	uint8_t		session_token[AWS_SESSION_TOKEN_MAX];
	uint8_t		expiration[TIME_MAX];
} StsTexts;

static bool is_arn(PgeBytes text);
static bool is_of(PgeBytes text, size_t min, size_t max, const char *also);
static bool is_duration(PgeBytes text);
static void append(PgeBuffer *form, const char *name, PgeBytes value);
static void append_encoded(PgeBuffer *form, PgeBytes value);
static PgeStatus read_elements(PgeBytes xml, StsAnswer *answer);
static bool note_element(const XmlReader *reader, StsAnswer *answer);
static PgeStatus take_credential(const StsAnswer *found, AwsIssued *issued, char *detail);
static PgeStatus unescape_all(const StsAnswer *found, StsTexts *texts, AwsIssued *issued, char *detail);
static PgeStatus judge_error(const HttpAnswer *answer, PgeBytes code, char *detail);
static const char *request_of(const HttpAnswer *answer);
static PgeStatus judge_status(const HttpAnswer *answer, char *detail);

static PgeBytes
text_bytes(const char *s)
{
	return pge_bytes(s, strlen(s));
}

PgeStatus
pge_aws_role_check(const AwsRole *role, char detail[KMS_DETAIL_LEN])
{
	const char *wrong = NULL;

	if (!is_arn(role->arn))
		wrong = "role_arn has to be arn:PARTITION:iam::ACCOUNT:role/NAME";
	else if (role->session_name.len > 0 && !is_of(role->session_name, 2, AWS_SESSION_NAME_MAX, "_+=,.@-"))
		wrong = "role_session_name has to be of 2 to 64 letters, digits and \"_+=,.@-\"";
	else if (role->external_id.len > 0 && !is_of(role->external_id, 2, 1224, "_+=,.@:/-"))
		wrong = "external_id has to be of 2 to 1224 letters, digits and \"_+=,.@:/-\"";
	else if (role->duration_s.len > 0 && !is_duration(role->duration_s))
		wrong = "duration_seconds has to be from 900 to 43200";
	if (wrong == NULL)
		return PGE_OK;
	pge_kms_detail(detail, "%s.", wrong);
	return PGE_INVALID;
}

static bool
is_arn(PgeBytes text)
{
	return is_of(text, 20, AWS_ROLE_ARN_MAX, "_+=,.@:/-") && memcmp(text.data, "arn:", 4) == 0 &&
		memmem(text.data, text.len, ":role/", 6) != NULL;
}

static bool
is_of(PgeBytes text, size_t min, size_t max, const char *also)
{
	for (size_t i = 0; i < text.len; i++)
	{
		uint8_t		c = text.data[i];

		if ((c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c == '\0' || strchr(also, c) == NULL))
			return false;
	}
	return text.len >= min && text.len <= max;
}

static bool
is_duration(PgeBytes text)
{
	int			seconds = 0;

	for (size_t i = 0; i < text.len; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9' || i == 5)
			return false;
		seconds = seconds * 10 + (text.data[i] - '0');
	}
	return seconds >= 900 && seconds <= 43200;
}

/* Room for the worst at once: a buffer that grows would leave a token behind. */
PgeStatus
pge_aws_sts_form(const AwsRole *role, PgeBuffer *form)
{
	bool		web = role->web_token.len > 0;
	PgeBytes	session_name = role->session_name.len > 0 ? role->session_name : text_bytes(DEFAULT_SESSION_NAME);

	*form = (PgeBuffer)
	{
		NULL, 0, 0
	};
	if (role->web_token.len > AWS_WEB_TOKEN_MAX)
		return PGE_TOO_LARGE;
	form->capacity = NAMES_MAX + 3 * (role->arn.len + session_name.len + role->external_id.len + role->duration_s.len +
									  role->web_token.len);
	form->data = malloc(form->capacity);
	if (form->data == NULL)
	{
		form->capacity = 0;
		return PGE_OUT_OF_MEMORY;
	}
	append(form, "Action=", text_bytes(web ? "AssumeRoleWithWebIdentity" : "AssumeRole"));
	append(form, "&Version=", text_bytes(VERSION));
	append(form, "&RoleArn=", role->arn);
	append(form, "&RoleSessionName=", session_name);
	if (role->duration_s.len > 0)
		append(form, "&DurationSeconds=", role->duration_s);
	if (role->external_id.len > 0)
		append(form, "&ExternalId=", role->external_id);
	if (web)
		append(form, "&WebIdentityToken=", role->web_token);
	return PGE_OK;
}

void
pge_aws_sts_form_free(PgeBuffer *form)
{
	if (form->data != NULL)
		pge_secret_wipe(form->data, form->capacity);
	free(form->data);
	*form = (PgeBuffer)
	{
		NULL, 0, 0
	};
}

static void
append(PgeBuffer *form, const char *name, PgeBytes value)
{
	size_t		len = strlen(name);

	memcpy(form->data + form->len, name, len);
	form->len += len;
	append_encoded(form, value);
}

static void
append_encoded(PgeBuffer *form, PgeBytes value)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < value.len; i++)
	{
		uint8_t		c = value.data[i];
		uint8_t    *end = form->data + form->len;

		if (is_of(pge_bytes(&c, 1), 1, 1, "-_.~"))
		{
			end[0] = c;
			form->len++;
			continue;
		}
		end[0] = '%';
		end[1] = (uint8_t) hex[c >> 4];
		end[2] = (uint8_t) hex[c & 15];
		form->len += 3;
	}
}

PgeStatus
pge_aws_sts_read(const HttpAnswer *answer, AwsIssued *issued, char detail[KMS_DETAIL_LEN])
{
	StsAnswer	found = {{{NULL, 0}}, {NULL, 0}};
	PgeStatus	status = read_elements(pge_bytes(answer->body, answer->len), &found);

	if (status == PGE_OK && answer->status == 200 && found.code.len == 0)
		return take_credential(&found, issued, detail);
	pge_secret_wipe(issued, sizeof(*issued));
	if (status == PGE_OK && found.code.len > 0 && answer->status >= 400)
		return judge_error(answer, found.code, detail);
	return judge_status(answer, detail);
}

/* PGE_MALFORMED: not XML, or an element stands there twice. */
static PgeStatus
read_elements(PgeBytes xml, StsAnswer *answer)
{
	XmlReader	reader;
	XmlEvent	event;

	pge_xml_begin(&reader, xml);
	do
	{
		event = pge_xml_next(&reader);
		if (event == XML_ELEMENT_END && reader.is_leaf && !note_element(&reader, answer))
			event = XML_WRONG;
	} while (event == XML_ELEMENT || event == XML_ELEMENT_END);
	return event == XML_END_OF_TEXT ? PGE_OK : PGE_MALFORMED;
}

/* Emulators have <Errors> about the <Error>. */
static bool
note_element(const XmlReader *reader, StsAnswer *answer)
{
	static const char *const names[STS_FIELDS] = {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"};
	static const char *const code[] = {"ErrorResponse", "Error", "Code", NULL};
	static const char *const inner_code[] = {"ErrorResponse", "Errors", "Error", "Code", NULL};
	PgeBytes   *place = NULL;

	for (int i = 0; i < STS_FIELDS; i++)
	{
		const char *role[] = {"AssumeRoleResponse", "AssumeRoleResult", "Credentials", names[i], NULL};
		const char *web[] = {"AssumeRoleWithWebIdentityResponse", "AssumeRoleWithWebIdentityResult", "Credentials", names[i], NULL};

		if (pge_xml_path_is(reader, role) || pge_xml_path_is(reader, web))
			place = &answer->fields[i];
	}
	if (pge_xml_path_is(reader, code) || pge_xml_path_is(reader, inner_code))
		place = &answer->code;
	if (place == NULL)
		return true;
	if (place->data != NULL)
		return false;
	*place = reader->text.data != NULL ? reader->text : pge_bytes("", 0);
	return true;
}

static PgeStatus
take_credential(const StsAnswer *found, AwsIssued *issued, char *detail)
{
	StsTexts   *texts = pge_key_calloc(1, sizeof(*texts));
	PgeStatus	status = PGE_OUT_OF_MEMORY;

	if (texts != NULL)
		status = unescape_all(found, texts, issued, detail);
	else
		pge_kms_detail(detail, "There was no memory to read the answer of STS.");
	if (status != PGE_OK)
		pge_secret_wipe(issued, sizeof(*issued));
	if (texts != NULL)
		pge_secret_wipe(texts, sizeof(*texts));
	free(texts);
	return status;
}

static PgeStatus
unescape_all(const StsAnswer *found, StsTexts *texts, AwsIssued *issued, char *detail)
{
	PgeBuffer	buffers[STS_FIELDS] = {
		{texts->id, 0, sizeof(texts->id)},
		{texts->secret, 0, sizeof(texts->secret)},
		{texts->session_token, 0, sizeof(texts->session_token)},
		{texts->expiration, 0, sizeof(texts->expiration)},
	};

	for (int i = 0; i < STS_FIELDS; i++)
	{
		if (pge_xml_unescape(found->fields[i], &buffers[i]) == PGE_OK)
			continue;
		pge_kms_detail(detail, "The credential in the answer of STS is not complete, or has bytes that no credential has.");
		return PGE_UNAVAILABLE;
	}
	return pge_aws_issue(pge_buffer_bytes(&buffers[STS_ACCESS_KEY_ID]), pge_buffer_bytes(&buffers[STS_SECRET]),
						 pge_buffer_bytes(&buffers[STS_SESSION_TOKEN]), pge_buffer_bytes(&buffers[STS_EXPIRATION]),
						 issued, detail);
}

/* The service's own words are not passed on, but its code is. */
static PgeStatus
judge_error(const HttpAnswer *answer, PgeBytes code, char *detail)
{
	static const struct
	{
		const char *code;
		PgeStatus	status;
		const char *advice;
	}			errors[] = {
		{"AccessDenied", PGE_DENIED, "the role's trust policy, or the caller's policy, does not let us take it"},
		{"AccessDeniedException", PGE_DENIED, "the role's trust policy, or the caller's policy, does not let us take it"},
		{"IDPRejectedClaim", PGE_DENIED, "the identity provider rejects the token"},
		{"RegionDisabledException", PGE_DENIED, "STS is not switched on in this region for the account"},
		{"ExpiredTokenException", PGE_UNAUTHENTICATED, "the token has expired"},
		{"ExpiredToken", PGE_UNAUTHENTICATED, "the token has expired"},
		{"InvalidIdentityToken", PGE_UNAUTHENTICATED, "the token is not one that the account takes"},
		{"InvalidClientTokenId", PGE_UNAUTHENTICATED, "the access key is not known"},
		{"UnrecognizedClientException", PGE_UNAUTHENTICATED, "the access key is not known"},
		{"SignatureDoesNotMatch", PGE_UNAUTHENTICATED, "the secret access key, or this machine's clock, is not right"},
		{"InvalidSignatureException", PGE_UNAUTHENTICATED, "the secret access key, or this machine's clock, is not right"},
		{"RequestExpired", PGE_UNAUTHENTICATED, "this machine's clock is not right"},
		{"RequestTimeTooSkewed", PGE_UNAUTHENTICATED, "this machine's clock is not right"},
		{"MalformedPolicyDocument", PGE_INVALID, "the role cannot be used"},
		{"ValidationError", PGE_INVALID, "the role's settings are not what STS takes"},
		{"Throttling", PGE_THROTTLED, "too many requests"},
		{"ThrottlingException", PGE_THROTTLED, "too many requests"},
		{"RequestLimitExceeded", PGE_THROTTLED, "too many requests"},
		{"IDPCommunicationError", PGE_UNAVAILABLE, "the identity provider could not be asked"},
		{"InternalFailure", PGE_UNAVAILABLE, "it failed"},
		{"ServiceUnavailable", PGE_UNAVAILABLE, "it failed"},
	};
	uint8_t		word[CODE_MAX];
	PgeBuffer	clean = {word, 0, sizeof(word)};

	if (pge_xml_unescape(code, &clean) != PGE_OK || !pge_aws_is_word(pge_buffer_bytes(&clean), CODE_MAX))
		return judge_status(answer, detail);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strlen(errors[i].code) == clean.len && memcmp(errors[i].code, word, clean.len) == 0)
		{
			pge_kms_detail(detail, "STS refuses (%s, HTTP %d, request %s): %s.", errors[i].code, answer->status,
						   request_of(answer), errors[i].advice);
			return errors[i].status;
		}
	if (answer->status >= 500 || answer->status == 429)
		return judge_status(answer, detail);
	pge_kms_detail(detail, "STS refuses (%.*s, HTTP %d, request %s).", (int) clean.len, (const char *) word, answer->status,
				   request_of(answer));
	return PGE_DENIED;
}

/* A UUID, and nothing else that somebody has put there: it is told. */
static const char *
request_of(const HttpAnswer *answer)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	const char *id = answer->request_id;

	for (size_t i = 0; i < sizeof(form) - 1; i++)
		if (id[i] == '\0' || (form[i] == '-' ? id[i] != '-' : strchr("0123456789abcdef", id[i]) == NULL))
			return "unknown";
	return id[sizeof(form) - 1] == '\0' ? id : "unknown";
}

/* Not in STS's form: a proxy's, or half of one. */
static PgeStatus
judge_status(const HttpAnswer *answer, char *detail)
{
	if (answer->status == 429)
	{
		pge_kms_detail(detail, "STS is asked too often (HTTP 429).");
		return PGE_THROTTLED;
	}
	pge_kms_detail(detail, "The answer (HTTP %d) is not one of STS.", answer->status);
	return PGE_UNAVAILABLE;
}
