/*-------------------------------------------------------------------------
 *
 * import_write.c
 *	  Writes the rows of a key whose wrappings were proved.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "base/crash_point.h"
#include "base/report.h"
#include "keyring/writes.h"
#include "ops/import_private.h"
#include "ops/key_lifecycle.h"

static bool write_key(const KeyringImport *import, const DocumentKey *key);
static void lock_key(const DocumentKey *key);
static void write_dek(const DocumentDek *dek);
static DekState settle_active(const DocumentDek *dek);
static void write_wrappings(const KeyringImport *import, const DocumentDek *dek);

/*
 * Another import of the same document may have been faster, and then its rows are
 * what is here.  What is missing still was proved: what disappeared is refused.
 */
void
pge_import_write(KeyringImport *import, int key)
{
	const DocumentKey *theirs = &import->document.keys[key];

	CHECK_FOR_INTERRUPTS();
	if (import->keys[key].is_here || !write_key(import, theirs))
	{
		lock_key(theirs);
		pge_import_compare(import, key);
	}
	PGE_CRASH_POINT("import.key-written");
	for (int i = 0; i < theirs->count; i++)
	{
		if (import->keys[key].deks[i] == PGE_IMPORT_HERE)
			continue;
		if (import->keys[key].deks[i] == PGE_IMPORT_ABSENT)
			write_dek(&theirs->deks[i]);
		write_wrappings(import, &theirs->deks[i]);
	}
}

/* False: somebody else has just made a key of this name. */
static bool
write_key(const KeyringImport *import, const DocumentKey *key)
{
	KeyringKey	row = key->row;

	strlcpy(row.kek, import->keks[key->kek].row->name, sizeof(row.kek));
	if (!pge_write_key(&row))
		return false;
	if (row.state != PGE_KEY_ENABLED)
		pge_write_key_state(row.key_id, row.state);
	pge_write_grant(row.key_id, GetUserNameFromId(GetUserId(), false), PGE_RIGHTS_ALL);
	return true;
}

static void
lock_key(const DocumentKey *key)
{
	KeyringKey	here;

	pge_key_for_manager(key->row.key_id, &here);
	if (!pge_lock_key(key->row.key_id, &here))
		elog(ERROR, "a key has disappeared");
}

static void
write_dek(const DocumentDek *dek)
{
	KeyringDek	row = dek->row;

	row.state = settle_active(dek);
	if (!pge_write_dek(&row, dek->created))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not import version %d of key \"%s\"", row.version, row.key_id),
				 errdetail("Another session has just taken its dek_id %u.", row.dek_id),
				 errhint("Nothing was imported. Try again, to see by whom.")));
	PGE_CRASH_POINT("import.dek-written");
}

/*
 * One version seals: the highest of those that may.  The key may have been imported
 * before, and rotated here or there since.
 */
static DekState
settle_active(const DocumentDek *dek)
{
	KeyringDek	active;

	if (dek->row.state != PGE_DEK_ACTIVE ||
		!pge_keyring_find_active_dek(dek->row.key_id, &active))
		return dek->row.state;
	if (active.version > dek->row.version)
		return PGE_DEK_RETIRED;
	pge_write_dek_state(active.dek_id, PGE_DEK_RETIRED);
	return PGE_DEK_ACTIVE;
}

/*
 * By seq, so they get new ones in the same order.  Who reads our answer may delete the
 * document, so a crash must not take them back.
 */
static void
write_wrappings(const KeyringImport *import, const DocumentDek *dek)
{
	ForceSyncCommit();
	for (int i = 0; i < dek->count; i++)
	{
		const DocumentWrapping *wrapping = &dek->wrappings[i];

		/* false: two KEKs of the document are one key here */
		(void) pge_write_wrapping(dek->row.dek_id, import->keks[wrapping->kek].row->name,
								  pge_bytes(wrapping->kek_version, strlen(wrapping->kek_version)),
								  wrapping->wrapped);
	}
}
