/*-------------------------------------------------------------------------
 *
 * kek_move.c
 *	  Gives a key-encryption key another URI, once that is seen to be the same key.
 *
 * What shows it is what the key has wrapped: of each of its versions one wrapping has
 * to open by the new URI.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/report.h"
#include "keyring/kek_deks.h"
#include "keyring/kek_users.h"
#include "keyring/key_name.h"
#include "keyring/writes.h"
#include "ops/kek_lifecycle.h"
#include "ops/kek_move.h"
#include "ops/kek_proof.h"

#define ID_CHUNK	256

/* A KEK on its way to another URI. */
typedef struct KekMove
{
	const char *name;
	const char *uri;			/* the new one */
	const char *what;			/* the message if it cannot be done */
	List	   *proved;			/* versions (char *), in "context" */
	MemoryContext context;
} KekMove;

static void refuse_destroyed(const KeyringKek *kek);
static void prove_versions(KekMove *move);
static void tell_unproved(const KekMove *move, const char *old_uri);
static void prove_version_of(KekMove *move, uint32 dek_id);
static bool is_proved(const KekMove *move, const char *version);
static void prove_wrapping(const KekMove *move, const KeyringDek *dek, const KeyringWrapping *wrapping);
static void refuse_wrapping(const KekMove *move, const KeyringDek *dek, const KeyringWrapping *wrapping,
							PgeStatus status, PgeBytes detail) pg_attribute_noreturn();
static void tell_other_names(const KekMove *move, const char *old_uri);
static void tell_names_left(const KekMove *move, const char *old_uri);

char *
pge_alter_kek(const char *name, const char *uri)
{
	KekMove		move = {.name = name, .context = CurrentMemoryContext};
	uint8		keyring[PGE_UUID_LEN];
	KeyringKek	kek;
	char	   *canonical;

	pge_write_allowed("envelope_alter_kek()");
	pge_kek_uri_check(uri);
	if (!pge_keyring_find_kek(name, &kek))
		pge_no_such_kek(name);
	refuse_destroyed(&kek);
	move.what = psprintf("could not use \"%s\" as KEK \"%s\"", pge_kek_uri_without_user(uri), name);
	pge_kek_describe(move.what, uri, &canonical);
	if (canonical == NULL || !pge_keyring_find_uuid(keyring))
		pge_report_bad_answer(move.what, "a usable URI of the KEK");
	move.uri = canonical;
	pge_kek_prove_wrap(move.what, canonical, keyring);
	/* from here on nobody wraps by the old one */
	if (!pge_lock_kek(name, PGE_LOCK_UPDATE, &kek))
		pge_no_such_kek(name);
	refuse_destroyed(&kek);
	prove_versions(&move);
	if (move.proved == NIL)
		tell_unproved(&move, kek.uri);
	if (strcmp(kek.uri, canonical) != 0)
		pge_write_kek_uri(name, canonical);
	tell_names_left(&move, kek.uri);
	tell_other_names(&move, kek.uri);
	return canonical;
}

static void
refuse_destroyed(const KeyringKek *kek)
{
	if (kek->state == PGE_KEK_DESTROYED)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_KEK_UNUSABLE),
				 errmsg("KEK \"%s\" is destroyed", kek->name),
				 errhint("If that can still be called off in its key service, envelope_enable_kek does it.")));
}

static void
prove_versions(KekMove *move)
{
	MemoryContext per_dek = AllocSetContextCreate(CurrentMemoryContext, "proof of one data key",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(per_dek);
	uint32		dek_ids[ID_CHUNK];
	uint32		after = 0;
	int			count;

	while ((count = pge_keyring_deks_under(move->name, after, dek_ids, ID_CHUNK)) > 0)
	{
		for (int i = 0; i < count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(per_dek);
			prove_version_of(move, dek_ids[i]);
		}
		after = dek_ids[count - 1];
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(per_dek);
}

/*
 * What it once wrapped is in backups, which need the key that it was: its row says
 * which.  Where the address is a part of the URI, another one is likely the same key.
 */
static void
tell_unproved(const KekMove *move, const char *old_uri)
{
	if (!pge_keyring_may_be_uri_of_key(old_uri, move->uri) && pge_keyring_kek_is_needed(move->name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nothing shows that KEK \"%s\" is the key \"%s\"", move->name, move->uri),
				 errdetail("It wraps no data key of this database any more, and its URI \"%s\" is of another key; backups may need that.", old_uri),
				 errhint("Make another KEK with envelope_create_kek.")));
	ereport(NOTICE,
			(errmsg("nothing shows that KEK \"%s\" is the key that it was", move->name),
			 errdetail("It wraps no data key of this database.")));
}

static void
prove_version_of(KekMove *move, uint32 dek_id)
{
	KeyringDek	dek;
	KeyringWrapping *wrappings;
	const KeyringWrapping *wrapping;
	MemoryContext here;
	int			count;

	if (!pge_keyring_find_dek(dek_id, &dek) || dek.state == PGE_DEK_DESTROYED)
		return;
	count = pge_keyring_wrappings(dek_id, &wrappings);
	wrapping = pge_kek_wrapping_under(wrappings, count, move->name);
	if (wrapping == NULL || is_proved(move, wrapping->kek_version))
		return;
	prove_wrapping(move, &dek, wrapping);
	here = MemoryContextSwitchTo(move->context);
	move->proved = lappend(move->proved, pstrdup(wrapping->kek_version));
	MemoryContextSwitchTo(here);
}

static bool
is_proved(const KekMove *move, const char *version)
{
	ListCell   *cell;

	foreach(cell, move->proved)
	{
		if (strcmp(lfirst(cell), version) == 0)
			return true;
	}
	return false;
}

static void
prove_wrapping(const KekMove *move, const KeyringDek *dek, const KeyringWrapping *wrapping)
{
	PgeBytes	detail;
	PgeStatus	status = pge_kek_try_wrapping(move->what, move->uri, dek, wrapping, &detail);

	if (status != PGE_OK)
		refuse_wrapping(move, dek, wrapping, status, detail);
}

static void
refuse_wrapping(const KekMove *move, const KeyringDek *dek, const KeyringWrapping *wrapping,
				PgeStatus status, PgeBytes detail)
{
	if (status != PGE_WRAPPING_DAMAGED && status != PGE_KEK_NOT_FOUND)
		pge_report_error(status, move->what, detail);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is another key than KEK \"%s\"", move->uri, move->name),
			 errdetail("Version \"%s\" of the KEK wrapped version %d of key \"%s\", which does not open there: %s",
					   wrapping->kek_version, dek->version, dek->key_id, pge_report_text(detail)),
			 errhint("Nothing was changed. Make another KEK of it with envelope_create_kek, and move the keys there with rewrap_all.")));
}

/* Its old URI has led nowhere, or leads nowhere soon: for the others, too. */
static void
tell_names_left(const KekMove *move, const char *old_uri)
{
	ListCell   *cell;
	KeyringKek	kek;

	foreach(cell, pge_keyring_names_of_key(old_uri))
	{
		if (strcmp(lfirst(cell), move->name) == 0 || !pge_keyring_find_kek(lfirst(cell), &kek) ||
			kek.state == PGE_KEK_DESTROYED || strcmp(kek.uri, old_uri) != 0 || strcmp(kek.uri, move->uri) == 0)
			continue;
		ereport(NOTICE,
				(errmsg("KEK \"%s\" still has the URI that KEK \"%s\" had", kek.name, move->name),
				 errdetail("It is \"%s\".", kek.uri)));
	}
}

static void
tell_other_names(const KekMove *move, const char *old_uri)
{
	ListCell   *cell;
	KeyringKek	kek;

	foreach(cell, pge_keyring_names_of_key(move->uri))
	{
		if (strcmp(lfirst(cell), move->name) == 0 || !pge_keyring_find_kek(lfirst(cell), &kek) ||
			kek.state == PGE_KEK_DESTROYED || strcmp(kek.uri, old_uri) == 0)
			continue;
		pge_kek_tell_likeness(move->name, move->uri, &kek);
	}
}
