/*-------------------------------------------------------------------------
 *
 * kek_lifecycle.c
 *	  Making, enabling and rotating key-encryption keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/crash_point.h"
#include "base/report.h"
#include "client/client.h"
#include "crypto/random.h"
#include "keyring/kek_users.h"
#include "keyring/kek_versions.h"
#include "keyring/key_name.h"
#include "keyring/writes.h"
#include "ops/kek_destruction.h"
#include "ops/kek_lifecycle.h"
#include "ops/kek_proof.h"

static char *create_in_local_keyring(const char *name, const uint8 keyring[PGE_UUID_LEN]);
static void require_keyring(const char *what);
static char *prove_uri(const char *name, const char *uri, const uint8 keyring[PGE_UUID_LEN]);
static void draw_uuid(uint8 uuid[PGE_UUID_LEN]);
static void refuse_older_copy(const char *what, const char *uri);
static void kek_exists(const char *name) pg_attribute_noreturn();

/*
 * The service first, the row second: a KEK of the local keyring whose row is
 * rolled back is an orphan with a name of its own, and harms nobody.
 */
char *
pge_create_kek(const char *name, const char *uri)
{
	uint8		drawn[PGE_UUID_LEN];
	uint8		keyring[PGE_UUID_LEN];
	KeyringKek	kek;
	char	   *result;

	pge_write_allowed("envelope_create_kek()");
	pge_kek_name_check(name);
	pge_kek_name_refuse_uri(name);
	if (pge_keyring_find_kek(name, &kek))
		kek_exists(name);
	draw_uuid(drawn);
	if (!pge_keyring_find_uuid(keyring))
		memcpy(keyring, drawn, PGE_UUID_LEN);
	result = uri ? prove_uri(name, uri, keyring) : create_in_local_keyring(name, keyring);
	PGE_CRASH_POINT("create-kek.made");
	pge_write_keyring(drawn, keyring);
	if (!pge_write_kek(name, result))
		kek_exists(name);
	PGE_CRASH_POINT("create-kek.written");
	return result;
}

static char *
create_in_local_keyring(const char *name, const uint8 keyring[PGE_UUID_LEN])
{
	PgeFrame	request = {0};
	PgeFrame	answer = {0};
	PgeStatus	status;
	char	   *what = psprintf("could not create KEK \"%s\" in the local keyring", name);
	char	   *uri;
	char	   *detail;

	require_keyring(what);
	request.type = PGE_FRAME_CREATE_KEK;
	status = pge_client_call(&request, &answer);
	if (status != PGE_OK)
		pge_report_error(status, what, answer.detail);
	if (answer.nuris != 1 || !pge_kek_uri_is_plain(answer.uri[0]))
		pge_report_bad_answer(what,
							  "a usable URI of the KEK, which may have been made all the same");
	uri = pge_report_text(answer.uri[0]);
	detail = pge_report_text(answer.detail);
	pge_client_done();
	pge_kek_prove_wrap(what, uri, keyring);
	ereport(WARNING,
			(errmsg("KEK \"%s\" exists only in the local keyring: back that file up now", name),
			 errdetail("%s", detail)));
	return uri;
}

/*
 * The agent makes a keyring file that is missing.  Where KEKs of ours were in one
 * it is lost, or its disk is not mounted, and a KEK in another file would go when
 * that comes back.  A file without them is the administrator's doing.
 */
static void
require_keyring(const char *what)
{
	char	   *uri = pge_keyring_find_uri("local:");
	PgeFrame	request = {0};
	PgeFrame	answer = {0};
	PgeStatus	status;

	if (uri == NULL)
		return;
	request.type = PGE_FRAME_DESCRIBE_KEK;
	request.nuris = 1;
	request.uri[0] = pge_bytes(uri, strlen(uri));
	status = pge_client_call(&request, &answer);
	if (status != PGE_OK && status != PGE_KEK_NOT_FOUND)
		pge_report_error(status, what, answer.detail);
	pge_client_done();
}

/*
 * A typing error must show now, not when the first key is made or opened.  What the
 * agent calls the key is stored, so that one key has one URI.
 */
static char *
prove_uri(const char *name, const char *uri, const uint8 keyring[PGE_UUID_LEN])
{
	char	   *what;
	char	   *canonical;

	pge_kek_uri_check(uri);
	what = psprintf("could not use \"%s\" as KEK \"%s\"", pge_kek_uri_without_user(uri), name);
	pge_kek_describe(what, uri, &canonical);
	if (canonical == NULL)
		pge_report_bad_answer(what, "a usable URI of the KEK");
	pge_kek_prove_wrap(what, canonical, keyring);
	pge_kek_tell_other_name(name, canonical, pge_keyring_names_of_key(canonical));
	return canonical;
}

void
pge_make_keyring(void)
{
	uint8		drawn[PGE_UUID_LEN];
	uint8		keyring[PGE_UUID_LEN];

	draw_uuid(drawn);
	pge_write_keyring(drawn, keyring);
}

/* Version 4, as gen_random_uuid() makes them. */
static void
draw_uuid(uint8 uuid[PGE_UUID_LEN])
{
	if (pge_random_bytes(uuid, PGE_UUID_LEN) != PGE_OK)
		pge_report_error(PGE_CRYPTO_FAILED, "could not draw the name of the keyring",
						 pge_bytes(NULL, 0));
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

void
pge_enable_kek(const char *name)
{
	KeyringKek	kek;

	pge_write_allowed("envelope_enable_kek()");
	if (!pge_lock_kek(name, PGE_LOCK_UPDATE, &kek))
		pge_no_such_kek(name);
	if (kek.state == PGE_KEK_DESTROYED)
		pge_call_off_destruction(&kek);
	if (kek.state != PGE_KEK_ENABLED)
		pge_write_kek_state(name, PGE_KEK_ENABLED);
}

char *
pge_rotate_kek(const char *name)
{
	PgeFrame	request = {0};
	PgeFrame	answer = {0};
	KeyringKek	kek;
	PgeStatus	status;
	char	   *what = psprintf("could not rotate KEK \"%s\"", name);
	char	   *version;

	pge_write_allowed("envelope_rotate_kek()");
	pge_kek_for_wrapping(name, &kek);
	if (strncmp(kek.uri, "local:", 6) == 0)
		refuse_older_copy(what, kek.uri);
	PGE_CRASH_POINT("rotate-kek.looked-at");
	request.type = PGE_FRAME_ROTATE_KEK;
	request.nuris = 1;
	request.uri[0] = pge_bytes(kek.uri, strlen(kek.uri));
	status = pge_client_call(&request, &answer);
	if (status != PGE_OK)
		pge_report_error(status, what, answer.detail);
	if (answer.nkek_versions != 1)
		pge_report_bad_answer(what, "the new version, which may have been made all the same");
	version = pge_report_text(answer.kek_version[0]);
	PGE_CRASH_POINT("rotate-kek.rotated");
	if (version[0] == '\0' && answer.detail.len > 0)
		ereport(WARNING,
				(errmsg("KEK \"%s\" is being rotated: its new version is not known yet", name),
				 errdetail("%s", pge_report_text(answer.detail)),
				 errhint("Until the key service shows it, rewrap_all takes what the version before has wrapped for the newest.")));
	pge_client_done();
	return version;
}

/*
 * An agent that never saw the newer file would give the number of a version
 * again: what the first key of that number wrapped would look damaged, and no file
 * could hold both.  Only the tables know.
 */
static void
refuse_older_copy(const char *what, const char *uri)
{
	uint32		last = pge_keyring_last_kek_version(uri);
	char	   *newest;
	uint32		number;

	if (last == 0)
		return;
	newest = pge_kek_describe(what, uri, NULL);
	number = newest == NULL ? 0 : pge_kek_version_number(newest);
	if (number == 0)
		pge_report_bad_answer(what, "the KEK's newest version");
	if (number < last)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_KEK_NOT_FOUND),
				 errmsg("%s", what),
				 errdetail("Version %u of KEK \"%s\" has wrapped data keys of this database, and the newest one in the keyring is version %u: the keyring file is an older copy.",
						   last, uri, number),
				 errhint("Put the newest copy back (pg_envelope_agent keyring restore). If there is none, make another KEK with envelope_create_kek.")));
}

void
pge_kek_for_wrapping(const char *name, KeyringKek *kek)
{
	if (!pge_keyring_find_kek(name, kek))
		pge_no_such_kek(name);
	if (kek->state != PGE_KEK_ENABLED)
		ereport(ERROR,
				(errcode(PGE_ERRCODE_KEK_UNUSABLE),
				 errmsg("KEK \"%s\" is %s", name, pge_kek_state_name(kek->state)),
				 kek->state == PGE_KEK_RETIRED ?
				 errhint("Let it wrap again with envelope_enable_kek, or move its keys to another KEK with rewrap_all.") :
				 errhint("Create another one with envelope_create_kek.")));
}

static void
kek_exists(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("KEK \"%s\" already exists", name),
			 errhint("Choose another name, or use the KEK that is there.")));
}

void
pge_no_such_kek(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("KEK \"%s\" does not exist", pge_report_name(name)),
			 errhint("Create it with envelope_create_kek, or see the table envelope.kek.")));
}
