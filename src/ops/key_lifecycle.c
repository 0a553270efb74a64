/*-------------------------------------------------------------------------
 *
 * key_lifecycle.c
 *	  Making, rotating, disabling and destroying keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "base/compat.h"
#include "base/crash_point.h"
#include "base/report.h"
#include "cache/epoch.h"
#include "keyring/key_name.h"
#include "keyring/writes.h"
#include "ops/kek_lifecycle.h"
#include "ops/key_lifecycle.h"
#include "ops/new_dek.h"

/* What one attempt to store a key or a version needs. */
typedef struct KeyPlan
{
	KeyringKey	key;
	NewDek	   *new_dek;
	int32		winner;			/* of a rotation that was lost */
} KeyPlan;

static AttemptOutcome store_new_key(void *arg);
static AttemptOutcome store_new_version(void *arg);
static void require_enabled(const KeyringKey *key);
static void lock_for_manager(const char *key_id, KeyringKey *key);
static void key_is_destroyed(const char *key_id) pg_attribute_noreturn();
static void no_such_key(const char *key_id) pg_attribute_noreturn();
static void key_exists(const char *key_id) pg_attribute_noreturn();
static void destroy_deks(const char *key_id);
static char *comma_list(List *names);

void
pge_key_for_manager(const char *key_id, KeyringKey *key)
{
	if (!pge_keyring_find_key(key_id, key))
		no_such_key(key_id);
	if (!(pge_keyring_rights(GetUserId(), key_id) & PGE_RIGHT_MANAGE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for key \"%s\"", key_id),
				 errdetail("It takes the right \"manage\" on this key."),
				 errhint("The right to a key is given with envelope_grant.")));
}

int32
pge_create_key(const char *key_id, const char *kek, const char *algorithm,
			   bool require_associated_data)
{
	KeyPlan		plan = {.key = {.require_associated_data = require_associated_data}};
	KeyringKey	existing;

	pge_write_allowed("envelope_create_key()");
	pge_key_id_check(key_id);
	pge_kek_name_check(kek);
	pge_kek_name_refuse_uri(kek);
	plan.key.algorithm = pge_algorithm_number(algorithm);
	if (plan.key.algorithm == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown algorithm \"%s\"", pge_report_name(algorithm)),
				 errhint("Use XAES_256_GCM, or AES256_GCM for fewer bytes per value.")));
	strlcpy(plan.key.key_id, key_id, sizeof(plan.key.key_id));
	strlcpy(plan.key.kek, kek, sizeof(plan.key.kek));

	for (int i = 0; i < PGE_ATTEMPTS_MAX; i++)
	{
		if (pge_keyring_find_key(key_id, &existing))
			key_exists(key_id);
		plan.new_dek = pge_new_dek_plan(&plan.key);
		PGE_CRASH_POINT("create-key.planned");
		pge_new_dek_wrap(plan.new_dek);
		PGE_CRASH_POINT("create-key.wrapped");
		if (pge_new_dek_attempt(store_new_key, &plan) == PGE_ATTEMPT_DONE)
			return plan.new_dek->row.version;
	}
	pge_new_dek_give_up(key_id);
}

static AttemptOutcome
store_new_key(void *arg)
{
	KeyPlan    *plan = arg;

	if (!pge_new_dek_lock_keks(plan->new_dek))
		return PGE_ATTEMPT_AGAIN;
	if (!pge_write_key(&plan->key))
		key_exists(plan->key.key_id);
	PGE_CRASH_POINT("create-key.key-written");
	if (!pge_new_dek_store(plan->new_dek))
		return PGE_ATTEMPT_AGAIN;
	pge_write_grant(plan->key.key_id, GetUserNameFromId(GetUserId(), false),
					PGE_RIGHTS_ALL);
	PGE_CRASH_POINT("create-key.granted");
	return PGE_ATTEMPT_DONE;
}

int32
pge_rotate_key(const char *key_id)
{
	KeyPlan		plan = {0};

	pge_write_allowed("envelope_rotate_key()");
	for (int i = 0; i < PGE_ATTEMPTS_MAX; i++)
	{
		pge_key_for_manager(key_id, &plan.key);
		require_enabled(&plan.key);
		plan.new_dek = pge_new_dek_plan(&plan.key);
		PGE_CRASH_POINT("rotate-key.planned");
		pge_new_dek_wrap(plan.new_dek);
		PGE_CRASH_POINT("rotate-key.wrapped");
		switch (pge_new_dek_attempt(store_new_version, &plan))
		{
			case PGE_ATTEMPT_DONE:
				return plan.new_dek->row.version;
			case PGE_ATTEMPT_LOST:
				return plan.winner;
			case PGE_ATTEMPT_AGAIN:
				break;
		}
	}
	pge_new_dek_give_up(key_id);
}

/* Whoever rotates holds the key's row, so nothing below can change again. */
static AttemptOutcome
store_new_version(void *arg)
{
	KeyPlan    *plan = arg;
	NewDek	   *new_dek = plan->new_dek;
	KeyringKey	key;
	KeyringDek	active;
	bool		has_active;

	if (!pge_new_dek_lock_keks(new_dek))
		return PGE_ATTEMPT_AGAIN;
	if (!pge_lock_key(plan->key.key_id, &key))
		no_such_key(plan->key.key_id);
	require_enabled(&key);
	if (strcmp(key.kek, plan->key.kek) != 0)
		return PGE_ATTEMPT_AGAIN;
	has_active = pge_keyring_find_active_dek(key.key_id, &active);
	if (has_active && active.version >= new_dek->row.version)
	{
		plan->winner = active.version;
		return PGE_ATTEMPT_LOST;
	}
	if (!pge_new_dek_is_current(new_dek, &key))
		return PGE_ATTEMPT_AGAIN;
	PGE_CRASH_POINT("rotate-key.locked");
	if (has_active)
		pge_write_dek_state(active.dek_id, PGE_DEK_RETIRED);
	PGE_CRASH_POINT("rotate-key.retired");
	return pge_new_dek_store(new_dek) ? PGE_ATTEMPT_DONE : PGE_ATTEMPT_AGAIN;
}

static void
require_enabled(const KeyringKey *key)
{
	if (key->state == PGE_KEY_STATE_DESTROYED)
		key_is_destroyed(key->key_id);
	if (key->state == PGE_KEY_STATE_DISABLED)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_KEY_DISABLED),
				 errmsg("key \"%s\" is disabled", key->key_id),
				 errhint("Enable it with envelope_enable_key.")));
}

static void
lock_for_manager(const char *key_id, KeyringKey *key)
{
	pge_key_for_manager(key_id, key);
	if (!pge_lock_key(key_id, key))
		no_such_key(key_id);
	if (key->state == PGE_KEY_STATE_DESTROYED)
		key_is_destroyed(key_id);
}

void
pge_disable_key(const char *key_id)
{
	KeyringKey	key;
	KeyringDek *deks;
	int			count;

	pge_write_allowed("envelope_disable_key()");
	lock_for_manager(key_id, &key);
	if (key.state == PGE_KEY_ENABLED)
		pge_write_key_state(key_id, PGE_KEY_STATE_DISABLED);
	PGE_CRASH_POINT("disable-key.written");

	/* also when it was disabled already: whoever calls wants it gone now */
	count = pge_keyring_deks(key_id, &deks);
	for (int i = 0; i < count; i++)
		pge_epoch_wipe_at_commit(deks[i].dek_id);
	PGE_CRASH_POINT("disable-key.noted");
}

void
pge_enable_key(const char *key_id)
{
	KeyringKey	key;

	pge_write_allowed("envelope_enable_key()");
	lock_for_manager(key_id, &key);
	if (key.state == PGE_KEY_STATE_DISABLED)
		pge_write_key_state(key_id, PGE_KEY_ENABLED);
	PGE_CRASH_POINT("enable-key.written");
}

/* Two steps, so that nobody destroys by one wrong word what is in use. */
void
pge_destroy_key(const char *key_id)
{
	KeyringKey	key;

	pge_write_allowed("envelope_destroy_key()");
	lock_for_manager(key_id, &key);
	if (key.state != PGE_KEY_STATE_DISABLED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not destroy key \"%s\": it is enabled", key_id),
				 errhint("Disable it first with envelope_disable_key, and see whether anybody misses it.")));
	pge_write_key_state(key_id, PGE_KEY_STATE_DESTROYED);
	PGE_CRASH_POINT("destroy-key.key-written");
	destroy_deks(key_id);
}

static void
destroy_deks(const char *key_id)
{
	KeyringDek *deks;
	int			count = pge_keyring_deks(key_id, &deks);
	List	   *keks = NIL;

	for (int i = 0; i < count; i++)
	{
		pge_write_dek_state(deks[i].dek_id, PGE_DEK_DESTROYED);
		keks = pge_keyring_keks_of(deks[i].dek_id, keks);
	}
	PGE_CRASH_POINT("destroy-key.deks-written");
	for (int i = 0; i < count; i++)
	{
		pge_write_supersede_all(deks[i].dek_id);
		pge_epoch_wipe_at_commit(deks[i].dek_id);
	}
	PGE_CRASH_POINT("destroy-key.superseded");
	ereport(NOTICE,
			(errmsg("key \"%s\" is destroyed here; backups still hold its wrapped versions", key_id),
			 errdetail("They were wrapped by: %s.", comma_list(keks)),
			 errhint("What it sealed is beyond recovery only when these KEKs are destroyed, or the backups are gone.")));
}

static char *
comma_list(List *names)
{
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	foreach(cell, names)
		appendStringInfo(&list, "%s\"%s\"", list.len ? ", " : "", (char *) lfirst(cell));
	return list.data;
}

void
pge_mark_compromised(const char *key_id, int32 version)
{
	KeyringKey	key;
	KeyringDek *deks;
	int			count;

	pge_write_allowed("envelope_mark_compromised()");
	lock_for_manager(key_id, &key);
	count = pge_keyring_deks(key_id, &deks);
	for (int i = 0; i < count; i++)
	{
		if (deks[i].version != version)
			continue;
		if (deks[i].state != PGE_DEK_COMPROMISED)
			pge_write_dek_state(deks[i].dek_id, PGE_DEK_COMPROMISED);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("key \"%s\" has no version %d", key_id, version),
			 errhint("Its versions are in the table envelope.dek.")));
}

static void
key_is_destroyed(const char *key_id)
{
	ereport(ERROR,
			(errcode(PGE_ERRCODE_KEY_DESTROYED),
			 errmsg("key \"%s\" is destroyed", key_id),
			 errhint("%s", pge_status_hint(PGE_KEY_DESTROYED))));
}

static void
no_such_key(const char *key_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("key \"%s\" does not exist", pge_report_name(key_id)),
			 errhint("Create it with envelope_create_key.")));
}

static void
key_exists(const char *key_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("key \"%s\" already exists", key_id),
			 errdetail("The name of a key is never given twice, not even after it was destroyed."),
			 errhint("Choose another name, or make a new version of this key with envelope_rotate_key.")));
}
