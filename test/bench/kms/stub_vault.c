/*-------------------------------------------------------------------------
 *
 * stub_vault.c
 *	  What of Transit bench-kms needs, single and in batches.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "stub.h"

#define KEYS		16

typedef struct Key
{
	char		name[64];
	int			version;
} Key;

static Key	keys[KEYS];

static Key *find_key(const char *name);
static json_t *operate(const char *operation, const Key *key, const json_t *request);
static json_t *item(const char *operation, const Key *key, const json_t *in);
static json_t *sealed(const Key *key, const char *context, const unsigned char *dek);
static json_t *describe(const Key *key);

json_t *
stub_vault(const char *method, const char *path, const json_t *request)
{
	char		operation[16] = "";
	char		name[64] = "";
	char		more[16] = "";
	json_t	   *data = NULL;

	if (strcmp(path, "/v1/auth/token/lookup-self") == 0)
	{
		stub_count("login", 0);
		data = json_pack("{s:i,s:b,s:s}", "ttl", 0, "renewable", 0, "type", "service");
	}
	else if (sscanf(path, "/v1/transit/%15[a-z]/%63[a-z0-9]/%15[a-z]", operation, name, more) >= 2)
	{
		Key		   *key = find_key(name);

		if (strcmp(operation, "keys") != 0)
			data = operate(operation, key, request);
		else if (strcmp(method, "GET") == 0)
		{
			stub_count("describe", 0);
			data = describe(key);
		}
		else if (strcmp(more, "rotate") == 0)
		{
			stub_count("rotate", 0);
			key->version++;
			data = describe(key);
		}
	}
	return data == NULL ? NULL : json_pack("{s:o}", "data", data);
}

static json_t *
operate(const char *operation, const Key *key, const json_t *request)
{
	const json_t *batch = json_object_get(request, "batch_input");
	json_t	   *results;

	if (!json_is_array(batch))
	{
		stub_count(operation, 1);
		return item(operation, key, request);
	}
	stub_count(operation, json_array_size(batch));
	results = json_array();
	for (size_t i = 0; i < json_array_size(batch); i++)
	{
		const json_t *in = json_array_get(batch, i);
		json_t	   *out = item(operation, key, in);
		const char *reference = json_string_value(json_object_get(in, "reference"));

		if (out == NULL)
			out = json_pack("{s:s}", "error", "cipher: message authentication failed");
		json_object_set_new(out, "reference", json_string(reference != NULL ? reference : ""));
		json_array_append_new(results, out);
	}
	return json_pack("{s:o}", "batch_results", results);
}

/* NULL: it does not open, or is none. */
static json_t *
item(const char *operation, const Key *key, const json_t *in)
{
	const char *context = json_string_value(json_object_get(in, "context"));
	const char *ciphertext = json_string_value(json_object_get(in, "ciphertext"));
	unsigned char dek[STUB_DEK_LEN];
	char		text[STUB_DEK_TEXT_LEN + 1];
	int			version;
	int			start = 0;

	if (context == NULL)
		return NULL;
	if (strcmp(operation, "encrypt") == 0)
		return stub_decode_dek(json_string_value(json_object_get(in, "plaintext")), dek) ?
			sealed(key, context, dek) : NULL;
	if (ciphertext == NULL || sscanf(ciphertext, "vault:v%d:%n", &version, &start) != 1 || start == 0 ||
		!stub_open(key->name, version, context, ciphertext + start, dek))
		return NULL;
	if (strcmp(operation, "rewrap") == 0)
		return sealed(key, context, dek);
	if (strcmp(operation, "decrypt") != 0)
		return NULL;
	stub_encode_dek(dek, text);
	return json_pack("{s:s}", "plaintext", text);
}

static json_t *
sealed(const Key *key, const char *context, const unsigned char *dek)
{
	char		text[STUB_SEALED_LEN + 1];

	stub_seal(key->name, key->version, context, dek, text);
	return json_pack("{s:o,s:i}", "ciphertext", json_sprintf("vault:v%d:%s", key->version, text),
					 "key_version", key->version);
}

static json_t *
describe(const Key *key)
{
	return json_pack("{s:s,s:s,s:b,s:b,s:b,s:b,s:b,s:b,s:b,s:i,s:i,s:i,s:i}",
					 "name", key->name, "type", "aes256-gcm96", "derived", 1, "exportable", 0,
					 "allow_plaintext_backup", 0, "deletion_allowed", 0, "supports_encryption", 1,
					 "supports_decryption", 1, "supports_derivation", 1, "latest_version", key->version,
					 "min_decryption_version", 1, "min_encryption_version", 0, "min_available_version", 0);
}

static Key *
find_key(const char *name)
{
	for (int i = 0; i < KEYS; i++)
	{
		if (keys[i].name[0] == '\0')
		{
			snprintf(keys[i].name, sizeof(keys[i].name), "%s", name);
			keys[i].version = 1;
		}
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	}
	stub_die("too many keys");
}
