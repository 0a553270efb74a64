/*
 * document_private.h -- what the files of the keyring document share.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_DOCUMENT_PRIVATE_H
#define PGE_KEYRING_DOCUMENT_PRIVATE_H

#include "postgres.h"

#include "keyring/document.h"

#define PGE_DOCUMENT_VERSION	1

#define PGE_DOCUMENT_HINT "Nothing was imported. Pass what envelope_export_keyring gave, as it is."

/* 22023 unless its parts agree with one another. */
extern void pge_document_check(const KeyringDocument *document);

#endif							/* PGE_KEYRING_DOCUMENT_PRIVATE_H */
