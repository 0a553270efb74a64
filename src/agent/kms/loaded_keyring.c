/*-------------------------------------------------------------------------
 *
 * loaded_keyring.c
 *	  The local keyring in the agent's memory, which follows its file.
 *
 * The file's stamp is looked at before each call, and a changed file is read.
 *
 * Locks, outermost first: "disk" while the store is used (seconds, if there is
 * a passphrase command), "memory" while the keyring is looked at or exchanged.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/kms/key_memory.h"
#include "agent/kms/keyring_store.h"
#include "agent/kms/loaded_keyring.h"
#include "agent/kms/monotonic.h"
#include "crypto/random.h"

#define LOCK_WAIT_MS	2000
#define STEP_MS			10
#define RETRY_MS		30000	/* well above what a passphrase command may
								 * take */
#define NAMED_MAX		2		/* missing versions that are named; a detail
								 * has its bounds */

struct LoadedKeyring
{
	KeyringStore *store;		/* NULL: no keyring file is set */
	atomic_bool has_command;
	pthread_mutex_t disk;
	pthread_mutex_t memory;

	/* under "memory" */
	bool		filled;			/* from a file, some time */
	Keyring		keyring;
	KeyringStamp stamp;
	KeyringStamp tried;			/* the file that was last begun to be read, */
	int64_t		retry_ms;		/* which unwraps leave alone until then
								 * (monotonic) */
	uint32_t	gone;			/* highest version, of any KEK, that a file
								 * has lost */
};

/* What a change adds to the keyring. */
typedef struct NewVersion
{
	LoadedKeyring *loaded;
	const uint8_t *uuid;
	bool		new_kek;
	uint32_t	version;		/* set by the change, */
	bool		refused;		/* and so is this: the file is not taken */
} NewVersion;

/* What a change takes out of it. */
typedef struct Removal
{
	LoadedKeyring *loaded;
	const uint8_t *uuid;
	bool		refused;		/* set by the change: the file is not taken */
} Removal;

static PgeStatus try_command(LoadedKeyring *loaded, const char *command);
static PgeStatus read_file(LoadedKeyring *loaded, const KeyringStamp *seen, const KmsCall *call, KmsResult *result);
static bool is_current(LoadedKeyring *loaded, const KeyringStamp *stamp);
static PgeStatus may_take(LoadedKeyring *loaded, const Keyring *keyring, char *detail);
static void exchange(LoadedKeyring *loaded, Keyring *keyring, const KeyringStamp *stamp,
					 const uint8_t *removed, KmsResult *result);
static uint32_t name_missing(const Keyring *old, const Keyring *new, const uint8_t *removed, char *detail,
							 unsigned *missing);
static PgeStatus apply_removal(Keyring *keyring, void *arg, char *detail);
static PgeStatus apply_new_version(Keyring *keyring, void *arg, char *detail);
static uint32_t last_given(LoadedKeyring *loaded, const uint8_t *uuid, uint32_t in_file);
static bool lock_disk(LoadedKeyring *loaded, const atomic_bool *cancelled);

PgeStatus
pge_loaded_keyring_new(const char *path, const char *command, LoadedKeyring **loaded)
{
	LoadedKeyring *made = pge_key_calloc(1, sizeof(LoadedKeyring));
	char		detail[KMS_DETAIL_LEN];
	PgeStatus	status = PGE_OK;

	*loaded = NULL;
	if (made == NULL)
		return PGE_OUT_OF_MEMORY;
	if (path != NULL && path[0] != '\0')
		status = pge_keyring_store_new(path, command, &made->store, detail);
	if (status != PGE_OK)
	{
		free(made);
		return status;
	}
	pthread_mutex_init(&made->disk, NULL);
	pthread_mutex_init(&made->memory, NULL);
	if (made->store != NULL)
		atomic_store(&made->has_command, pge_keyring_store_has_command(made->store));
	pge_keyring_init(&made->keyring);
	*loaded = made;
	return PGE_OK;
}

void
pge_loaded_keyring_free(LoadedKeyring *loaded)
{
	if (loaded == NULL)
		return;
	pge_keyring_wipe(&loaded->keyring);
	pge_keyring_store_free(loaded->store);
	pthread_mutex_destroy(&loaded->disk);
	pthread_mutex_destroy(&loaded->memory);
	free(loaded);
}

const char *
pge_loaded_keyring_path(const LoadedKeyring *loaded)
{
	return loaded->store == NULL ? "" : pge_keyring_store_path(loaded->store);
}

bool
pge_loaded_keyring_has_command(const LoadedKeyring *loaded)
{
	return atomic_load(&loaded->has_command);
}

PgeStatus
pge_loaded_keyring_set_command(LoadedKeyring *loaded, const char *command)
{
	PgeStatus	status;

	if (loaded->store == NULL)
		return PGE_OK;
	status = try_command(loaded, command);
	if (status != PGE_OK)
		return status;
	pthread_mutex_lock(&loaded->disk);
	status = pge_keyring_store_set_command(loaded->store, command);
	atomic_store(&loaded->has_command, pge_keyring_store_has_command(loaded->store));
	pthread_mutex_unlock(&loaded->disk);
	pthread_mutex_lock(&loaded->memory);
	loaded->retry_ms = 0;		/* what the old command could not open */
	pthread_mutex_unlock(&loaded->memory);
	return status;
}

/*
 * A new command that does not open the file as it is shall not replace one that
 * may.  Without "disk", since it takes its time.
 */
static PgeStatus
try_command(LoadedKeyring *loaded, const char *command)
{
	char		detail[KMS_DETAIL_LEN];
	KeyringStore *trial;
	Keyring		keyring;
	PgeStatus	status;
	bool		same;

	pthread_mutex_lock(&loaded->disk);
	same = pge_keyring_store_same_command(loaded->store, command);
	pthread_mutex_unlock(&loaded->disk);
	if (same)
		return PGE_OK;
	status = pge_keyring_store_new(pge_keyring_store_path(loaded->store),
								   command, &trial, detail);
	if (status != PGE_OK)
		return status;
	status = pge_keyring_store_load(trial, NULL, &keyring, NULL, detail);
	pge_keyring_wipe(&keyring);
	pge_keyring_store_free(trial);
	/* a file that is missing or damaged says nothing about the command */
	return status == PGE_UNAUTHENTICATED ? status : PGE_OK;
}

PgeStatus
pge_loaded_keyring_refresh(LoadedKeyring *loaded, const KmsCall *call, KmsResult *result)
{
	KeyringStamp stamp;
	PgeStatus	status = pge_keyring_store_stamp(loaded->store, &stamp, result->detail);

	if (status != PGE_OK || is_current(loaded, &stamp))
		return status;
	if (!lock_disk(loaded, call->cancelled))
		return PGE_UNAVAILABLE;
	/* another thread may have read it while we waited */
	status = pge_keyring_store_stamp(loaded->store, &stamp, result->detail);
	if (status == PGE_OK && !is_current(loaded, &stamp))
		status = read_file(loaded, &stamp, call, result);
	pthread_mutex_unlock(&loaded->disk);
	return status;
}

/* Caller holds "disk". */
static PgeStatus
read_file(LoadedKeyring *loaded, const KeyringStamp *seen, const KmsCall *call, KmsResult *result)
{
	Keyring		keyring;
	KeyringStamp stamp;
	PgeStatus	status;
	bool		first;

	pthread_mutex_lock(&loaded->memory);
	first = !pge_keyring_stamp_equal(&loaded->tried, seen);
	loaded->tried = *seen;
	loaded->retry_ms = (int64_t) pge_monotonic_ms() + RETRY_MS;
	pthread_mutex_unlock(&loaded->memory);
	status = pge_keyring_store_load(loaded->store, call->cancelled, &keyring, &stamp, result->detail);
	if (status != PGE_OK)
		return status;
	status = may_take(loaded, &keyring, result->detail);
	if (status == PGE_OK)
		exchange(loaded, &keyring, &stamp, NULL, result);
	else
		result->alarm = result->alarm || first;
	pge_keyring_wipe(&keyring);
	return status;
}

/*
 * Reading the file can take as long as the passphrase command does.  While that
 * goes on, or after it was in vain, who has his KEK in memory does not wait.
 */
PgeStatus
pge_loaded_keyring_refresh_for_unwrap(LoadedKeyring *loaded, const KmsCall *call,
									  const uint8_t uuid[PGE_UUID_LEN],
									  uint32_t version, KmsResult *result)
{
	KeyringStamp stamp;
	PgeStatus	status = pge_keyring_store_stamp(loaded->store, &stamp, result->detail);
	bool		leave;

	if (status != PGE_OK)
		return status;
	pthread_mutex_lock(&loaded->memory);
	leave = (int64_t) pge_monotonic_ms() < loaded->retry_ms && pge_keyring_stamp_equal(&loaded->tried, &stamp) &&
		pge_keyring_find(&loaded->keyring, uuid, version) != NULL;
	pthread_mutex_unlock(&loaded->memory);
	return leave ? PGE_OK : pge_loaded_keyring_refresh(loaded, call, result);
}

static bool
is_current(LoadedKeyring *loaded, const KeyringStamp *stamp)
{
	bool		current;

	pthread_mutex_lock(&loaded->memory);
	current = loaded->filled && pge_keyring_stamp_equal(&loaded->stamp, stamp);
	pthread_mutex_unlock(&loaded->memory);
	return current;
}

/*
 * A version's number is given once, so another key of that number comes from a
 * copy in which it was given again, and the key in memory may be the last of its
 * kind: it is kept.  Caller holds "disk".
 */
static PgeStatus
may_take(LoadedKeyring *loaded, const Keyring *keyring, char *detail)
{
	PgeStatus	status = PGE_OK;
	char		uri[KEYRING_URI_LEN + 1];

	pthread_mutex_lock(&loaded->memory);
	for (uint32_t i = 0; i < loaded->keyring.header.count && status == PGE_OK; i++)
	{
		const KeyringEntry *ours = &loaded->keyring.entries[i];
		const KeyringEntry *other = pge_keyring_find(keyring, ours->uuid, ours->version);

		if (other == NULL || pge_secret_equal(other->key.bytes, ours->key.bytes, PGE_DEK_LEN))
			continue;
		pge_keyring_uri(ours->uuid, uri);
		pge_kms_detail_append(detail, "Version %" PRIu32 " of KEK \"%s\" has another key in keyring file \"%s\" than in the agent's memory, so that file is not taken: put back the one that was there, or its newest backup.",
							  ours->version, uri, pge_keyring_store_path(loaded->store));
		status = PGE_UNAVAILABLE;
	}
	pthread_mutex_unlock(&loaded->memory);
	return status;
}

/*
 * Takes *keyring over.  Caller holds "disk" and has asked may_take.  "removed", NULL for
 * none, is the KEK that we have taken out ourselves: nobody misses that.
 */
static void
exchange(LoadedKeyring *loaded, Keyring *keyring, const KeyringStamp *stamp, const uint8_t *removed,
		 KmsResult *result)
{
	Keyring		old;
	uint32_t	gone;
	unsigned	missing = 0;
	bool		back;

	pthread_mutex_lock(&loaded->memory);
	pge_secret_copy(&old, &loaded->keyring, sizeof(old));
	pge_secret_copy(&loaded->keyring, keyring, sizeof(Keyring));
	loaded->stamp = *stamp;
	back = loaded->filled && keyring->header.serial < old.header.serial;
	if (back)
		pge_kms_detail_append(result->detail, "WARNING: keyring file \"%s\" has gone back from serial %" PRIu64 " to %" PRIu64 ": an older copy was put there, and KEKs made since are missing.",
							  pge_keyring_store_path(loaded->store), old.header.serial, keyring->header.serial);
	gone = name_missing(&old, keyring, removed, result->detail, &missing);
	if (gone > loaded->gone)
		loaded->gone = gone;
	result->alarm = result->alarm || back || missing > 0;
	loaded->filled = true;
	pthread_mutex_unlock(&loaded->memory);
	pge_keyring_wipe(&old);
	pge_secret_wipe(keyring, sizeof(*keyring));
}

/* What only a copy of the file from before can bring back; the highest version of it. */
static uint32_t
name_missing(const Keyring *old, const Keyring *new, const uint8_t *removed, char *detail, unsigned *missing)
{
	uint32_t	highest = 0;

	for (uint32_t i = 0; i < old->header.count; i++)
	{
		const KeyringEntry *entry = &old->entries[i];
		char		uri[KEYRING_URI_LEN + 1];

		if (pge_keyring_find(new, entry->uuid, entry->version) != NULL)
			continue;
		if (entry->version > highest)
			highest = entry->version;
		if (removed != NULL && memcmp(entry->uuid, removed, PGE_UUID_LEN) == 0)
			continue;
		pge_keyring_uri(entry->uuid, uri);
		if (++*missing <= NAMED_MAX)
			pge_kms_detail_append(detail, "Missing since the file changed: version %" PRIu32 " of KEK \"%s\".", entry->version, uri);
	}
	if (*missing > NAMED_MAX)
		pge_kms_detail_append(detail, "%u more are missing.", *missing - NAMED_MAX);
	return highest;
}

bool
pge_loaded_keyring_look_up(LoadedKeyring *loaded, const uint8_t uuid[PGE_UUID_LEN],
						   uint32_t version, KeyringEntry *entry)
{
	const KeyringEntry *found;

	pthread_mutex_lock(&loaded->memory);
	found = version == 0 ? pge_keyring_newest(&loaded->keyring, uuid)
		: pge_keyring_find(&loaded->keyring, uuid, version);
	if (found != NULL)
		pge_secret_copy(entry, found, sizeof(*entry));
	pthread_mutex_unlock(&loaded->memory);
	return found != NULL;
}

bool
pge_loaded_keyring_has_keks(LoadedKeyring *loaded)
{
	bool		some;

	pthread_mutex_lock(&loaded->memory);
	some = loaded->keyring.header.count > 0;
	pthread_mutex_unlock(&loaded->memory);
	return some;
}

KeyringProtection
pge_loaded_keyring_protection(LoadedKeyring *loaded)
{
	KeyringProtection protection;

	pthread_mutex_lock(&loaded->memory);
	protection = loaded->keyring.header.protection;
	pthread_mutex_unlock(&loaded->memory);
	return protection;
}

PgeStatus
pge_loaded_keyring_add(LoadedKeyring *loaded, const KmsCall *call,
					   const uint8_t uuid[PGE_UUID_LEN], bool new_kek,
					   uint32_t *version, KmsResult *result)
{
	NewVersion	new = {.loaded = loaded, .uuid = uuid, .new_kek = new_kek};
	KeyringChange change = {KEYRING_MUST_EXIST, LOCK_WAIT_MS, apply_new_version, &new, false};
	Keyring		keyring;
	KeyringStamp stamp;
	PgeStatus	status;

	if (!lock_disk(loaded, call->cancelled))
		return PGE_UNAVAILABLE;

	/*
	 * A new file in place of a lost one would take its KEKs out of memory
	 * too. Asked with "disk" held: who had it before us may have read the
	 * file.
	 */
	if (new_kek && !pge_loaded_keyring_has_keks(loaded))
		change.existence = KEYRING_MAY_EXIST;
	status = pge_keyring_store_change(loaded->store, &change, call->cancelled,
									  &keyring, &stamp, result->detail);
	if (status == PGE_OK)
		exchange(loaded, &keyring, &stamp, NULL, result);
	result->alarm = result->alarm || new.refused;
	*version = new.version;
	pthread_mutex_unlock(&loaded->disk);
	return status;
}

static PgeStatus
apply_new_version(Keyring *keyring, void *arg, char *detail)
{
	NewVersion *new = arg;
	const KeyringEntry *newest = pge_keyring_newest(keyring, new->uuid);
	KeyringEntry entry = {.state = KEYRING_STATE_ENABLED, .created = (int64_t) time(NULL)};
	uint32_t	last = 0;
	PgeStatus	status = may_take(new->loaded, keyring, detail);

	new->refused = status != PGE_OK;
	if (new->refused)
		return status;
	if ((newest == NULL) != new->new_kek)
		return newest == NULL ? PGE_KEK_NOT_FOUND : PGE_CRYPTO_FAILED;
	if (newest != NULL)
		last = last_given(new->loaded, new->uuid, newest->version);
	if (last == UINT32_MAX)
		return PGE_TOO_LARGE;
	new->version = last + 1;
	memcpy(entry.uuid, new->uuid, PGE_UUID_LEN);
	entry.version = new->version;
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
last_given(LoadedKeyring *loaded, const uint8_t *uuid, uint32_t in_file)
{
	const KeyringEntry *known;
	uint32_t	last = in_file;

	pthread_mutex_lock(&loaded->memory);
	known = pge_keyring_newest(&loaded->keyring, uuid);
	if (known != NULL && known->version > last)
		last = known->version;
	if (loaded->gone > last)
		last = loaded->gone;
	pthread_mutex_unlock(&loaded->memory);
	return last;
}

PgeStatus
pge_loaded_keyring_remove(LoadedKeyring *loaded, const KmsCall *call,
						  const uint8_t uuid[PGE_UUID_LEN], KmsResult *result)
{
	Removal		removal = {.loaded = loaded, .uuid = uuid};
	const KeyringChange change = {KEYRING_MUST_EXIST, LOCK_WAIT_MS, apply_removal, &removal, false};
	Keyring		keyring;
	KeyringStamp stamp;
	PgeStatus	status;

	if (!lock_disk(loaded, call->cancelled))
		return PGE_UNAVAILABLE;
	status = pge_keyring_store_change(loaded->store, &change, call->cancelled,
									  &keyring, &stamp, result->detail);
	if (status == PGE_OK)
		exchange(loaded, &keyring, &stamp, uuid, result);
	result->alarm = result->alarm || removal.refused;
	pthread_mutex_unlock(&loaded->disk);
	return status;
}

static PgeStatus
apply_removal(Keyring *keyring, void *arg, char *detail)
{
	Removal    *removal = arg;
	PgeStatus	status = may_take(removal->loaded, keyring, detail);

	removal->refused = status != PGE_OK;
	if (status != PGE_OK)
		return status;
	return pge_keyring_remove(keyring, removal->uuid) > 0 ? PGE_OK : PGE_KEK_NOT_FOUND;
}

/* False: nobody waits any more. */
static bool
lock_disk(LoadedKeyring *loaded, const atomic_bool *cancelled)
{
	const struct timespec step = {0, STEP_MS * 1000000L};

	while (pthread_mutex_trylock(&loaded->disk) != 0)
	{
		if (cancelled != NULL && atomic_load(cancelled))
			return false;
		nanosleep(&step, NULL);
	}
	return true;
}
