/*
 * loaded_keyring.h -- the local keyring in the agent's memory, which follows its file.
 *
 * pge_loaded_keyring_new -> refresh, look_up, add ... -> pge_loaded_keyring_free.
 * new touches no file.  Any number of threads may call all but free at a time.
 *
 * What a KEK wraps is lost with it, so who wraps calls refresh, which fails
 * unless the memory is what the file is now.  Who unwraps calls
 * refresh_for_unwrap and looks the KEK up whatever became of that: with the file
 * away or damaged its KEKs stay in memory, because that is what saves the data (a
 * rewrap onto another KEK).
 *
 * A refresh that finds an older file in place of the one before, or one that
 * lacks KEKs, says so in the result's detail and sets its alarm, once.  A file that
 * has another key for a version which is in memory is not taken (PGE_UNAVAILABLE).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_LOADED_KEYRING_H
#define PGE_AGENT_LOADED_KEYRING_H

#include "agent/kms/keyring_file.h"
#include "agent/kms/kms.h"

typedef struct LoadedKeyring LoadedKeyring;

/* Both strings are copied; "command" is NULL or "" if there is none. */
extern PgeStatus pge_loaded_keyring_new(const char *path, const char *command,
										LoadedKeyring **loaded);
extern void pge_loaded_keyring_free(LoadedKeyring *loaded);

extern const char *pge_loaded_keyring_path(const LoadedKeyring *loaded);
extern bool pge_loaded_keyring_has_command(const LoadedKeyring *loaded);

/* PGE_UNAUTHENTICATED: the new command does not open the file; the old one stays. */
extern PgeStatus pge_loaded_keyring_set_command(LoadedKeyring *loaded, const char *command);

/* Makes the keyring in memory that of the file. */
extern PgeStatus pge_loaded_keyring_refresh(LoadedKeyring *loaded, const KmsCall *call,
											KmsResult *result);

/* The same, but PGE_OK without a look where one was in vain and memory has that version. */
extern PgeStatus pge_loaded_keyring_refresh_for_unwrap(LoadedKeyring *loaded, const KmsCall *call,
													   const uint8_t uuid[PGE_UUID_LEN],
													   uint32_t version, KmsResult *result);

/* version 0: the newest.  False: it is not in memory.  The caller wipes *entry. */
extern bool pge_loaded_keyring_look_up(LoadedKeyring *loaded, const uint8_t uuid[PGE_UUID_LEN],
									   uint32_t version, KeyringEntry *entry);
extern bool pge_loaded_keyring_has_keks(LoadedKeyring *loaded);
extern KeyringProtection pge_loaded_keyring_protection(LoadedKeyring *loaded);

/*
 * Makes a KEK of that uuid, or its next version, in file and memory.
 * PGE_KEK_NOT_FOUND: no such KEK to make a version of.
 */
extern PgeStatus pge_loaded_keyring_add(LoadedKeyring *loaded, const KmsCall *call,
										const uint8_t uuid[PGE_UUID_LEN], bool new_kek,
										uint32_t *version, KmsResult *result);

/* Takes all versions of a KEK out of file and memory.  PGE_KEK_NOT_FOUND: it is not in the file. */
extern PgeStatus pge_loaded_keyring_remove(LoadedKeyring *loaded, const KmsCall *call,
										   const uint8_t uuid[PGE_UUID_LEN], KmsResult *result);

#endif							/* PGE_AGENT_LOADED_KEYRING_H */
