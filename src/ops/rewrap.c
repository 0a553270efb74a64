/*-------------------------------------------------------------------------
 *
 * rewrap.c
 *	  Rotates a KEK: every DEK under one KEK gets a wrapping under another.
 *
 * Lock order: KEKs by name, then keys by key_id, then wrappings.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/crash_point.h"
#include "base/report.h"
#include "client/client.h"
#include "keyring/kek_deks.h"
#include "keyring/writes.h"
#include "ops/rewrap_private.h"

/* Past this a rewrap in one transaction is long enough to say so. */
#define MANY_DEKS	10000

static void look_at_keks(RewrapRun *run, const RewrapRequest *request);
static void find_kek(const char *name, bool lock, RowLock mode, KeyringKek *kek);
static void check_states(const RewrapRun *run);
static void ask_newest_version(RewrapRun *run);
static void say_if_many(const RewrapRun *run);

const char *
pge_rewrap_outcome_name(RewrapOutcome outcome)
{
	static const char *const names[] = {
		[PGE_REWRAPPED] = "rewrapped",
		[PGE_REWRAP_ALREADY] = "already",
		[PGE_REWRAP_FAILED] = "failed"
	};

	return names[outcome];
}

void
pge_rewrap_all(const RewrapRequest *request, RewrapSink sink, void *arg)
{
	RewrapRun	run;
	RewrapStage *stage;

	pge_rewrap_begin(&run, request);
	say_if_many(&run);
	stage = pge_rewrap_fetch(&run, PG_UINT64_MAX);

	/*
	 * A CALL that was interrupted leaves keys to move of which nothing is
	 * written.
	 */
	if (pge_rewrap_retires(&run))
		pge_lock_keys_of_kek(run.old.name);
	pge_rewrap_write(&run, stage, sink, arg);
	if (pge_rewrap_retires(&run))
	{
		pge_write_move_keys(run.old.name, run.new.name);
		PGE_CRASH_POINT("rewrap.keys-moved");
		pge_rewrap_note_unused(&run);
	}
	pge_rewrap_say_what_stays(&run);
}

/*
 * Old is locked before anybody asks which DEKs need it.  Makers of DEKs lock
 * their KEK FOR SHARE and then look again whether it is enabled: so what was
 * made under it is committed and found, and what comes later goes elsewhere.
 */
void
pge_rewrap_begin(RewrapRun *run, const RewrapRequest *request)
{
	pge_require_preloaded();
	memset(run, 0, sizeof(*run));
	run->dry_run = request->dry_run;
	run->keep_old = request->keep_old;
	run->same = strcmp(request->old_kek, request->new_kek) == 0;
	if (run->same && run->keep_old)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot keep the old wrappings beside new ones of the same KEK"),
				 errhint("Leave out keep_old, or name another KEK.")));
	if (!run->dry_run)
		pge_write_allowed("rewrap");
	look_at_keks(run, request);
	check_states(run);
	if (run->same)
		ask_newest_version(run);
	if (pge_rewrap_retires(run) && run->old.state == PGE_KEK_ENABLED)
	{
		pge_write_kek_state(run->old.name, PGE_KEK_RETIRED);
		run->changed = true;
		PGE_CRASH_POINT("rewrap.retired");
	}
}

void
pge_rewrap_lock_again(RewrapRun *run)
{
	KeyringKek	old = run->old;
	KeyringKek	new = run->new;
	RewrapRequest names = {.old_kek = old.name, .new_kek = new.name};

	look_at_keks(run, &names);
	check_states(run);
	if (pge_rewrap_retires(run) && run->old.state == PGE_KEK_ENABLED)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_KEK_UNUSABLE),
				 errmsg("KEK \"%s\" was enabled again while its data keys were being rewrapped",
						run->old.name),
				 errhint("What was rewrapped so far is kept; run the rewrap again if it is still wanted.")));
}

static void
look_at_keks(RewrapRun *run, const RewrapRequest *request)
{
	bool		lock = !run->dry_run;
	bool		old_first = strcmp(request->old_kek, request->new_kek) < 0;

	if (run->same)
	{
		find_kek(request->old_kek, lock, PGE_LOCK_SHARE, &run->old);
		run->new = run->old;
		return;
	}
	if (old_first)
		find_kek(request->old_kek, lock, PGE_LOCK_UPDATE, &run->old);
	find_kek(request->new_kek, lock, PGE_LOCK_SHARE, &run->new);
	if (!old_first)
		find_kek(request->old_kek, lock, PGE_LOCK_UPDATE, &run->old);
}

static void
find_kek(const char *name, bool lock, RowLock mode, KeyringKek *kek)
{
	if (lock ? pge_lock_kek(name, mode, kek) : pge_keyring_find_kek(name, kek))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("KEK \"%s\" does not exist", pge_report_name(name)),
			 errhint("Create it with envelope_create_kek, or see the table envelope.kek.")));
}

/* A retired KEK still unwraps, so old may be that. */
static void
check_states(const RewrapRun *run)
{
	if (run->old.state == PGE_KEK_DESTROYED)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_KEK_UNUSABLE),
				 errmsg("KEK \"%s\" is destroyed", run->old.name),
				 errdetail("What it wrapped can no longer be unwrapped.")));
	if (run->new.state != PGE_KEK_ENABLED)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_KEK_UNUSABLE),
				 errmsg("KEK \"%s\" is %s", run->new.name,
						pge_kek_state_name(run->new.state)),
				 errdetail("Data keys are wrapped only under a KEK that is enabled."),
				 run->new.state == PGE_KEK_RETIRED ?
				 errhint("Choose another KEK, or enable it with envelope_enable_kek.") :
				 errhint("Choose another KEK.")));
}

static void
ask_newest_version(RewrapRun *run)
{
	PgeFrame	request = {.type = PGE_FRAME_DESCRIBE_KEK, .nuris = 1};
	PgeFrame	answer;
	PgeStatus	status;
	const char *what = psprintf("could not ask for the newest version of KEK \"%s\"",
								run->new.name);

	request.uri[0] = pge_bytes(run->new.uri, strlen(run->new.uri));
	status = pge_client_call(&request, &answer);
	if (status != PGE_OK)
		pge_report_error(status, what, answer.detail);
	if (answer.nkek_versions != 1 ||
		answer.kek_version[0].len >= sizeof(run->newest))
		pge_report_bad_answer(what, "the version");
	memcpy(run->newest, answer.kek_version[0].data, answer.kek_version[0].len);
	run->newest[answer.kek_version[0].len] = '\0';
	pge_client_done();
}

static void
say_if_many(const RewrapRun *run)
{
	uint32	   *dek_ids = palloc((MANY_DEKS + 1) * sizeof(uint32));
	int			count = pge_keyring_deks_under(run->old.name, 0, dek_ids, MANY_DEKS + 1);

	pfree(dek_ids);
	if (count > MANY_DEKS)
		ereport(NOTICE,
				(errmsg("KEK \"%s\" wraps more than %d data keys, which are rewrapped in one transaction",
						run->old.name, MANY_DEKS),
				 errhint("CALL envelope_rewrap(%s, %s) commits in batches and goes on where it stopped.",
						 quote_literal_cstr(run->old.name),
						 quote_literal_cstr(run->new.name))));
}

void
pge_rewrap_note_unused(RewrapRun *run)
{
	uint32		dek_id;

	/* what was left may have been destroyed since an earlier run */
	if (!pge_rewrap_retires(run) || (run->old.unused && !run->changed) ||
		pge_keyring_deks_under(run->old.name, 0, &dek_id, 1) > 0)
		return;
	pge_write_kek_unused(run->old.name);
	PGE_CRASH_POINT("rewrap.noted");
	run->changed = false;
}

void
pge_rewrap_say_what_stays(const RewrapRun *run)
{
	if (run->dry_run)
	{
		ereport(NOTICE, (errmsg("this was a dry run: nothing was changed")));
		return;
	}
	if (run->keep_old)
		return;
	ereport(NOTICE,
			(run->same ?
			 errmsg("backups made until now still need the older versions of KEK \"%s\"", run->old.name) :
			 errmsg("backups made until now still need KEK \"%s\"", run->old.name),
			 errhint("Keep it in its key service until the last of them has expired.")));
	ereport(NOTICE,
			(errmsg("a rewrap is no recovery from a KEK that leaked: whoever has it can unwrap data keys from old copies"),
			 errhint("In that case rotate each key with envelope_rotate_key and seal its values anew with envelope_reencrypt.")));
}
