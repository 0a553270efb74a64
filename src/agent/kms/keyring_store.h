/*
 * keyring_store.h -- the keyring file on disk: checked, locked, replaced whole.
 *
 * pge_keyring_store_new -> load / change / ... -> pge_keyring_store_free.
 * new touches nothing.  A store belongs to one thread at a time, except for
 * pge_keyring_store_stamp, which any thread may call at any time.
 *
 * Before a file is believed: the last component of its directory's path is a
 * directory and no symbolic link, owned by us or root, writable by its owner
 * alone; the file is a regular file and no symbolic link, ours, without any
 * right for group and others, not larger than a keyring can be.  Everything is
 * then done through the directory that was checked, so that nobody can put
 * another in its place.  What lies above that directory is the administrator's.
 *
 * A change holds the lock (FILE.lock) from reading to the rename.  The new
 * file is written as FILE.new, fsynced, renamed over the old one, and the
 * directory fsynced; until the rename the old file is untouched.
 *
 * Statuses, always with a sentence in detail: PGE_UNAVAILABLE (absent, not
 * readable, unsafe, damaged), PGE_UNAUTHENTICATED (passphrase), PGE_BUSY (the
 * lock), PGE_IO_ERROR (could not be written), PGE_INVALID (a wrong argument).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KEYRING_STORE_H
#define PGE_AGENT_KEYRING_STORE_H

#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/kms/keyring_file.h"
#include "agent/kms/kms_detail.h"

#define KEYRING_PATH_MAX	1000	/* with ".lock" it still fits a frame's
									 * field */

typedef struct KeyringStore KeyringStore;

/* Two files with equal stamps are the same file, unchanged. */
typedef struct KeyringStamp
{
	dev_t		dev;
	ino_t		ino;
	off_t		size;
	struct timespec modified;
} KeyringStamp;

typedef enum KeyringExistence
{
	KEYRING_MUST_EXIST,
	KEYRING_MAY_EXIST,			/* made if it is missing, its directory too */
	KEYRING_MUST_NOT_EXIST		/* always made */
} KeyringExistence;

/*
 * One change.  apply gets the keyring as it is on disk (or a new one, empty,
 * under the command's passphrase if there is a command) and alters it in
 * memory; the serial is ours.  NULL: nothing but making it.
 */
typedef struct KeyringChange
{
	KeyringExistence existence;
	int			lock_wait_ms;	/* 0: PGE_BUSY at once */
	PgeStatus	(*apply) (Keyring *keyring, void *arg, char detail[KMS_DETAIL_LEN]);
	void	   *arg;
	bool		replace_unreadable; /* apply gets an empty keyring instead of
									 * a refusal, and detail says what was
									 * wrong */
} KeyringChange;

/* "command": NULL or "" if there is none.  Both strings are copied. */
extern PgeStatus pge_keyring_store_new(const char *path, const char *command,
									   KeyringStore **store, char detail[KMS_DETAIL_LEN]);
extern void pge_keyring_store_free(KeyringStore *store);

/* Later passphrases come from this command; PGE_OUT_OF_MEMORY keeps the old one. */
extern PgeStatus pge_keyring_store_set_command(KeyringStore *store, const char *command);

extern const char *pge_keyring_store_path(const KeyringStore *store);
extern bool pge_keyring_store_has_command(const KeyringStore *store);
extern bool pge_keyring_store_same_command(const KeyringStore *store, const char *command);

extern PgeStatus pge_keyring_store_stamp(const KeyringStore *store, KeyringStamp *stamp,
										 char detail[KMS_DETAIL_LEN]);
extern bool pge_keyring_stamp_equal(const KeyringStamp *a, const KeyringStamp *b);

/* "stamp" and "cancelled" may be NULL.  The caller wipes the keyring. */
extern PgeStatus pge_keyring_store_load(KeyringStore *store, const atomic_bool *cancelled,
										Keyring *keyring, KeyringStamp *stamp,
										char detail[KMS_DETAIL_LEN]);

/* The same for a copy of a keyring, which may lie in any directory. */
extern PgeStatus pge_keyring_store_load_copy(KeyringStore *store, Keyring *keyring,
											 char detail[KMS_DETAIL_LEN]);

/* *keyring: what the file holds now; the caller wipes it.  "stamp" may be NULL. */
extern PgeStatus pge_keyring_store_change(KeyringStore *store, const KeyringChange *change,
										  const atomic_bool *cancelled,
										  Keyring *keyring, KeyringStamp *stamp,
										  char detail[KMS_DETAIL_LEN]);

/*
 * Copies the file's bytes, once they have been verified, to a file that must
 * not exist; *keyring is what was copied.
 */
extern PgeStatus pge_keyring_store_backup(KeyringStore *store, const char *destination,
										  Keyring *keyring, char detail[KMS_DETAIL_LEN]);

/*
 * Puts a keyring under the passphrase of "command", with a new salt; plain if
 * command is NULL.  The command is run twice: one that prints something else
 * each time would lock the keys in for ever.
 */
extern PgeStatus pge_keyring_protect(Keyring *keyring, const char *command,
									 const atomic_bool *cancelled,
									 char detail[KMS_DETAIL_LEN]);

#endif							/* PGE_AGENT_KEYRING_STORE_H */
