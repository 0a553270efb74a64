/*-------------------------------------------------------------------------
 *
 * import_keks.c
 *	  Finds the KEKs of a document here, or makes rows for them.
 *
 * The URI tells which key it is, whatever its names; a name that is taken by another
 * URI is not guessed about.  Only where no section here serves the URI as it is written,
 * or several do, it may be a KEK here that has another ?instance=: what it opens shows.  All are locked by name before the agent opens anything:
 * who destroys a KEK waits, and then finds what came.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/report.h"
#include "keyring/kek_users.h"
#include "keyring/writes.h"
#include "ops/import_private.h"
#include "ops/kek_lifecycle.h"
#include "ops/kek_proof.h"
#include "ops/new_dek.h"

/* Those that are needed. */
typedef struct SortedKeks
{
	ImportKek **by_name;
	int			count;
} SortedKeks;

static void mark_needed(KeyringImport *import);
static void find_here(KeyringImport *import);
static void settle(const DocumentKek *theirs, ImportKek *kek);
static bool find_by_uri(const char *uri, const char *name, const List *names, KeyringKek *found);
static bool is_better(const KeyringKek *kek, const KeyringKek *found, const char *name);
static void ask_services(KeyringImport *import);
static bool is_to_be_asked(const KeyringImport *import, int kek);
static char *ask_service(const DocumentKek *theirs, ImportKek *kek);
static bool find_like(const DocumentKek *theirs, ImportKek *kek);
static bool is_like_by_name(const ImportKek *kek, const char *name);
static void refuse_instance(const DocumentKek *theirs, const ImportKek *kek, const char *what, PgeBytes detail) pg_attribute_noreturn();
static void settle_asked(const DocumentKek *theirs, ImportKek *kek, const char *canonical, const List *names);
static void refuse_name(const DocumentKek *theirs, const KeyringKek *here) pg_attribute_noreturn();
static void refuse_destroyed(const KeyringKek *kek) pg_attribute_noreturn();
static AttemptOutcome write_or_lock_all(void *arg);
static bool write_or_lock(ImportKek *kek);
static void lock(ImportKek *kek);
static int	compare_names(const void *a, const void *b);

void
pge_import_settle_keks(KeyringImport *import)
{
	SortedKeks	keks = {palloc(Max(import->document.nkeks, 1) * sizeof(ImportKek *)), 0};

	mark_needed(import);
	find_here(import);
	ask_services(import);
	for (int i = 0; i < import->document.nkeks; i++)
		if (import->keks[i].needed)
			keks.by_name[keks.count++] = &import->keks[i];
	pge_make_keyring();
	qsort(keks.by_name, keks.count, sizeof(ImportKek *), compare_names);
	while (pge_new_dek_attempt(write_or_lock_all, &keks) != PGE_ATTEMPT_DONE)
		CHECK_FOR_INTERRUPTS();
	pfree(keks.by_name);
}

static void
mark_needed(KeyringImport *import)
{
	for (int i = 0; i < import->document.nkeys; i++)
	{
		const DocumentKey *key = &import->document.keys[i];

		if (!import->keys[i].is_here)
			import->keks[key->kek].needed = true;
		for (int j = 0; j < key->count; j++)
			for (int k = 0; import->keys[i].deks[j] != PGE_IMPORT_HERE && k < key->deks[j].count; k++)
			{
				ImportKek  *kek = &import->keks[key->deks[j].wrappings[k].kek];

				kek->needed = kek->wraps = true;
			}
	}
}

/* The table is read once for all: there may be a KEK for each tenant. */
static void
find_here(KeyringImport *import)
{
	int			nkeks = import->document.nkeks;
	char	  **uris = palloc(Max(nkeks, 1) * sizeof(char *));
	List	  **names;
	int			count = 0;

	for (int i = 0; i < nkeks; i++)
		if (import->keks[i].needed)
			uris[count++] = import->document.keks[i].uri;
	names = pge_keyring_names_of_keys(uris, count);
	count = 0;
	for (int i = 0; i < nkeks; i++)
	{
		if (!import->keks[i].needed)
			continue;
		import->keks[i].like = names[count++];
		settle(&import->document.keks[i], &import->keks[i]);
	}
	pfree(names);
	pfree(uris);
}

static void
settle(const DocumentKek *theirs, ImportKek *kek)
{
	KeyringKek	other;

	kek->row = palloc0(sizeof(KeyringKek));
	if (find_by_uri(theirs->uri, theirs->name, kek->like, kek->row))
		return;
	strlcpy(kek->row->name, theirs->name, sizeof(kek->row->name));
	strlcpy(kek->row->uri, theirs->uri, sizeof(kek->row->uri));
	kek->row->state = theirs->state;
	kek->missing = true;
	if (pge_keyring_find_kek(theirs->name, &other))
	{
		if (strcmp(other.uri, theirs->uri) == 0 && !kek->wraps)
		{
			*kek->row = other;	/* destroyed: a destroyed key named it */
			kek->missing = false;
			return;
		}
		if (!kek->wraps || !is_like_by_name(kek, theirs->name))
			refuse_name(theirs, &other);
	}
}

/* Of several names its own, else one that wraps. */
static bool
find_by_uri(const char *uri, const char *name, const List *names, KeyringKek *found)
{
	ListCell   *cell;
	KeyringKek	kek;
	bool		any = false;

	foreach(cell, names)
	{
		if (!pge_keyring_find_kek(lfirst(cell), &kek) || kek.state == PGE_KEK_DESTROYED ||
			!pge_keyring_is_uri_of_key(kek.uri, uri))
			continue;
		if (!any || is_better(&kek, found, name))
			*found = kek;
		any = true;
	}
	return any;
}

static bool
is_better(const KeyringKek *kek, const KeyringKek *found, const char *name)
{
	if (strcmp(found->name, name) == 0 || strcmp(kek->name, name) == 0)
		return strcmp(kek->name, name) == 0;
	return kek->state == PGE_KEK_ENABLED && found->state != PGE_KEK_ENABLED;
}

/* What the agent calls a key is stored, so that one key has one URI; it may be here under that. */
static void
ask_services(KeyringImport *import)
{
	int			nkeks = import->document.nkeks;
	char	  **uris = palloc(Max(nkeks, 1) * sizeof(char *));
	List	  **names;
	int			count = 0;

	for (int i = 0; i < nkeks; i++)
	{
		if (!is_to_be_asked(import, i))
			continue;
		uris[count] = ask_service(&import->document.keks[i], &import->keks[i]);
		if (uris[count] != NULL)
			count++;
	}
	names = pge_keyring_names_of_keys(uris, count);
	count = 0;
	for (int i = 0; i < nkeks; i++)
	{
		if (!is_to_be_asked(import, i))
			continue;
		settle_asked(&import->document.keks[i], &import->keks[i], uris[count], names[count]);
		count++;
	}
	pfree(names);
	pfree(uris);
}

static bool
is_to_be_asked(const KeyringImport *import, int kek)
{
	return import->keks[kek].missing && import->document.keks[kek].state != PGE_KEK_DESTROYED;
}

/* NULL: it is here with another ?instance=, or so it seems. */
static char *
ask_service(const DocumentKek *theirs, ImportKek *kek)
{
	char	   *what = psprintf("could not import KEK \"%s\" (\"%s\")", theirs->name,
								pge_kek_uri_without_user(theirs->uri));
	char	   *version;
	char	   *canonical;
	PgeBytes	detail;
	PgeStatus	status = pge_kek_try_describe(theirs->uri, &version, &canonical, &detail);

	if (status == PGE_INVALID && kek->wraps && find_like(theirs, kek))
		return NULL;
	if (status == PGE_INVALID && kek->wraps && pge_keyring_uri_has_address(theirs->uri))
		refuse_instance(theirs, kek, what, detail);
	if (status != PGE_OK)
		pge_report_error(status, what, detail);
	if (canonical == NULL || strlen(canonical) > PGE_KEK_URI_MAX)
		pge_report_bad_answer(what, "a usable URI of the KEK");
	return canonical;
}

/* The one of its name, or the only one. */
static bool
find_like(const DocumentKek *theirs, ImportKek *kek)
{
	ListCell   *cell;
	KeyringKek	here;
	KeyringKek	found;
	int			count = 0;

	foreach(cell, kek->like)
	{
		bool		is_named = strcmp(lfirst(cell), theirs->name) == 0;

		if (!pge_keyring_find_kek(lfirst(cell), &here) || here.state == PGE_KEK_DESTROYED)
			continue;
		found = here;
		count = is_named ? 1 : count + 1;
		if (is_named)
			break;
	}
	if (count != 1)
		return false;
	*kek->row = found;
	kek->missing = false;
	return true;
}

static bool
is_like_by_name(const ImportKek *kek, const char *name)
{
	ListCell   *cell;

	foreach(cell, kek->like)
		if (strcmp(lfirst(cell), name) == 0)
		return true;
	return false;
}

/* The agent's words have the names of the sections. */
static void
refuse_instance(const DocumentKek *theirs, const ImportKek *kek, const char *what, PgeBytes detail)
{
	char	   *uri = pge_kek_uri_without_user(theirs->uri);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", what),
			 errdetail("%s", pge_report_text(detail)),
			 list_length(kek->like) > 1 ?
			 errhint("Nothing was imported. Several KEKs here have this URI with an ?instance= (table envelope.kek): put that of the right one into the document's \"keks\", and import again.") :
			 errhint("Nothing was imported. If a section serves it, name it with envelope_create_kek(%s, '%.*s?instance=NAME'), and import again: it is taken for that KEK if that opens it.",
					 quote_literal_cstr(theirs->name), (int) strcspn(uri, "?"), uri)));
}

static void
settle_asked(const DocumentKek *theirs, ImportKek *kek, const char *canonical, const List *names)
{
	KeyringKek	other;

	if (find_by_uri(canonical, theirs->name, names, kek->row))
	{
		kek->missing = false;
		return;
	}
	if (pge_keyring_find_kek(theirs->name, &other))
		refuse_name(theirs, &other);
	strlcpy(kek->row->uri, canonical, sizeof(kek->row->uri));
	pge_kek_tell_other_name(theirs->name, canonical, names);
}

static void
refuse_name(const DocumentKek *theirs, const KeyringKek *here)
{
	if (strcmp(here->uri, theirs->uri) == 0)
		refuse_destroyed(here);
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("cannot import KEK \"%s\": there is another KEK of this name", theirs->name),
			 errdetail("Its URI is \"%s\" here, and \"%s\" in the document.", here->uri,
					   pge_kek_uri_without_user(theirs->uri)),
			 theirs->state == PGE_KEK_DESTROYED ?
			 errhint("Nothing was imported. Only keys that are destroyed name it: export the others by their names.") :
			 errhint("Nothing was imported. Give the document's KEK another name here with envelope_create_kek('another name', '%s'), and import again: a KEK is known by its URI.",
					 pge_kek_uri_without_user(theirs->uri))));
}

static void
refuse_destroyed(const KeyringKek *kek)
{
	ereport(ERROR,
			(errcode(PGE_ERRCODE_KEK_UNUSABLE),
			 errmsg("KEK \"%s\" is destroyed", kek->name),
			 errhint("Nothing was imported. If that can still be called off in its key service, envelope_enable_kek does it.")));
}

static AttemptOutcome
write_or_lock_all(void *arg)
{
	const SortedKeks *keks = arg;

	for (int i = 0; i < keks->count; i++)
		if (!write_or_lock(keks->by_name[i]))
			return PGE_ATTEMPT_AGAIN;
	return PGE_ATTEMPT_DONE;
}

/* False: a rewrap that it waited for has left it unused, and the lock is too weak to write that down. */
static bool
write_or_lock(ImportKek *kek)
{
	KeyringKek	now;
	bool		may_write;

	if (kek->missing && pge_write_kek(kek->row->name, kek->row->uri))
	{
		if (kek->row->state != PGE_KEK_ENABLED)
			pge_write_kek_state(kek->row->name, kek->row->state);
		return true;
	}
	now = *kek->row;
	kek->unused |= now.unused;
	may_write = kek->unused;
	lock(kek);
	if (strcmp(kek->row->uri, now.uri) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("KEK \"%s\" changed while it was imported", now.name),
				 errhint("Nothing was imported. Try again.")));
	if (kek->wraps && kek->row->state == PGE_KEK_DESTROYED)
		refuse_destroyed(kek->row);
	if (!kek->wraps || !kek->row->unused)
		return true;
	if (may_write)
		pge_write_kek_used(kek->row->name);
	return may_write;
}

/* The stronger lock where its row will be written: two who share one could not. */
static void
lock(ImportKek *kek)
{
	char		name[NAMEDATALEN];

	strlcpy(name, kek->row->name, sizeof(name));
	if (!pge_lock_kek(name, kek->wraps && kek->unused ? PGE_LOCK_UPDATE : PGE_LOCK_SHARE, kek->row))
		pge_no_such_kek(name);
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp((*(ImportKek *const *) a)->row->name, (*(ImportKek *const *) b)->row->name);
}
