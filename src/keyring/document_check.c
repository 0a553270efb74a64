/*-------------------------------------------------------------------------
 *
 * document_check.c
 *	  Do the parts of a keyring document agree with one another?
 *
 * What the tables' indexes would throw for is seen here, before the agent is asked
 * for anything, and so is what would make a key of another state than it seems.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/report.h"
#include "keyring/document.h"
#include "keyring/document_private.h"

static void refuse_twice(const char *what) pg_attribute_noreturn();
static void refuse_dek(const DocumentDek *dek, const char *what) pg_attribute_noreturn();
static void check_once(const KeyringDocument *document);
static void check_numbers(const KeyringDocument *document);
static void check_key(const DocumentKey *key, const KeyringDocument *document);
static void check_wrappings(const DocumentDek *dek, const KeyringDocument *document);
static int	compare_numbers(const void *a, const void *b);

void
pge_document_check(const KeyringDocument *document)
{
	check_once(document);
	check_numbers(document);
	for (int i = 0; i < document->nkeys; i++)
		check_key(&document->keys[i], document);
}

static void
refuse_twice(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the keyring document is not valid"),
			 errdetail("It has %s twice.", what),
			 errhint(PGE_DOCUMENT_HINT)));
}

static void
refuse_dek(const DocumentDek *dek, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the keyring document is not valid"),
			 errdetail("Version %d of key \"%s\" %s.", dek->row.version, dek->row.key_id, what),
			 errhint(PGE_DOCUMENT_HINT)));
}

/* Both are sorted by name. */
static void
check_once(const KeyringDocument *document)
{
	for (int i = 1; i < document->nkeks; i++)
		if (strcmp(document->keks[i - 1].name, document->keks[i].name) == 0)
			refuse_twice(psprintf("KEK \"%s\"", document->keks[i].name));
	for (int i = 1; i < document->nkeys; i++)
		if (strcmp(document->keys[i - 1].row.key_id, document->keys[i].row.key_id) == 0)
			refuse_twice(psprintf("key \"%s\"", document->keys[i].row.key_id));
}

static void
check_numbers(const KeyringDocument *document)
{
	size_t		count = 0;
	size_t		n = 0;
	uint32	   *numbers;

	for (int i = 0; i < document->nkeys; i++)
		count += document->keys[i].count;
	numbers = palloc(Max(count, 1) * sizeof(uint32));
	for (int i = 0; i < document->nkeys; i++)
		for (int j = 0; j < document->keys[i].count; j++)
			numbers[n++] = document->keys[i].deks[j].row.dek_id;
	qsort(numbers, count, sizeof(uint32), compare_numbers);
	for (size_t i = 1; i < count; i++)
		if (numbers[i - 1] == numbers[i])
			refuse_twice(psprintf("dek_id %u", numbers[i]));
	pfree(numbers);
}

static int
compare_numbers(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

static void
check_key(const DocumentKey *key, const KeyringDocument *document)
{
	int			active = 0;

	for (int i = 0; i < key->count; i++)
	{
		const DocumentDek *dek = &key->deks[i];
		bool		destroyed = dek->row.state == PGE_DEK_DESTROYED;

		if (dek->row.state == PGE_DEK_ACTIVE && active++ > 0)
			refuse_dek(dek, "is active, and so is one before it");
		if (!destroyed && key->row.state == PGE_KEY_STATE_DESTROYED)
			refuse_dek(dek, "is not destroyed, and its key is");
		if (destroyed != (dek->count == 0))
			refuse_dek(dek, destroyed ? "is destroyed, and has a wrapping" : "has no wrapping");
		check_wrappings(dek, document);
	}
}

static void
check_wrappings(const DocumentDek *dek, const KeyringDocument *document)
{
	for (int i = 0; i < dek->count; i++)
	{
		if (document->keks[dek->wrappings[i].kek].state == PGE_KEK_DESTROYED)
			refuse_dek(dek, "has a wrapping under a KEK that is destroyed");
		for (int j = 0; j < i; j++)
			if (dek->wrappings[j].kek == dek->wrappings[i].kek)
				refuse_dek(dek, "has two wrappings under one KEK");
	}
}
