/*
 * kek_users.h -- which names a key-encryption key has, and who needs it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEK_USERS_H
#define PGE_KEYRING_KEK_USERS_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "base/limits.h"

/* A version of a key that is wrapped by a KEK, or a key whose next one will be. */
typedef struct KekUser
{
	uint32		dek_id;			/* 0: only the next version */
	int32		version;
	char		key_id[PGE_KEY_ID_MAX + 1];
} KekUser;

/*
 * The names (char *, palloc'd, in the order of strcmp) of all KEKs that are the
 * same key as this URI's, whatever instance serves it, destroyed ones too.
 */
extern List *pge_keyring_names_of_key(const char *uri);

/* Those of each of many, in the same order, by one look at the table; palloc'd. */
extern List **pge_keyring_names_of_keys(char *const *uris, int count);

/*
 * The same, and of all that could be it for all that a URI tells: in a service whose
 * address is a part of that, each that has the same last word.
 */
extern List *pge_keyring_names_like_key(const char *uri);

/*
 * Is this KEK's URI that of the key, so that both are the same without a look at
 * what they wrap?
 */
extern bool pge_keyring_is_uri_of_key(const char *kek_uri, const char *uri);

/* Is its service's address a part of it, so that sections and namespaces may differ? */
extern bool pge_keyring_uri_has_address(const char *uri);

/* Could it be, for all that the two URIs tell? */
extern bool pge_keyring_may_be_uri_of_key(const char *kek_uri, const char *uri);

/*
 * Is there one that is not destroyed?  A wrapping whose data key is not there counts:
 * its row may yet arrive.
 */
extern bool pge_keyring_find_kek_user(const char *kek, KekUser *user);

#endif							/* PGE_KEYRING_KEK_USERS_H */
