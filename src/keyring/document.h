/*
 * document.h -- keys as a document: what envelope_export_keyring gives and
 * envelope_import_keyring takes.
 *
 * Rows with wrapped data keys, never a key.  format/README.md specifies it.  A
 * document that comes back is anybody's: it is read strictly, and what it says of a
 * data key is believed only once the key opens (ops/import_proof.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_DOCUMENT_H
#define PGE_KEYRING_DOCUMENT_H

#include "postgres.h"

#include "utils/array.h"
#include "utils/jsonb.h"

#include "keyring/keyring.h"

/* No longer than what was read: there may be a million that no key names. */
typedef struct DocumentKek
{
	char	   *name;
	char	   *uri;
	KekState	state;
} DocumentKek;

typedef struct DocumentWrapping
{
	int			kek;			/* its place in keks */
	char	   *kek_version;
	PgeBytes	wrapped;
} DocumentWrapping;

typedef struct DocumentDek
{
	KeyringDek	row;
	TimestampTz created;
	int			count;			/* of wrappings, by seq; none: destroyed */
	DocumentWrapping *wrappings;
} DocumentDek;

typedef struct DocumentKey
{
	KeyringKey	row;
	int			kek;			/* its place in keks */
	int			count;			/* of data keys, by version; one at least */
	DocumentDek *deks;
} DocumentKey;

typedef struct KeyringDocument
{
	int			nkeks;			/* by name */
	DocumentKek *keks;
	int			nkeys;			/* by key_id */
	DocumentKey *keys;
} KeyringDocument;

/*
 * Everything palloc'd.  22023 for what is no such document, which contradicts
 * itself, or has what the tables do not take; no table is asked.
 */
extern void pge_document_read(Jsonb * jsonb, KeyringDocument *document);

/*
 * Of these keys (text[]), or of all: NULL.  As of now and not of the transaction's
 * snapshot, all of one moment.  KE003 where a row that it needs has not arrived.
 * Rights are the caller's affair.
 */
extern Jsonb * pge_document_write(ArrayType *key_ids);

#endif							/* PGE_KEYRING_DOCUMENT_H */
