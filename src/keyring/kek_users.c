/*-------------------------------------------------------------------------
 *
 * kek_users.c
 *	  Finds the names of a key-encryption key, and who needs it.
 *
 * Under fresh snapshots: what another session has committed counts, whatever the
 * transaction's own snapshot shows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "keyring/kek_deks.h"
#include "keyring/kek_users.h"
#include "keyring/keyring.h"
#include "keyring/keyring_private.h"

#define ID_CHUNK	256

static int	compare_names(const ListCell *a, const ListCell *b);
static bool find_live_dek(const char *kek, KekUser *user);
static bool is_live(uint32 dek_id, KekUser *user);
static bool find_live_key(const char *kek, KekUser *user);

List *
pge_keyring_names_of_key(const char *uri)
{
	size_t		len = strcspn(uri, "?");
	KeyringScan scan;
	HeapTuple	tuple;
	List	   *names = NIL;

	pge_keyring_scan_begin(&scan, "kek", "kek_pkey", NULL, 0);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		char		other[PGE_KEK_URI_MAX + 1];
		char		name[NAMEDATALEN];

		pge_keyring_text_column(tuple, &scan, Anum_kek_uri, other, sizeof(other));
		if (strcspn(other, "?") != len || strncmp(uri, other, len) != 0)
			continue;
		pge_keyring_text_column(tuple, &scan, Anum_kek_name, name, sizeof(name));
		names = lappend(names, pstrdup(name));
	}
	pge_keyring_scan_end(&scan);
	list_sort(names, compare_names);
	return names;
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

bool
pge_keyring_find_kek_user(const char *kek, KekUser *user)
{
	memset(user, 0, sizeof(*user));
	return find_live_dek(kek, user) || find_live_key(kek, user);
}

static bool
find_live_dek(const char *kek, KekUser *user)
{
	uint32		dek_ids[ID_CHUNK];
	uint32		after = 0;
	int			count;

	while ((count = pge_keyring_deks_under(kek, after, dek_ids, ID_CHUNK)) > 0)
	{
		for (int i = 0; i < count; i++)
			if (is_live(dek_ids[i], user))
				return true;
		after = dek_ids[count - 1];
	}
	return false;
}

static bool
is_live(uint32 dek_id, KekUser *user)
{
	KeyringDek	dek;
	bool		found = pge_keyring_find_dek(dek_id, &dek);

	if (found && dek.state == PGE_DEK_DESTROYED)
		return false;
	user->dek_id = dek_id;
	if (found)
	{
		user->version = dek.version;
		strlcpy(user->key_id, dek.key_id, sizeof(user->key_id));
	}
	return true;
}

static bool
find_live_key(const char *kek, KekUser *user)
{
	KeyringScan scan;
	ScanKeyData scankey;
	HeapTuple	tuple;
	bool		found = false;

	pge_keyring_key_text(&scankey, Anum_key_kek, kek);
	pge_keyring_scan_begin(&scan, "key", "key_kek", &scankey, 1);
	while (!found && (tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		KeyringKey	key;

		pge_keyring_text_column(tuple, &scan, Anum_key_key_id, user->key_id, sizeof(user->key_id));
		found = pge_keyring_find_key(user->key_id, &key) && key.state != PGE_KEY_STATE_DESTROYED;
	}
	pge_keyring_scan_end(&scan);
	return found;
}
