/*-------------------------------------------------------------------------
 *
 * key_name.c
 *	  What a key and a KEK may be called, and a key_id as UTF-8.
 *
 * A key_id is stored in the database's encoding and bound as UTF-8, so a
 * keyring means the same in a database of another encoding.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"

#include "base/limits.h"
#include "keyring/key_name.h"

static bool has_control_character(const uint8 *utf8, size_t len);
static PgeStatus copy_valid_utf8(const char *text, PgeBuffer *out);

PgeStatus
pge_key_id_utf8(const char *key_id, PgeBuffer *out)
{
	int			encoding = GetDatabaseEncoding();
	int			len = (int) strlen(key_id);
	uint8		utf8[PGE_KEY_ID_MAX * MAX_CONVERSION_GROWTH + 1];
	Oid			proc;

	if (len > PGE_KEY_ID_MAX)
		return PGE_TOO_LARGE;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return copy_valid_utf8(key_id, out);
	proc = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(proc))
		return PGE_INVALID;
	if (pg_do_encoding_conversion_buf(proc, encoding, PG_UTF8,
									  (unsigned char *) key_id, len,
									  utf8, sizeof(utf8), true) != len)
		return PGE_INVALID;
	return copy_valid_utf8((const char *) utf8, out);
}

static PgeStatus
copy_valid_utf8(const char *text, PgeBuffer *out)
{
	size_t		len = strlen(text);

	if (pg_encoding_verifymbstr(PG_UTF8, text, (int) len) != (int) len)
		return PGE_INVALID;
	if (len > out->capacity)
		return PGE_TOO_LARGE;
	memcpy(out->data, text, len);
	out->len = len;
	return PGE_OK;
}

/*
 * C0, DEL, and C1 as UTF-8 writes it (C2 80 to C2 9F).  The name of a KEK comes
 * in the database's encoding, where C2 may be a letter by itself.
 */
static bool
has_control_character(const uint8 *utf8, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (utf8[i] < 0x20 || utf8[i] == 0x7f)
			return true;
		if (utf8[i] == 0xc2 && i + 1 < len && utf8[i + 1] >= 0x80 && utf8[i + 1] < 0xa0)
			return true;
	}
	return false;
}

void
pge_key_id_check(const char *key_id)
{
	uint8		utf8[PGE_KEY_ID_MAX];
	PgeBuffer	out = {utf8, 0, sizeof(utf8)};
	PgeStatus	status = pge_key_id_utf8(key_id, &out);

	if (status == PGE_TOO_LARGE || (status == PGE_OK && out.len == 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_id must have 1 to %d bytes of UTF-8", PGE_KEY_ID_MAX)));
	if (status != PGE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_id cannot be written as UTF-8")));
	if (has_control_character(utf8, out.len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_id must not contain control characters")));
	if (strcmp(key_id, "*") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_id must not be \"*\""),
				 errdetail("In grants it stands for all keys.")));
}

void
pge_kek_name_check(const char *name)
{
	size_t		len = strlen(name);

	if (len == 0 || len > PGE_KEK_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a KEK must have 1 to %d bytes", PGE_KEK_NAME_MAX)));
	if (has_control_character((const uint8 *) name, len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a KEK must not contain control characters")));
}
