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
#include "base/report.h"
#include "keyring/key_name.h"

#define UNSEEN_HINT "Two names that look the same, or a name that breaks a line of the log, would mislead whoever reads them; leave these characters out."
#define URI_HINT "Leave the URI out to make a new KEK in the local keyring, or pass it as its service writes it."

static bool has_unseen(const uint8 *utf8, size_t len);
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

static bool
has_unseen(const uint8 *utf8, size_t len)
{
	for (size_t i = 0; i < len; i += pg_utf_mblen(utf8 + i))
	{
		if (pge_is_unseen(utf8 + i))
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
				 errmsg("key_id must have 1 to %d bytes of UTF-8", PGE_KEY_ID_MAX),
				 errhint("Choose a short name for each tenant, such as its number.")));
	if (status != PGE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_id cannot be written as UTF-8"),
				 errhint("Choose a name that is text in every encoding.")));
	if (has_unseen(utf8, out.len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_id must not contain control characters or invisible ones"),
				 errhint(UNSEEN_HINT)));
	if (strcmp(key_id, "*") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_id must not be \"*\""),
				 errdetail("In grants it stands for all keys."),
				 errhint("Choose another name.")));
}

void
pge_kek_name_check(const char *name)
{
	size_t		len = strlen(name);
	uint8		utf8[PGE_KEK_NAME_MAX * MAX_CONVERSION_GROWTH];
	PgeBuffer	out = {utf8, 0, sizeof(utf8)};

	if (len == 0 || len > PGE_KEK_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a KEK must have 1 to %d bytes", PGE_KEK_NAME_MAX),
				 errhint("Choose a short name; a URI is another argument of envelope_create_kek.")));
	if (pge_key_id_utf8(name, &out) != PGE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a KEK cannot be written as UTF-8"),
				 errhint("Choose a name that is text in every encoding.")));
	if (has_unseen(utf8, out.len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a KEK must not contain control characters or invisible ones"),
				 errhint(UNSEEN_HINT)));
}

/* RFC 3986: a word of letters, digits, "+", "-", ".", a colon, and no space anywhere. */
static bool
looks_like_uri(const char *name)
{
	size_t		scheme = strspn(name, "abcdefghijklmnopqrstuvwxyz"
								"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

	return scheme > 0 && name[scheme] == ':' && strchr(name, ' ') == NULL;
}

/*
 * Taken for a name, a URI would make a KEK in the local keyring for somebody who
 * believes that it is in the service he named.
 */
void
pge_kek_name_refuse_uri(const char *name)
{
	if (looks_like_uri(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a KEK is named here, and \"%s\" looks like a URI", pge_report_name(name)),
				 errhint("Name the KEK with envelope_create_kek('name', 'URI'), and use that name; a name must not begin with a word and a colon.")));
}

/* ASCII, so that it means the same to the agent as to any database. */
void
pge_kek_uri_check(const char *uri)
{
	size_t		len = strlen(uri);

	if (len == 0 || len > PGE_KEK_URI_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("URI of a KEK must have 1 to %d bytes", PGE_KEK_URI_MAX),
				 errhint(URI_HINT)));
	if (!pge_kek_uri_is_plain(pge_bytes(uri, len)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("URI of a KEK must be printable ASCII without spaces"),
				 errhint(URI_HINT)));
}

bool
pge_kek_uri_is_plain(PgeBytes uri)
{
	for (size_t i = 0; i < uri.len; i++)
		if (uri.data[i] <= 0x20 || uri.data[i] >= 0x7f)
			return false;
	return true;
}
