/*-------------------------------------------------------------------------
 *
 * text.c
 *	  Text of this database to UTF-8 and back, without a word about its bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/secret.h"
#include "ops/text.h"

/* So much at once: a converter's lengths are int, and its output four times that. */
#define CONVERT_CHUNK	(1024 * 1024)

static void refuse_not_utf8(TextRole role) pg_attribute_noreturn();
static void
refuse_not_utf8(TextRole role)
{
	if (role == PGE_TEXT_VALUE)
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("the value cannot be sealed as text, because it cannot be written as UTF-8"),
				 errhint("Seal its bytes with envelope_encrypt_bytea.")));
	ereport(ERROR,
			(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			 errmsg("the associated data cannot be written as UTF-8"),
			 errhint("Bind the value to text, such as a number or an encode(..., 'hex').")));
}

static void refuse_not_text(void) pg_attribute_noreturn();
static void
refuse_not_text(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			 errmsg("the opened value is not text of this database's encoding"),
			 errhint("Open its bytes with envelope_decrypt_bytea.")));
}

#define HIGH_BITS	UINT64CONST(0x8080808080808080)
#define LOW_BITS	UINT64CONST(0x7f7f7f7f7f7f7f7f)

/* What every processor of today takes at once. */
typedef int8 Bytes16 __attribute__((vector_size(16)));

#define STEP	(4 * sizeof(Bytes16))

/*
 * High bits set where eight bytes are not all of 01 to 7f.  Adding 7f sets the
 * high bit of every byte but 00; a byte that carries into the next one has its
 * own high bit set already.
 */
static inline uint64
not_ascii(const void *at)
{
	uint64		word;

	memcpy(&word, at, sizeof(word));
	return (word | ~(word + LOW_BITS)) & HIGH_BITS;
}

static inline Bytes16
positive(const char *at)
{
	Bytes16		bytes;

	memcpy(&bytes, at, sizeof(bytes));
	return bytes > 0;
}

/* The same for a long text, which this steps over but for the last bytes. */
static pg_noinline uint64
steps_not_ascii(const char **text, const char *end)
{
	const char *at = *text;
	Bytes16		good = positive(at);
	uint64		words[2];

	for (; end - at >= (ptrdiff_t) STEP; at += STEP)
		good &= (positive(at) & positive(at + 16)) &
			(positive(at + 32) & positive(at + 48));
	*text = at;
	memcpy(words, &good, sizeof(words));
	return ~(words[0] & words[1]);
}

/* Every server encoding writes these bytes as UTF-8 does; NUL is no text. */
static bool
is_plain_ascii(const char *text, size_t len)
{
	const char *end = text + len;
	uint64		bad = 0;

	if (len >= STEP)
		bad = steps_not_ascii(&text, end);
	for (; end - text >= (ptrdiff_t) sizeof(uint64); text += sizeof(uint64))
		bad |= not_ascii(text);
	for (; text < end; text++)
		bad |= (*text == '\0' || IS_HIGHBIT_SET(*text)) ? 1 : 0;
	return bad == 0;
}

/* What each chunk's output needs, and so what the whole needs at most. */
static size_t
convert_room(size_t len)
{
	return len * MAX_CONVERSION_GROWTH + MAX_CONVERSION_GROWTH + 1;
}

/* False, with what was converted wiped, if some character has no counterpart. */
static bool
convert(const char *from, size_t len, int source, int target,
		char *to, size_t *to_len)
{
	Oid			proc = FindDefaultConversionProc(source, target);
	size_t		done = 0;

	*to_len = 0;
	while (OidIsValid(proc) && done < len)
	{
		int			chunk = (int) Min(len - done, (size_t) CONVERT_CHUNK);
		int			converted;

		converted = pg_do_encoding_conversion_buf(proc, source, target,
												  (unsigned char *) unconstify(char *, from) + done,
												  chunk,
												  (unsigned char *) to + *to_len,
												  (int) convert_room(chunk),
												  true);
		*to_len += strlen(to + *to_len);
		if (converted <= 0)
			break;				/* a cut character is begun again, a wrong one
								 * is not */
		done += converted;
	}
	if (done == len && OidIsValid(proc))
		return true;
	pge_secret_wipe(to, *to_len);
	return false;
}

PgeBytes
pge_text_convert_to_utf8(const text *value, TextRole role, void **copy)
{
	const char *bytes = VARDATA_ANY(value);
	size_t		len = VARSIZE_ANY_EXHDR(value);
	int			encoding = GetDatabaseEncoding();
	size_t		utf8_len;

	*copy = NULL;
	if (is_plain_ascii(bytes, len))
		return pge_bytes(bytes, len);
	if (encoding == PG_SQL_ASCII)
	{
		if (!pg_verify_mbstr(PG_UTF8, bytes, (int) len, true))
			refuse_not_utf8(role);
		return pge_bytes(bytes, len);
	}
	*copy = MemoryContextAllocHuge(CurrentMemoryContext, convert_room(len));
	if (!convert(bytes, len, encoding, PG_UTF8, *copy, &utf8_len))
		refuse_not_utf8(role);
	return pge_bytes(*copy, utf8_len);
}

static text *
text_in_encoding(const char *utf8, size_t len, int encoding)
{
	char	   *room = MemoryContextAllocHuge(CurrentMemoryContext,
											  VARHDRSZ + convert_room(len));
	size_t		converted;

	if (!convert(utf8, len, PG_UTF8, encoding, room + VARHDRSZ, &converted))
		refuse_not_text();
	if (converted > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the opened value is too long for text of this database's encoding"),
				 errhint("Open its bytes with envelope_decrypt_bytea.")));
	SET_VARSIZE(room, VARHDRSZ + converted);
	return (text *) room;
}

text *
pge_text_from_utf8(text *utf8)
{
	char	   *bytes = VARDATA(utf8);
	size_t		len = VARSIZE(utf8) - VARHDRSZ;
	int			encoding = GetDatabaseEncoding();
	text	   *converted;

	if (likely(is_plain_ascii(bytes, len)))
		return utf8;
	if (!pg_verify_mbstr(PG_UTF8, bytes, (int) len, true))
		refuse_not_text();
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return utf8;
	converted = text_in_encoding(bytes, len, encoding);
	pge_secret_wipe(bytes, len);
	pfree(utf8);
	return converted;
}
