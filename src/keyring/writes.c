/*-------------------------------------------------------------------------
 *
 * writes.c
 *	  Changes rows of schema "envelope" by SPI, as the tables' owner.
 *
 * The user is switched around the one statement only, and write_scope tells
 * the row trigger that it is ours.  Both are put back on every way out.  What the
 * owner has put there leaves nothing behind that the caller would run as himself:
 * no deferred trigger, no cursor, no temporary object, no search_path.
 *
 * Names, functions and operators are qualified: the caller's search_path must
 * not choose them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/report.h"
#include "keyring/kept_plans.h"
#include "keyring/key_loss.h"
#include "keyring/keyring_private.h"
#include "keyring/trigger.h"
#include "keyring/write_scope.h"
#include "keyring/writes.h"

#define EQ " OPERATOR(pg_catalog.=) "

#define PARAMS_MAX 9

typedef struct Params
{
	int			count;
	Oid			types[PARAMS_MAX];
	Datum		values[PARAMS_MAX];
} Params;

/* Without one of them a data key, or who may use it, could get lost. */
static const char *const tables[] = {"keyring", "kek", "key", "dek", "wrapping", "key_grant"};

static uint64 run(const char *sql, Params *params);
static void run_on_one(const char *what, const char *sql, Params *params);
static void require_logged_tables(void);
static void require_guards(void);
static void snapshot_too_old(const char *what) pg_attribute_noreturn();
static void require_wrapping(uint32 dek_id, const char *kek, const PgeBytes *wrapped);
static bool is_live_under(HeapTuple row, const KeyringScan *scan, const char *kek,
						  const PgeBytes *wrapped);
static bool on_wrapping(const char *sql, uint32 dek_id, int32 seq, PgeBytes wrapped);
static bool wrapping_is_live(uint32 dek_id, int32 seq, PgeBytes wrapped);
static void add(Params *params, Oid type, Datum value);
static void add_text(Params *params, const char *value);
static void add_bytes(Params *params, const void *data, size_t len);
static void add_uuid(Params *params, const uint8 uuid[PGE_UUID_LEN]);
static void add_rights(Params *params, uint32 rights);

void
pge_write_allowed(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

static uint64
run(const char *sql, Params *params)
{
	Oid			user;
	int			context;
	int			settings = NewGUCNestLevel();
	WriteScope	before;
	volatile uint64 rows = 0;

	GetUserIdAndSecContext(&user, &context);
	before = pge_write_scope_enter();
	PG_TRY();
	{
		SetUserIdAndSecContext(pge_keyring_owner(), context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
		rows = pge_kept_plan_run(sql, params->count, params->types, params->values);
		CommandCounterIncrement();
		AtEOXact_GUC(false, settings);
	}
	PG_FINALLY();
	{
		pge_write_scope_leave(before);
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
	return rows;
}

/*
 * The row is there, since a fresh read found it.  Above READ COMMITTED our
 * snapshot may not show it: nothing may then pass for done.
 */
static void
run_on_one(const char *what, const char *sql, Params *params)
{
	uint64		rows = run(sql, params);

	if (rows > 1)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_WRAPPING_DAMAGED),
				 errmsg("could not change %s: several rows have its number or name", what),
				 errhint("The functions of pg_envelope did not write that; restore the rows from a backup.")));
	if (rows != 1)
		snapshot_too_old(what);
}

Oid
pge_keyring_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(RELOID,
										ObjectIdGetDatum(pge_keyring_relid("keyring")));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for table \"envelope.keyring\"");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
snapshot_too_old(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not change %s: it is newer than this transaction's snapshot", what),
			 errhint("Try the transaction again.")));
}

bool
pge_lock_kek(const char *name, RowLock lock, KeyringKek *kek)
{
	Params		params = {0};
	uint64		locked;

	add_text(&params, name);
	locked = run(lock == PGE_LOCK_SHARE ?
				 "SELECT FROM envelope.kek WHERE name" EQ "$1 FOR SHARE" :
				 "SELECT FROM envelope.kek WHERE name" EQ "$1 FOR NO KEY UPDATE",
				 &params);
	if (!pge_keyring_find_kek(name, kek))
		return false;
	if (locked == 0)
		snapshot_too_old("the KEK");
	return true;
}

/*
 * A KEK that another transaction is making, and has made data keys under, shows in no
 * scan yet.
 */
void
pge_lock_all_keks(void)
{
	LockRelationOid(pge_keyring_relid("kek"), ShareRowExclusiveLock);
}

bool
pge_lock_key(const char *key_id, KeyringKey *key)
{
	Params		params = {0};
	uint64		locked;

	add_text(&params, key_id);
	locked = run("SELECT FROM envelope.key WHERE key_id" EQ "$1 FOR NO KEY UPDATE", &params);
	if (!pge_keyring_find_key(key_id, key))
		return false;
	if (locked == 0)
		snapshot_too_old("the key");
	return true;
}

/* Those that it is to wrap next, and those of a data key that it wraps: not always the same. */
void
pge_lock_keys_of_kek(const char *kek)
{
	Params		params = {0};

	add_text(&params, kek);
	run("SELECT FROM envelope.key WHERE key_id" EQ "ANY ("
		"SELECT key_id FROM envelope.key WHERE kek" EQ "$1 UNION ALL"
		" SELECT key_id FROM envelope.wrapping w JOIN envelope.dek d ON d.dek_id" EQ "w.dek_id"
		" WHERE w.kek" EQ "$1 AND w.superseded IS NULL)"
		" ORDER BY key_id COLLATE pg_catalog.\"C\" FOR NO KEY UPDATE", &params);
}

void
pge_write_keyring(const uint8 drawn[PGE_UUID_LEN], uint8 uuid[PGE_UUID_LEN])
{
	Params		params = {0};

	if (pge_keyring_find_uuid(uuid))
		return;
	add_uuid(&params, drawn);
	run("INSERT INTO envelope.keyring (uuid) VALUES ($1) ON CONFLICT DO NOTHING", &params);
	if (!pge_keyring_find_uuid(uuid))
		elog(ERROR, "could not name the keyring");
}

bool
pge_write_kek(const char *name, const char *uri)
{
	Params		params = {0};

	add_text(&params, name);
	add_text(&params, uri);
	return run("INSERT INTO envelope.kek (name, uri) VALUES ($1, $2)"
			   " ON CONFLICT (name) DO NOTHING", &params) == 1;
}

bool
pge_write_key(const KeyringKey *key)
{
	Params		params = {0};

	add_text(&params, key->key_id);
	add_text(&params, key->kek);
	add_text(&params, pge_algorithm_name(key->algorithm));
	add(&params, BOOLOID, BoolGetDatum(key->require_associated_data));
	return run("INSERT INTO envelope.key (key_id, kek, algorithm, require_associated_data)"
			   " VALUES ($1, $2, $3, $4) ON CONFLICT (key_id) DO NOTHING", &params) == 1;
}

/* While no data key lived, nothing kept a hand from making one unlogged. */
static void
require_logged_tables(void)
{
	for (size_t i = 0; i < lengthof(tables); i++)
		if (get_rel_persistence(pge_keyring_relid(tables[i])) != RELPERSISTENCE_PERMANENT)
			ereport(ERROR,
					(errcode(PGE_ERRCODE_GUARD),
					 errmsg("a data key is not kept in table \"envelope.%s\", which is unlogged", tables[i]),
					 errdetail("A crash of the server would empty it."),
					 errhint("ALTER TABLE envelope.%s SET LOGGED, and try again.", tables[i])));
}

/* Nor from dropping a guard, or one who may lose keys from leaving it switched off. */
static void
require_guards(void)
{
	for (size_t i = 0; i < lengthof(tables); i++)
		if (!pge_row_guards_stand(pge_keyring_relid(tables[i])) && !pge_key_loss_allowed())
			ereport(ERROR,
					(errcode(PGE_ERRCODE_GUARD),
					 errmsg("a data key is not made while table \"envelope.%s\" lacks a guard", tables[i]),
					 errdetail("Its triggers \"envelope_guard\" and \"envelope_guard_truncate\" are not both there and ENABLE ALWAYS, as extension \"pg_envelope\" made them: the key could be lost."),
					 errhint("ALTER TABLE envelope.%s ENABLE ALWAYS TRIGGER envelope_guard, ENABLE ALWAYS TRIGGER envelope_guard_truncate; one that is missing is made anew by its CREATE TRIGGER in the extension's script. Then try again.", tables[i])));
}

/*
 * A value may leave the server the moment we commit; a crash must not take its
 * key away, whatever synchronous_commit says.
 */
bool
pge_write_dek(const KeyringDek *dek, TimestampTz created)
{
	Params		params = {0};

	require_logged_tables();
	require_guards();
	ForceSyncCommit();
	add(&params, INT8OID, Int64GetDatum((int64) dek->dek_id));
	add_text(&params, dek->key_id);
	add(&params, INT4OID, Int32GetDatum(dek->version));
	add_text(&params, "aead");
	add_text(&params, pge_algorithm_name(dek->algorithm));
	add_uuid(&params, dek->keyring);
	add_bytes(&params, dek->check_value, PGE_CHECK_VALUE_LEN);
	add_text(&params, pge_dek_state_name(dek->state));
	add(&params, TIMESTAMPTZOID, TimestampTzGetDatum(created));
	return run("INSERT INTO envelope.dek"
			   " (dek_id, key_id, version, purpose, algorithm, keyring, check_value, state, created)"
			   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
			   " ON CONFLICT (dek_id) DO NOTHING", &params) == 1;
}

bool
pge_write_wrapping(uint32 dek_id, const char *kek, PgeBytes kek_version, PgeBytes wrapped)
{
	Params		params = {0};
	bool		inserted;

	add(&params, INT8OID, Int64GetDatum((int64) dek_id));
	add_text(&params, kek);
	add_text(&params, pge_report_text(kek_version));
	add_bytes(&params, wrapped.data, wrapped.len);
	add(&params, INT4OID, Int32GetDatum(pge_keyring_last_seq(dek_id) + 1));
	inserted = run("INSERT INTO envelope.wrapping (dek_id, kek, kek_version, wrapped, seq)"
				   " VALUES ($1, $2, $3, $4, $5)"
				   " ON CONFLICT (dek_id, kek) WHERE superseded IS NULL DO NOTHING",
				   &params) == 1;
	require_wrapping(dek_id, kek, inserted ? &wrapped : NULL);
	return inserted;
}

/*
 * It may be the only one there is, and somebody else's trigger, rule or default could
 * have left it out or changed it; one that is superseded nobody would rewrap.
 */
static void
require_wrapping(uint32 dek_id, const char *kek, const PgeBytes *wrapped)
{
	KeyringScan scan;
	ScanKeyData key;
	HeapTuple	row;
	bool		found = false;

	ScanKeyInit(&key, Anum_wrapping_dek_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) dek_id));
	pge_keyring_scan_begin(&scan, "wrapping", "wrapping_pkey", &key, 1);
	while (!found && HeapTupleIsValid(row = pge_keyring_scan_next(&scan)))
		found = is_live_under(row, &scan, kek, wrapped);
	pge_keyring_scan_end(&scan);
	if (!found)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_GUARD),
				 errmsg("a wrapping of a data key is not in table \"envelope.wrapping\" as it was written"),
				 errhint("A trigger, rule or default there that is not of extension \"pg_envelope\" keeps it out or changes it; drop that.")));
}

static bool
is_live_under(HeapTuple row, const KeyringScan *scan, const char *kek, const PgeBytes *wrapped)
{
	char		name[NAMEDATALEN];
	uint8		bytes[PGE_WRAPPED_MAX];
	size_t		len;

	if (heap_attisnull(row, Anum_wrapping_wrapped, RelationGetDescr(scan->relation)) ||
		!heap_attisnull(row, Anum_wrapping_superseded, RelationGetDescr(scan->relation)))
		return false;
	pge_keyring_text_column(row, scan, Anum_wrapping_kek, name, sizeof(name));
	if (strcmp(name, kek) != 0)
		return false;
	len = pge_keyring_bytes_column(row, scan, Anum_wrapping_wrapped, bytes, 4, sizeof(bytes));
	return wrapped == NULL ||
		(len == wrapped->len && memcmp(bytes, wrapped->data, len) == 0);
}

void
pge_write_kek_uri(const char *name, const char *uri)
{
	Params		params = {0};

	add_text(&params, name);
	add_text(&params, uri);
	run_on_one("the KEK", "UPDATE envelope.kek SET uri = $2 WHERE name" EQ "$1", &params);
}

void
pge_write_kek_state(const char *name, KekState state)
{
	Params		params = {0};

	add_text(&params, name);
	add_text(&params, pge_kek_state_name(state));
	run_on_one("the KEK", state == PGE_KEK_ENABLED ?
			   "UPDATE envelope.kek SET state = $2, unused_since = NULL, unused_since_lsn = NULL"
			   " WHERE name" EQ "$1" :
			   "UPDATE envelope.kek SET state = $2 WHERE name" EQ "$1", &params);
}

void
pge_write_kek_unused(const char *name)
{
	Params		params = {0};

	add_text(&params, name);
	run_on_one("the KEK",
			   "UPDATE envelope.kek SET unused_since = pg_catalog.clock_timestamp(),"
			   " unused_since_lsn = pg_catalog.pg_current_wal_insert_lsn()"
			   " WHERE name" EQ "$1", &params);
}

void
pge_write_kek_used(const char *name)
{
	Params		params = {0};

	add_text(&params, name);
	run_on_one("the KEK",
			   "UPDATE envelope.kek SET unused_since = NULL, unused_since_lsn = NULL"
			   " WHERE name" EQ "$1", &params);
}

void
pge_write_key_state(const char *key_id, KeyState state)
{
	Params		params = {0};

	add_text(&params, key_id);
	add_text(&params, pge_key_state_name(state));
	run_on_one("the key",
			   "UPDATE envelope.key SET state = $2 WHERE key_id" EQ "$1", &params);
}

uint64
pge_write_move_keys(const char *old_kek, const char *new_kek)
{
	Params		params = {0};
	uint64		moved;

	add_text(&params, old_kek);

	/* in the order in which a rewrap locks what it writes */
	run("SELECT FROM envelope.key WHERE kek" EQ "$1"
		" ORDER BY key_id COLLATE pg_catalog.\"C\" FOR NO KEY UPDATE", &params);
	add_text(&params, new_kek);
	moved = run("UPDATE envelope.key SET kek = $2 WHERE kek" EQ "$1", &params);
	if (strcmp(old_kek, new_kek) != 0 && pge_keyring_kek_has_keys(old_kek))
		snapshot_too_old("a key of the KEK");
	return moved;
}

void
pge_write_dek_state(uint32 dek_id, DekState state)
{
	Params		params = {0};

	add(&params, INT8OID, Int64GetDatum((int64) dek_id));
	add_text(&params, pge_dek_state_name(state));
	run_on_one("the data key",
			   "UPDATE envelope.dek SET state = $2 WHERE dek_id" EQ "$1", &params);
}

bool
pge_lock_wrapping(uint32 dek_id, int32 seq, PgeBytes wrapped)
{
	return on_wrapping("SELECT FROM envelope.wrapping"
					   " WHERE dek_id" EQ "$1 AND seq" EQ "$2 AND wrapped" EQ "$3 FOR SHARE",
					   dek_id, seq, wrapped);
}

bool
pge_write_supersede(uint32 dek_id, int32 seq, PgeBytes wrapped)
{
	return on_wrapping("UPDATE envelope.wrapping SET wrapped = NULL, superseded = pg_catalog.now()"
					   " WHERE dek_id" EQ "$1 AND seq" EQ "$2 AND wrapped" EQ "$3",
					   dek_id, seq, wrapped);
}

/* Not found is an answer only if a fresh read does not find it either. */
static bool
on_wrapping(const char *sql, uint32 dek_id, int32 seq, PgeBytes wrapped)
{
	Params		params = {0};

	add(&params, INT8OID, Int64GetDatum((int64) dek_id));
	add(&params, INT4OID, Int32GetDatum(seq));
	add_bytes(&params, wrapped.data, wrapped.len);
	if (run(sql, &params) == 1)
		return true;
	if (wrapping_is_live(dek_id, seq, wrapped))
		snapshot_too_old("a wrapping");
	return false;
}

static bool
wrapping_is_live(uint32 dek_id, int32 seq, PgeBytes wrapped)
{
	KeyringWrapping *wrappings;
	int			count = pge_keyring_wrappings(dek_id, &wrappings);

	for (int i = 0; i < count; i++)
		if (wrappings[i].seq == seq)
			return wrappings[i].wrapped_len == wrapped.len &&
				memcmp(wrappings[i].wrapped, wrapped.data, wrapped.len) == 0;
	return false;
}

void
pge_write_supersede_all(uint32 dek_id)
{
	Params		params = {0};
	KeyringWrapping *left;

	add(&params, INT8OID, Int64GetDatum((int64) dek_id));
	run("UPDATE envelope.wrapping SET wrapped = NULL, superseded = pg_catalog.now()"
		" WHERE dek_id" EQ "$1 AND superseded IS NULL", &params);
	if (pge_keyring_wrappings(dek_id, &left) > 0)
		snapshot_too_old("a wrapping");
	pfree(left);
}

/*
 * The row trigger resolves the role's oid before the conflict is looked at.  What
 * a role that is gone had goes first, so that a subscriber gets a new row and not a
 * change of the old one, which is nobody's there (trigger.c).
 */
void
pge_write_grant(const char *key_id, const char *role, uint32 rights)
{
	Params		params = {0};

	add_text(&params, key_id);
	add_text(&params, role);
	add_rights(&params, rights);
	run("DELETE FROM envelope.key_grant WHERE key_id" EQ "$1"
		" AND role_name" EQ "$2::pg_catalog.name AND pg_catalog.cardinality($3) OPERATOR(pg_catalog.>) 0"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname" EQ "role_name"
		" AND oid" EQ "role_oid)", &params);
	run("INSERT INTO envelope.key_grant AS g (key_id, role_name, role_oid, rights)"
		" VALUES ($1, $2::pg_catalog.name, 0, $3)"
		" ON CONFLICT (key_id, role_name) DO UPDATE"
		" SET role_oid = excluded.role_oid, rights = CASE"
		" WHEN g.role_oid" EQ "excluded.role_oid THEN ARRAY(SELECT r"
		" FROM pg_catalog.unnest(ARRAY['encrypt', 'decrypt', 'manage']) r"
		" WHERE r" EQ "ANY (g.rights OPERATOR(pg_catalog.||) excluded.rights))"
		" ELSE excluded.rights END", &params);
}

void
pge_write_revoke(const char *key_id, const char *role, uint32 rights)
{
	Params		params = {0};

	add_text(&params, key_id);
	add_text(&params, role);
	add_rights(&params, rights);

	/*
	 * A row that another session is changing is looked at again when that is
	 * committed: it may have nothing left then, and the second statement sees
	 * that.
	 */
	run("UPDATE envelope.key_grant SET rights = ARRAY(SELECT r"
		" FROM pg_catalog.unnest(rights) r WHERE r OPERATOR(pg_catalog.<>) ALL ($3))"
		" WHERE key_id" EQ "$1 AND role_name" EQ "$2::pg_catalog.name"
		" AND NOT rights OPERATOR(pg_catalog.<@) $3", &params);
	run("DELETE FROM envelope.key_grant WHERE key_id" EQ "$1"
		" AND role_name" EQ "$2::pg_catalog.name"
		" AND rights OPERATOR(pg_catalog.<@) $3", &params);
	if (pge_keyring_granted(key_id, role) & rights)
		snapshot_too_old("the grant");
}

void
pge_write_rewrap_result(const uint8 run_uuid[PGE_UUID_LEN],
						const char *old_kek, const char *new_kek,
						uint32 dek_id, const char *outcome, const char *detail)
{
	Params		params = {0};

	add_uuid(&params, run_uuid);
	add_text(&params, old_kek);
	add_text(&params, new_kek);
	add(&params, INT8OID, Int64GetDatum((int64) dek_id));
	add_text(&params, outcome);
	add_text(&params, detail);
	run("INSERT INTO envelope.rewrap_result (run, old, new, dek_id, outcome, detail)"
		" VALUES ($1, $2, $3, $4, $5, $6)", &params);
}

static void
add(Params *params, Oid type, Datum value)
{
	if (params->count >= PARAMS_MAX)
		elog(ERROR, "too many parameters");
	params->types[params->count] = type;
	params->values[params->count++] = value;
}

static void
add_text(Params *params, const char *value)
{
	add(params, TEXTOID, CStringGetTextDatum(value));
}

static void
add_bytes(Params *params, const void *data, size_t len)
{
	bytea	   *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	add(params, BYTEAOID, PointerGetDatum(value));
}

static void
add_uuid(Params *params, const uint8 uuid[PGE_UUID_LEN])
{
	pg_uuid_t  *value = palloc(sizeof(pg_uuid_t));

	memcpy(value->data, uuid, PGE_UUID_LEN);
	add(params, UUIDOID, UUIDPGetDatum(value));
}

static void
add_rights(Params *params, uint32 rights)
{
	Datum		names[3];
	int			count = 0;

	if (rights & PGE_RIGHT_ENCRYPT)
		names[count++] = CStringGetTextDatum("encrypt");
	if (rights & PGE_RIGHT_DECRYPT)
		names[count++] = CStringGetTextDatum("decrypt");
	if (rights & PGE_RIGHT_MANAGE)
		names[count++] = CStringGetTextDatum("manage");
	add(params, TEXTARRAYOID,
		PointerGetDatum(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT)));
}
