/*-------------------------------------------------------------------------
 *
 * kms_local.c
 *	  The embedded key service: KEKs in a keyring file.
 *
 * Here is what it makes of a call; the KEKs are in loaded_keyring.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/kms/key_memory.h"
#include "agent/kms/kms_detail.h"
#include "agent/kms/kms_local.h"
#include "agent/kms/kms_local_hooks.h"
#include "agent/kms/loaded_keyring.h"
#include "agent/kms/monotonic.h"
#include "agent/kms/passphrase.h"
#include "crypto/aead.h"
#include "crypto/random.h"
#include "format/wrapped_key.h"

#define SCHEME			"local"
#define VERSION_LEN		4		/* of the KEK, before the sealed DEK */
#define SEALED_DEK_LEN	(PGE_DEK_LEN + KEYRING_SEAL_LEN)

static PgeStatus local_parse_uri(PgeBytes uri, KeyUri *key, char *detail);
static PgeStatus local_format_uri(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1]);
static PgeStatus local_check(KmsInstance *instance, int *line, char *detail);
static PgeStatus local_open(const KmsSettings *settings, KmsSession **session, char *detail);
static PgeStatus local_reload(KmsSession *session, const KmsSettings *settings);
static void local_perform(KmsSession *session, const KmsCall *call, KmsResult *result);
static void local_reach(KmsSession *session, const KmsCall *call, KmsWay *way);
static void local_close(KmsSession *session);

static PgeStatus dispatch(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result);
static PgeStatus wrap(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result);
static PgeStatus seal_dek(const KeyringEntry *kek, const KmsCall *call, KmsResult *result);
static PgeStatus unwrap(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result);
static PgeStatus open_dek(const KeyringEntry *kek, const KmsCall *call, PgeBytes sealed, KmsResult *result);
static PgeStatus describe(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result);
static PgeStatus create(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result);
static PgeStatus rotate(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result);
static PgeStatus destroy(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result);
static PgeStatus restore(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result);
static void explain_uri(char *detail);
static PgeStatus parse_uri(const KmsCall *call, uint8_t *uuid, char *detail);
static PgeStatus not_found(const KmsCall *call, uint32_t version, char *detail);
static void set_result(KmsResult *result, const uint8_t *uuid, uint32_t version);
static void explain_protection(LoadedKeyring *keyring, char *detail);
static bool is_cancelled(const KmsCall *call);

static const char *const no_settings[] = {NULL};

const KmsProvider pge_kms_local = {
	.name = SCHEME, .settings = no_settings,
	.parse_uri = local_parse_uri, .format_uri = local_format_uri, .check = local_check,
	.open = local_open, .reload = local_reload,
	.perform = local_perform, .reach = local_reach, .close = local_close,
};

/* One spelling only: what SQL stores is what the keyring command prints. */
static PgeStatus
local_parse_uri(PgeBytes uri, KeyUri *key, char *detail)
{
	static const size_t prefix = sizeof(SCHEME ":") - 1;
	uint8_t		uuid[PGE_UUID_LEN];

	*key = (KeyUri)
	{
		0
	};
	if (uri.len < prefix || memcmp(uri.data, SCHEME ":", prefix) != 0)
		return PGE_KEK_NOT_FOUND;
	if (pge_keyring_parse_uri(uri, uuid) != PGE_OK)
	{
		explain_uri(detail);
		return PGE_INVALID;
	}
	memcpy(key->scheme, SCHEME, sizeof(SCHEME));
	memcpy(key->path, uri.data + prefix, uri.len - prefix);
	return PGE_OK;
}

static PgeStatus
local_format_uri(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1])
{
	(void) server;
	if (snprintf(uri, PGE_KEK_URI_MAX + 1, SCHEME ":%s", key->path) > PGE_KEK_URI_MAX)
		return PGE_TOO_LARGE;
	return PGE_OK;
}

/* Its keyring is a setting of the server; what its section says holds for all. */
static PgeStatus
local_check(KmsInstance *instance, int *line, char *detail)
{
	(void) instance;
	(void) line;
	(void) detail;
	return PGE_OK;
}

static PgeStatus
local_open(const KmsSettings *settings, KmsSession **session, char *detail)
{
	LoadedKeyring *keyring;
	PgeStatus	status;

	pge_passphrase_limit(settings->timeout_ms);
	status = pge_loaded_keyring_new(settings->keyring_file, settings->keyring_passphrase_command, &keyring);
	if (status != PGE_OK)
		pge_kms_detail(detail, "Keyring file \"%s\" cannot be used: %s.",
					   settings->keyring_file == NULL ? "" : settings->keyring_file,
					   pge_status_name(status));
	*session = (KmsSession *) keyring;
	return status;
}

/* keyring_file needs a restart of the server, so only the command can be new. */
static PgeStatus
local_reload(KmsSession *session, const KmsSettings *settings)
{
	LoadedKeyring *keyring = (LoadedKeyring *) session;
	const char *file = settings->keyring_file == NULL ? "" : settings->keyring_file;

	if (strcmp(file, pge_loaded_keyring_path(keyring)) != 0)
		return PGE_INVALID;
	pge_passphrase_limit(settings->timeout_ms);
	return pge_loaded_keyring_set_command(keyring, settings->keyring_passphrase_command);
}

static void
local_close(KmsSession *session)
{
	pge_loaded_keyring_free((LoadedKeyring *) session);
}

static void
local_perform(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	LoadedKeyring *keyring = (LoadedKeyring *) session;

	memset(result, 0, sizeof(*result));
	if (pge_loaded_keyring_path(keyring)[0] == '\0')
	{
		pge_kms_detail(result->detail, "No keyring file is set and there is no safe default: set pg_envelope.keyring_file to a path outside the data directory, on storage that is kept.");
		result->status = PGE_INVALID;
		return;
	}
#ifdef PGE_TEST_BUILD
	pge_kms_local_obey(pge_loaded_keyring_path(keyring), call->cancelled);
#endif
	if (is_cancelled(call))
	{
		pge_kms_detail(result->detail, "Nobody waits for the answer any more.");
		result->status = PGE_UNAVAILABLE;
		return;
	}
	result->status = dispatch(keyring, call, result);
	if (result->status != PGE_OK)
	{
		pge_secret_wipe(&result->dek, sizeof(result->dek));
		result->wrapped_len = 0;
		if (result->detail[0] == '\0')
			pge_kms_detail(result->detail, "The local keyring \"%s\" failed: %s.",
						   pge_loaded_keyring_path(keyring), pge_status_name(result->status));
	}
}

static void
local_reach(KmsSession *session, const KmsCall *call, KmsWay *way)
{
	LoadedKeyring *keyring = (LoadedKeyring *) session;
	KmsStep    *step = pge_kms_way_step(way, "keyring", 0);
	KmsResult	result = {.status = PGE_OK};
	int64_t		before_us = pge_monotonic_us();

	if (pge_loaded_keyring_path(keyring)[0] == '\0')
	{
		step->status = PGE_INVALID;
		pge_kms_detail(step->detail, "It is not known which file it is: name what pg_envelope.keyring_file says.");
		return;
	}
	step->status = pge_loaded_keyring_refresh(keyring, call, &result);
	if (step->status == PGE_OK)
		pge_kms_detail(step->detail, "%s, %s", pge_loaded_keyring_path(keyring),
					   pge_loaded_keyring_protection(keyring) == KEYRING_SCRYPT ? "under a passphrase" : "plain");
	else
		pge_kms_detail(step->detail, "%s pg_envelope.keyring_file, or keyring_file in [agent], says where it is, \"pg_envelope_agent keyring\" looks at it and restores a copy.",
					   result.detail);
	step->us = pge_monotonic_us() - before_us;
	pge_secret_wipe(&result, sizeof(result));
}

static PgeStatus
dispatch(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result)
{
	switch (call->operation)
	{
		case KMS_WRAP:
			return wrap(keyring, call, result);
		case KMS_UNWRAP:
			return unwrap(keyring, call, result);
		case KMS_DESCRIBE:
			return describe(keyring, call, result);
		case KMS_CREATE:
			return create(keyring, call, result);
		case KMS_ROTATE:
			return rotate(keyring, call, result);
		case KMS_DESTROY:
			return destroy(keyring, call, result);
		case KMS_RESTORE:
			return restore(keyring, call, result);
		case KMS_REWRAP:
			break;
	}
	return PGE_INVALID;
}

static PgeStatus
wrap(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result)
{
	uint8_t		uuid[PGE_UUID_LEN];
	KeyringEntry kek;
	PgeStatus	status = parse_uri(call, uuid, result->detail);

	if (status == PGE_OK && (call->dek == NULL || call->binding.len == 0))
		status = PGE_INVALID;
	if (status == PGE_OK)
		status = pge_loaded_keyring_refresh(keyring, call, result);
	if (status != PGE_OK)
		return status;
	if (!pge_loaded_keyring_look_up(keyring, uuid, 0, &kek))
		return not_found(call, 0, result->detail);
	status = seal_dek(&kek, call, result);
	if (status == PGE_OK)
		set_result(result, uuid, kek.version);
	pge_secret_wipe(&kek, sizeof(kek));
	return status;
}

static PgeStatus
seal_dek(const KeyringEntry *kek, const KmsCall *call, KmsResult *result)
{
	uint8_t		bytes[VERSION_LEN + SEALED_DEK_LEN];
	PgeBuffer	body = {bytes + VERSION_LEN, 0, SEALED_DEK_LEN};
	PgeBuffer	wrapped = {result->wrapped, 0, sizeof(result->wrapped)};
	PgeAead    *aead = NULL;
	PgeStatus	status = pge_aead_new(PGE_XAES_256_GCM, &kek->key, &aead);

	if (status != PGE_OK)
		return status;
	pge_put_u32(bytes, kek->version);
	status = pge_aead_seal(aead, call->binding, pge_bytes(call->dek->bytes, PGE_DEK_LEN), &body);
	pge_aead_free(aead);
	if (status == PGE_OK)
		status = pge_wrapped_encode(PGE_WRAP_LOCAL, PGE_HALF_NONE,
									pge_bytes(bytes, VERSION_LEN + body.len), &wrapped);
	result->wrapped_len = wrapped.len;
	return status;
}

static PgeStatus
unwrap(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result)
{
	uint8_t		uuid[PGE_UUID_LEN];
	PgeWrapForm form;
	PgeWrapHalf half;
	PgeBytes	bytes;
	KeyringEntry kek;
	uint32_t	version;
	PgeStatus	status = parse_uri(call, uuid, result->detail);
	PgeStatus	refreshed;

	if (status == PGE_OK && call->binding.len == 0)
		status = PGE_INVALID;
	if (status != PGE_OK)
		return status;
	if (pge_wrapped_decode(call->wrapped, &form, &half, &bytes) != PGE_OK ||
		form != PGE_WRAP_LOCAL || half != PGE_HALF_NONE ||
		bytes.len != VERSION_LEN + SEALED_DEK_LEN)
	{
		pge_kms_detail(result->detail, "This is not what the local keyring writes.");
		return PGE_WRAPPING_DAMAGED;
	}
	version = pge_get_u32(bytes.data);
	refreshed = pge_loaded_keyring_refresh_for_unwrap(keyring, call, uuid, version, result);
	if (version == 0 || !pge_loaded_keyring_look_up(keyring, uuid, version, &kek))
		return refreshed != PGE_OK ? refreshed : not_found(call, version, result->detail);
	status = open_dek(&kek, call, pge_bytes(bytes.data + VERSION_LEN, SEALED_DEK_LEN), result);
	if (status == PGE_OK && refreshed != PGE_OK)
		pge_kms_detail_append(result->detail, "The agent goes on with the KEKs in its memory, and when it ends they are gone: put the keyring file in order.");
	if (status == PGE_OK)
		set_result(result, uuid, version);
	pge_secret_wipe(&kek, sizeof(kek));
	return status;
}

static PgeStatus
open_dek(const KeyringEntry *kek, const KmsCall *call, PgeBytes sealed, KmsResult *result)
{
	PgeBuffer	dek = {result->dek.bytes, 0, PGE_DEK_LEN};
	PgeAead    *aead = NULL;
	PgeStatus	status = pge_aead_new(PGE_XAES_256_GCM, &kek->key, &aead);

	if (status != PGE_OK)
		return status;
	status = pge_aead_open(aead, call->binding, sealed, &dek);
	pge_aead_free(aead);
	if (status == PGE_NOT_AUTHENTIC || status == PGE_MALFORMED)
	{
		/* behind what is told once only: that the file is an older one */
		pge_kms_detail_append(result->detail, "Version %" PRIu32 " of KEK \"%.*s\" does not open it: these are damaged bytes, or of another KEK or another row.",
							  kek->version, (int) call->uri.len, (const char *) call->uri.data);
		return PGE_WRAPPING_DAMAGED;
	}
	return status;
}

static PgeStatus
describe(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result)
{
	uint8_t		uuid[PGE_UUID_LEN];
	KeyringEntry kek;
	PgeStatus	status = parse_uri(call, uuid, result->detail);

	if (status == PGE_OK)
		status = pge_loaded_keyring_refresh(keyring, call, result);
	if (status != PGE_OK)
		return status;
	if (!pge_loaded_keyring_look_up(keyring, uuid, 0, &kek))
		return not_found(call, 0, result->detail);
	set_result(result, uuid, kek.version);
	pge_secret_wipe(&kek, sizeof(kek));
	pge_kms_detail_append(result->detail, "It is in keyring file \"%s\".", pge_loaded_keyring_path(keyring));
	explain_protection(keyring, result->detail);
	return PGE_OK;
}

/* With a URI: takes up a KEK that is there, after a restore say. */
static PgeStatus
create(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result)
{
	uint8_t		uuid[PGE_UUID_LEN];
	uint32_t	version;
	PgeStatus	status;

	if (call->uri.len > 0)
		return describe(keyring, call, result);
	status = pge_random_bytes(uuid, PGE_UUID_LEN);
	if (status != PGE_OK)
		return status;
	/* RFC 4122, version 4 */
	uuid[6] = (uint8_t) ((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t) ((uuid[8] & 0x3f) | 0x80);
	status = pge_loaded_keyring_add(keyring, call, uuid, true, &version, result);
	if (status == PGE_UNAVAILABLE && pge_loaded_keyring_has_keks(keyring))
		pge_kms_detail_append(result->detail, "Put the file back from its backup before you make a KEK: its KEKs are in the agent's memory only, until the server stops.");
	if (status != PGE_OK)
		return status;
	set_result(result, uuid, version);
	pge_kms_detail_append(result->detail, "The KEK is in keyring file \"%s\" on the server's host; without it what it wraps is lost. Back it up now, away from the database: pg_envelope_agent keyring backup.",
						  pge_loaded_keyring_path(keyring));
	explain_protection(keyring, result->detail);
	return PGE_OK;
}

static PgeStatus
rotate(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result)
{
	uint8_t		uuid[PGE_UUID_LEN];
	uint32_t	version;
	PgeStatus	status = parse_uri(call, uuid, result->detail);

	if (status == PGE_OK)
		status = pge_loaded_keyring_add(keyring, call, uuid, false, &version, result);
	if (status == PGE_KEK_NOT_FOUND)
		return not_found(call, 0, result->detail);
	if (status != PGE_OK)
		return status;
	set_result(result, uuid, version);
	pge_kms_detail_append(result->detail, "Back up keyring file \"%s\" again: earlier copies lack this version.",
						  pge_loaded_keyring_path(keyring));
	return PGE_OK;
}

/* No claim to shred: a file system and whoever copies the file keep what they have. */
static PgeStatus
destroy(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result)
{
	uint8_t		uuid[PGE_UUID_LEN];
	PgeStatus	status = parse_uri(call, uuid, result->detail);

	if (status == PGE_OK && !call->immediate)
	{
		pge_kms_detail(result->detail, "The local keyring takes a KEK out at once and knows no way back: say immediate => true.");
		return PGE_INVALID;
	}
	if (status == PGE_OK)
		status = pge_loaded_keyring_remove(keyring, call, uuid, result);
	if (status == PGE_KEK_NOT_FOUND)
		return not_found(call, 0, result->detail);
	if (status != PGE_OK)
		return status;
	pge_kms_detail_append(result->detail, "It is out of keyring file \"%s\", which is final for this file only: copies and backups of the file, and what the disk keeps of its old blocks, still have it.",
						  pge_loaded_keyring_path(keyring));
	return PGE_OK;
}

/* Nothing is ever scheduled here, but a copy of the file may have been put back. */
static PgeStatus
restore(LoadedKeyring *keyring, const KmsCall *call, KmsResult *result)
{
	PgeStatus	status = describe(keyring, call, result);

	if (status == PGE_KEK_NOT_FOUND)
		pge_kms_detail_append(result->detail, "Only a copy of the keyring from before, put back with pg_envelope_agent keyring restore, has it.");
	return status;
}

static PgeStatus
parse_uri(const KmsCall *call, uint8_t *uuid, char *detail)
{
	PgeStatus	status = pge_keyring_parse_uri(call->uri, uuid);

	if (status != PGE_OK)
		explain_uri(detail);
	return status;
}

static void
explain_uri(char *detail)
{
	pge_kms_detail(detail, "The URI of a KEK in the local keyring is \"local:\" and a UUID in lower case.");
}

/* The URI is one that we have parsed: no bytes in it that a log would mind. */
static PgeStatus
not_found(const KmsCall *call, uint32_t version, char *detail)
{
	if (version == 0)
		pge_kms_detail_append(detail, "KEK \"%.*s\" is not in the keyring.",
							  (int) call->uri.len, (const char *) call->uri.data);
	else
		pge_kms_detail_append(detail, "Version %" PRIu32 " of KEK \"%.*s\" is not in the keyring.", version,
							  (int) call->uri.len, (const char *) call->uri.data);
	return PGE_KEK_NOT_FOUND;
}

static void
set_result(KmsResult *result, const uint8_t *uuid, uint32_t version)
{
	pge_keyring_uri(uuid, result->uri);
	snprintf(result->kek_version, sizeof(result->kek_version), "%" PRIu32, version);
}

/* A file that is plain although a command is set was plain before it was set. */
static void
explain_protection(LoadedKeyring *keyring, char *detail)
{
	if (pge_loaded_keyring_protection(keyring) == KEYRING_SCRYPT)
		pge_kms_detail_append(detail, "The file is under a passphrase; keep that too.");
	else if (pge_loaded_keyring_has_command(keyring))
		pge_kms_detail_append(detail, "The file is plain although a passphrase command is set: run pg_envelope_agent keyring passwd.");
	else
		pge_kms_detail_append(detail, "The file is plain: whoever reads it or a backup of it can open everything.");
	if (pge_key_memory_swappable())
		pge_kms_detail_append(detail, "The agent could not lock the memory of its keys, so they may be written to swap space: raise the limit of locked memory (ulimit -l, LimitMEMLOCK=).");
}

static bool
is_cancelled(const KmsCall *call)
{
	return call->cancelled != NULL && atomic_load(call->cancelled);
}
