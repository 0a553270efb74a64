/*
 * import_private.h -- the steps of an import.
 *
 * Compare with what is here, settle the KEKs (locked from then on, so that none is
 * destroyed under a key that comes), prove what is new by the agent, write.  No row
 * of a key is locked while the agent is asked.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_IMPORT_PRIVATE_H
#define PGE_OPS_IMPORT_PRIVATE_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "keyring/document.h"

/* What becomes of a KEK of the document. */
typedef struct ImportKek
{
	bool		wraps;			/* has a wrapping that comes */
	bool		needed;			/* or is the KEK of a key that comes */
	bool		missing;		/* no row has its URI yet */
	bool		unused;			/* has been, so its row may be written */
	List	   *like;			/* the names of those here whose URI differs
								 * in ?instance= at most */
	KeyringKek *row;			/* of one that is needed: here; of a missing
								 * one, as it will be */
} ImportKek;

/* What is here of a data key of the document. */
typedef enum ImportDek
{
	PGE_IMPORT_ABSENT,			/* 0: nobody has looked yet */
	PGE_IMPORT_UNWRAPPED,		/* its row, and no wrapping that counts: lost,
								 * unless the document brings one */
	PGE_IMPORT_HERE				/* and stays as it is */
} ImportDek;

/* What is here of a key of the document. */
typedef struct ImportKey
{
	bool		is_here;
	ImportDek  *deks;			/* each of its data keys */
} ImportKey;

typedef struct KeyringImport
{
	KeyringDocument document;
	ImportKek  *keks;			/* of document.keks */
	ImportKey  *keys;			/* of document.keys */
} KeyringImport;

/* 42710 if something else has its name or a number; 42501. */
extern void pge_import_compare(KeyringImport *import, int key);

extern void pge_import_settle_keks(KeyringImport *import);
extern void pge_import_prove(const KeyringImport *import);

/* Compares once more, now that nobody changes the key. */
extern void pge_import_write(KeyringImport *import, int key);

#endif							/* PGE_OPS_IMPORT_PRIVATE_H */
