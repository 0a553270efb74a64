/*
 * kek_proof.h -- asking a key service whether a key-encryption key is there and works.
 *
 * "what" is the message of the error if it does not.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEK_PROOF_H
#define PGE_OPS_KEK_PROOF_H

#include "postgres.h"

#include "base/limits.h"
#include "keyring/keyring.h"

/*
 * Its newest version, and its canonical URI if asked for, palloc'd; NULL: the answer
 * lacks it.
 */
extern char *pge_kek_describe(const char *what, const char *uri, char **canonical);

/* The same without an error; *detail is palloc'd. */
extern PgeStatus pge_kek_try_describe(const char *uri, char **version, char **canonical, PgeBytes *detail);

/* The agent wraps a data key of this keyring that nobody will use, and unwraps it again. */
extern void pge_kek_prove_wrap(const char *what, const char *uri,
							   const uint8 keyring[PGE_UUID_LEN]);

/*
 * Does this wrapping of the DEK open by the key of this URI?  The agent rewraps it onto
 * that key itself, and the result is dropped: so no plain data key comes here.
 * PGE_WRAPPING_DAMAGED and PGE_KEK_NOT_FOUND: no.  *detail is palloc'd.
 */
extern PgeStatus pge_kek_try_wrapping(const char *what, const char *uri, const KeyringDek *dek,
									  const KeyringWrapping *wrapping, PgeBytes *detail);

/* The one of them under this KEK, or NULL. */
extern const KeyringWrapping *pge_kek_wrapping_under(const KeyringWrapping *wrappings, int count, const char *kek);

/* Fit for a message; palloc'd. */
extern char *pge_kek_uri_without_user(const char *uri);

/* NOTICE that a KEK whose URI begins like this one is the same key, or may be. */
extern void pge_kek_tell_likeness(const char *name, const char *uri, const KeyringKek *other);

/* The same of the key's other names (pge_keyring_names_of_key), if there are any. */
extern void pge_kek_tell_other_name(const char *name, const char *uri, const List *names);

#endif							/* PGE_OPS_KEK_PROOF_H */
