/*-------------------------------------------------------------------------
 *
 * kms_vault_messages.c
 *	  Builds requests to Vault's Transit engine and reads its answers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/kms/encoding.h"
#include "agent/kms/json.h"
#include "agent/kms/kms_vault_messages_private.h"

#define BINDING_TEXT_LEN	BASE64_LEN(PGE_BINDING_MAX)
#define DEK_TEXT_LEN		BASE64_LEN(PGE_DEK_LEN)

/* What an error of Vault's says, if it is one of those that mean more than their number. */
typedef struct KnownError
{
	const char *text;
	const char *detail;
	PgeStatus	status;
	bool		also_500;		/* else that is said of the service's own
								 * storage */
} KnownError;

/* The first that is found counts. */
static const KnownError known_errors[] = {
	{"version is too new", "The key has no such version: it was made anew or restored from an older backup, or these are damaged bytes.", PGE_WRAPPING_DAMAGED, false},
	{"message authentication failed", "The service does not open it: these are damaged bytes, or of another key or another row.", PGE_WRAPPING_DAMAGED, true},
	{"invalid ciphertext", "The service does not take it for something that it has encrypted.", PGE_WRAPPING_DAMAGED, false},
	{"disallowed by policy (too old)", "The version of the key that wrapped this is below the key's min_decryption_version (or was trimmed): lower it again until all has been rewrapped.", PGE_KEK_UNUSABLE, false},
	{"soft-deleted", "The key is soft-deleted: restore it (keys/NAME/soft-delete-restore).", PGE_KEK_UNUSABLE, true},
	{"key not found", "The service has no key of this name.", PGE_KEK_NOT_FOUND, false},
	{"missing 'context'", "The key is a derived one, which did not wrap this: it was made anew.", PGE_KEK_UNUSABLE, false},
	{"not supported for key type", "The key is of a type that cannot encrypt.", PGE_KEK_UNUSABLE, false},
	{"unsupported key type", "The key is of a type that cannot encrypt.", PGE_KEK_UNUSABLE, true},
	{"for non-AEAD", "The key is of a type that binds no associated data.", PGE_KEK_UNUSABLE, false},
};

static PgeStatus encode_text(json_t *object, const char *name, PgeBytes bytes);
static PgeStatus check_envelope(PgeBytes body, char *detail);
static PgeStatus classify_error(const HttpAnswer *answer, char *detail);
static PgeStatus classify_missing(json_t *errors, char *detail);
static bool is_policy_denial(const HttpAnswer *answer);
static bool contains(const json_t *said, const char *text);
static PgeStatus classify_number(int status, char *detail);
static bool is_printable(PgeBytes text);
static bool read_version(PgeBytes ciphertext, int64_t *version);

PgeStatus
pge_vault_path(const char *key_path, VaultOperation operation, char path[VAULT_PATH_MAX + 1])
{
	static const char keys[] = "/keys/";
	static const char *const verbs[] = {[VAULT_ENCRYPT] = "encrypt",[VAULT_DECRYPT] = "decrypt",[VAULT_REWRAP] = "rewrap"};
	const char *name = strrchr(key_path, '/');
	int			mount_len;
	int			len;

	if (name == NULL || name[1] == '\0' || name - key_path < (ptrdiff_t) sizeof(keys) - 1 ||
		memcmp(name + 1 - (sizeof(keys) - 1), keys, sizeof(keys) - 1) != 0)
		return PGE_INVALID;
	name++;
	mount_len = (int) (name - key_path - (ptrdiff_t) (sizeof(keys) - 1));
	if (operation == VAULT_DESCRIBE || operation == VAULT_DELETE)
		len = snprintf(path, VAULT_PATH_MAX + 1, "%s", key_path);
	else if (operation == VAULT_ROTATE || operation == VAULT_CONFIGURE)
		len = snprintf(path, VAULT_PATH_MAX + 1, "%s/%s", key_path,
					   operation == VAULT_ROTATE ? "rotate" : "config");
	else
		len = snprintf(path, VAULT_PATH_MAX + 1, "%.*s/%s/%s", mount_len, key_path, verbs[operation], name);
	return len <= VAULT_PATH_MAX ? PGE_OK : PGE_INVALID;
}

PgeStatus
pge_vault_encrypt_body(PgeWrapForm form, PgeBytes binding, const PgeSecret *dek, PgeBuffer *body)
{
	json_t	   *object = json_object();
	PgeStatus	status = pge_vault_put_dek(object, dek);

	if (status == PGE_OK)
		status = pge_vault_put_binding(object, form, binding);
	return pge_json_finish(object, status, body);
}

PgeStatus
pge_vault_decrypt_body(PgeWrapForm form, PgeBytes binding, PgeBytes ciphertext, PgeBuffer *body)
{
	json_t	   *object = json_object();
	PgeStatus	status = pge_vault_put_text(object, "ciphertext", ciphertext);

	if (status == PGE_OK)
		status = pge_vault_put_binding(object, form, binding);
	return pge_json_finish(object, status, body);
}

PgeStatus
pge_vault_login_body(const VaultLogin *login, PgeBuffer *body)
{
	json_t	   *object = json_object();
	const char *role = login->auth == VAULT_AUTH_CERT ? "name" : "role";
	const char *secret = login->auth == VAULT_AUTH_APPROLE ? "secret_id" : "jwt";
	PgeStatus	status = PGE_OK;

	if (login->role != NULL)
		status = pge_vault_put_text(object, role, pge_bytes(login->role, strlen(login->role)));
	if (status == PGE_OK && login->role_id != NULL)
		status = pge_vault_put_text(object, "role_id", pge_bytes(login->role_id, strlen(login->role_id)));
	if (status == PGE_OK && login->secret != NULL)
		status = pge_vault_put_text(object, secret, pge_bytes(login->secret, strlen(login->secret)));
	return pge_json_finish(object, status, body);
}

PgeStatus
pge_vault_put_dek(json_t *object, const PgeSecret *dek)
{
	return encode_text(object, "plaintext", pge_bytes(dek->bytes, PGE_DEK_LEN));
}

PgeStatus
pge_vault_put_binding(json_t *object, PgeWrapForm form, PgeBytes binding)
{
	if (form == PGE_WRAP_VAULT_CONTEXT)
		return encode_text(object, "context", binding);
	if (form == PGE_WRAP_VAULT_AAD)
		return encode_text(object, "associated_data", binding);
	return PGE_INVALID;
}

/* A binding or a DEK; never without one. */
static PgeStatus
encode_text(json_t *object, const char *name, PgeBytes bytes)
{
	uint8_t		text[BINDING_TEXT_LEN];
	PgeBuffer	out = {text, 0, sizeof(text)};
	PgeStatus	status = PGE_INVALID;

	if (bytes.len > 0)
		status = pge_base64_encode(BASE64_STANDARD, bytes, &out);
	if (status == PGE_OK)
		status = pge_vault_put_text(object, name, pge_buffer_bytes(&out));
	pge_secret_wipe(text, sizeof(text));
	return status;
}

PgeStatus
pge_vault_put_text(json_t *object, const char *name, PgeBytes text)
{
	/* (Both may be NULL, and say so.) */
	return json_object_set_new(object, name, pge_json_new_text(text)) == 0 ? PGE_OK : PGE_OUT_OF_MEMORY;
}

PgeStatus
pge_vault_classify(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN])
{
	detail[0] = '\0';
	if (answer->status == 204)
		return PGE_OK;
	if (answer->status == 200)
		return check_envelope(pge_bytes(answer->body, answer->len), detail);
	return pge_vault_holds_batch(answer) ? PGE_OK : classify_error(answer, detail);
}

PgeStatus
pge_vault_classify_login(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN])
{
	PgeStatus	status = pge_vault_classify(answer, detail);

	if (status == PGE_OK || status == PGE_UNAVAILABLE || status == PGE_THROTTLED || status == PGE_OUT_OF_MEMORY)
		return status;
	if (is_policy_denial(answer))
	{
		pge_kms_detail(detail, "The token's policies deny what a token needs for itself (HTTP 403): \"read\" on auth/token/lookup-self and \"update\" on auth/token/renew-self, as in the policy \"default\".");
		return PGE_DENIED;
	}
	pge_kms_detail(detail, "The service refuses the login (HTTP %d): the role, its secret or the method's mount is wrong, or it has expired.",
				   answer->status);
	return PGE_UNAUTHENTICATED;
}

/*
 * A token that is not known gets "permission denied" as it is, or beside "invalid token";
 * one that is known and may not do this gets it as the only item of a list.
 */
static bool
is_policy_denial(const HttpAnswer *answer)
{
	static const char said[] = "1 error occurred:\n\t* permission denied\n\n";
	char		unused[KMS_DETAIL_LEN];
	json_t	   *object = NULL;
	json_t	   *errors;
	PgeBytes	error = {NULL, 0};
	bool		denial;

	if (answer->status != 403 || pge_json_parse(pge_bytes(answer->body, answer->len), &object, unused) != PGE_OK)
		return false;
	errors = pge_json_array(object, "errors");
	if (json_is_string(json_array_get(errors, 0)))
		error = pge_bytes(json_string_value(json_array_get(errors, 0)), json_string_length(json_array_get(errors, 0)));
	denial = json_array_size(errors) == 1 && error.len == strlen(said) && memcmp(error.data, said, error.len) == 0;
	json_decref(object);
	return denial;
}

/* Cut in the middle, or not Vault's: then the call is worth another try. */
static PgeStatus
check_envelope(PgeBytes body, char *detail)
{
	json_t	   *object = NULL;
	bool		sound = pge_json_parse(body, &object, detail) == PGE_OK &&
	(pge_json_object(object, "data") != NULL || pge_json_object(object, "auth") != NULL);

	json_decref(object);
	return sound ? PGE_OK : pge_vault_not_asked_for(detail);
}

static PgeStatus
classify_error(const HttpAnswer *answer, char *detail)
{
	json_t	   *object = NULL;
	json_t	   *errors = NULL;
	PgeStatus	status = classify_number(answer->status, detail);

	/* of the others nothing is concluded but to ask again later */
	if (answer->status != 500 && (answer->status < 400 || answer->status > 404))
		return status;
	if (pge_json_parse(pge_bytes(answer->body, answer->len), &object, detail) == PGE_OK)
		errors = pge_json_array(object, "errors");
	if (errors == NULL)
	{
		pge_kms_detail(detail, "What answers there (HTTP %d) is not Vault, or something stands before it.", answer->status);
		status = PGE_UNAVAILABLE;
	}
	else if (answer->status == 404)
		status = classify_missing(errors, detail);
	else if (!pge_vault_is_known_error(errors, answer->status, &status, detail))
		status = classify_number(answer->status, detail);
	json_decref(object);
	return status;
}

bool
pge_vault_lacks_key(const HttpAnswer *answer)
{
	char		unused[KMS_DETAIL_LEN];
	json_t	   *object = NULL;
	json_t	   *errors = NULL;
	bool		lacks;

	if (answer->status != 404)
		return false;
	if (pge_json_parse(pge_bytes(answer->body, answer->len), &object, unused) == PGE_OK)
		errors = pge_json_array(object, "errors");
	lacks = errors != NULL && json_array_size(errors) == 0;
	json_decref(object);
	return lacks;
}

/* A key that is not there has no error text; a mount that is not has. */
static PgeStatus
classify_missing(json_t *errors, char *detail)
{
	if (pge_vault_says(errors, "namespace"))
		pge_kms_detail(detail, "The service has no such namespace.");
	else if (json_array_size(errors) > 0)
		pge_kms_detail(detail, "The service has no Transit engine at this mount.");
	else
		pge_kms_detail(detail, "The service has no key of this name.");
	return PGE_KEK_NOT_FOUND;
}

bool
pge_vault_is_known_error(const json_t *said, int http_status, PgeStatus *status, char detail[KMS_DETAIL_LEN])
{
	if (http_status != 400 && http_status != 500)
		return false;
	for (size_t i = 0; i < sizeof(known_errors) / sizeof(known_errors[0]); i++)
	{
		const KnownError *known = &known_errors[i];

		if ((http_status == 500 && !known->also_500) || !pge_vault_says(said, known->text))
			continue;
		pge_kms_detail(detail, "%s", known->detail);
		*status = known->status;
		return true;
	}
	return false;
}

bool
pge_vault_says(const json_t *said, const char *text)
{
	size_t		i;
	json_t	   *error;

	json_array_foreach(said, i, error)
		if (contains(error, text))
		return true;
	return contains(said, text);
}

static bool
contains(const json_t *said, const char *text)
{
	return json_is_string(said) &&
		memmem(json_string_value(said), json_string_length(said), text, strlen(text)) != NULL;
}

static PgeStatus
classify_number(int status, char *detail)
{
	switch (status)
	{
		case 401:
		case 403:
			pge_kms_detail(detail, "The service denies it (HTTP %d).", status);
			return PGE_UNAUTHENTICATED;
		case 429:
			pge_kms_detail(detail, "The service has too many requests (HTTP 429).");
			return PGE_THROTTLED;
		case 503:
			pge_kms_detail(detail, "The service is sealed or in maintenance (HTTP 503).");
			return PGE_UNAVAILABLE;
		case 412:
		case 472:
		case 473:
			pge_kms_detail(detail, "This server of the service cannot answer now (HTTP %d).", status);
			return PGE_UNAVAILABLE;
	}
	if (status >= 300 && status < 400)
		pge_kms_detail(detail, "The service redirects (HTTP %d), which is not followed: give the address of the active server.", status);
	else
		pge_kms_detail(detail, "The service says HTTP %d.", status);
	return status >= 400 && status < 500 ? PGE_INVALID : PGE_UNAVAILABLE;
}

json_t *
pge_vault_parse_part(PgeBytes body, const char *part, char detail[KMS_DETAIL_LEN])
{
	json_t	   *object = NULL;
	json_t	   *found;

	if (pge_json_parse(body, &object, detail) != PGE_OK)
		return NULL;
	found = json_incref(pge_json_object(object, part));
	json_decref(object);
	return found;
}

PgeStatus
pge_vault_not_asked_for(char detail[KMS_DETAIL_LEN])
{
	pge_kms_detail(detail, "What came back is not what Vault answers to this.");
	return PGE_UNAVAILABLE;
}

PgeStatus
pge_vault_read_key(PgeBytes body, VaultKeyInfo *info, char detail[KMS_DETAIL_LEN])
{
	json_t	   *data = pge_vault_parse_part(body, "data", detail);
	bool		complete;

	memset(info, 0, sizeof(*info));
	/* the type is told: so it has to be one word of theirs and no sentence */
	complete = pge_json_string(data, "type", info->type, sizeof(info->type)) &&
		info->type[strspn(info->type, "abcdefghijklmnopqrstuvwxyz0123456789-_")] == '\0' &&
		pge_json_bool(data, "derived", &info->derived) &&
		pge_json_bool(data, "exportable", &info->exportable) &&
		pge_json_bool(data, "allow_plaintext_backup", &info->plaintext_backup) &&
		pge_json_bool(data, "supports_encryption", &info->encrypts) &&
		pge_json_bool(data, "supports_decryption", &info->decrypts) &&
		pge_json_int(data, "latest_version", &info->latest_version) &&
		pge_json_int(data, "min_decryption_version", &info->min_decryption_version) &&
		info->latest_version > 0;
	/* OpenBao's alone */
	(void) pge_json_bool(data, "soft_deleted", &info->soft_deleted);
	json_decref(data);
	return complete ? PGE_OK : pge_vault_not_asked_for(detail);
}

PgeStatus
pge_vault_check_key(const VaultKeyInfo *key, char detail[KMS_DETAIL_LEN])
{
	static const char *const types[] = {"aes256-gcm96", "xchacha20-poly1305", "chacha20-poly1305"};
	bool		fit = false;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		fit = fit || strcmp(key->type, types[i]) == 0;
	if (key->soft_deleted)
		pge_kms_detail(detail, "The key is soft-deleted: restore it (keys/NAME/soft-delete-restore).");
	else if (!fit || !key->encrypts || !key->decrypts)
		pge_kms_detail(detail, "The key is of type \"%s\": make one of type aes256-gcm96 with derived=true.", key->type);
	else
		return PGE_OK;
	return PGE_KEK_UNUSABLE;
}

PgeWrapForm
pge_vault_form(const VaultKeyInfo *key)
{
	return key->derived ? PGE_WRAP_VAULT_CONTEXT : PGE_WRAP_VAULT_AAD;
}

void
pge_vault_tell_key(const VaultKeyInfo *key, char detail[KMS_DETAIL_LEN])
{
	pge_kms_detail_append(detail, "It is of type %s, %s, version %" PRId64 "; versions from %" PRId64 " on decrypt.",
						  key->type, key->derived ? "derived" : "not derived", key->latest_version,
						  key->min_decryption_version);
	if (!key->derived)
		pge_kms_detail_append(detail, "A key with derived=true would let the service itself rewrap.");
	if (key->exportable)
		pge_kms_detail_append(detail, "It is exportable: whoever may read export/ there can take it away.");
	if (key->plaintext_backup)
		pge_kms_detail_append(detail, "It allows plaintext backups: whoever may read backup/ there can take it away.");
}

PgeStatus
pge_vault_read_wrapped(PgeBytes body, PgeWrapForm form, PgeBuffer *wrapped,
					   char kek_version[PGE_KEK_VERSION_MAX + 1], char detail[KMS_DETAIL_LEN])
{
	json_t	   *data = pge_vault_parse_part(body, "data", detail);
	PgeStatus	status = pge_vault_take_wrapped(data, form, wrapped, kek_version, detail);

	json_decref(data);
	return status;
}

PgeStatus
pge_vault_take_wrapped(const json_t *data, PgeWrapForm form, PgeBuffer *wrapped,
					   char kek_version[PGE_KEK_VERSION_MAX + 1], char detail[KMS_DETAIL_LEN])
{
	PgeBytes	ciphertext = {NULL, 0};
	int64_t		version = 0;
	int64_t		named;
	PgeStatus	status = PGE_UNAVAILABLE;

	wrapped->len = 0;
	kek_version[0] = '\0';
	if (pge_json_text(data, "ciphertext", &ciphertext) && is_printable(ciphertext) &&
		pge_json_int(data, "key_version", &version) && version > 0 &&
		(!read_version(ciphertext, &named) || named == version))
		status = pge_wrapped_encode(form, PGE_HALF_NONE, ciphertext, wrapped);
	if (status != PGE_OK)
		return pge_vault_not_asked_for(detail);
	snprintf(kek_version, PGE_KEK_VERSION_MAX + 1, "%" PRId64, version);
	return PGE_OK;
}

PgeStatus
pge_vault_read_dek(PgeBytes body, PgeSecret *dek, char detail[KMS_DETAIL_LEN])
{
	json_t	   *data = pge_vault_parse_part(body, "data", detail);
	PgeStatus	status = pge_vault_take_dek(data, dek, detail);

	json_decref(data);
	return status;
}

PgeStatus
pge_vault_take_dek(const json_t *data, PgeSecret *dek, char detail[KMS_DETAIL_LEN])
{
	uint8_t		bytes[PGE_DEK_LEN];
	PgeBuffer	out = {bytes, 0, sizeof(bytes)};
	PgeBytes	text = {NULL, 0};
	bool		there = pge_json_text(data, "plaintext", &text);
	PgeStatus	status = there ? pge_base64_decode(BASE64_STANDARD, text, &out) : PGE_MALFORMED;

	if (status == PGE_OK && out.len == PGE_DEK_LEN)
		pge_secret_copy(dek->bytes, bytes, PGE_DEK_LEN);
	else
		pge_secret_wipe(dek, sizeof(*dek));
	pge_secret_wipe(bytes, sizeof(bytes));
	if (status == PGE_MALFORMED)
		return pge_vault_not_asked_for(detail);
	if (status == PGE_OK && out.len == PGE_DEK_LEN)
		return PGE_OK;
	pge_kms_detail(detail, "What the service unwrapped is not as long as a data key.");
	return PGE_WRAPPING_DAMAGED;
}

PgeStatus
pge_vault_read_stored(PgeBytes wrapped, PgeWrapForm *form, PgeBytes *ciphertext,
					  char kek_version[PGE_KEK_VERSION_MAX + 1], char detail[KMS_DETAIL_LEN])
{
	PgeWrapHalf half;
	int64_t		version;

	kek_version[0] = '\0';
	if (pge_wrapped_decode(wrapped, form, &half, ciphertext) != PGE_OK ||
		(*form != PGE_WRAP_VAULT_CONTEXT && *form != PGE_WRAP_VAULT_AAD) ||
		half != PGE_HALF_NONE || !is_printable(*ciphertext))
	{
		pge_kms_detail(detail, "This is not what Vault's Transit engine writes.");
		return PGE_WRAPPING_DAMAGED;
	}
	if (read_version(*ciphertext, &version))
		snprintf(kek_version, PGE_KEK_VERSION_MAX + 1, "%" PRId64, version);
	return PGE_OK;
}

/* ASCII without blanks: it stands in JSON as it is, and nowhere else. */
static bool
is_printable(PgeBytes text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] <= 0x20 || text.data[i] >= 0x7f)
			return false;
	return text.len > 0;
}

/* Of "vault:v12:..."; false: another prefix, which an administrator can have chosen. */
static bool
read_version(PgeBytes ciphertext, int64_t *version)
{
	static const char prefix[] = "vault:v";
	size_t		at = sizeof(prefix) - 1;

	*version = 0;
	if (ciphertext.len < at || memcmp(ciphertext.data, prefix, at) != 0)
		return false;
	for (; at < ciphertext.len && ciphertext.data[at] >= '0' && ciphertext.data[at] <= '9'; at++)
	{
		*version = *version * 10 + (ciphertext.data[at] - '0');
		if (*version > INT32_MAX)
			return false;
	}
	return *version > 0 && at < ciphertext.len && ciphertext.data[at] == ':';
}

PgeStatus
pge_vault_read_login(PgeBytes body, HttpCredential *credential, char detail[KMS_DETAIL_LEN])
{
	json_t	   *auth = pge_vault_parse_part(body, "auth", detail);
	int64_t		seconds = -1;
	bool		complete = pge_json_string(auth, "client_token", credential->token, sizeof(credential->token)) &&
	is_printable(pge_bytes(credential->token, strlen(credential->token))) &&
	pge_json_int(auth, "lease_duration", &seconds) && seconds >= 0 && seconds <= UINT32_MAX &&
	pge_json_bool(auth, "renewable", &credential->renewable);

	json_decref(auth);
	if (!complete)
	{
		pge_secret_wipe(credential, sizeof(*credential));
		return pge_vault_not_asked_for(detail);
	}
	credential->lifetime_ms = (uint64_t) seconds * 1000;
	return PGE_OK;
}

PgeStatus
pge_vault_read_self(PgeBytes body, HttpCredential *credential, char detail[KMS_DETAIL_LEN])
{
	json_t	   *data = pge_vault_parse_part(body, "data", detail);
	int64_t		seconds = -1;
	PgeBytes	expires;
	bool		complete = pge_json_int(data, "ttl", &seconds) && seconds >= 0 && seconds <= UINT32_MAX;

	/*
	 * "expire_time" is null for a token that does not expire, and "ttl" 0; in
	 * its last second it is 0, too
	 */
	credential->lifetime_ms = (uint64_t) seconds * 1000;
	if (complete && seconds == 0 && pge_json_text(data, "expire_time", &expires))
		credential->lifetime_ms = 1;
	(void) pge_json_bool(data, "renewable", &credential->renewable);
	json_decref(data);
	return complete ? PGE_OK : pge_vault_not_asked_for(detail);
}
