/*-------------------------------------------------------------------------
 *
 * memo.c
 *	  What this session knows of keys, stamped with the epoch.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "storage/sinval.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "cache/control.h"
#include "keyring/memo.h"

/* Beyond this many rows the session forgets all of them and starts again. */
#define MEMO_ROWS_MAX	8192

typedef struct DekName
{
	uint32		dek_id;
	Oid			user;
} DekName;

typedef struct KeyName
{
	const char *key_id;
	uint32		len;
	Oid			user;
} KeyName;

typedef struct DekEntry
{
	DekName		name;
	char		status;
	KeyringMemo *row;
} DekEntry;

typedef struct ActiveEntry
{
	KeyName		name;			/* points into its row */
	char		status;
	KeyringMemo *row;
} ActiveEntry;

static inline uint32
hash_dek_name(DekName name)
{
	return murmurhash32(name.dek_id ^ (name.user * 0x9E3779B1U));
}

static inline uint32
hash_key_name(KeyName name)
{
	return hash_combine(hash_bytes((const unsigned char *) name.key_id,
								   (int) name.len),
						name.user);
}

static inline bool
same_key_name(KeyName a, KeyName b)
{
	return a.len == b.len && a.user == b.user &&
		memcmp(a.key_id, b.key_id, a.len) == 0;
}

#define SH_PREFIX		dekmemo
#define SH_ELEMENT_TYPE DekEntry
#define SH_KEY_TYPE		DekName
#define SH_KEY			name
#define SH_HASH_KEY(tb, key)	hash_dek_name(key)
#define SH_EQUAL(tb, a, b)		((a).dek_id == (b).dek_id && (a).user == (b).user)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#define SH_PREFIX		activememo
#define SH_ELEMENT_TYPE ActiveEntry
#define SH_KEY_TYPE		KeyName
#define SH_KEY			name
#define SH_HASH_KEY(tb, key)	hash_key_name(key)
#define SH_EQUAL(tb, a, b)		same_key_name(a, b)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext memory;
static dekmemo_hash *deks;
static activememo_hash *actives;
static KeyringMemo *last_dek;	/* found by the last call */
static KeyringMemo *last_active;

/*
 * Raised by whatever makes all entries void; the callbacks of the server may do
 * no more than that, since they run inside any access to a catalog.
 */
static uint64 heard;

static Oid	watched;			/* envelope.keyring, once known */

/*
 * This transaction has changed our tables.  Until the command ends its own reads
 * give the rows as they were, so what they put into the memo meanwhile goes void
 * at the first value of a later command.  (A callback would need a message for
 * each command, and the server keeps those until the commit.)
 */
static bool own_change;
static CommandId own_change_by;

static bool
still_counts(const KeyringMemo *row, uint64 w, uint32 need)
{
	return row->w == w && row->heard == heard && (row->rights & need) == need;
}

void
pge_memo_note_own_change(void)
{
	heard++;					/* an earlier command's change may be pending */
	own_change = true;
	own_change_by = GetCurrentCommandId(false);
}

static pg_noinline void
hear_own_change(void)
{
	if (GetCurrentCommandId(false) == own_change_by)
		return;
	heard++;
	own_change = false;
}

/* No row of the memo is in use while this runs: callers have taken theirs. */
static void
make_tables(void)
{
	if (deks != NULL && deks->members + actives->members < MEMO_ROWS_MAX)
		return;
	if (memory == NULL)
		memory = AllocSetContextCreate(TopMemoryContext, "pg_envelope memo",
									   ALLOCSET_START_SMALL_SIZES);
	deks = NULL;
	actives = NULL;
	last_dek = last_active = NULL;
	MemoryContextReset(memory);
	actives = activememo_create(memory, 16, NULL);
	deks = dekmemo_create(memory, 16, NULL);
}

/*
 * The rest of what a value's decision needs, read under row->w: every table is
 * read with a snapshot of its own, taken after W was loaded.
 */
static bool
complete(KeyringMemo *row)
{
	KeyringKey	key;

	if (!pge_keyring_find_key(row->dek.key_id, &key))
		return false;
	row->key_state = key.state;
	row->require_associated_data = key.require_associated_data;
	/* enabled, or made, by a transaction that may still roll back */
	row->dek.own = row->dek.own || key.own;
	row->key_id_len = (uint16) strlen(row->dek.key_id);
	row->rights = pge_keyring_rights(row->user, row->dek.key_id);
	return true;
}

/* Before a row is read: the stamps of then, and the table to watch. */
static void
begin_row(KeyringMemo *row, Oid user, uint64 w)
{
	watched = pge_keyring_relid("keyring");
	row->w = w;
	row->heard = heard;
	row->user = user;
}

/* A refusal is decided from this copy and forgotten with it. */
static KeyringMemo scratch;

static bool
worth_keeping(const KeyringMemo *row)
{
	return row->rights != 0 && row->key_state == PGE_KEY_ENABLED &&
		row->dek.state != PGE_DEK_DESTROYED;
}

static KeyringMemo *
keep(KeyringMemo *old)
{
	Size		size = offsetof(KeyringMemo, dek.key_id) + scratch.key_id_len + 1;
	KeyringMemo *row = old;

	/* As long as before, unless somebody changed the table by hand. */
	if (row == NULL || row->key_id_len != scratch.key_id_len)
		row = MemoryContextAlloc(memory, size);
	memcpy(row, &scratch, size);
	return row;
}

static pg_noinline const KeyringMemo *
find_dek(uint32 dek_id, Oid user, uint64 w, uint32 need)
{
	DekName		name = {dek_id, user};
	DekEntry   *entry;
	KeyringMemo *row;
	bool		found;

	make_tables();
	entry = dekmemo_lookup(deks, name);
	if (entry != NULL && still_counts(entry->row, w, need))
		return last_dek = entry->row;

	begin_row(&scratch, user, w);
	if (!pge_keyring_find_dek(dek_id, &scratch.dek) || !complete(&scratch))
		return NULL;
	if (!worth_keeping(&scratch))
		return &scratch;
	row = keep(entry ? entry->row : NULL);
	if (entry == NULL)
		entry = dekmemo_insert(deks, name, &found);
	entry->row = row;
	return last_dek = row;
}

const KeyringMemo *
pge_memo_dek(uint32 dek_id, Oid user, uint64 w, uint32 need)
{
	if (unlikely(own_change))
		hear_own_change();
	if (likely(last_dek != NULL && last_dek->dek.dek_id == dek_id &&
			   last_dek->user == user && still_counts(last_dek, w, need)))
		return last_dek;
	return find_dek(dek_id, user, w, need);
}

static pg_noinline const KeyringMemo *
find_active(const char *key_id, int len, Oid user, uint64 w, uint32 need)
{
	KeyName		name = {key_id, (uint32) len, user};
	char		terminated[PGE_KEY_ID_MAX + 1];
	ActiveEntry *entry;
	KeyringMemo *row;
	bool		found;

	if (len > PGE_KEY_ID_MAX)
		return NULL;			/* no key has such a name */
	make_tables();
	entry = activememo_lookup(actives, name);
	if (entry != NULL && still_counts(entry->row, w, need))
		return last_active = entry->row;

	begin_row(&scratch, user, w);
	memcpy(terminated, key_id, len);
	terminated[len] = '\0';
	if (!pge_keyring_find_active_dek(terminated, &scratch.dek) ||
		!complete(&scratch))
		return NULL;
	if (!worth_keeping(&scratch))
		return &scratch;
	row = keep(entry ? entry->row : NULL);	/* the name's bytes stay the same */
	if (entry == NULL)
	{
		name.key_id = row->dek.key_id;
		entry = activememo_insert(actives, name, &found);
	}
	entry->row = row;
	return last_active = row;
}

const KeyringMemo *
pge_memo_active(const char *key_id, int len, Oid user, uint64 w, uint32 need)
{
	if (unlikely(own_change))
		hear_own_change();
	if (likely(last_active != NULL && last_active->user == user &&
			   still_counts(last_active, w, need) &&
			   last_active->key_id_len == len &&
			   memcmp(last_active->dek.key_id, key_id, len) == 0))
		return last_active;
	return find_active(key_id, len, user, w, need);
}

void
pge_memo_forget(void)
{
	heard++;
}

void
pge_memo_hear_first(FmgrInfo *site)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();
	TimestampTz *statement = site ? site->fn_extra : NULL;

	if (statement == NULL && site != NULL)
		site->fn_extra = statement =
			MemoryContextAlloc(site->fn_mcxt, sizeof(TimestampTz));
	AcceptInvalidationMessages();
	if (statement != NULL)
		*statement = now;
}

/*
 * The row triggers invalidate envelope.keyring whichever table changed.  On a
 * standby nobody runs a commit callback, so whoever hears of the replay adds to
 * W for the sessions that are in the middle of a statement; if nobody does, the
 * keeper soon will.
 */
static void
hear_relation(Datum arg pg_attribute_unused(), Oid relid)
{
	if (OidIsValid(relid) && relid != watched)
		return;
	heard++;
	if (OidIsValid(watched) && pge_control() != NULL && RecoveryInProgress())
		pg_atomic_fetch_add_u64(&pge_control()->epoch, PGE_EPOCH_STATE_BUMP);
}

static void
hear_role(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
		  uint32 hashvalue pg_attribute_unused())
{
	heard++;
}

void
pge_memo_register_callbacks(void)
{
	CacheRegisterRelcacheCallback(hear_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, hear_role, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, hear_role, (Datum) 0);
	/* the database's owner is a member of pg_database_owner */
	CacheRegisterSyscacheCallback(DATABASEOID, hear_role, (Datum) 0);
}
