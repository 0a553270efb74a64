/*-------------------------------------------------------------------------
 *
 * keyring_import.c
 *	  Takes in keys of another database.
 *
 * Rows keep the keyring's uuid that they were bound with; a version that is made
 * later is bound to ours.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/crash_point.h"
#include "keyring/writes.h"
#include "ops/import_private.h"
#include "ops/keyring_import.h"

static bool has_news(const KeyringImport *import);
static void tell(const KeyringImport *import, int key, ImportSink sink, void *arg);
static const char *state_of(KeyState key, DekState dek);
static const char *detail_of(const DocumentKey *key, const DocumentDek *dek, ImportDek was);

void
pge_import_keyring(Jsonb * document, ImportSink sink, void *arg)
{
	KeyringImport import;
	int			nkeys;

	pge_write_allowed("envelope_import_keyring()");
	pge_document_read(document, &import.document);
	nkeys = import.document.nkeys;
	import.keks = palloc0(Max(import.document.nkeks, 1) * sizeof(ImportKek));
	import.keys = palloc0(Max(nkeys, 1) * sizeof(ImportKey));
	for (int i = 0; i < nkeys; i++)
	{
		CHECK_FOR_INTERRUPTS();
		import.keys[i].deks = palloc0(import.document.keys[i].count * sizeof(ImportDek));
		pge_import_compare(&import, i);
	}
	if (has_news(&import))
	{
		PGE_CRASH_POINT("import.compared");
		pge_import_settle_keks(&import);
		PGE_CRASH_POINT("import.keks-settled");
		pge_import_prove(&import);
		PGE_CRASH_POINT("import.proved");
		for (int i = 0; i < nkeys; i++)
			pge_import_write(&import, i);
		PGE_CRASH_POINT("import.written");
	}
	for (int i = 0; i < nkeys; i++)
		tell(&import, i, sink, arg);
}

static bool
has_news(const KeyringImport *import)
{
	for (int i = 0; i < import->document.nkeys; i++)
		for (int j = 0; j < import->document.keys[i].count; j++)
			if (import->keys[i].deks[j] != PGE_IMPORT_HERE)
				return true;
	return false;
}

static void
tell(const KeyringImport *import, int key, ImportSink sink, void *arg)
{
	const DocumentKey *theirs = &import->document.keys[key];

	for (int i = 0; i < theirs->count; i++)
	{
		ImportResult result = {.key_id = theirs->row.key_id, .version = theirs->deks[i].row.version};

		result.imported = import->keys[key].deks[i] != PGE_IMPORT_HERE;
		result.detail = detail_of(theirs, &theirs->deks[i], import->keys[key].deks[i]);
		sink(arg, &result);
	}
}

/* A key that is not enabled says so for all its versions, as in envelope_key_info. */
static const char *
state_of(KeyState key, DekState dek)
{
	return key == PGE_KEY_ENABLED ? pge_dek_state_name(dek) : pge_key_state_name(key);
}

/* What is here is left alone, so it may be of another state than at the source. */
static const char *
detail_of(const DocumentKey *key, const DocumentDek *dek, ImportDek was)
{
	KeyringKey	key_here;
	KeyringDek	dek_here;
	const char *there = state_of(key->row.state, dek->row.state);
	const char *here;
	const char *healed = was == PGE_IMPORT_UNWRAPPED ? "It had lost its wrappings here." : "";

	if (!pge_keyring_find_key(key->row.key_id, &key_here) ||
		!pge_keyring_find_dek(dek->row.dek_id, &dek_here))
		elog(ERROR, "a key that was imported is not there");
	here = state_of(key_here.state, dek_here.state);
	if (strcmp(here, there) == 0)
		return healed;
	return psprintf("%s%sIt is %s here%s, and %s in the document.", healed, healed[0] ? " " : "", here,
					was == PGE_IMPORT_ABSENT ? "" : " and stays so", there);
}
