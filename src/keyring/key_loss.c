/*-------------------------------------------------------------------------
 *
 * key_loss.c
 *	  Counts the data keys that live, and refuses what would lose them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/report.h"
#include "base/settings.h"
#include "keyring/key_loss.h"
#include "keyring/keyring_private.h"

static int64 count_living(int64 enough);
static Oid	find_table(const char *name);
static int64 count_in(Relation dek, Snapshot snapshot, int64 enough);
static const char *hint(KeyHarm harm);
static bool names_this_keyring(const char *uuid);
static char *number_of_keys(int64 keys);
static void log_leave(const char *action, int64 keys, KeyHarm harm);
static bool is_logged(const char *action, KeyHarm harm, const char *logged);

int64
pge_key_loss_living(void)
{
	return count_living(PG_INT64_MAX);
}

bool
pge_key_loss_any(void)
{
	return count_living(1) > 0;
}

/*
 * A fresh snapshot shows what is committed; a dirty one also rows of transactions
 * under way, but can miss one that is updated while it looks.
 */
static int64
count_living(int64 enough)
{
	Oid			table = find_table("dek");
	SnapshotData dirty;
	Relation	dek;
	int64		living;

	if (!OidIsValid(table))
		return 0;
	dek = table_open(table, AccessShareLock);
	living = count_in(dek, NULL, enough);
	if (living == 0)
	{
		InitDirtySnapshot(dirty);
		living = count_in(dek, &dirty, enough);
	}
	table_close(dek, AccessShareLock);
	return living;
}

static Oid
find_table(const char *name)
{
	Oid			schema = get_namespace_oid("envelope", true);

	if (!OidIsValid(schema) || !OidIsValid(get_extension_oid("pg_envelope", true)))
		return InvalidOid;
	return get_relname_relid(name, schema);
}

/* By no index: in the course of a DROP it may be gone. */
static int64
count_in(Relation dek, Snapshot snapshot, int64 enough)
{
	SysScanDesc scan = systable_beginscan(dek, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	row;
	int64		living = 0;

	while (living < enough && HeapTupleIsValid(row = systable_getnext(scan)))
		living += pge_key_loss_row_lives(dek, row);
	systable_endscan(scan);
	return living;
}

bool
pge_key_loss_row_lives(Relation dek, HeapTuple row)
{
	static const char destroyed[] = "destroyed";
	bool		isnull;
	Datum		state = heap_getattr(row, Anum_dek_state, RelationGetDescr(dek), &isnull);
	text	   *word = isnull ? NULL : DatumGetTextPP(state);

	return word == NULL || VARSIZE_ANY_EXHDR(word) != strlen(destroyed) ||
		strncmp(VARDATA_ANY(word), destroyed, strlen(destroyed)) != 0;
}

void
pge_key_loss_refuse(const char *action, int64 keys, KeyHarm harm)
{
	bool		lost = harm == PGE_KEYS_LOST || harm == PGE_ROW_LOST;

	if (keys == 0)
		return;
	if (pge_key_loss_allowed())
	{
		log_leave(action, keys, harm);
		return;
	}
	ereport(ERROR,
			(errcode(PGE_ERRCODE_GUARD),
			 errmsg("cannot %s: %s %s", action, number_of_keys(keys),
					lost ? "would be lost" : "could be lost"),
			 lost ? errdetail("Values sealed by %s could never be opened again.", keys == 1 ? "it" : "them") :
			 errdetail("The functions and dumps of extension \"pg_envelope\" rely on it."),
			 errhint("%s", hint(harm))));
}

static const char *
hint(KeyHarm harm)
{
	if (pge_allow_key_loss[0] != '\0')
		return "\"pg_envelope.allow_key_loss\" does not let it pass: a superuser's session sets it, to the uuid of this database's keyring.";
	if (harm == PGE_KEYS_LOST)
		return "To uninstall for good, follow \"Uninstall\" in README.";
	if (harm == PGE_ROW_LOST)
		return "Keys are destroyed with envelope_destroy_key; who means to lose one as well finds how under \"Uninstall\" in README.";
	return "Who means it finds how under \"Uninstall\" in README.";
}

bool
pge_key_loss_allowed(void)
{
#ifdef PGE_WITHOUT_KEY_LOSS_GUARD
	return true;				/* a test build, which shows what gets lost */
#endif
	return pge_allow_key_loss[0] != '\0' &&
		superuser_arg(GetSessionUserId()) && names_this_keyring(pge_allow_key_loss);
}

static bool
names_this_keyring(const char *uuid)
{
	Oid			table = find_table("keyring");
	bool		same = false;
	Relation	keyring;
	SysScanDesc scan;
	HeapTuple	row;

	if (!OidIsValid(table))
		return false;
	keyring = table_open(table, AccessShareLock);
	scan = systable_beginscan(keyring, InvalidOid, false, NULL, 0, NULL);
	while (!same && HeapTupleIsValid(row = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		column = heap_getattr(row, Anum_keyring_uuid, RelationGetDescr(keyring), &isnull);

		same = !isnull &&
			pg_strcasecmp(uuid, DatumGetCString(DirectFunctionCall1(uuid_out, column))) == 0;
	}
	systable_endscan(scan);
	table_close(keyring, AccessShareLock);
	return same;
}

/* "1,000 data keys" */
static char *
number_of_keys(int64 keys)
{
	char	   *digits = psprintf(INT64_FORMAT, keys);
	int			len = (int) strlen(digits);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < len; i++)
	{
		if (i > 0 && (len - i) % 3 == 0)
			appendStringInfoChar(&text, ',');
		appendStringInfoChar(&text, digits[i]);
	}
	appendStringInfoString(&text, keys == 1 ? " data key" : " data keys");
	return text.data;
}

/* One line for a statement of the client's, however many rows or objects go. */
static void
log_leave(const char *action, int64 keys, KeyHarm harm)
{
	static TimestampTz logged_at;
	static char logged[NAMEDATALEN * 4];
	TimestampTz statement = GetCurrentStatementStartTimestamp();

	if (statement == logged_at && is_logged(action, harm, logged))
		return;
	logged_at = statement;
	strlcpy(logged, action, sizeof(logged));
	ereport(LOG,
			(errmsg("\"pg_envelope.allow_key_loss\" lets user \"%s\" %s in database \"%s\"",
					GetUserNameFromId(GetSessionUserId(), true), action,
					get_database_name(MyDatabaseId)),
			 errdetail("At least %s may be lost by it.", number_of_keys(keys))));
}

/* Of rows that differ in what they are of, as in the name of the key, the first stands for all. */
static bool
is_logged(const char *action, KeyHarm harm, const char *logged)
{
	bool		of_row = harm == PGE_ROW_LOST || harm == PGE_ROW_ENDANGERED;
	size_t		kind = of_row ? strcspn(action, "\"") : NAMEDATALEN * 4 - 1;

	return strncmp(action, logged, kind) == 0;
}
