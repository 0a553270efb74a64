/*-------------------------------------------------------------------------
 *
 * stub_aws.c
 *	  What of AWS KMS bench-kms needs.  Signatures are not looked at.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stub.h"

static char *context_of(const json_t *request, const char *member);
static bool opened(const json_t *request, const char *key, const char *context, unsigned char *dek);
static json_t *sealed(const char *key, char *context, const unsigned char *dek);

json_t *
stub_aws(const char *target, const json_t *request)
{
	const char *key = json_string_value(json_object_get(request, "KeyId"));
	unsigned char dek[STUB_DEK_LEN];
	char		text[STUB_DEK_TEXT_LEN + 1];
	json_t	   *answer = NULL;

	if (strncmp(target, "DescribeKey\r", 12) == 0 && key != NULL)
	{
		stub_count("DescribeKey", 0);
		return json_pack("{s:{s:s,s:s,s:b,s:s,s:s,s:s,s:s,s:s}}", "KeyMetadata", "KeyId", strrchr(key, '/') + 1, "Arn", key,
						 "Enabled", 1, "KeyState", "Enabled", "KeyUsage", "ENCRYPT_DECRYPT", "KeySpec", "SYMMETRIC_DEFAULT",
						 "Origin", "AWS_KMS", "KeyManager", "CUSTOMER");
	}
	if (strncmp(target, "Encrypt\r", 8) == 0 && key != NULL)
	{
		stub_count("Encrypt", 1);
		if (stub_decode_dek(json_string_value(json_object_get(request, "Plaintext")), dek))
			answer = sealed(key, context_of(request, "EncryptionContext"), dek);
	}
	else if (strncmp(target, "Decrypt\r", 8) == 0 && key != NULL)
	{
		stub_count("Decrypt", 1);
		if (opened(request, key, "EncryptionContext", dek))
		{
			stub_encode_dek(dek, text);
			answer = json_pack("{s:s,s:s,s:s}", "KeyId", key, "Plaintext", text, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
		}
	}
	else if (strncmp(target, "ReEncrypt\r", 10) == 0)
	{
		const char *source = json_string_value(json_object_get(request, "SourceKeyId"));

		key = json_string_value(json_object_get(request, "DestinationKeyId"));
		stub_count("ReEncrypt", 1);
		if (source != NULL && key != NULL && opened(request, source, "SourceEncryptionContext", dek))
		{
			answer = sealed(key, context_of(request, "DestinationEncryptionContext"), dek);
			json_object_set_new(answer, "SourceKeyId", json_string(source));
		}
	}
	return answer;
}

/* Its pairs in their order by name; freed by whoever asks. */
static char *
context_of(const json_t *request, const char *member)
{
	char	   *text = json_dumps(json_object_get(request, member), JSON_COMPACT | JSON_SORT_KEYS);

	return text != NULL ? text : strdup("none");
}

static bool
opened(const json_t *request, const char *key, const char *member, unsigned char *dek)
{
	const char *blob = json_string_value(json_object_get(request, "CiphertextBlob"));
	char	   *context = context_of(request, member);
	bool		good = blob != NULL && stub_open(key, 1, context, blob, dek);

	free(context);
	return good;
}

static json_t *
sealed(const char *key, char *context, const unsigned char *dek)
{
	char		blob[STUB_SEALED_LEN + 1];

	stub_seal(key, 1, context, dek, blob);
	free(context);
	return json_pack("{s:s,s:s,s:s}", "KeyId", key, "CiphertextBlob", blob, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
}
