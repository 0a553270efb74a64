/*
 * keyring_disk.h -- descriptors, locks and durable files for keyring_store.c,
 * its only caller; keyring_store.h says what is checked and why.
 *
 * Bytes in, bytes out: nothing here knows what a keyring is.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KEYRING_DISK_H
#define PGE_AGENT_KEYRING_DISK_H

#include "agent/kms/keyring_store.h"

/* A path taken apart; fixed room, so that a store needs no other memory. */
typedef struct KeyringPath
{
	char		file[KEYRING_PATH_MAX + 1]; /* as it was given */
	char		directory[KEYRING_PATH_MAX + 1];
	char		name[256];
	char		lock_name[256];
	char		new_name[256];
} KeyringPath;

extern PgeStatus pge_keyring_path_parse(const char *path, KeyringPath *parsed, char *detail);

/* *directory: an open, checked directory; the caller closes it. */
extern PgeStatus pge_keyring_disk_open(const KeyringPath *path, bool make, int *directory, char *detail);

extern PgeStatus pge_keyring_disk_open_any(const KeyringPath *path, int *directory, char *detail);

/* Anything of that name, safe or not. */
extern bool pge_keyring_disk_exists(const KeyringPath *path, int directory);

/* The two refusals, with their sentences. */
extern PgeStatus pge_keyring_disk_missing(const KeyringPath *path, char *detail);
extern PgeStatus pge_keyring_disk_present(const KeyringPath *path, char *detail);

extern PgeStatus pge_keyring_disk_stamp(const KeyringPath *path, KeyringStamp *stamp, char *detail);

/* The whole file, in memory that pge_keyring_disk_free wipes.  stamp may be NULL. */
extern PgeStatus pge_keyring_disk_read(const KeyringPath *path, int directory,
									   PgeBuffer *file, KeyringStamp *stamp, char *detail);
extern void pge_keyring_disk_free(PgeBuffer *file);

/* Closing *lock gives it back. */
extern PgeStatus pge_keyring_disk_lock(const KeyringPath *path, int directory, int wait_ms,
									   const atomic_bool *cancelled, int *lock, char *detail);

/* Caller holds the lock.  stamp (may be NULL) is the new file's. */
extern PgeStatus pge_keyring_disk_replace(const KeyringPath *path, int directory, PgeBytes bytes,
										  KeyringStamp *stamp, char *detail);

/* A new file, 0600, durable when this returns PGE_OK and absent otherwise. */
extern PgeStatus pge_keyring_disk_copy_to(const char *destination, PgeBytes bytes, char *detail);

#endif							/* PGE_AGENT_KEYRING_DISK_H */
