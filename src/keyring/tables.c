/*-------------------------------------------------------------------------
 *
 * tables.c
 *	  Reads the tables of schema "envelope" by index, under fresh snapshots.
 *
 * An old snapshot must not hide a key: rows of these tables are facts, and a
 * sealed value can reach a REPEATABLE READ transaction by a parameter.  A scan
 * with a NULL snapshot takes a fresh one, also in a parallel worker, where
 * GetLatestSnapshot would fail.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/report.h"
#include "crypto/aead.h"
#include "keyring/key_name.h"
#include "keyring/keyring.h"
#include "keyring/keyring_private.h"

typedef struct NameOfNumber
{
	const char *name;
	int			number;
} NameOfNumber;

static const NameOfNumber algorithm_names[] = {
	{"XAES_256_GCM", PGE_XAES_256_GCM},
	{"AES256_GCM", PGE_AES_256_GCM},
	{NULL, 0}
};

static const NameOfNumber key_states[] = {
	{"enabled", PGE_KEY_ENABLED},
	{"disabled", PGE_KEY_STATE_DISABLED},
	{"destroyed", PGE_KEY_STATE_DESTROYED},
	{NULL, 0}
};

static const NameOfNumber dek_states[] = {
	{"active", PGE_DEK_ACTIVE},
	{"retired", PGE_DEK_RETIRED},
	{"compromised", PGE_DEK_COMPROMISED},
	{"destroyed", PGE_DEK_DESTROYED},
	{NULL, 0}
};

static const NameOfNumber kek_states[] = {
	{"enabled", PGE_KEK_ENABLED},
	{"retired", PGE_KEK_RETIRED},
	{"destroyed", PGE_KEK_DESTROYED},
	{NULL, 0}
};

static const NameOfNumber purposes[] = {
	{"aead", PGE_PURPOSE_AEAD},
	{NULL, 0}
};

static Oid	find_relation(const char *name, Oid schema);
static void require_member(Oid relid, const char *name);
static int	word_column(HeapTuple tuple, const KeyringScan *scan, int attno,
						const NameOfNumber *names);
static void refuse_second(HeapTuple tuple, const KeyringScan *scan, int attno) pg_attribute_noreturn();
static int	number_of(const NameOfNumber *names, const char *name);
static const char *name_of(const NameOfNumber *names, int number);
static bool written_here(HeapTuple tuple);
static void read_dek(HeapTuple tuple, const KeyringScan *scan, KeyringDek *dek);
static bool find_one_dek(const char *index, ScanKey keys, int nkeys,
						 bool active, KeyringDek *dek);
static void begin_wrappings(KeyringScan *scan, uint32 dek_id);
static int	copy_live_wrappings(KeyringScan *scan, KeyringWrapping *out, int room);
static List *add_name(List *names, const char *name);
static void copy_uri(KeyringWrapping *wrapping);

/*
 * The schema's name is fixed and the extension made it, so the lookups are by
 * name.  Membership is checked once per oid: "envelope" could be anybody's
 * schema in a database where the extension is not installed.
 */
Oid
pge_keyring_relid(const char *table)
{
	Oid			schema = get_namespace_oid("envelope", true);

	return find_relation(table, schema);
}

static Oid
find_relation(const char *name, Oid schema)
{
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relid) && OidIsValid(get_extension_oid("pg_envelope", true)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"envelope.%s\" of extension \"pg_envelope\" is missing", name),
				 errhint("Somebody dropped or renamed it; make it again as the extension's script does, or restore it from a backup.")));
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"pg_envelope\" is not installed in this database"),
				 errdetail("There is no relation \"envelope.%s\".", name),
				 errhint("Run CREATE EXTENSION pg_envelope.")));
	if (get_rel_relkind(relid) == RELKIND_RELATION)
		require_member(relid, name);
	return relid;
}

static void
require_member(Oid relid, const char *name)
{
#define VERIFIED_MAX 8
	static Oid	verified[VERIFIED_MAX];
	static int	next;
	Oid			extension;

	for (int i = 0; i < VERIFIED_MAX; i++)
		if (verified[i] == relid)
			return;
	extension = getExtensionOfObject(RelationRelationId, relid);
	if (!OidIsValid(extension) ||
		extension != get_extension_oid("pg_envelope", true))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"envelope.%s\" does not belong to extension \"pg_envelope\"", name)));
	verified[next] = relid;
	next = (next + 1) % VERIFIED_MAX;
}

void
pge_keyring_scan_begin(KeyringScan *scan, const char *table,
					   const char *index, ScanKey keys, int nkeys)
{
	scan->relation = table_open(pge_keyring_relid(table), AccessShareLock);
	scan->scan = systable_beginscan(scan->relation, pge_keyring_relid(index),
									true, NULL, nkeys, keys);
}

HeapTuple
pge_keyring_scan_next(KeyringScan *scan)
{
	return systable_getnext(scan->scan);
}

void
pge_keyring_scan_end(KeyringScan *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->relation, AccessShareLock);
}

/* The columns are COLLATE "C", which is what ScanKeyInit assumes. */
void
pge_keyring_key_text(ScanKey key, int attno, const char *value)
{
	ScanKeyInit(key, (AttrNumber) attno, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(value));
}

static int
word_column(HeapTuple tuple, const KeyringScan *scan, int attno,
			const NameOfNumber *names)
{
	char		word[NAMEDATALEN];
	int			number;

	pge_keyring_text_column(tuple, scan, attno, word, sizeof(word));
	number = number_of(names, word);
	if (number >= 0)
		return number;
	pge_keyring_refuse_row(tuple, scan, attno, "is a word that has no meaning there");
}

/* What an index of ours does not allow; it may have been dropped. */
static void
refuse_second(HeapTuple tuple, const KeyringScan *scan, int attno)
{
	pge_keyring_refuse_row(tuple, scan, attno, "is what only one row may have");
}

uint8
pge_algorithm_number(const char *name)
{
	return (uint8) Max(number_of(algorithm_names, name), 0);
}

static int
number_of(const NameOfNumber *names, const char *name)
{
	for (; names->name; names++)
		if (strcmp(names->name, name) == 0)
			return names->number;
	return -1;
}

int
pge_key_state_number(const char *name)
{
	return number_of(key_states, name);
}

int
pge_dek_state_number(const char *name)
{
	return number_of(dek_states, name);
}

int
pge_kek_state_number(const char *name)
{
	return number_of(kek_states, name);
}

int
pge_purpose_number(const char *name)
{
	return number_of(purposes, name);
}

static const char *
name_of(const NameOfNumber *names, int number)
{
	for (; names->name; names++)
		if (names->number == number)
			return names->name;
	return NULL;
}

const char *
pge_algorithm_name(uint8 number)
{
	return name_of(algorithm_names, number);
}

const char *
pge_key_state_name(KeyState state)
{
	return name_of(key_states, state);
}

const char *
pge_dek_state_name(DekState state)
{
	return name_of(dek_states, state);
}

const char *
pge_kek_state_name(KekState state)
{
	return name_of(kek_states, state);
}

/*
 * Not for a row that the transaction only locked: nothing that its end could
 * take back, and nothing that would tell a memo of that end.
 */
static bool
written_here(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(header)))
		return true;
	if ((header->t_infomask & HEAP_XMAX_INVALID) ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return false;
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header));
}

bool
pge_keyring_find_uuid(uint8 uuid[PGE_UUID_LEN])
{
	KeyringScan scan;
	HeapTuple	tuple;
	bool		found;

	pge_keyring_scan_begin(&scan, "keyring", "keyring_pkey", NULL, 0);
	tuple = pge_keyring_scan_next(&scan);
	found = tuple != NULL;
	if (found)
		memcpy(uuid, DatumGetUUIDP(pge_keyring_column(tuple, &scan, Anum_keyring_uuid))->data,
			   PGE_UUID_LEN);
	if (found && (tuple = pge_keyring_scan_next(&scan)) != NULL)
		refuse_second(tuple, &scan, Anum_keyring_uuid);
	pge_keyring_scan_end(&scan);
	return found;
}

static void
read_kek(HeapTuple tuple, const KeyringScan *scan, KeyringKek *kek)
{
	pge_keyring_text_column(tuple, scan, Anum_kek_name, kek->name, sizeof(kek->name));
	pge_keyring_text_column(tuple, scan, Anum_kek_uri, kek->uri, sizeof(kek->uri));
	if (kek->uri[0] == '\0' || !pge_kek_uri_is_plain(pge_bytes(kek->uri, strlen(kek->uri))))
		pge_keyring_refuse_row(tuple, scan, Anum_kek_uri, "is no URI");
	kek->state = word_column(tuple, scan, Anum_kek_state, kek_states);
	kek->unused = !heap_attisnull(tuple, Anum_kek_unused_since,
								  RelationGetDescr(scan->relation));
	kek->unused_since = kek->unused ?
		DatumGetTimestampTz(pge_keyring_column(tuple, scan, Anum_kek_unused_since)) : 0;
}

bool
pge_keyring_find_kek(const char *name, KeyringKek *kek)
{
	KeyringScan scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		found = false;

	pge_keyring_key_text(&key, Anum_kek_name, name);
	pge_keyring_scan_begin(&scan, "kek", "kek_pkey", &key, 1);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		if (found)
			refuse_second(tuple, &scan, Anum_kek_name);
		read_kek(tuple, &scan, kek);
		found = true;
	}
	pge_keyring_scan_end(&scan);
	return found;
}

static void
read_key(HeapTuple tuple, const KeyringScan *scan, KeyringKey *key)
{
	pge_keyring_text_column(tuple, scan, Anum_key_key_id, key->key_id, sizeof(key->key_id));
	pge_keyring_text_column(tuple, scan, Anum_key_kek, key->kek, sizeof(key->kek));
	key->algorithm = word_column(tuple, scan, Anum_key_algorithm, algorithm_names);
	key->require_associated_data =
		DatumGetBool(pge_keyring_column(tuple, scan, Anum_key_require_associated));
	key->state = word_column(tuple, scan, Anum_key_state, key_states);
	key->own = written_here(tuple);
}

bool
pge_keyring_find_key(const char *key_id, KeyringKey *key)
{
	KeyringScan scan;
	ScanKeyData scankey;
	HeapTuple	tuple;
	bool		found = false;

	pge_keyring_key_text(&scankey, Anum_key_key_id, key_id);
	pge_keyring_scan_begin(&scan, "key", "key_pkey", &scankey, 1);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		if (found)
			refuse_second(tuple, &scan, Anum_key_key_id);
		read_key(tuple, &scan, key);
		found = true;
	}
	pge_keyring_scan_end(&scan);
	return found;
}

static void
read_dek(HeapTuple tuple, const KeyringScan *scan, KeyringDek *dek)
{
	pge_keyring_bytes_column(tuple, scan, Anum_dek_check_value, dek->check_value,
							 PGE_CHECK_VALUE_LEN, PGE_CHECK_VALUE_LEN);
	dek->dek_id = pge_keyring_dek_id_column(tuple, scan, Anum_dek_dek_id);
	pge_keyring_text_column(tuple, scan, Anum_dek_key_id, dek->key_id, sizeof(dek->key_id));
	dek->version = pge_keyring_count_column(tuple, scan, Anum_dek_version);
	dek->purpose = word_column(tuple, scan, Anum_dek_purpose, purposes);
	dek->algorithm = word_column(tuple, scan, Anum_dek_algorithm, algorithm_names);
	memcpy(dek->keyring,
		   DatumGetUUIDP(pge_keyring_column(tuple, scan, Anum_dek_keyring))->data,
		   PGE_UUID_LEN);
	dek->state = word_column(tuple, scan, Anum_dek_state, dek_states);
	dek->own = written_here(tuple);
}

/*
 * "active" filters again: a server that ignores indexes reads the whole table,
 * and then a partial index promises nothing.
 */
static bool
find_one_dek(const char *index, ScanKey keys, int nkeys, bool active, KeyringDek *dek)
{
	KeyringScan scan;
	HeapTuple	tuple;
	KeyringDek	row;
	bool		found = false;

	pge_keyring_scan_begin(&scan, "dek", index, keys, nkeys);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		read_dek(tuple, &scan, &row);
		if (active && row.state != PGE_DEK_ACTIVE)
			continue;
		if (found)
			refuse_second(tuple, &scan, active ? Anum_dek_state : Anum_dek_dek_id);
		*dek = row;
		found = true;
	}
	pge_keyring_scan_end(&scan);
	return found;
}

bool
pge_keyring_find_dek(uint32 dek_id, KeyringDek *dek)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_dek_dek_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) dek_id));
	return find_one_dek("dek_pkey", &key, 1, false, dek);
}

bool
pge_keyring_find_active_dek(const char *key_id, KeyringDek *dek)
{
	ScanKeyData keys[2];

	pge_keyring_key_text(&keys[0], Anum_dek_key_id, key_id);
	pge_keyring_key_text(&keys[1], Anum_dek_purpose, "aead");
	return find_one_dek("dek_active", keys, 2, true, dek);
}

int
pge_keyring_deks(const char *key_id, KeyringDek **deks)
{
	KeyringScan scan;
	ScanKeyData key;
	HeapTuple	tuple;
	int			count = 0;
	int			room = 8;

	*deks = palloc(room * sizeof(KeyringDek));
	pge_keyring_key_text(&key, Anum_dek_key_id, key_id);
	pge_keyring_scan_begin(&scan, "dek", "dek_key_version", &key, 1);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		if (count == room)
			*deks = repalloc(*deks, (room *= 2) * sizeof(KeyringDek));
		read_dek(tuple, &scan, &(*deks)[count++]);
	}
	pge_keyring_scan_end(&scan);
	return count;
}

/* By seq, because that is the second column of the primary key. */
int
pge_keyring_wrappings(uint32 dek_id, KeyringWrapping **wrappings)
{
	KeyringScan scan;
	int			count;

	*wrappings = palloc(PGE_WRAPPINGS_MAX * sizeof(KeyringWrapping));
	begin_wrappings(&scan, dek_id);
	count = copy_live_wrappings(&scan, *wrappings, PGE_WRAPPINGS_MAX);
	pge_keyring_scan_end(&scan);
	for (int i = 0; i < count; i++)
		copy_uri(&(*wrappings)[i]);
	return count;
}

static int
copy_live_wrappings(KeyringScan *scan, KeyringWrapping *out, int room)
{
	int			count = 0;
	HeapTuple	tuple;

	while (count < room && (tuple = pge_keyring_scan_next(scan)) != NULL)
	{
		KeyringWrapping *w = &out[count];

		if (heap_attisnull(tuple, Anum_wrapping_wrapped, RelationGetDescr(scan->relation)))
			continue;
		w->seq = pge_keyring_count_column(tuple, scan, Anum_wrapping_seq);
		pge_keyring_text_column(tuple, scan, Anum_wrapping_kek, w->kek, sizeof(w->kek));
		pge_keyring_text_column(tuple, scan, Anum_wrapping_kek_version,
								w->kek_version, sizeof(w->kek_version));
		w->wrapped_len = pge_keyring_bytes_column(tuple, scan, Anum_wrapping_wrapped,
												  w->wrapped, 4, sizeof(w->wrapped));
		count++;
	}
	return count;
}

static void
copy_uri(KeyringWrapping *wrapping)
{
	KeyringKek	kek;

	if (!pge_keyring_find_kek(wrapping->kek, &kek))
		pge_report_error(PGE_UNKNOWN_DEK,	/* may yet arrive, as a DEK may */
						 psprintf("KEK \"%s\" of a wrapping is not known",
								  pge_report_name(wrapping->kek)),
						 pge_bytes(NULL, 0));
	strlcpy(wrapping->uri, kek.uri, sizeof(wrapping->uri));
}

static void
begin_wrappings(KeyringScan *scan, uint32 dek_id)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_wrapping_dek_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) dek_id));
	pge_keyring_scan_begin(scan, "wrapping", "wrapping_pkey", &key, 1);
}

int32
pge_keyring_last_seq(uint32 dek_id)
{
	KeyringScan scan;
	HeapTuple	tuple;
	int32		last = 0;

	begin_wrappings(&scan, dek_id);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
		last = Max(last, DatumGetInt32(pge_keyring_column(tuple, &scan, Anum_wrapping_seq)));
	pge_keyring_scan_end(&scan);
	return last;
}

char *
pge_keyring_find_uri(const char *prefix)
{
	KeyringScan scan;
	HeapTuple	tuple;
	char	   *found = NULL;

	pge_keyring_scan_begin(&scan, "kek", "kek_pkey", NULL, 0);
	while (found == NULL && (tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		char	   *uri = TextDatumGetCString(pge_keyring_column(tuple, &scan, Anum_kek_uri));

		if (strncmp(uri, prefix, strlen(prefix)) == 0 &&
			word_column(tuple, &scan, Anum_kek_state, kek_states) != PGE_KEK_DESTROYED)
			found = uri;
	}
	pge_keyring_scan_end(&scan);
	return found;
}

bool
pge_keyring_kek_has_keys(const char *kek)
{
	KeyringScan scan;
	ScanKeyData key;
	bool		found;

	pge_keyring_key_text(&key, Anum_key_kek, kek);
	pge_keyring_scan_begin(&scan, "key", "key_kek", &key, 1);
	found = pge_keyring_scan_next(&scan) != NULL;
	pge_keyring_scan_end(&scan);
	return found;
}

/* By no index, which knows only live wrappings: a KEK is hardly ever deleted. */
bool
pge_keyring_kek_is_needed(const char *kek)
{
	Relation	relation = table_open(pge_keyring_relid("wrapping"), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	pge_keyring_key_text(&key, Anum_wrapping_kek, kek);
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 1, &key);
	found = systable_getnext(scan) != NULL;
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found || pge_keyring_kek_has_keys(kek);
}

List *
pge_keyring_keks_of(uint32 dek_id, List *names)
{
	KeyringScan scan;
	HeapTuple	tuple;

	begin_wrappings(&scan, dek_id);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		char		kek[NAMEDATALEN];

		pge_keyring_text_column(tuple, &scan, Anum_wrapping_kek, kek, sizeof(kek));
		names = add_name(names, kek);
	}
	pge_keyring_scan_end(&scan);
	return names;
}

static List *
add_name(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return names;
	}
	return lappend(names, pstrdup(name));
}

PgeStatus
pge_keyring_binding(const KeyringDek *dek, PgeBuffer *out)
{
	uint8		utf8[PGE_KEY_ID_MAX];
	PgeBuffer	key_id = {utf8, 0, sizeof(utf8)};
	PgeBinding	binding;
	PgeStatus	status = pge_key_id_utf8(dek->key_id, &key_id);

	if (status != PGE_OK)
		return status;
	memcpy(binding.keyring, dek->keyring, PGE_UUID_LEN);
	binding.dek_id = dek->dek_id;
	binding.version = (uint32) dek->version;
	binding.purpose = dek->purpose;
	binding.algorithm = dek->algorithm;
	binding.key_id = pge_buffer_bytes(&key_id);
	return pge_binding_encode(&binding, out);
}
