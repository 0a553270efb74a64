/*-------------------------------------------------------------------------
 *
 * kms_local.c
 *	  The embedded key service: KEKs in a keyring file.
 *
 * The session keeps the keyring in memory and looks at the file's stamp before
 * each call.  What a KEK wraps is lost with it, so wrapping needs a KEK that is
 * in the file now; unwrapping goes on from memory while the file cannot be
 * read, because that is what saves the data (a rewrap onto another KEK).
 *
 * Locks, outermost first: "disk" while the store is used (seconds, if there is
 * a passphrase command), "memory" while the keyring is looked at or exchanged.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "agent/kms/key_memory.h"
#include "agent/kms/keyring_store.h"
#include "agent/kms/kms_local.h"
#include "agent/kms/passphrase.h"
#include "crypto/aead.h"
#include "crypto/random.h"
#include "format/wrapped_key.h"

#define LOCK_WAIT_MS	2000
#define STEP_MS			10
#define RETRY_MS		30000	/* well above what a passphrase command may
								 * take */
#define NAMED_MAX		2		/* missing versions that are named; a detail
								 * has its bounds */
#define VERSION_LEN		4		/* of the KEK, before the sealed DEK */
#define SEALED_DEK_LEN	(PGE_DEK_LEN + KEYRING_SEAL_LEN)

typedef struct LocalSession
{
	KeyringStore *store;		/* NULL: no keyring file is set */
	atomic_bool has_command;
	pthread_mutex_t disk;
	pthread_mutex_t memory;

	/* under "memory" */
	bool		loaded;
	Keyring		keyring;
	KeyringStamp stamp;
	KeyringStamp tried;			/* the file that was last begun to be read, */
	int64_t		retry_ms;		/* which unwraps leave alone until then
								 * (monotonic) */
	uint32_t	gone;			/* highest version, of any KEK, that a file
								 * has lost */
} LocalSession;

/* What a change adds to the keyring. */
typedef struct NewVersion
{
	LocalSession *local;
	uint8_t		uuid[PGE_UUID_LEN];
	bool		new_kek;
	uint32_t	version;		/* set by the change */
} NewVersion;

static PgeStatus local_open(const KmsConfig *config, KmsSession **session);
static PgeStatus local_reload(KmsSession *session, const KmsConfig *config);
static PgeStatus try_command(LocalSession *local, const KmsConfig *config);
static void local_perform(KmsSession *session, const KmsCall *call, KmsResult *result);
static void local_close(KmsSession *session);

static PgeStatus dispatch(LocalSession *local, const KmsCall *call, KmsResult *result);
static PgeStatus wrap(LocalSession *local, const KmsCall *call, KmsResult *result);
static PgeStatus seal_dek(const KeyringEntry *kek, const KmsCall *call, KmsResult *result);
static PgeStatus unwrap(LocalSession *local, const KmsCall *call, KmsResult *result);
static PgeStatus open_dek(const KeyringEntry *kek, const KmsCall *call, PgeBytes sealed, KmsResult *result);
static PgeStatus describe(LocalSession *local, const KmsCall *call, KmsResult *result);
static PgeStatus create(LocalSession *local, const KmsCall *call, KmsResult *result);
static PgeStatus rotate(LocalSession *local, const KmsCall *call, KmsResult *result);
static PgeStatus add_version(LocalSession *local, const KmsCall *call, NewVersion *version,
							 KmsResult *result);
static PgeStatus apply_new_version(Keyring *keyring, void *arg, char *detail);
static uint32_t last_given(LocalSession *local, const uint8_t *uuid, uint32_t in_file);
static PgeStatus parse_uri(const KmsCall *call, uint8_t *uuid, char *detail);
static PgeStatus refresh(LocalSession *local, const KmsCall *call, KmsResult *result);
static PgeStatus refresh_for_unwrap(LocalSession *local, const KmsCall *call, const uint8_t *uuid,
									uint32_t version, KmsResult *result);
static bool is_current(LocalSession *local, const KeyringStamp *stamp);
static bool has_keks(LocalSession *local);
static int64_t now_ms(void);
static void exchange(LocalSession *local, Keyring *keyring, const KeyringStamp *stamp, KmsResult *result);
static uint32_t name_missing(const Keyring *old, const Keyring *new, char *detail);
static bool look_up(LocalSession *local, const uint8_t *uuid, uint32_t version, KeyringEntry *entry);
static PgeStatus not_found(const KmsCall *call, uint32_t version, char *detail);
static void set_result(KmsResult *result, const uint8_t *uuid, uint32_t version);
static void explain_protection(LocalSession *local, char *detail);
static bool lock_disk(LocalSession *local, const atomic_bool *cancelled);
static bool is_cancelled(const KmsCall *call);
#ifdef PGE_TEST_BUILD
static void wait_as_told(const LocalSession *local, const KmsCall *call);
static void be_dumpable_as_told(const LocalSession *local);
#endif

const KmsProvider pge_kms_local = {
	.scheme = "local", .open = local_open, .reload = local_reload,
	.perform = local_perform, .close = local_close,
};

static PgeStatus
local_open(const KmsConfig *config, KmsSession **session)
{
	LocalSession *local = pge_key_calloc(1, sizeof(LocalSession));
	char		detail[KMS_DETAIL_LEN];
	PgeStatus	status = PGE_OK;

	*session = NULL;
	if (local == NULL)
		return PGE_OUT_OF_MEMORY;
	pge_passphrase_limit(config->timeout_ms);
	if (config->keyring_file != NULL && config->keyring_file[0] != '\0')
		status = pge_keyring_store_new(config->keyring_file, config->keyring_passphrase_command,
									   &local->store, detail);
	if (status != PGE_OK)
	{
		free(local);
		return status;
	}
	pthread_mutex_init(&local->disk, NULL);
	pthread_mutex_init(&local->memory, NULL);
	if (local->store != NULL)
		atomic_store(&local->has_command, pge_keyring_store_has_command(local->store));
	pge_keyring_init(&local->keyring);
	*session = (KmsSession *) local;
	return PGE_OK;
}

/* keyring_file needs a restart of the server, so only the command can be new. */
static PgeStatus
local_reload(KmsSession *session, const KmsConfig *config)
{
	LocalSession *local = (LocalSession *) session;
	const char *file = config->keyring_file == NULL ? "" : config->keyring_file;
	PgeStatus	status = PGE_OK;

	if (strcmp(file, local->store == NULL ? "" : pge_keyring_store_path(local->store)) != 0)
		return PGE_INVALID;
	if (local->store == NULL)
		return PGE_OK;
	pge_passphrase_limit(config->timeout_ms);
	status = try_command(local, config);
	if (status != PGE_OK)
		return status;
	pthread_mutex_lock(&local->disk);
	status = pge_keyring_store_set_command(local->store, config->keyring_passphrase_command);
	atomic_store(&local->has_command, pge_keyring_store_has_command(local->store));
	pthread_mutex_unlock(&local->disk);
	pthread_mutex_lock(&local->memory);
	local->retry_ms = 0;		/* what the old command could not open */
	pthread_mutex_unlock(&local->memory);
	return status;
}

/*
 * A new command that does not open the file as it is shall not replace one that
 * may.  Without "disk", since it takes its time.
 */
static PgeStatus
try_command(LocalSession *local, const KmsConfig *config)
{
	char		detail[KMS_DETAIL_LEN];
	KeyringStore *trial;
	Keyring		keyring;
	PgeStatus	status;
	bool		same;

	pthread_mutex_lock(&local->disk);
	same = pge_keyring_store_same_command(local->store, config->keyring_passphrase_command);
	pthread_mutex_unlock(&local->disk);
	if (same)
		return PGE_OK;
	status = pge_keyring_store_new(pge_keyring_store_path(local->store),
								   config->keyring_passphrase_command, &trial, detail);
	if (status != PGE_OK)
		return status;
	status = pge_keyring_store_load(trial, NULL, &keyring, NULL, detail);
	pge_keyring_wipe(&keyring);
	pge_keyring_store_free(trial);
	/* a file that is missing or damaged says nothing about the command */
	return status == PGE_UNAUTHENTICATED ? status : PGE_OK;
}

static void
local_close(KmsSession *session)
{
	LocalSession *local = (LocalSession *) session;

	if (local == NULL)
		return;
	pge_keyring_wipe(&local->keyring);
	pge_keyring_store_free(local->store);
	pthread_mutex_destroy(&local->disk);
	pthread_mutex_destroy(&local->memory);
	free(local);
}

static void
local_perform(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	LocalSession *local = (LocalSession *) session;

	memset(result, 0, sizeof(*result));
	if (local->store == NULL)
	{
		pge_kms_detail(result->detail, "No keyring file is set and there is no safe default: set pg_envelope.keyring_file to a path outside the data directory, on storage that is kept.");
		result->status = PGE_INVALID;
		return;
	}
#ifdef PGE_TEST_BUILD
	wait_as_told(local, call);
	be_dumpable_as_told(local);
#endif
	if (is_cancelled(call))
	{
		pge_kms_detail(result->detail, "Nobody waits for the answer any more.");
		result->status = PGE_UNAVAILABLE;
		return;
	}
	result->status = dispatch(local, call, result);
	if (result->status != PGE_OK)
	{
		pge_secret_wipe(&result->dek, sizeof(result->dek));
		result->wrapped_len = 0;
		if (result->detail[0] == '\0')
			pge_kms_detail(result->detail, "The local keyring \"%s\" failed: %s.",
						   pge_keyring_store_path(local->store), pge_status_name(result->status));
	}
}

static PgeStatus
dispatch(LocalSession *local, const KmsCall *call, KmsResult *result)
{
	switch (call->operation)
	{
		case KMS_WRAP:
			return wrap(local, call, result);
		case KMS_UNWRAP:
			return unwrap(local, call, result);
		case KMS_DESCRIBE:
			return describe(local, call, result);
		case KMS_CREATE:
			return create(local, call, result);
		case KMS_ROTATE:
			return rotate(local, call, result);
	}
	return PGE_INVALID;
}

static PgeStatus
wrap(LocalSession *local, const KmsCall *call, KmsResult *result)
{
	uint8_t		uuid[PGE_UUID_LEN];
	KeyringEntry kek;
	PgeStatus	status = parse_uri(call, uuid, result->detail);

	if (status == PGE_OK && (call->dek == NULL || call->binding.len == 0))
		status = PGE_INVALID;
	if (status == PGE_OK)
		status = refresh(local, call, result);
	if (status != PGE_OK)
		return status;
	if (!look_up(local, uuid, 0, &kek))
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
unwrap(LocalSession *local, const KmsCall *call, KmsResult *result)
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
	refreshed = refresh_for_unwrap(local, call, uuid, version, result);
	if (version == 0 || !look_up(local, uuid, version, &kek))
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
		pge_kms_detail(result->detail, "Version %" PRIu32 " of KEK \"%.*s\" does not open it: these are damaged bytes, or of another KEK or another row.",
					   kek->version, (int) call->uri.len, (const char *) call->uri.data);
		return PGE_WRAPPING_DAMAGED;
	}
	return status;
}

static PgeStatus
describe(LocalSession *local, const KmsCall *call, KmsResult *result)
{
	uint8_t		uuid[PGE_UUID_LEN];
	KeyringEntry kek;
	PgeStatus	status = parse_uri(call, uuid, result->detail);

	if (status == PGE_OK)
		status = refresh(local, call, result);
	if (status != PGE_OK)
		return status;
	if (!look_up(local, uuid, 0, &kek))
		return not_found(call, 0, result->detail);
	set_result(result, uuid, kek.version);
	pge_secret_wipe(&kek, sizeof(kek));
	pge_kms_detail_append(result->detail, "It is in keyring file \"%s\".", pge_keyring_store_path(local->store));
	explain_protection(local, result->detail);
	return PGE_OK;
}

/* With a URI: takes up a KEK that is there, after a restore say. */
static PgeStatus
create(LocalSession *local, const KmsCall *call, KmsResult *result)
{
	NewVersion	version = {.local = local, .new_kek = true};
	PgeStatus	status;

	if (call->uri.len > 0)
		return describe(local, call, result);
	status = pge_random_bytes(version.uuid, PGE_UUID_LEN);
	if (status != PGE_OK)
		return status;
	/* RFC 4122, version 4 */
	version.uuid[6] = (uint8_t) ((version.uuid[6] & 0x0f) | 0x40);
	version.uuid[8] = (uint8_t) ((version.uuid[8] & 0x3f) | 0x80);
	status = add_version(local, call, &version, result);
	if (status == PGE_UNAVAILABLE && has_keks(local))
		pge_kms_detail_append(result->detail, "Put the file back from its backup before you make a KEK: its KEKs are in the agent's memory only, until the server stops.");
	if (status != PGE_OK)
		return status;
	pge_kms_detail_append(result->detail, "The KEK is in keyring file \"%s\" on the server's host; without it what it wraps is lost. Back it up now, away from the database: pg_envelope_agent keyring backup.",
						  pge_keyring_store_path(local->store));
	explain_protection(local, result->detail);
	return PGE_OK;
}

static PgeStatus
rotate(LocalSession *local, const KmsCall *call, KmsResult *result)
{
	NewVersion	version = {.local = local, .new_kek = false};
	PgeStatus	status = parse_uri(call, version.uuid, result->detail);

	if (status == PGE_OK)
		status = add_version(local, call, &version, result);
	if (status == PGE_KEK_NOT_FOUND)
		return not_found(call, 0, result->detail);
	if (status == PGE_OK)
		pge_kms_detail_append(result->detail, "Back up keyring file \"%s\" again: earlier copies lack this version.",
							  pge_keyring_store_path(local->store));
	return status;
}

static PgeStatus
add_version(LocalSession *local, const KmsCall *call, NewVersion *version,
			KmsResult *result)
{
	KeyringChange change = {KEYRING_MUST_EXIST, LOCK_WAIT_MS, apply_new_version, version, false};
	Keyring		keyring;
	KeyringStamp stamp;
	PgeStatus	status;

	if (!lock_disk(local, call->cancelled))
		return PGE_UNAVAILABLE;

	/*
	 * A new file in place of a lost one would take its KEKs out of memory
	 * too. Asked with "disk" held: who had it before us may have read the
	 * file.
	 */
	if (version->new_kek && !has_keks(local))
		change.existence = KEYRING_MAY_EXIST;
	status = pge_keyring_store_change(local->store, &change, call->cancelled,
									  &keyring, &stamp, result->detail);
	if (status == PGE_OK)
	{
		exchange(local, &keyring, &stamp, result);
		set_result(result, version->uuid, version->version);
	}
	pthread_mutex_unlock(&local->disk);
	return status;
}

static PgeStatus
apply_new_version(Keyring *keyring, void *arg, char *detail)
{
	NewVersion *version = arg;
	const KeyringEntry *newest = pge_keyring_newest(keyring, version->uuid);
	KeyringEntry entry = {.state = KEYRING_STATE_ENABLED, .created = (int64_t) time(NULL)};
	uint32_t	last = 0;
	PgeStatus	status;

	if ((newest == NULL) != version->new_kek)
		return newest == NULL ? PGE_KEK_NOT_FOUND : PGE_CRYPTO_FAILED;
	if (newest != NULL)
		last = last_given(version->local, version->uuid, newest->version);
	if (last == UINT32_MAX)
		return PGE_TOO_LARGE;
	version->version = last + 1;
	memcpy(entry.uuid, version->uuid, PGE_UUID_LEN);
	entry.version = version->version;
	status = pge_random_bytes(entry.key.bytes, PGE_DEK_LEN);
	if (status == PGE_OK)
		status = pge_keyring_add(keyring, &entry);
	pge_secret_wipe(&entry, sizeof(entry));
	if (status == PGE_TOO_LARGE)
		pge_kms_detail(detail, "The keyring holds %d versions of KEKs, which is all that it can.", KEYRING_COUNT_MAX);
	return status;
}

/*
 * An older copy of the file would give a number again.  What the first key of
 * that number has wrapped would look damaged, and no file could hold both.
 */
static uint32_t
last_given(LocalSession *local, const uint8_t *uuid, uint32_t in_file)
{
	const KeyringEntry *known;
	uint32_t	last = in_file;

	pthread_mutex_lock(&local->memory);
	known = pge_keyring_newest(&local->keyring, uuid);
	if (known != NULL && known->version > last)
		last = known->version;
	if (local->gone > last)
		last = local->gone;
	pthread_mutex_unlock(&local->memory);
	return last;
}

static PgeStatus
parse_uri(const KmsCall *call, uint8_t *uuid, char *detail)
{
	PgeStatus	status = pge_keyring_parse_uri(call->uri, uuid);

	if (status != PGE_OK)
		pge_kms_detail(detail, "The URI of a KEK in the local keyring is \"local:\" and a UUID in lower case.");
	return status;
}

/* Makes the keyring in memory that of the file. */
static PgeStatus
refresh(LocalSession *local, const KmsCall *call, KmsResult *result)
{
	Keyring		keyring;
	KeyringStamp stamp;
	PgeStatus	status = pge_keyring_store_stamp(local->store, &stamp, result->detail);

	if (status != PGE_OK || is_current(local, &stamp))
		return status;
	if (!lock_disk(local, call->cancelled))
		return PGE_UNAVAILABLE;
	/* another thread may have read it while we waited */
	status = pge_keyring_store_stamp(local->store, &stamp, result->detail);
	if (status == PGE_OK && !is_current(local, &stamp))
	{
		pthread_mutex_lock(&local->memory);
		local->tried = stamp;
		local->retry_ms = now_ms() + RETRY_MS;
		pthread_mutex_unlock(&local->memory);
		status = pge_keyring_store_load(local->store, call->cancelled, &keyring, &stamp, result->detail);
		if (status == PGE_OK)
			exchange(local, &keyring, &stamp, result);
	}
	pthread_mutex_unlock(&local->disk);
	return status;
}

/*
 * Reading the file can take as long as the passphrase command does.  While that
 * goes on, or after it was in vain, who has his KEK in memory does not wait.
 */
static PgeStatus
refresh_for_unwrap(LocalSession *local, const KmsCall *call, const uint8_t *uuid,
				   uint32_t version, KmsResult *result)
{
	KeyringStamp stamp;
	PgeStatus	status = pge_keyring_store_stamp(local->store, &stamp, result->detail);
	bool		leave;

	if (status != PGE_OK)
		return status;
	pthread_mutex_lock(&local->memory);
	leave = now_ms() < local->retry_ms && pge_keyring_stamp_equal(&local->tried, &stamp) &&
		pge_keyring_find(&local->keyring, uuid, version) != NULL;
	pthread_mutex_unlock(&local->memory);
	return leave ? PGE_OK : refresh(local, call, result);
}

static bool
has_keks(LocalSession *local)
{
	bool		some;

	pthread_mutex_lock(&local->memory);
	some = local->keyring.header.count > 0;
	pthread_mutex_unlock(&local->memory);
	return some;
}

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool
is_current(LocalSession *local, const KeyringStamp *stamp)
{
	bool		current;

	pthread_mutex_lock(&local->memory);
	current = local->loaded && pge_keyring_stamp_equal(&local->stamp, stamp);
	pthread_mutex_unlock(&local->memory);
	return current;
}

/* Takes *keyring over.  Caller holds "disk". */
static void
exchange(LocalSession *local, Keyring *keyring, const KeyringStamp *stamp, KmsResult *result)
{
	Keyring		old;
	uint32_t	gone;
	bool		back;

	pthread_mutex_lock(&local->memory);
	old = local->keyring;
	local->keyring = *keyring;
	local->stamp = *stamp;
	back = local->loaded && keyring->header.serial < old.header.serial;
	if (back)
		pge_kms_detail_append(result->detail, "WARNING: keyring file \"%s\" has gone back from serial %" PRIu64 " to %" PRIu64 ": an older copy was put there, and KEKs made since are missing.",
							  pge_keyring_store_path(local->store), old.header.serial, keyring->header.serial);
	gone = name_missing(&old, keyring, result->detail);
	if (gone > local->gone)
		local->gone = gone;
	result->alarm = result->alarm || back || gone > 0;
	local->loaded = true;
	pthread_mutex_unlock(&local->memory);
	pge_keyring_wipe(&old);
	pge_secret_wipe(keyring, sizeof(*keyring));
}

/* What only a copy of the file from before can bring back; the highest version of it. */
static uint32_t
name_missing(const Keyring *old, const Keyring *new, char *detail)
{
	unsigned	missing = 0;
	uint32_t	highest = 0;

	for (uint32_t i = 0; i < old->header.count; i++)
	{
		const KeyringEntry *entry = &old->entries[i];
		const KeyringEntry *kept = pge_keyring_find(new, entry->uuid, entry->version);
		char		uri[KEYRING_URI_LEN + 1];

		if (kept != NULL && pge_secret_equal(kept->key.bytes, entry->key.bytes, PGE_DEK_LEN))
			continue;
		if (entry->version > highest)
			highest = entry->version;
		pge_keyring_uri(entry->uuid, uri);
		if (++missing <= NAMED_MAX)
			pge_kms_detail_append(detail, "Missing since the file changed: version %" PRIu32 " of KEK \"%s\".", entry->version, uri);
	}
	if (missing > NAMED_MAX)
		pge_kms_detail_append(detail, "%u more are missing.", missing - NAMED_MAX);
	return highest;
}

/* version 0: the newest.  The caller wipes *entry. */
static bool
look_up(LocalSession *local, const uint8_t *uuid, uint32_t version, KeyringEntry *entry)
{
	const KeyringEntry *found;

	pthread_mutex_lock(&local->memory);
	found = version == 0 ? pge_keyring_newest(&local->keyring, uuid)
		: pge_keyring_find(&local->keyring, uuid, version);
	if (found != NULL)
		*entry = *found;
	pthread_mutex_unlock(&local->memory);
	return found != NULL;
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
explain_protection(LocalSession *local, char *detail)
{
	KeyringProtection protection;

	pthread_mutex_lock(&local->memory);
	protection = local->keyring.header.protection;
	pthread_mutex_unlock(&local->memory);
	if (protection == KEYRING_SCRYPT)
		pge_kms_detail_append(detail, "The file is under a passphrase; keep that too.");
	else if (atomic_load(&local->has_command))
		pge_kms_detail_append(detail, "The file is plain although a passphrase command is set: run pg_envelope_agent keyring passwd.");
	else
		pge_kms_detail_append(detail, "The file is plain: whoever reads it or a backup of it can open everything.");
	if (pge_key_memory_swappable())
		pge_kms_detail_append(detail, "The agent could not lock the memory of its keys, so they may be written to swap space: raise the limit of locked memory (ulimit -l, LimitMEMLOCK=).");
}

/* False: nobody waits any more. */
static bool
lock_disk(LocalSession *local, const atomic_bool *cancelled)
{
	const struct timespec step = {0, STEP_MS * 1000000L};

	while (pthread_mutex_trylock(&local->disk) != 0)
	{
		if (cancelled != NULL && atomic_load(cancelled))
			return false;
		nanosleep(&step, NULL);
	}
	return true;
}

static bool
is_cancelled(const KmsCall *call)
{
	return call->cancelled != NULL && atomic_load(call->cancelled);
}

#ifdef PGE_TEST_BUILD
/* A test that looks for keys in the agent's memory makes <keyring_file>.dumpable. */
static void
be_dumpable_as_told(const LocalSession *local)
{
	char		path[KEYRING_PATH_MAX + sizeof(".dumpable")];

	snprintf(path, sizeof(path), "%s.dumpable", pge_keyring_store_path(local->store));
	if (access(path, F_OK) == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
		abort();
}

/* Tests of waiting, joining and cancelling make this provider slow: the file
 * <keyring_file>.delay_ms holds milliseconds. */
static void
wait_as_told(const LocalSession *local, const KmsCall *call)
{
	const struct timespec step = {0, 5 * 1000000L};
	struct timespec start;
	struct timespec now;
	char		path[KEYRING_PATH_MAX + sizeof(".delay_ms")];
	char		text[16] = "";
	long		delay;
	ssize_t		got;
	int			fd;

	snprintf(path, sizeof(path), "%s.delay_ms", pge_keyring_store_path(local->store));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	delay = got > 0 ? strtol(text, NULL, 10) : 0;
	clock_gettime(CLOCK_MONOTONIC, &start);
	now = start;
	while (!is_cancelled(call) &&
		   (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < delay)
	{
		nanosleep(&step, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
}
#endif
