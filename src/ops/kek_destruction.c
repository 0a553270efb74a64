/*-------------------------------------------------------------------------
 *
 * kek_destruction.c
 *	  Destroys a key-encryption key in its service, and calls that off.
 *
 * The service is asked last of all, with every name of the key locked and its rows
 * written, so that nothing of ours can fail between its act and the commit
 * but the commit itself.  If that fails, the rows say less than is true, a WARNING says so
 * (kek_rollback.c), and the call is repeated: the service says that it is done.
 *
 * What this transaction has changed itself could still be rolled back, and the key
 * would be gone: so only what is committed counts.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/crash_point.h"
#include "base/report.h"
#include "cache/epoch.h"
#include "client/client.h"
#include "keyring/kek_deks.h"
#include "keyring/kek_users.h"
#include "keyring/key_name.h"
#include "keyring/writes.h"
#include "ops/kek_destruction.h"
#include "ops/kek_lifecycle.h"
#include "ops/kek_proof.h"
#include "ops/kek_rollback.h"

#define ID_CHUNK	256

/* A KEK that is to be destroyed, and another one that may be the same key. */
typedef struct Likeness
{
	const char *what;			/* the message if that cannot be found out */
	const char *uri;			/* of the first */
	const char *other;
	List	   *tried;			/* versions (char *) of the other, in
								 * "context" */
	MemoryContext context;
	KekUser		user;			/* what it wraps */
}			Likeness;

static void refuse_after_changes(void);
static void require_uri(const KeyringKek *kek, const char *uri);
static List *lock_names(const char *name, const char *uri);
static List *leave_names(List *like, const char *uri, List **names);
static void refuse_if_needed(const char *name, List *names);
static void refuse_if_opens(const char *name, const char *uri, List *others);
static bool opens_what_it_wraps(Likeness * likeness);
static bool opens_wrapping(Likeness * likeness, uint32 dek_id);
static bool was_tried(const Likeness * likeness, const char *version);
static void is_needed(const char *name, const char *detail) pg_attribute_noreturn();
static void mark_destroyed(List *names);
static void ask_to_destroy(const char *name, const char *uri, bool immediate);
static void tell_destroyed(const char *name, PgeStatus status, PgeBytes detail);
static void tell_what_stays(const char *name, List *names);
static void tell_others(List *others, const char *uri);

void
pge_destroy_kek(const char *name, const char *uri, bool immediate)
{
	KeyringKek	kek;
	List	   *names = NIL;
	List	   *others;

	pge_write_allowed("envelope_destroy_kek()");
	pge_kek_uri_check(uri);
	if (!pge_keyring_find_kek(name, &kek))
		pge_no_such_kek(name);
	require_uri(&kek, uri);
	refuse_after_changes();
	others = leave_names(lock_names(name, uri), uri, &names);
	refuse_if_needed(name, names);
	refuse_if_opens(name, uri, others);
	mark_destroyed(names);
	PGE_CRASH_POINT("destroy-kek.marked");
	ask_to_destroy(name, uri, immediate);
	PGE_CRASH_POINT("destroy-kek.destroyed");
	tell_what_stays(name, names);
	tell_others(others, uri);
}

static void
refuse_after_changes(void)
{
	if (pge_epoch_changed())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot destroy a KEK in a transaction that has changed keys"),
				 errdetail("If the transaction were rolled back, the KEK would be gone, and with it what had been moved off it."),
				 errhint("Commit first, and destroy one KEK in each transaction.")));
}

/* Who means another key than the name's must not lose this one. */
static void
require_uri(const KeyringKek *kek, const char *uri)
{
	if (strcmp(kek->uri, uri) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("KEK \"%s\" has another URI", kek->name),
				 errdetail("It is \"%s\", and \"%s\" was given.", kek->uri, pge_kek_uri_without_user(uri)),
				 errhint("Nothing was destroyed. Repeat the URI of the KEK that you mean, as the table envelope.kek has it.")));
}

/*
 * Makers of data keys lock the KEK that they were given by name FOR SHARE, and a name
 * may be new: with all of them locked nobody wraps by this key any more, and what was
 * wrapped is committed.
 */
static List *
lock_names(const char *name, const char *uri)
{
	List	   *names;
	ListCell   *cell;
	KeyringKek	kek;

	pge_lock_all_keks();
	names = pge_keyring_names_like_key(uri);
	foreach(cell, names)
	{
		if (!pge_lock_kek(lfirst(cell), PGE_LOCK_UPDATE, &kek))
			pge_no_such_kek(lfirst(cell));
	}
	if (!pge_keyring_find_kek(name, &kek))
		pge_no_such_kek(name);
	require_uri(&kek, uri);		/* it may have been given another one
								 * meanwhile */
	return names;
}

/* *names: those that are the key; returned: those that may be. */
static List *
leave_names(List *like, const char *uri, List **names)
{
	List	   *others = NIL;
	ListCell   *cell;
	KeyringKek	kek;

	foreach(cell, like)
	{
		if (!pge_keyring_find_kek(lfirst(cell), &kek))
			pge_no_such_kek(lfirst(cell));
		if (pge_keyring_is_uri_of_key(kek.uri, uri))
			*names = lappend(*names, lfirst(cell));
		else
			others = lappend(others, lfirst(cell));
	}
	return others;
}

static void
refuse_if_needed(const char *name, List *names)
{
	ListCell   *cell;
	KekUser		user;

	foreach(cell, names)
	{
		const char *other = lfirst(cell);

		if (!pge_keyring_find_kek_user(other, &user))
			continue;
		is_needed(name,
				  user.dek_id == 0 ?
				  psprintf("KEK \"%s\" is to wrap the next version of key \"%s\".", other, user.key_id) :
				  user.version == 0 ?
				  psprintf("KEK \"%s\" wraps data key %u, whose row is missing.", other, user.dek_id) :
				  psprintf("KEK \"%s\" wraps version %d of key \"%s\".", other, user.version, user.key_id));
	}
}

static void
is_needed(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("could not destroy KEK \"%s\": it is needed", name),
			 errdetail("%s", detail),
			 errhint("Move what it wraps to another KEK with rewrap_all; or, if it shall be lost, destroy each key with envelope_disable_key and envelope_destroy_key.")));
}

/*
 * Whether another URI leads to the key, no URI tells: but the key does, by what was
 * wrapped by way of the other.
 */
static void
refuse_if_opens(const char *name, const char *uri, List *others)
{
	ListCell   *cell;
	Likeness	likeness = {.uri = uri, .context = CurrentMemoryContext};

	foreach(cell, others)
	{
		likeness.other = lfirst(cell);
		likeness.tried = NIL;
		likeness.what = psprintf("could not find out whether KEK \"%s\" is the same key as KEK \"%s\"", name, likeness.other);
		if (opens_what_it_wraps(&likeness))
			is_needed(name, psprintf("KEK \"%s\" is the same key by another URI, and wraps version %d of key \"%s\".",
									 likeness.other, likeness.user.version, likeness.user.key_id));
	}
}

static bool
opens_what_it_wraps(Likeness * likeness)
{
	MemoryContext per_dek = AllocSetContextCreate(CurrentMemoryContext, "proof of one data key",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(per_dek);
	uint32		dek_ids[ID_CHUNK];
	uint32		after = 0;
	bool		opens = false;
	int			count;

	while (!opens && (count = pge_keyring_deks_under(likeness->other, after, dek_ids, ID_CHUNK)) > 0)
	{
		for (int i = 0; i < count && !opens; i++)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(per_dek);
			opens = opens_wrapping(likeness, dek_ids[i]);
		}
		after = dek_ids[count - 1];
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(per_dek);
	return opens;
}

/* Of each version one is tried: that of another key has the same numbers. */
static bool
opens_wrapping(Likeness * likeness, uint32 dek_id)
{
	KeyringDek	dek;
	KeyringWrapping *wrappings;
	const KeyringWrapping *wrapping;
	PgeBytes	detail;
	PgeStatus	status;
	MemoryContext here;
	int			count;

	if (!pge_keyring_find_dek(dek_id, &dek) || dek.state == PGE_DEK_DESTROYED)
		return false;
	count = pge_keyring_wrappings(dek_id, &wrappings);
	wrapping = pge_kek_wrapping_under(wrappings, count, likeness->other);
	if (wrapping == NULL || was_tried(likeness, wrapping->kek_version))
		return false;
	status = pge_kek_try_wrapping(likeness->what, likeness->uri, &dek, wrapping, &detail);
	if (status != PGE_OK && status != PGE_WRAPPING_DAMAGED && status != PGE_KEK_NOT_FOUND)
		pge_report_error(status, likeness->what, detail);
	likeness->user.version = dek.version;
	strlcpy(likeness->user.key_id, dek.key_id, sizeof(likeness->user.key_id));
	here = MemoryContextSwitchTo(likeness->context);
	likeness->tried = lappend(likeness->tried, pstrdup(wrapping->kek_version));
	MemoryContextSwitchTo(here);
	return status == PGE_OK;
}

static bool
was_tried(const Likeness * likeness, const char *version)
{
	ListCell   *cell;

	foreach(cell, likeness->tried)
	{
		if (strcmp(lfirst(cell), version) == 0)
			return true;
	}
	return false;
}

/* Before the service is asked: what fails here has destroyed nothing. */
static void
mark_destroyed(List *names)
{
	ListCell   *cell;
	KeyringKek	kek;

	foreach(cell, names)
	{
		if (!pge_keyring_find_kek(lfirst(cell), &kek))
			pge_no_such_kek(lfirst(cell));
		if (!kek.unused)
			pge_write_kek_unused(kek.name);
		if (kek.state != PGE_KEK_DESTROYED)
			pge_write_kek_state(kek.name, PGE_KEK_DESTROYED);
	}
	ForceSyncCommit();
}

static void
ask_to_destroy(const char *name, const char *uri, bool immediate)
{
	static const uint8 yes = 1;
	PgeFrame	request = {.type = PGE_FRAME_DESTROY_KEK, .nuris = 1};
	PgeFrame	answer = {0};
	PgeStatus	status;

	request.uri[0] = pge_bytes(uri, strlen(uri));
	if (immediate)
		request.immediate = pge_bytes(&yes, sizeof(yes));
	status = pge_client_call(&request, &answer);
	if (status != PGE_OK && status != PGE_KEK_NOT_FOUND)
		pge_report_error(status, psprintf("could not destroy KEK \"%s\"", name), answer.detail);
	pge_kek_note_act(name, KEK_WAS_DESTROYED);
	tell_destroyed(name, status, answer.detail);
	pge_client_done();
}

static void
tell_destroyed(const char *name, PgeStatus status, PgeBytes detail)
{
	char	   *text = pge_report_text(detail);

	ereport(WARNING,
			(status == PGE_OK ?
			 errmsg("KEK \"%s\" is destroyed", name) :
			 errmsg("KEK \"%s\" is noted as destroyed: its key service does not have it", name),
			 text[0] != '\0' ? errdetail("%s", text) : 0));
}

static void
tell_what_stays(const char *name, List *names)
{
	TimestampTz unused_since = 0;
	ListCell   *cell;
	KeyringKek	kek;

	foreach(cell, names)
	{
		if (pge_keyring_find_kek(lfirst(cell), &kek) && kek.unused_since > unused_since)
			unused_since = kek.unused_since;
		if (strcmp(lfirst(cell), name) != 0)
			ereport(NOTICE,
					(errmsg("KEK \"%s\" is the same key, and is destroyed with it", (char *) lfirst(cell))));
	}
	ereport(NOTICE,
			(errmsg("backups made before %s need KEK \"%s\"", timestamptz_to_str(unused_since), name),
			 errdetail("What they hold under it can be opened only as long as the key is somewhere. Other databases that use the key cannot be seen from here.")));
}

/* Only of those whose URI differs in nothing but its section. */
static void
tell_others(List *others, const char *uri)
{
	size_t		len = strcspn(uri, "?");
	ListCell   *cell;
	KeyringKek	kek;

	foreach(cell, others)
	{
		if (!pge_keyring_find_kek(lfirst(cell), &kek) || kek.state == PGE_KEK_DESTROYED ||
			strcspn(kek.uri, "?") != len || strncmp(kek.uri, uri, len) != 0)
			continue;
		ereport(NOTICE,
				(errmsg("KEK \"%s\" stays as it is", kek.name),
				 errdetail("It has the URI \"%s\", which may be the same key or, in another namespace, another one.", kek.uri),
				 errhint("If it is the same key, destroy it by this name, too.")));
	}
}

void
pge_call_off_destruction(const KeyringKek *kek)
{
	PgeFrame	request = {.type = PGE_FRAME_RESTORE_KEK, .nuris = 1};
	PgeFrame	answer = {0};
	char	   *what = psprintf("could not enable KEK \"%s\", which is destroyed", kek->name);
	uint8		keyring[PGE_UUID_LEN];
	PgeStatus	status;
	char	   *detail;

	if (!pge_keyring_find_uuid(keyring))
		pge_report_error(PGE_WRAPPING_DAMAGED, what, pge_bytes(NULL, 0));
	request.uri[0] = pge_bytes(kek->uri, strlen(kek->uri));
	status = pge_client_call(&request, &answer);
	detail = pge_report_text(answer.detail);
	if (status == PGE_KEK_NOT_FOUND)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_KEK_NOT_FOUND),
				 errmsg("KEK \"%s\" is destroyed for good", kek->name),
				 detail[0] != '\0' ? errdetail("%s", detail) : 0,
				 errhint("Create another one with envelope_create_kek.")));
	if (status != PGE_OK)
		pge_report_error(status, what, answer.detail);
	pge_client_done();
	pge_kek_note_act(kek->name, KEK_WAS_SAVED);
	pge_kek_prove_wrap(what, kek->uri, keyring);
	ereport(NOTICE,
			(errmsg("KEK \"%s\" is there again", kek->name),
			 detail[0] != '\0' ? errdetail("%s", detail) : 0));
}
