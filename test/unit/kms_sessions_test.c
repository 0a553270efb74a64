/*-------------------------------------------------------------------------
 *
 * kms_sessions_test.c
 *	  Sets of sessions, and what becomes of them when the configuration changes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms_sessions.h"
#include "check.h"

#define CLOSE_TURNS		60000	/* of a millisecond */

struct KmsSession
{
	const KmsInstance *instance;
	int			timeout_ms;
};

static const KmsSettings settings = {.timeout_ms = 1000, .concurrency = 4};
static char file[64];
static int	opens;
static atomic_int closes;
static int	reloads;
static PgeStatus open_status;
static PgeStatus reload_status;

/* --- two providers ---------------------------------------------------------- */

static PgeStatus
open_session(const KmsSettings *given, KmsSession **session, char *detail)
{
	if (given->instance->name[0] != '\0' && open_status != PGE_OK)
	{
		pge_kms_detail(detail, "No session for %s.", given->instance->name);
		return open_status;
	}
	opens++;
	*session = malloc(sizeof(**session));
	if (*session == NULL)
		abort();
	(*session)->instance = given->instance;
	(*session)->timeout_ms = given->timeout_ms;
	return PGE_OK;
}

static PgeStatus
reload_session(KmsSession *session, const KmsSettings *given)
{
	reloads++;
	session->timeout_ms = given->timeout_ms;
	return reload_status;
}

/* Says which session it was; a section that is gone would be noticed by asan. */
static void
perform(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	memset(result, 0, sizeof(*result));
	snprintf(result->detail, sizeof(result->detail), "%s %.*s %s", session->instance->name,
			 (int) call->uri.len, (const char *) call->uri.data,
			 pge_kms_setting(session->instance, "address") == NULL ? "-" : pge_kms_setting(session->instance, "address"));
}

static void
close_session(KmsSession *session)
{
	free(session);
	atomic_fetch_add(&closes, 1);
}

static PgeStatus
parse_near(PgeBytes uri, KeyUri *key, char *detail)
{
	*key = (KeyUri)
	{
		.scheme = "near"
	};
	(void) detail;
	if (uri.len < 6 || memcmp(uri.data, "near:", 5) != 0)
		return PGE_KEK_NOT_FOUND;
	memcpy(key->path, uri.data + 5, uri.len - 5);
	return PGE_OK;
}

static PgeStatus
format_near(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1])
{
	(void) server;
	return snprintf(uri, PGE_KEK_URI_MAX + 1, "near:%s", key->path) <= PGE_KEK_URI_MAX ? PGE_OK : PGE_TOO_LARGE;
}

static PgeStatus
parse_far(PgeBytes uri, KeyUri *key, char *detail)
{
	KeyUriSplit split;
	PgeStatus	status = pge_key_uri_split(uri, &split, detail);

	*key = (KeyUri)
	{
		.scheme = "far"
	};
	if (status != PGE_OK || !pge_key_uri_scheme_is(&split, "far"))
		return PGE_KEK_NOT_FOUND;
	memcpy(key->instance, split.instance, sizeof(key->instance));
	if (split.authority.len > 0)
		status = pge_key_uri_server(split.authority, key->server, detail);
	return status == PGE_OK ? pge_key_uri_path(split.path, key->path, detail) : status;
}

static PgeStatus
check_far(KmsInstance *instance, int *line, char *detail)
{
	const KmsSetting *address = pge_kms_setting_of(instance, "address");

	if (address == NULL)
	{
		*line = instance->line;
		pge_kms_detail(detail, "It needs an address.");
		return PGE_INVALID;
	}
	return pge_key_uri_server(text_bytes(address->value), instance->server, detail);
}

static const char *const far_settings[] = {"address", "ca_file", NULL};
static const char *const near_settings[] = {NULL};
static const KmsProvider near_provider = {
	.name = "near", .settings = near_settings, .parse_uri = parse_near, .format_uri = format_near,
	.open = open_session, .reload = reload_session, .perform = perform, .close = close_session
};
static const KmsProvider far_provider = {
	.name = "far", .settings = far_settings, .parse_uri = parse_far, .check = check_far,
	.open = open_session, .perform = perform, .close = close_session
};
static const KmsProvider *const list[] = {&near_provider, &far_provider, NULL};

const KmsProvider *const *
pge_kms_providers(void)
{
	return list;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, "near") == 0 ? &near_provider : strcmp(name, "far") == 0 ? &far_provider : NULL;
}

/* --- helpers ---------------------------------------------------------------- */

static void
write_text(const char *path, const char *text)
{
	FILE	   *out = fopen(path, "w");

	if (out == NULL || fputs(text, out) < 0 || fclose(out) != 0 || chmod(path, 0600) != 0)
		abort();
}

static void
write_file(const char *text)
{
	write_text(file, text);
}

static KmsSessions *
open_set(const char *text)
{
	KmsSessions *set;
	char		detail[KMS_DETAIL_LEN];

	write_file(text);
	opens = reloads = 0;
	atomic_store(&closes, 0);
	check_status(pge_kms_sessions_open(&settings, file, &set, detail), PGE_OK, "(a set)");
	return set;
}

/* Releases the one before, as the loop does. */
static KmsSessions *
renew(KmsSessions *before, const KmsSettings *given, const char *text)
{
	KmsSessions *after;
	const char *refused;
	PgeStatus	refusal;

	write_file(text);
	check_status(pge_kms_sessions_renew(before, given, file, &after, &refused, &refusal), PGE_OK, "(another set)");
	pge_kms_sessions_release(before);
	return after;
}

/* Closes are in threads of their own. */
static int
closed(void)
{
	for (int i = 0; i < CLOSE_TURNS && pge_kms_sessions_closing() > 0; i++)
		(void) poll(NULL, 0, 1);
	return atomic_load(&closes);
}

static PgeStatus
find(const KmsSessions *set, const char *uri, KmsTarget *target, char *detail)
{
	detail[0] = '\0';
	return pge_kms_sessions_find(set, text_bytes(uri), target, detail);
}

/* What the session of that URI says. */
static const char *
ask(const KmsSessions *set, const char *uri)
{
	static KmsResult result;
	KmsTarget	target;
	KmsCall		call = {.operation = KMS_DESCRIBE};

	if (find(set, uri, &target, result.detail) == PGE_OK)
		pge_kms_target_perform(&target, &call, &result, 1);
	return result.detail;
}

static bool
says(const KmsSessions *set, const char *uri, const char *what)
{
	return strcmp(ask(set, uri), what) == 0;
}

static int
slot(const KmsSessions *set, const char *uri)
{
	PgeBytes	bytes = text_bytes(uri);
	int			most;

	return pge_kms_sessions_slot(set, &bytes, 1, &most);
}

#define FAR(name, address) "[far " name "]\naddress = " address "\nallow_keys = keys/x*\n"

/* --- tests ------------------------------------------------------------------ */

static void
check_find(void)
{
	KmsSessions *set = open_set("[near]\nallow_databases = app\n" FAR("a", "a.example:8200") FAR("b", "b.example") FAR("b2", "b.example"));
	PgeBytes	uris[2] = {text_bytes("near:1"), text_bytes("far://a.example/keys/x")};
	char		detail[KMS_DETAIL_LEN];
	char		uri[PGE_KEK_URI_MAX + 1];
	KmsTarget	target;
	int			most;

	check(set->count == 4 && opens == 4 && set->problem[0] == '\0', "a session for the embedded service and each section");
	check_status(find(set, "", &target, detail), PGE_OK, "without a URI");
	check(!target.has_key && target.instance->name[0] == '\0' && target.instance->ndatabases == 1, "it is the embedded one, with its section");
	check(says(set, "near:7", " near:7 -"), "to which its URIs go");
	check(says(set, "far://A.example:8200/keys/x", "a far://a.example:8200/keys/x a.example:8200"), "others by their address, in canonical form");
	check_status(find(set, "far:///keys/x?instance=a", &target, detail), PGE_OK, "an instance can be named");
	check_status(pge_kms_target_uri(&target, "", uri, detail), PGE_OK, "its URI");
	check(strcmp(uri, "far://a.example:8200/keys/x?instance=a") == 0, "has the server, and keeps the instance: %s", uri);
	check_status(pge_kms_target_uri(&target, "far://a.example:8200/keys/xyz", uri, detail), PGE_OK, "one that the service knows by another name");
	check(strcmp(uri, "far://a.example:8200/keys/xyz?instance=a") == 0, "keeps the instance as well: %s", uri);
	check_status(pge_kms_target_uri(&target, "near:7", uri, detail), PGE_UNAVAILABLE, "another service's name");
	check(says(set, "far:///keys/x?instance=a", "a far://a.example:8200/keys/x a.example:8200"), "which the call does not see");
	check_status(find(set, "far://a.example/secret/x", &target, detail), PGE_INVALID, "a key that is not allowed");
	check(strstr(detail, "secret/x") != NULL && strstr(detail, "[far a]") != NULL, "is told with what to add: %s", detail);
	check_status(find(set, "far://b.example/keys/x", &target, detail), PGE_INVALID, "one that two sections allow");
	check(strstr(detail, "\"b\"") != NULL && strstr(detail, "\"b2\"") != NULL, "with their names");
	check_status(find(set, "nowhere:1", &target, detail), PGE_KEK_NOT_FOUND, "a service that we do not have");
	check(strstr(detail, "no key service \"nowhere\"") != NULL, "is named");
	check_status(find(set, "far://a.example/keys/../x", &target, detail), PGE_INVALID, "a malformed one");
	check(slot(set, "near:1") == 0 && slot(set, "far://c.example/keys/x") == 0 && slot(set, "far://a.example/keys/x") == 1, "each session has a slot");
	check(pge_kms_sessions_slot(set, uris, 2, &most) == 1, "what needs two waits with the one that is not here");
	uris[0] = text_bytes("far://b.example/keys/x?instance=b");
	check(pge_kms_sessions_slot(set, uris, 2, &most) == KMS_SLOT_OF_SEVERAL, "and apart from both if neither is");
	uris[0] = uris[1];
	check(pge_kms_sessions_slot(set, uris, 2, &most) == 1, "(twice the same is one)");
	pge_kms_sessions_release(set);
	check(closed() == 4, "all are closed with the last reference");
}

static void
check_start(void)
{
	char		detail[KMS_DETAIL_LEN];
	KmsTarget	target;
	KmsSessions *set = open_set("[far a]\nadress = a.example\n");

	check(set->count == 1 && strstr(set->problem, "Line 2 of") != NULL, "a bad file at the start is told: %s", set->problem);
	check(says(set, "near:7", " near:7 -"), "and the embedded service works");
	check_status(find(set, "far://a.example/keys/x", &target, detail), PGE_INVALID, "the others do not");
	check(strstr(detail, "Line 2 of") != NULL, "and say why: %s", detail);
	set = renew(set, &settings, FAR("a", "a.example"));
	check(set->problem[0] == '\0' && says(set, "far://a.example/keys/x", "a far://a.example/keys/x a.example"), "until the file is mended");
	pge_kms_sessions_release(set);
	check(closed() == 2, "(closed)");

	open_status = PGE_IO_ERROR;
	set = open_set(FAR("a", "a.example"));
	open_status = PGE_OK;
	check(set->count == 1 && strcmp(set->problem, "No session for a.") == 0, "so is a section that cannot be opened");
	pge_kms_sessions_release(set);
	check(closed() == opens, "what was open by then is closed");
}

static void
check_kept(void)
{
	KmsSettings other = settings;
	KmsSessions *set = open_set(FAR("a", "a.example") FAR("b", "b.example"));
	int			slot_a = slot(set, "far://a.example/keys/x");
	int			slot_b = slot(set, "far://b.example/keys/x");

	check(slot_a != slot_b, "two sessions, two slots");
	set = renew(set, &settings, "# moved\n" FAR("b", "b.example") FAR("a", "a.example") FAR("c", "c.example"));
	check(opens == 4 && closed() == 0, "a reload opens what is new and keeps what is the same");
	check(slot(set, "far://a.example/keys/x") == slot_a && slot(set, "far://b.example/keys/x") == slot_b, "in its slot");
	check(reloads == 1, "the embedded service is told the settings");
	check(says(set, "far://a.example/keys/x", "a far://a.example/keys/x a.example"), "(which still works)");
	set = renew(set, &settings, FAR("b", "b.example") FAR("c", "c.example") "allow_databases = app\n"
				"[far a]\naddress = a.example\nallow_keys = keys/x*, other\n");
	check(opens == 4 && closed() == 0, "another key that is allowed is no reason to log in again");
	check(says(set, "far://a.example/other", "a far://a.example/other a.example"), "and is allowed");
	set = renew(set, &settings, FAR("a", "a.example"));
	check(opens == 4 && closed() == 2, "what is gone is closed");
	check(says(set, "far://a.example/keys/x", "a far://a.example/keys/x a.example"), "what a session was opened with outlives its file");
	other.timeout_ms++;
	set = renew(set, &other, FAR("a", "a.example"));
	check(opens == 5 && closed() == 3, "with other settings it is another session");
	pge_kms_sessions_release(set);
	check(closed() == 5, "(closed)");
}

static void
check_in_use(void)
{
	KmsSessions *set = open_set(FAR("a", "old.example"));
	KmsSessions *held = pge_kms_sessions_hold(set);
	int			old_slot = slot(set, "far://old.example/keys/x");

	set = renew(set, &settings, FAR("a", "new.example"));
	check(opens == 3 && closed() == 0, "a changed section is opened beside the old one");
	check(says(held, "far://old.example/keys/x", "a far://old.example/keys/x old.example"), "which serves who still has it");
	check(says(set, "far://new.example/keys/x", "a far://new.example/keys/x new.example"), "newcomers get the new one");
	check(slot(set, "far://new.example/keys/x") != old_slot, "whose queue is not that of the old one");
	pge_kms_sessions_release(held);
	check(closed() == 1, "the last who leaves closes it");
	pge_kms_sessions_release(set);
	check(closed() == 3, "(closed)");
}

static void
check_bad_file(void)
{
	KmsSessions *set = open_set(FAR("a", "a.example"));
	KmsTarget	target;
	char		detail[KMS_DETAIL_LEN];

	set = renew(set, &settings, FAR("a", "other.example") "[nothing x]\n");
	check(strstr(set->problem, "Line 4 of") != NULL, "a bad file is told: %s", set->problem);
	check(opens == 2 && closed() == 0 && says(set, "far://a.example/keys/x", "a far://a.example/keys/x a.example"), "and changes nothing");
	check_status(find(set, "far://other.example/keys/x", &target, detail), PGE_INVALID, "what it says is not in force");
	check(strstr(detail, "not in force") != NULL && strstr(detail, "Line 4 of") != NULL, "as who asks for it hears: %s", detail);
	check(reloads == 1, "the other settings are");
	(void) unlink(file);
	open_status = PGE_OUT_OF_MEMORY;
	set = renew(set, &settings, FAR("a", "a.example") FAR("b", "b.example"));
	open_status = PGE_OK;
	check(set->count == 2 && strcmp(set->problem, "No session for b.") == 0, "a section that cannot be opened is as bad");
	set = renew(set, &settings, FAR("a", "a.example"));
	check(opens == 2 && set->problem[0] == '\0', "a file in order ends that");
	pge_kms_sessions_release(set);
	check(closed() == 2, "(closed)");
}

static void
check_refusal(void)
{
	KmsSessions *set = open_set("");
	KmsSessions *after;
	const char *refused;
	PgeStatus	refusal;

	write_file(FAR("a", "a.example"));
	reload_status = PGE_UNAUTHENTICATED;
	check_status(pge_kms_sessions_renew(set, &settings, file, &after, &refused, &refusal), PGE_OK, "a service that takes no other settings");
	reload_status = PGE_OK;
	check(refused != NULL && strcmp(refused, "near") == 0 && refusal == PGE_UNAUTHENTICATED, "is named");
	check(after->count == 2 && says(after, "far://a.example/keys/x", "a far://a.example/keys/x a.example"), "and the sections are taken all the same");
	pge_kms_sessions_release(set);
	pge_kms_sessions_release(after);
	check(closed() == 2, "(closed)");
}

/* A certificate that was replaced counts, although the section says the same. */
static void
check_files(void)
{
	char		text[256];
	char		ca[sizeof(file) + 3];
	KmsSessions *set;

	snprintf(ca, sizeof(ca), "%s.ca", file);
	snprintf(text, sizeof(text), FAR("a", "a.example") "ca_file = %s\n" FAR("b", "b.example"), ca);
	write_text(ca, "one");
	set = open_set(text);
	set = renew(set, &settings, text);
	check(opens == 3 && closed() == 0, "a file that is the same");
	write_text(ca, "another");
	set = renew(set, &settings, text);
	check(opens == 4 && closed() == 1, "one that changed opens its section's session anew");
	(void) unlink(ca);
	set = renew(set, &settings, text);
	check(opens == 5 && closed() == 2, "so does one that is gone");
	pge_kms_sessions_release(set);
	check(closed() == 5, "(closed)");
}

/* As many as there can be, all of them replaced at once, again and again. */
static void
check_slots(void)
{
	char		text[KMS_INSTANCES_MAX * 100];
	KmsSessions *set = open_set("");
	bool		unique = true;

	for (int round = 0; round < 4; round++)
	{
		uint64_t	seen = 0;
		size_t		len = 0;

		for (int i = 1; i < KMS_INSTANCES_MAX; i++)
			len += (size_t) snprintf(text + len, sizeof(text) - len, "[far f%d]\naddress = h%d.example\nallow_keys = *\n", i, i + round * 100);
		set = renew(set, &settings, text);
		for (int i = 1; i < KMS_INSTANCES_MAX; i++)
		{
			char		uri[64];
			int			at;

			snprintf(uri, sizeof(uri), "far://h%d.example/k", i + round * 100);
			at = slot(set, uri);
			unique = unique && at > 0 && at < KMS_SESSIONS_MAX && (seen & (UINT64_C(1) << at)) == 0;
			seen |= UINT64_C(1) << at;
		}
	}
	check(set->count == KMS_INSTANCES_MAX && unique, "no two sessions of a set have one slot");
	pge_kms_sessions_release(set);
	check(closed() == opens, "each that was opened is closed once");
}

int
main(void)
{
	int			fd;

	snprintf(file, sizeof(file), "/tmp/kms_sessions_test.XXXXXX");
	fd = mkstemp(file);
	if (fd < 0)
		abort();
	close(fd);
	check_find();
	check_start();
	check_kept();
	check_in_use();
	check_bad_file();
	check_refusal();
	check_files();
	check_slots();
	(void) unlink(file);
	return check_done();
}
