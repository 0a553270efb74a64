/*-------------------------------------------------------------------------
 *
 * import_compare.c
 *	  What is here already of a key that is to be imported?
 *
 * A name is never given twice, and a value says no more of its key than the number of
 * a data key: so what has the name or the number of another must not come in.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/report.h"
#include "ops/import_private.h"
#include "ops/key_lifecycle.h"

#define ANEW_HINT "Nothing was imported. At the source seal its values anew under a key of another name, and export that one: README, \"Move a tenant to another cluster\"."

static void compare_dek(const DocumentDek *dek, const KeyringDek *deks, int count, ImportKey *mine, int at);
static bool is_unwrapped(const KeyringDek *here);
static int	compare_versions(const void *a, const void *b);
static bool is_same_dek(const KeyringDek *a, const KeyringDek *b);
static void refuse_number(const KeyringDek *theirs, const KeyringDek *here) pg_attribute_noreturn();
static void refuse_name(const KeyringDek *theirs, const KeyringDek *here) pg_attribute_noreturn();
static void refuse_lost(const KeyringDek *theirs) pg_attribute_noreturn();
static void refuse_destroyed(const KeyringDek *theirs) pg_attribute_noreturn();

void
pge_import_compare(KeyringImport *import, int key)
{
	const DocumentKey *theirs = &import->document.keys[key];
	ImportKey  *mine = &import->keys[key];
	KeyringKey	here;
	KeyringDek *deks;
	int			count;
	bool		here_destroyed;

	mine->is_here = pge_keyring_find_key(theirs->row.key_id, &here);
	if (mine->is_here)
		pge_key_for_manager(theirs->row.key_id, &here);
	here_destroyed = mine->is_here && here.state == PGE_KEY_STATE_DESTROYED;
	count = pge_keyring_deks(theirs->row.key_id, &deks);
	for (int i = 0; i < theirs->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		compare_dek(&theirs->deks[i], deks, count, mine, i);
		if (here_destroyed && mine->deks[i] != PGE_IMPORT_HERE && theirs->deks[i].row.state != PGE_DEK_DESTROYED)
			refuse_destroyed(&theirs->deks[i].row);
	}
	pfree(deks);
}

/* Rows of a data key without one of its key are not repaired: they may yet arrive. */
static void
compare_dek(const DocumentDek *dek, const KeyringDek *deks, int count, ImportKey *mine, int at)
{
	KeyringDek	here;
	const KeyringDek *namesake;
	bool		was_here = mine->deks[at] == PGE_IMPORT_HERE;
	bool		found = pge_keyring_find_dek(dek->row.dek_id, &here);

	if (found && (!mine->is_here || !is_same_dek(&here, &dek->row)))
		refuse_number(&dek->row, &here);
	mine->deks[at] = !found ? PGE_IMPORT_ABSENT :
		dek->count > 0 && is_unwrapped(&here) ? PGE_IMPORT_UNWRAPPED : PGE_IMPORT_HERE;
	if (was_here && mine->deks[at] != PGE_IMPORT_HERE)
		refuse_lost(&dek->row);
	namesake = count == 0 ? NULL : bsearch(&dek->row, deks, count, sizeof(KeyringDek), compare_versions);
	if (!found && namesake != NULL)
		refuse_name(&dek->row, namesake);
}

static bool
is_unwrapped(const KeyringDek *here)
{
	KeyringWrapping *wrappings;
	int			count;

	if (here->state == PGE_DEK_DESTROYED)
		return false;
	count = pge_keyring_wrappings(here->dek_id, &wrappings);
	pfree(wrappings);
	return count == 0;
}

static int
compare_versions(const void *a, const void *b)
{
	int32		x = ((const KeyringDek *) a)->version;
	int32		y = ((const KeyringDek *) b)->version;

	return x < y ? -1 : x > y;
}

static bool
is_same_dek(const KeyringDek *a, const KeyringDek *b)
{
	return strcmp(a->key_id, b->key_id) == 0 && a->version == b->version &&
		a->purpose == b->purpose && a->algorithm == b->algorithm &&
		memcmp(a->keyring, b->keyring, PGE_UUID_LEN) == 0 &&
		memcmp(a->check_value, b->check_value, PGE_CHECK_VALUE_LEN) == 0;
}

/* Whose it is stays between those who have a right to it. */
static void
refuse_number(const KeyringDek *theirs, const KeyringDek *here)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("cannot import version %d of key \"%s\": its dek_id %u is taken",
					theirs->version, theirs->key_id, theirs->dek_id),
			 pge_keyring_rights(GetUserId(), here->key_id) == 0 ?
			 errdetail("Here it is another data key.") :
			 errdetail("Here it is another data key: version %d of key \"%s\".", here->version, here->key_id),
			 errhint(ANEW_HINT)));
}

static void
refuse_name(const KeyringDek *theirs, const KeyringDek *here)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("cannot import key \"%s\": there is another key of this name", theirs->key_id),
			 errdetail("Version %d is data key %u here, and %u in the document.",
					   theirs->version, here->dek_id, theirs->dek_id),
			 errhint(ANEW_HINT)));
}

/* It was not proved, for it was here; a superuser with leave has deleted it, or its wrappings, since. */
static void
refuse_lost(const KeyringDek *theirs)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("version %d of key \"%s\" was lost while it was imported", theirs->version, theirs->key_id),
			 errhint("Nothing was imported. Try again.")));
}

/* Destroyed is for good, also for what was made elsewhere since. */
static void
refuse_destroyed(const KeyringDek *theirs)
{
	ereport(ERROR,
			(errcode(PGE_ERRCODE_KEY_DESTROYED),
			 errmsg("cannot import version %d of key \"%s\": the key is destroyed here", theirs->version, theirs->key_id),
			 errhint(ANEW_HINT)));
}
