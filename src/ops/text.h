/*
 * text.h -- text is sealed as UTF-8, whatever the database's encoding.
 *
 * The server's converters print bytes of what they cannot convert; these do
 * not: their errors are fixed sentences.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_TEXT_H
#define PGE_OPS_TEXT_H

#include "postgres.h"

#include "mb/pg_wchar.h"

#include "base/bytes.h"

typedef enum TextRole
{
	PGE_TEXT_VALUE,
	PGE_TEXT_ASSOCIATED_DATA
} TextRole;

/* In a database of another encoding than UTF-8. */
extern PgeBytes pge_text_convert_to_utf8(const text *value, TextRole role,
										 void **copy);

/*
 * The UTF-8 form of a text of this database.  *copy is NULL when the span
 * points into the text, else the palloc'd room that it points into.
 */
static inline PgeBytes
pge_text_to_utf8(const text *value, TextRole role, void **copy)
{
	if (unlikely(GetDatabaseEncoding() != PG_UTF8))
		return pge_text_convert_to_utf8(value, role, copy);
	*copy = NULL;
	return pge_bytes(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * An opened value as text of this database; takes the palloc'd varlena over
 * and returns it or another.  Call it only after the tag was verified.
 */
extern text *pge_text_from_utf8(text *utf8);

#endif							/* PGE_OPS_TEXT_H */
