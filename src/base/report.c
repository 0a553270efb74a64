/*-------------------------------------------------------------------------
 *
 * report.c
 *	  From a status to what the user reads: SQLSTATE, hint, clean detail.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"

#include "base/limits.h"
#include "base/report.h"
#include "base/settings.h"

typedef struct StatusRow
{
	PgeStatus	status;
	int			sqlstate;
	const char *hint;			/* NULL: the message says it all */
} StatusRow;

static const StatusRow status_rows[] = {
	{PGE_NOT_AUTHENTIC, PGE_ERRCODE_NOT_AUTHENTIC,
	"Check that key_id and associated_data are the ones that the value was sealed with."},
	{PGE_MALFORMED, PGE_ERRCODE_MALFORMED,
	"Check that the value is what envelope_encrypt returned, whole and unchanged."},
	{PGE_UNKNOWN_DEK, PGE_ERRCODE_UNKNOWN_DEK,
	"If the value came by replication or restore ahead of its key, try again when the tables of schema \"envelope\" have arrived."},
	{PGE_KEY_DISABLED, PGE_ERRCODE_KEY_DISABLED,
	"Enable it with envelope_enable_key."},
	{PGE_KEY_DESTROYED, PGE_ERRCODE_KEY_DESTROYED,
	"Only a backup from before its destruction, and a KEK that wrapped it, can bring it back."},
	{PGE_COMPROMISED, PGE_ERRCODE_COMPROMISED,
	"Make a new version with envelope_rotate_key."},
	{PGE_AGENT_UNREACHABLE, PGE_ERRCODE_AGENT_UNREACHABLE,
	"Try again; if it stays, see SELECT * FROM envelope_status() and the server's log."},
	{PGE_UNAVAILABLE, PGE_ERRCODE_SERVICE_UNAVAILABLE,
	"Try again; if it stays, check the key service and the way to it, for a local KEK the keyring file (pg_envelope_agent keyring check)."},
	{PGE_THROTTLED, PGE_ERRCODE_THROTTLED,
	"Try again later, or raise \"pg_envelope.kms_concurrency\"."},
	{PGE_UNAUTHENTICATED, PGE_ERRCODE_UNAUTHENTICATED,
	"Check the credential of the key service, for a local KEK \"pg_envelope.keyring_passphrase_command\", then reload the server."},
	{PGE_DENIED, PGE_ERRCODE_DENIED,
	"Have it allowed where the detail says: in the key service, or in \"pg_envelope.kms_config_file\" (then reload the server)."},
	{PGE_USED_UP, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
	"Have the quota raised where the service does that; or make another KEK with envelope_create_kek, and move to it with rewrap_all."},
	{PGE_KEK_UNUSABLE, PGE_ERRCODE_KEK_UNUSABLE,
	"Check the KEK's state and kind where it lives."},
	{PGE_KEK_NOT_FOUND, PGE_ERRCODE_KEK_NOT_FOUND,
	"Check the KEK's URI and that the key exists in its service; for a local KEK restore the keyring file from its backup (pg_envelope_agent keyring restore)."},
	{PGE_WRAPPING_DAMAGED, PGE_ERRCODE_WRAPPING_DAMAGED,
	"The row of envelope.dek or envelope.wrapping is not what was written, or the KEK is another one; restore it from a backup."},
	{PGE_INVALID, ERRCODE_INVALID_PARAMETER_VALUE, NULL},
	{PGE_TOO_LARGE, ERRCODE_PROGRAM_LIMIT_EXCEEDED, NULL},
	{PGE_OUT_OF_MEMORY, ERRCODE_OUT_OF_MEMORY, NULL},
	{PGE_IO_ERROR, ERRCODE_IO_ERROR,
	"Check the disk and the rights on the keyring file and its directory."},
	{PGE_CRYPTO_FAILED, ERRCODE_SYSTEM_ERROR,
	"Check the configuration of OpenSSL on the server."},
	{PGE_NOT_PRELOADED, PGE_ERRCODE_NOT_PRELOADED,
	"Add pg_envelope to shared_preload_libraries in postgresql.conf (shared_preload_libraries = 'pg_envelope') and restart the server."},
	{PGE_BUSY, ERRCODE_LOCK_NOT_AVAILABLE,
	"Another process is writing the keyring file; try again."},
};

/* Where the agent is a service of its own and so another place is to be looked at. */
static const StatusRow external_rows[] = {
	{PGE_AGENT_UNREACHABLE, PGE_ERRCODE_AGENT_UNREACHABLE,
	"Try again; if it stays, look at the agent's service (systemctl status pg_envelope_agent) and at SELECT * FROM envelope_status()."},
	{PGE_THROTTLED, PGE_ERRCODE_THROTTLED,
	"Try again later, or raise \"concurrency\" in [agent] of the agent's configuration (then reload the agent)."},
	{PGE_UNAUTHENTICATED, PGE_ERRCODE_UNAUTHENTICATED,
	"Check the credential of the key service, for a local KEK \"keyring_passphrase_command\" of the agent's configuration, then reload the agent."},
	{PGE_DENIED, PGE_ERRCODE_DENIED,
	"Have it allowed where the detail says: in the key service, or in the agent's configuration (then reload the agent)."},
};

static bool preloaded = false;

static const StatusRow *
find_row(PgeStatus status)
{
	for (size_t i = 0; i < lengthof(status_rows); i++)
	{
		if (status_rows[i].status == status)
			return &status_rows[i];
	}
	return NULL;
}

int
pge_status_sqlstate(PgeStatus status)
{
	const StatusRow *row = find_row(status);

	/* a status of a newer agent: we know only that it did not work */
	return row ? row->sqlstate : PGE_ERRCODE_SERVICE_UNAVAILABLE;
}

const char *
pge_status_hint(PgeStatus status)
{
	const StatusRow *row = find_row(status);

	for (size_t i = 0; pge_agent == PGE_AGENT_EXTERNAL && i < lengthof(external_rows); i++)
	{
		if (external_rows[i].status == status)
			return external_rows[i].hint;
	}
	return row ? row->hint : find_row(PGE_UNAVAILABLE)->hint;
}

/*
 * One whole UTF-8 character in the database's encoding, or false.  The
 * converter that throws would print bytes of it, so it is asked not to.
 */
static bool
append_converted(char **out, const uint8 *character, int len)
{
	int			encoding = GetDatabaseEncoding();
	unsigned char converted[MAX_CONVERSION_GROWTH * 4 + 1];
	Oid			proc;

	if (encoding == PG_UTF8)
	{
		memcpy(*out, character, len);
		*out += len;
		return true;
	}
	if (encoding == PG_SQL_ASCII || !IsTransactionState())
		return false;
	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(proc) ||
		pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
									  unconstify(uint8 *, character), len,
									  converted, sizeof(converted), true) != len)
		return false;
	len = (int) strlen((char *) converted);
	memcpy(*out, converted, len);
	*out += len;
	return true;
}

/*
 * Unicode's format characters, line separators and empty letters, but for the
 * two joiners (200C, 200D), without which some scripts cannot be written.
 */
static const struct
{
	pg_wchar	first;
	pg_wchar	last;
}			unseen[] = {
	{0x00, 0x1f}, {0x7f, 0x9f}, {0xad, 0xad}, {0x61c, 0x61c},
	{0x115f, 0x1160}, {0x180e, 0x180e}, {0x200b, 0x200b}, {0x200e, 0x200f},
	{0x2028, 0x202e}, {0x2060, 0x206f}, {0x3164, 0x3164}, {0xfeff, 0xfeff},
	{0xffa0, 0xffa0}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}
};

bool
pge_is_unseen(const uint8 *character)
{
	pg_wchar	code = utf8_to_unicode(character);

	for (size_t i = 0; i < lengthof(unseen); i++)
	{
		if (code >= unseen[i].first && code <= unseen[i].last)
			return true;
	}
	return false;
}

static bool
append_as_is(char **out, const uint8 *character, int len)
{
	memcpy(*out, character, len);
	*out += len;
	return true;
}

static char *
clean(PgeBytes utf8, bool (*append) (char **out, const uint8 *character, int len))
{
	char	   *text = palloc(utf8.len * MAX_CONVERSION_GROWTH + 1);
	char	   *out = text;
	size_t		at = 0;

	while (at < utf8.len)
	{
		const uint8 *p = utf8.data + at;
		int			len = pg_utf_mblen(p);
		bool		whole = (size_t) len <= utf8.len - at && pg_utf8_islegal(p, len);

		at += whole ? len : 1;
		if (!whole || pge_is_unseen(p) || (len > 1 && !append(&out, p, len)))
			*out++ = '?';
		else if (len == 1)
			*out++ = (char) *p;
	}
	*out = '\0';
	return text;
}

char *
pge_report_text(PgeBytes utf8)
{
	return clean(utf8, append_converted);
}

/* Of this database's encoding; what cannot be converted is left out with the rest. */
static PgeBytes
name_as_utf8(const char *name, int len)
{
	int			encoding = GetDatabaseEncoding();
	int			room = len * MAX_CONVERSION_GROWTH + 1;
	unsigned char *utf8;
	Oid			proc;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pge_bytes(name, len);
	proc = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(proc))
		return pge_bytes(NULL, 0);
	utf8 = palloc0(room);
	pg_do_encoding_conversion_buf(proc, encoding, PG_UTF8,
								  (unsigned char *) unconstify(char *, name), len,
								  utf8, room, true);
	return pge_bytes(utf8, strlen((char *) utf8));
}

char *
pge_report_name(const char *name)
{
	int			len = (int) strlen(name);
	int			shown = pg_mbcliplen(name, len, PGE_KEY_ID_MAX);
	char	   *text = clean(name_as_utf8(name, shown),
							 GetDatabaseEncoding() == PG_SQL_ASCII ? append_as_is : append_converted);

	return shown < len ? psprintf("%s...", text) : text;
}

void
pge_report_error(PgeStatus status, const char *what, PgeBytes detail)
{
	const char *hint = pge_status_hint(status);
	char	   *text = detail.len > 0 ? pge_report_text(detail) : NULL;

	ereport(ERROR,
			(errcode(pge_status_sqlstate(status)),
			 errmsg("%s", what),
			 text ? errdetail("%s", text) : 0,
			 hint ? errhint("%s", hint) : 0));
}

void
pge_report_bad_answer(const char *what, const char *lacks)
{
	ereport(ERROR,
			(errcode(PGE_ERRCODE_AGENT_UNREACHABLE),
			 errmsg("%s", what),
			 errdetail("The agent's answer is incomplete: it lacks %s.", lacks),
			 errhint("%s", pge_status_hint(PGE_AGENT_UNREACHABLE))));
}

void
pge_set_preloaded(void)
{
	preloaded = true;
}

void
pge_require_preloaded(void)
{
	if (!preloaded)
		pge_report_error(PGE_NOT_PRELOADED,
						 "pg_envelope is not among the preloaded libraries",
						 pge_bytes(NULL, 0));
}
