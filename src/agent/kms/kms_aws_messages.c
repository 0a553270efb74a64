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
#include "agent/kms/kms_aws_errors.h"
#include "agent/kms/kms_aws_messages.h"
#include "format/binding.h"
#include "format/wrapped_key.h"

#define SYMMETRIC		"SYMMETRIC_DEFAULT"
#define CIPHERTEXT_MAX	6144
#define KEY_ID_TEXT_MAX	(3 * PGE_KEY_ID_MAX)
#define BLOB_TEXT_LEN	BASE64_LEN(PGE_WRAPPED_MAX)
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

static PgeStatus put_text(json_t *object, const char *name, const char *text);
static PgeStatus put_base64(json_t *object, const char *name, PgeBytes bytes);
static PgeStatus put_context(json_t *object, const char *name, PgeBytes binding);
static PgeStatus put_number(json_t *object, const char *name, uint32_t number);
static void write_uuid(const uint8_t *uuid, char text[37]);
static void write_key_id(PgeBytes key_id, char text[KEY_ID_TEXT_MAX + 1]);
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

/* --- what an answer says ----------------------------------------------------- */

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
	return complete ? PGE_OK : pge_aws_not_asked_for(detail);
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
	return status == PGE_OK ? PGE_OK : pge_aws_not_asked_for(detail);
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
	return status == PGE_OK ? PGE_OK : pge_aws_not_asked_for(detail);
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
		return pge_aws_not_asked_for(detail);
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
	status = rotations != NULL ? PGE_OK : pge_aws_not_asked_for(detail);
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
