/*-------------------------------------------------------------------------
 *
 * new_dek.c
 *	  From a drawn number to the rows of a new data key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/crash_point.h"
#include "base/report.h"
#include "client/client.h"
#include "crypto/random.h"
#include "keyring/writes.h"
#include "ops/kek_lifecycle.h"
#include "ops/new_dek.h"

#define DRAWS_MAX 4096

static void plan_version(NewDek *new_dek, const KeyringKey *key);
static void plan_keks(NewDek *new_dek, const KeyringKey *key);
static void add_kek(NewDek *new_dek, const KeyringKek *kek);
static uint32 draw_dek_id(void);
static uint32 random_dek_id(void);
static void take_answer(NewDek *new_dek, const char *what, const PgeFrame *answer);
static bool is_version(PgeBytes version);
static PgeBytes copy_bytes(PgeBytes bytes);

NewDek *
pge_new_dek_plan(const KeyringKey *key)
{
	NewDek	   *new_dek = palloc0(sizeof(NewDek));
	KeyringDek *row = &new_dek->row;

	strlcpy(row->key_id, key->key_id, sizeof(row->key_id));
	row->purpose = PGE_PURPOSE_AEAD;
	row->algorithm = key->algorithm;
	row->state = PGE_DEK_ACTIVE;
	plan_version(new_dek, key);
	plan_keks(new_dek, key);
	if (!pge_keyring_find_uuid(row->keyring))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there are KEKs, but table \"envelope.keyring\" is empty"),
				 errhint("If the tables come by replication or restore, try again when they have arrived; if the row was lost, restore it from a backup.")));
	row->dek_id = draw_dek_id();
	return new_dek;
}

static void
plan_version(NewDek *new_dek, const KeyringKey *key)
{
	KeyringDek *deks;
	int			count = pge_keyring_deks(key->key_id, &deks);

	new_dek->row.version = 1;
	for (int i = 0; i < count; i++)
	{
		if (deks[i].version == PG_INT32_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("key \"%s\" has no version number left", key->key_id)));
		if (deks[i].version >= new_dek->row.version)
		{
			new_dek->row.version = deks[i].version + 1;
			new_dek->latest = deks[i].dek_id;
		}
		if (deks[i].state == PGE_DEK_ACTIVE)
			new_dek->replaces = deks[i].dek_id;
	}
	pfree(deks);
}

static void
plan_keks(NewDek *new_dek, const KeyringKey *key)
{
	KeyringKek	kek;
	KeyringWrapping *wrappings;
	int			count;

	pge_kek_for_wrapping(key->kek, &kek);
	add_kek(new_dek, &kek);
	if (new_dek->latest == 0)
		return;
	count = pge_keyring_wrappings(new_dek->latest, &wrappings);
	for (int i = 0; i < count; i++)
		if (pge_keyring_find_kek(wrappings[i].kek, &kek) && kek.state == PGE_KEK_ENABLED)
			add_kek(new_dek, &kek);
	pfree(wrappings);
}

/* Each once, sorted by name: that is the order in which they are locked. */
static void
add_kek(NewDek *new_dek, const KeyringKek *kek)
{
	int			at = 0;

	while (at < new_dek->count && strcmp(new_dek->kek[at].name, kek->name) < 0)
		at++;
	if (at < new_dek->count && strcmp(new_dek->kek[at].name, kek->name) == 0)
		return;
	if (new_dek->count == PGE_WRAPPINGS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a data key can have at most %d live wrappings", PGE_WRAPPINGS_MAX)));
	memmove(&new_dek->kek[at + 1], &new_dek->kek[at],
			(new_dek->count - at) * sizeof(KeyringKek));
	new_dek->kek[at] = *kek;
	new_dek->count++;
}

/*
 * A clash is ordinary (the first is likely near 77,000 keys).  This look spares
 * nearly every wrap in vain; the primary key decides.
 */
static uint32
draw_dek_id(void)
{
	KeyringDek	other;

	for (int i = 0; i < DRAWS_MAX; i++)
	{
		uint32		dek_id = random_dek_id();

		if (dek_id != 0 && !pge_keyring_find_dek(dek_id, &other))
			return dek_id;
	}
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("could not find a free number for a data key")));
}

static uint32
random_dek_id(void)
{
	uint8		bytes[4];

	if (pge_random_bytes(bytes, sizeof(bytes)) != PGE_OK)
		pge_report_error(PGE_CRYPTO_FAILED, "could not draw the number of a data key",
						 pge_bytes(NULL, 0));
#ifdef PGE_TEST_BUILD
	/* so few numbers that drawing again can be tested */
	if (getenv("PGE_TEST_DEK_ID_8_BITS"))
		return bytes[3];
#endif
	return pge_get_u32(bytes);
}

void
pge_new_dek_wrap(NewDek *new_dek)
{
	uint8		bytes[PGE_BINDING_MAX];
	PgeBuffer	binding = {bytes, 0, sizeof(bytes)};
	PgeFrame	request = {0};
	PgeFrame	answer = {0};
	char	   *what = psprintf("could not wrap a data key of key \"%s\"",
								new_dek->row.key_id);
	PgeStatus	status = pge_keyring_binding(&new_dek->row, &binding);

	if (status != PGE_OK)
		pge_report_error(status, what, pge_bytes(NULL, 0));
	request.type = PGE_FRAME_WRAP_NEW;
	request.binding = pge_buffer_bytes(&binding);
	request.nuris = new_dek->count;
	for (int i = 0; i < new_dek->count; i++)
		request.uri[i] = pge_bytes(new_dek->kek[i].uri, strlen(new_dek->kek[i].uri));
	status = pge_client_call(&request, &answer);
	if (status != PGE_OK)
		pge_report_error(status, what, answer.detail);
	take_answer(new_dek, what, &answer);
	pge_client_done();
}

static void
take_answer(NewDek *new_dek, const char *what, const PgeFrame *answer)
{
	if (answer->check_value.len != PGE_CHECK_VALUE_LEN ||
		!pge_answer_has_wrappings(answer, new_dek->count))
		pge_report_bad_answer(what, "a usable wrapping, version or check value");
	memcpy(new_dek->row.check_value, answer->check_value.data, PGE_CHECK_VALUE_LEN);
	for (int i = 0; i < new_dek->count; i++)
	{
		new_dek->wrapped[i] = copy_bytes(answer->wrapped[i]);
		new_dek->kek_version[i] = copy_bytes(answer->kek_version[i]);
	}
}

/* What the tables' checks would throw for is seen here. */
bool
pge_answer_has_wrappings(const PgeFrame *answer, int count)
{
	if (answer->nwrapped != count || answer->nkek_versions != count)
		return false;
	for (int i = 0; i < count; i++)
		if (answer->wrapped[i].len < 4 || answer->wrapped[i].len > PGE_WRAPPED_MAX ||
			!is_version(answer->kek_version[i]))
			return false;
	return true;
}

/* ASCII, so that it is as long in any database's encoding. */
static bool
is_version(PgeBytes version)
{
	for (size_t i = 0; i < version.len; i++)
		if (version.data[i] < 0x20 || version.data[i] > 0x7e)
			return false;
	return version.len <= PGE_KEK_VERSION_MAX;
}

static PgeBytes
copy_bytes(PgeBytes bytes)
{
	uint8	   *copy = palloc(bytes.len + 1);

	if (bytes.len > 0)
		memcpy(copy, bytes.data, bytes.len);
	return pge_bytes(copy, bytes.len);
}

bool
pge_new_dek_lock_keks(const NewDek *new_dek)
{
	KeyringKek	kek;

	for (int i = 0; i < new_dek->count; i++)
	{
		if (!pge_lock_kek(new_dek->kek[i].name, PGE_LOCK_SHARE, &kek) ||
			kek.state != PGE_KEK_ENABLED ||
			strcmp(kek.uri, new_dek->kek[i].uri) != 0)
			return false;
	}
	return true;
}

/* The key is locked: has a rotation or a rewrap changed what was planned from? */
bool
pge_new_dek_is_current(const NewDek *new_dek, const KeyringKey *locked)
{
	NewDek		now = {0};

	plan_version(&now, locked);
	plan_keks(&now, locked);
	if (now.row.version != new_dek->row.version ||
		now.replaces != new_dek->replaces || now.count != new_dek->count)
		return false;
	for (int i = 0; i < now.count; i++)
		if (strcmp(now.kek[i].name, new_dek->kek[i].name) != 0)
			return false;
	return true;
}

bool
pge_new_dek_store(const NewDek *new_dek)
{
	if (!pge_write_dek(&new_dek->row, GetCurrentTransactionStartTimestamp()))
		return false;
	PGE_CRASH_POINT("new-dek.row-written");
	for (int i = 0; i < new_dek->count; i++)
	{
		if (!pge_write_wrapping(new_dek->row.dek_id, new_dek->kek[i].name,
								new_dek->kek_version[i], new_dek->wrapped[i]))
			elog(ERROR, "a new data key has a wrapping already");
		PGE_CRASH_POINT("new-dek.wrapping-written");
	}
	return true;
}

/*
 * Row locks end with the subtransaction, so that none is held when the agent is
 * asked again.  An error must not leave it open either: a PL/pgSQL handler up
 * the stack ends exactly the one that it began.
 */
AttemptOutcome
pge_new_dek_attempt(AttemptOutcome (*attempt) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile AttemptOutcome outcome = PGE_ATTEMPT_AGAIN;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		outcome = attempt(arg);
		if (outcome == PGE_ATTEMPT_DONE)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		ReThrowError(error);
	}
	PG_END_TRY();
	return outcome;
}

void
pge_new_dek_give_up(const char *key_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not make a version of key \"%s\"", key_id),
			 errdetail("Its key-encryption key changed %d times meanwhile.", PGE_ATTEMPTS_MAX),
			 errhint("Try again.")));
}
