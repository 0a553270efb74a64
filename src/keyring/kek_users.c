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

#include "miscadmin.h"

#include "keyring/kek_deks.h"
#include "keyring/kek_users.h"
#include "keyring/keyring.h"
#include "keyring/keyring_private.h"

#define ID_CHUNK	256

typedef bool (*UriTest) (const char *kek_uri, const char *uri);

/* One of many URIs, and its place among them before they were sorted. */
typedef struct SoughtKey
{
	const char *uri;
	int			place;
} SoughtKey;

static List *names_of(const char *uri, UriTest test);
static SoughtKey *sort_uris(char *const *uris, int count);
static int	first_with_start(const SoughtKey *sought, int count, const SoughtKey *start);
static int	compare_starts(const void *a, const void *b);
static bool has_same_start(const char *kek_uri, const char *uri);
static const char *last_word(const char *uri, size_t *len);
static int	compare_names(const ListCell *a, const ListCell *b);
static bool find_live_dek(const char *kek, KekUser *user);
static bool is_live(uint32 dek_id, KekUser *user);
static bool find_live_key(const char *kek, KekUser *user);

List *
pge_keyring_names_of_key(const char *uri)
{
	return names_of(uri, has_same_start);
}

List *
pge_keyring_names_like_key(const char *uri)
{
	return names_of(uri, pge_keyring_may_be_uri_of_key);
}

List **
pge_keyring_names_of_keys(char *const *uris, int count)
{
	List	  **names = palloc0(Max(count, 1) * sizeof(List *));
	SoughtKey  *sought = sort_uris(uris, count);
	KeyringScan scan;
	HeapTuple	tuple;

	pge_keyring_scan_begin(&scan, "kek", "kek_pkey", NULL, 0);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		char		uri[PGE_KEK_URI_MAX + 1];
		char		name[NAMEDATALEN];
		SoughtKey	row = {.uri = uri};

		CHECK_FOR_INTERRUPTS();
		pge_keyring_text_column(tuple, &scan, Anum_kek_uri, uri, sizeof(uri));
		pge_keyring_text_column(tuple, &scan, Anum_kek_name, name, sizeof(name));
		for (int i = first_with_start(sought, count, &row);
			 i < count && compare_starts(&sought[i], &row) == 0; i++)
			names[sought[i].place] = lappend(names[sought[i].place], pstrdup(name));
	}
	pge_keyring_scan_end(&scan);
	pfree(sought);
	for (int i = 0; i < count; i++)
		list_sort(names[i], compare_names);
	return names;
}

static SoughtKey *
sort_uris(char *const *uris, int count)
{
	SoughtKey  *sought = palloc(Max(count, 1) * sizeof(SoughtKey));

	for (int i = 0; i < count; i++)
	{
		sought[i].uri = uris[i];
		sought[i].place = i;
	}
	qsort(sought, count, sizeof(SoughtKey), compare_starts);
	return sought;
}

static int
first_with_start(const SoughtKey *sought, int count, const SoughtKey *start)
{
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_starts(&sought[middle], start) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Of what has_same_start compares. */
static int
compare_starts(const void *a, const void *b)
{
	const char *x = ((const SoughtKey *) a)->uri;
	const char *y = ((const SoughtKey *) b)->uri;
	size_t		x_len = strcspn(x, "?");
	size_t		y_len = strcspn(y, "?");
	int			order = memcmp(x, y, Min(x_len, y_len));

	if (order != 0)
		return order;
	return x_len < y_len ? -1 : x_len > y_len;
}

/* Two sections of one address may be of two namespaces. */
bool
pge_keyring_is_uri_of_key(const char *kek_uri, const char *uri)
{
	return pge_keyring_uri_has_address(uri) ? strcmp(kek_uri, uri) == 0 : has_same_start(kek_uri, uri);
}

static List *
names_of(const char *uri, UriTest test)
{
	KeyringScan scan;
	HeapTuple	tuple;
	List	   *names = NIL;

	pge_keyring_scan_begin(&scan, "kek", "kek_pkey", NULL, 0);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		char		other[PGE_KEK_URI_MAX + 1];
		char		name[NAMEDATALEN];

		pge_keyring_text_column(tuple, &scan, Anum_kek_uri, other, sizeof(other));
		if (!test(other, uri))
			continue;
		pge_keyring_text_column(tuple, &scan, Anum_kek_name, name, sizeof(name));
		names = lappend(names, pstrdup(name));
	}
	pge_keyring_scan_end(&scan);
	list_sort(names, compare_names);
	return names;
}

static bool
has_same_start(const char *kek_uri, const char *uri)
{
	size_t		len = strcspn(uri, "?");

	return strcspn(kek_uri, "?") == len && strncmp(kek_uri, uri, len) == 0;
}

/* Address, namespace and mount have several names; the key itself has one. */
bool
pge_keyring_may_be_uri_of_key(const char *kek_uri, const char *uri)
{
	size_t		len;
	size_t		other_len;
	const char *word = last_word(uri, &len);
	const char *other = last_word(kek_uri, &other_len);

	if (has_same_start(kek_uri, uri))
		return true;
	return pge_keyring_uri_has_address(uri) && pge_keyring_uri_has_address(kek_uri) && other_len == len && strncmp(other, word, len) == 0;
}

bool
pge_keyring_uri_has_address(const char *uri)
{
	static const char scheme[] = "vault://";

	return strncmp(uri, scheme, strlen(scheme)) == 0;
}

static const char *
last_word(const char *uri, size_t *len)
{
	const char *end = uri + strcspn(uri, "?");
	const char *start = end;

	while (start > uri && start[-1] != '/')
		start--;
	*len = end - start;
	return start;
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
