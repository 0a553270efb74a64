/*-------------------------------------------------------------------------
 *
 * keyring_store.c
 *	  The keyring file on disk: loading, changing, copying.
 *
 * The handling of descriptors is in keyring_disk.c; here is what a keyring
 * goes through: bytes, header, passphrase, entries, and back.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/kms/key_memory.h"
#include "agent/kms/keyring_disk.h"
#include "agent/kms/keyring_store.h"
#include "agent/kms/passphrase.h"
#include "crypto/kdf.h"
#include "crypto/random.h"

struct KeyringStore
{
	KeyringPath path;
	char	   *command;		/* NULL: none */

	/* scrypt costs a third of a second: paid once for each salt */
	bool		derived;
	uint8_t		salt[KEYRING_SALT_LEN];
	PgeSecret	file_key;
};

static PgeStatus load_from(KeyringStore *store, int directory, const atomic_bool *cancelled,
						   Keyring *keyring, KeyringStamp *stamp, char *detail);
static PgeStatus parse(KeyringStore *store, PgeBytes file, const atomic_bool *cancelled,
					   Keyring *keyring, char *detail);
static PgeStatus derive_file_key(KeyringStore *store, const uint8_t *salt,
								 const atomic_bool *cancelled, PgeSecret *key, char *detail);
static PgeStatus stretch(const Passphrase *passphrase, const uint8_t *salt,
						 PgeSecret *key, char *detail);
static void remember_file_key(KeyringStore *store, const Keyring *keyring);
static PgeStatus prepare(KeyringStore *store, KeyringChange *change, int directory,
						 const atomic_bool *cancelled, Keyring *fresh, char *detail);
static bool may_replace(const KeyringChange *change, PgeStatus status);
static PgeStatus change_under_lock(KeyringStore *store, const KeyringChange *change, int directory,
								   const atomic_bool *cancelled, Keyring *fresh,
								   Keyring *keyring, KeyringStamp *stamp, char *detail);
static PgeStatus write_keyring(KeyringStore *store, int directory, const Keyring *keyring,
							   KeyringStamp *stamp, char *detail);
static PgeStatus encode_and_verify(const Keyring *keyring, PgeBuffer *file, char *detail);
static PgeStatus ask_twice(const char *command, const atomic_bool *cancelled,
						   Passphrase *passphrase, char *detail);

PgeStatus
pge_keyring_store_new(const char *path, const char *command,
					  KeyringStore **store, char detail[KMS_DETAIL_LEN])
{
	KeyringStore *made = pge_key_calloc(1, sizeof(KeyringStore));
	PgeStatus	status;

	*store = NULL;
	if (made == NULL)
		return PGE_OUT_OF_MEMORY;
	status = pge_keyring_path_parse(path, &made->path, detail);
	if (status == PGE_OK)
		status = pge_keyring_store_set_command(made, command);
	if (status != PGE_OK)
	{
		pge_keyring_store_free(made);
		return status;
	}
	*store = made;
	return PGE_OK;
}

void
pge_keyring_store_free(KeyringStore *store)
{
	if (store == NULL)
		return;
	free(store->command);
	pge_secret_wipe(store, sizeof(*store));
	free(store);
}

PgeStatus
pge_keyring_store_set_command(KeyringStore *store, const char *command)
{
	char	   *copy = NULL;

	if (command != NULL && command[0] != '\0')
	{
		copy = strdup(command);
		if (copy == NULL)
			return PGE_OUT_OF_MEMORY;
	}
	free(store->command);
	store->command = copy;
	return PGE_OK;
}

const char *
pge_keyring_store_path(const KeyringStore *store)
{
	return store->path.file;
}

bool
pge_keyring_store_has_command(const KeyringStore *store)
{
	return store->command != NULL;
}

bool
pge_keyring_store_same_command(const KeyringStore *store, const char *command)
{
	return strcmp(store->command == NULL ? "" : store->command,
				  command == NULL ? "" : command) == 0;
}

PgeStatus
pge_keyring_store_stamp(const KeyringStore *store, KeyringStamp *stamp,
						char detail[KMS_DETAIL_LEN])
{
	return pge_keyring_disk_stamp(&store->path, stamp, detail);
}

bool
pge_keyring_stamp_equal(const KeyringStamp *a, const KeyringStamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
		a->modified.tv_sec == b->modified.tv_sec &&
		a->modified.tv_nsec == b->modified.tv_nsec;
}

PgeStatus
pge_keyring_store_load(KeyringStore *store, const atomic_bool *cancelled,
					   Keyring *keyring, KeyringStamp *stamp, char detail[KMS_DETAIL_LEN])
{
	PgeStatus	status;
	int			directory;

	pge_keyring_init(keyring);
	status = pge_keyring_disk_open(&store->path, false, &directory, detail);
	if (status != PGE_OK)
		return status;
	status = load_from(store, directory, cancelled, keyring, stamp, detail);
	close(directory);
	return status;
}

PgeStatus
pge_keyring_store_load_copy(KeyringStore *store, Keyring *keyring, char detail[KMS_DETAIL_LEN])
{
	PgeStatus	status;
	int			directory;

	pge_keyring_init(keyring);
	status = pge_keyring_disk_open_any(&store->path, &directory, detail);
	if (status != PGE_OK)
		return status;
	status = load_from(store, directory, NULL, keyring, NULL, detail);
	close(directory);
	return status;
}

static PgeStatus
load_from(KeyringStore *store, int directory, const atomic_bool *cancelled,
		  Keyring *keyring, KeyringStamp *stamp, char *detail)
{
	PgeBuffer	file = {NULL, 0, 0};
	PgeStatus	status;

	pge_keyring_init(keyring);
	status = pge_keyring_disk_read(&store->path, directory, &file, stamp, detail);
	if (status == PGE_OK)
		status = parse(store, pge_buffer_bytes(&file), cancelled, keyring, detail);
	pge_keyring_disk_free(&file);
	return status;
}

/* A file key is remembered only when it has opened a file. */
static PgeStatus
parse(KeyringStore *store, PgeBytes file, const atomic_bool *cancelled,
	  Keyring *keyring, char *detail)
{
	KeyringHeader header;
	PgeSecret	key = {{0}};
	PgeStatus	status = pge_keyring_decode_header(file, &header);

	if (status == PGE_OK && header.protection == KEYRING_SCRYPT)
	{
		status = derive_file_key(store, header.salt, cancelled, &key, detail);
		if (status != PGE_OK)
			return status;
	}
	if (status == PGE_OK)
		status = pge_keyring_decode(file, &key, keyring);
	pge_secret_wipe(&key, sizeof(key));

	if (status == PGE_OK)
		remember_file_key(store, keyring);
	else if (status == PGE_NOT_AUTHENTIC && header.protection == KEYRING_SCRYPT)
	{
		pge_kms_detail(detail, "The passphrase does not open keyring file \"%s\", or the file is damaged.", store->path.file);
		return PGE_UNAUTHENTICATED;
	}
	else if (status == PGE_NOT_AUTHENTIC || status == PGE_MALFORMED)
	{
		pge_kms_detail(detail, "\"%s\" is damaged or not a keyring file of this version%s.", store->path.file,
					   status == PGE_NOT_AUTHENTIC ? ": its checksum is wrong" : "");
		return PGE_UNAVAILABLE;
	}
	else
		pge_kms_detail(detail, "Keyring file \"%s\" could not be opened: %s.", store->path.file, pge_status_name(status));
	return status;
}

static PgeStatus
derive_file_key(KeyringStore *store, const uint8_t *salt,
				const atomic_bool *cancelled, PgeSecret *key, char *detail)
{
	Passphrase	passphrase;
	PgeStatus	status;

	if (store->derived && memcmp(store->salt, salt, KEYRING_SALT_LEN) == 0)
	{
		pge_secret_copy(key, &store->file_key, sizeof(PgeSecret));
		return PGE_OK;
	}
	if (store->command == NULL)
	{
		pge_kms_detail(detail, "Keyring file \"%s\" is under a passphrase and no passphrase command is set.", store->path.file);
		return PGE_UNAUTHENTICATED;
	}
	status = pge_passphrase_ask(store->command, cancelled, &passphrase, detail);
	if (status != PGE_OK)
		return status;
	status = stretch(&passphrase, salt, key, detail);
	pge_secret_wipe(&passphrase, sizeof(passphrase));
	return status;
}

static PgeStatus
stretch(const Passphrase *passphrase, const uint8_t *salt, PgeSecret *key, char *detail)
{
	PgeStatus	status = pge_scrypt(pge_bytes(passphrase->bytes, passphrase->len),
									pge_bytes(salt, KEYRING_SALT_LEN),
									KEYRING_SCRYPT_LOG2_N, KEYRING_SCRYPT_R, KEYRING_SCRYPT_P, key);

	if (status != PGE_OK)
		pge_kms_detail(detail, "The passphrase could not be stretched with scrypt: %s (it needs 128 MiB of memory).", pge_status_name(status));
	return status;
}

static void
remember_file_key(KeyringStore *store, const Keyring *keyring)
{
	if (keyring->header.protection != KEYRING_SCRYPT)
		return;
	memcpy(store->salt, keyring->header.salt, KEYRING_SALT_LEN);
	pge_secret_copy(&store->file_key, &keyring->file_key, sizeof(PgeSecret));
	store->derived = true;
}

PgeStatus
pge_keyring_store_change(KeyringStore *store, const KeyringChange *change,
						 const atomic_bool *cancelled,
						 Keyring *keyring, KeyringStamp *stamp, char detail[KMS_DETAIL_LEN])
{
	KeyringChange prepared = *change;
	Keyring		fresh;
	PgeStatus	status;
	int			directory;
	int			lock = -1;

	pge_keyring_init(keyring);
	pge_keyring_init(&fresh);
	status = pge_keyring_disk_open(&store->path, change->existence != KEYRING_MUST_EXIST, &directory, detail);
	if (status != PGE_OK)
		return status;
	status = prepare(store, &prepared, directory, cancelled, &fresh, detail);
	if (status == PGE_OK)
		status = pge_keyring_disk_lock(&store->path, directory, change->lock_wait_ms, cancelled, &lock, detail);
	if (status == PGE_OK)
		status = change_under_lock(store, &prepared, directory, cancelled, &fresh, keyring, stamp, detail);
	if (lock >= 0)
		close(lock);			/* the end of the lock */
	close(directory);
	pge_keyring_wipe(&fresh);
	if (status != PGE_OK)
		pge_keyring_wipe(keyring);
	return status;
}

/*
 * What can take seconds (the command, scrypt) is done before the lock is
 * taken: a new keyring gets its passphrase, an old one leaves its file key in
 * the store.  The file may change until we hold the lock; it is read again.  A
 * file that is here now has to be here then: no new one, which would be plain,
 * takes the place of one that goes away meanwhile.
 */
static PgeStatus
prepare(KeyringStore *store, KeyringChange *change, int directory,
		const atomic_bool *cancelled, Keyring *fresh, char *detail)
{
	Keyring		old;
	PgeStatus	status;

	if (!pge_keyring_disk_exists(&store->path, directory))
	{
		if (change->existence == KEYRING_MUST_EXIST)
			return pge_keyring_disk_missing(&store->path, detail);
		return pge_keyring_protect(fresh, store->command, cancelled, detail);
	}
	if (change->existence == KEYRING_MUST_NOT_EXIST)
		return pge_keyring_disk_present(&store->path, detail);
	change->existence = KEYRING_MUST_EXIST;
	status = load_from(store, directory, cancelled, &old, NULL, detail);
	pge_keyring_wipe(&old);
	return may_replace(change, status) ? PGE_OK : status;
}

static bool
may_replace(const KeyringChange *change, PgeStatus status)
{
	return change->replace_unreadable &&
		(status == PGE_UNAVAILABLE || status == PGE_UNAUTHENTICATED);
}

static PgeStatus
change_under_lock(KeyringStore *store, const KeyringChange *change, int directory,
				  const atomic_bool *cancelled, Keyring *fresh,
				  Keyring *keyring, KeyringStamp *stamp, char *detail)
{
	PgeStatus	status = PGE_OK;

	if (pge_keyring_disk_exists(&store->path, directory))
	{
		if (change->existence == KEYRING_MUST_NOT_EXIST)
			return pge_keyring_disk_present(&store->path, detail);
		status = load_from(store, directory, cancelled, keyring, NULL, detail);
		if (may_replace(change, status))
			status = PGE_OK;	/* load_from has left it empty */
	}
	else if (change->existence == KEYRING_MUST_EXIST)
		return pge_keyring_disk_missing(&store->path, detail);
	else
		pge_secret_copy(keyring, fresh, sizeof(*keyring));	/* no entries yet, so
															 * nothing is owned
															 * twice */
	if (status == PGE_OK && change->apply != NULL)
		status = change->apply(keyring, change->arg, detail);
	if (status != PGE_OK)
		return status;
	if (keyring->header.serial == UINT64_MAX)
	{
		pge_kms_detail(detail, "Keyring file \"%s\" cannot be changed any more.", store->path.file);
		return PGE_TOO_LARGE;
	}
	keyring->header.serial++;
	return write_keyring(store, directory, keyring, stamp, detail);
}

static PgeStatus
write_keyring(KeyringStore *store, int directory, const Keyring *keyring,
			  KeyringStamp *stamp, char *detail)
{
	PgeBuffer	file = {NULL, 0, 0};
	PgeStatus	status = encode_and_verify(keyring, &file, detail);

	if (status == PGE_OK)
		status = pge_keyring_disk_replace(&store->path, directory, pge_buffer_bytes(&file), stamp, detail);
	if (status == PGE_OK)
		remember_file_key(store, keyring);
	pge_keyring_disk_free(&file);
	return status;
}

/* What we would refuse to read never takes the place of a good file. */
static PgeStatus
encode_and_verify(const Keyring *keyring, PgeBuffer *file, char *detail)
{
	Keyring		again;
	PgeStatus	status;

	file->capacity = pge_keyring_encoded_len(keyring);
	file->data = malloc(file->capacity);
	if (file->data == NULL)
		return PGE_OUT_OF_MEMORY;
	status = pge_keyring_encode(keyring, file);
	if (status == PGE_OK)
	{
		status = pge_keyring_decode(pge_buffer_bytes(file), &keyring->file_key, &again);
		pge_keyring_wipe(&again);
	}
	if (status != PGE_OK)
		pge_kms_detail(detail, "The new keyring could not be put together: %s.", pge_status_name(status));
	return status;
}

PgeStatus
pge_keyring_store_backup(KeyringStore *store, const char *destination,
						 Keyring *keyring, char detail[KMS_DETAIL_LEN])
{
	PgeBuffer	file = {NULL, 0, 0};
	PgeStatus	status;
	int			directory;

	pge_keyring_init(keyring);
	status = pge_keyring_disk_open(&store->path, false, &directory, detail);
	if (status != PGE_OK)
		return status;
	status = pge_keyring_disk_read(&store->path, directory, &file, NULL, detail);
	if (status == PGE_OK)
		status = parse(store, pge_buffer_bytes(&file), NULL, keyring, detail);
	if (status == PGE_OK)
		status = pge_keyring_disk_copy_to(destination, pge_buffer_bytes(&file), detail);
	pge_keyring_disk_free(&file);
	close(directory);
	return status;
}

PgeStatus
pge_keyring_protect(Keyring *keyring, const char *command,
					const atomic_bool *cancelled, char detail[KMS_DETAIL_LEN])
{
	Passphrase	passphrase;
	PgeStatus	status;

	if (command == NULL)
	{
		keyring->header.protection = KEYRING_PLAIN;
		memset(keyring->header.salt, 0, KEYRING_SALT_LEN);
		pge_secret_wipe(&keyring->file_key, sizeof(keyring->file_key));
		return PGE_OK;
	}
	status = ask_twice(command, cancelled, &passphrase, detail);
	if (status != PGE_OK)
		return status;
	status = pge_random_bytes(keyring->header.salt, KEYRING_SALT_LEN);
	if (status == PGE_OK)
		status = stretch(&passphrase, keyring->header.salt, &keyring->file_key, detail);
	pge_secret_wipe(&passphrase, sizeof(passphrase));
	if (status == PGE_OK)
		keyring->header.protection = KEYRING_SCRYPT;
	return status;
}

static PgeStatus
ask_twice(const char *command, const atomic_bool *cancelled,
		  Passphrase *passphrase, char *detail)
{
	Passphrase	again;
	PgeStatus	status = pge_passphrase_ask(command, cancelled, passphrase, detail);

	if (status != PGE_OK)
		return status;
	status = pge_passphrase_ask(command, cancelled, &again, detail);
	if (status == PGE_OK && (again.len != passphrase->len ||
							 !pge_secret_equal(again.bytes, passphrase->bytes, again.len)))
	{
		pge_kms_detail(detail, "The passphrase command printed two different passphrases when it was run twice.");
		status = PGE_UNAUTHENTICATED;
	}
	pge_secret_wipe(&again, sizeof(again));
	if (status != PGE_OK)
		pge_secret_wipe(passphrase, sizeof(*passphrase));
	return status;
}
