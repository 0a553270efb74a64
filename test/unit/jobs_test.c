/*-------------------------------------------------------------------------
 *
 * jobs_test.c
 *	  Requests in the worker threads, while services hang and their
 *	  configuration changes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms/monotonic.h"
#include "agent/kms_reload.h"
#include "agent/single_flight.h"
#include "check.h"
#include "format/binding.h"

#define TURNS		30000		/* of a millisecond */
#define CONCURRENCY	2
#define ROUNDS		60
#define BURST		24
#define FOR_EVER_MS	1000000000

#define BULK(name) "[bulk " name "]\naddress = " name ".example\nallow_keys = *\n"
#define FAR(name) "[far " name "]\naddress = " name ".example\nallow_keys = *\n"

/* A closed session is overwritten before it is freed, so that its use shows without sanitizers, too. */
struct KmsSession
{
	atomic_bool open;
	char		name[KMS_INSTANCE_NAME_MAX + 1];
};

static char hanging[KMS_INSTANCE_NAME_MAX + 1]; /* set while no call is under
												 * way */
static atomic_bool released;
static atomic_int waiting;
static atomic_int opened;
static atomic_int closed;
static atomic_int used_closed;

static AgentJobs jobs;
static SingleFlight flight;
static KmsReload reload;
static KmsSessions *sessions;
static char file[64];
static uint8_t binding_bytes[PGE_BINDING_MAX];
static PgeBytes bound;
static PgeSecret dek = {{7, 7, 7}};
static uint8_t check_value[PGE_CHECK_VALUE_LEN];

/* --- two providers ---------------------------------------------------------- */

static PgeStatus
open_session(const KmsSettings *settings, KmsSession **session, char *detail)
{
	(void) detail;
	*session = calloc(1, sizeof(**session));
	if (*session == NULL)
		abort();
	atomic_init(&(*session)->open, true);
	memcpy((*session)->name, settings->instance->name, sizeof((*session)->name));
	atomic_fetch_add(&opened, 1);
	return PGE_OK;
}

static PgeStatus
reload_session(KmsSession *session, const KmsSettings *settings)
{
	(void) session;
	(void) settings;
	return PGE_OK;
}

static void
close_session(KmsSession *session)
{
	atomic_store(&session->open, false);
	free(session);
	atomic_fetch_add(&closed, 1);
}

static atomic_int group_sizes;	/* of the groups that came */
static atomic_int groups;
static atomic_int largest;
static atomic_int taken_now = KMS_MANY_MAX; /* what "bulk" has found out */

static void
hang(const KmsCall *call)
{
	atomic_fetch_add(&waiting, 1);
	while (!atomic_load(&released) && !atomic_load(call->cancelled))
		(void) poll(NULL, 0, 1);
	atomic_fetch_sub(&waiting, 1);
}

static void
perform(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	memset(result, 0, sizeof(*result));
	if (hanging[0] != '\0' && strcmp(session->name, hanging) == 0)
		hang(call);
	if (!atomic_load(&session->open))
		atomic_fetch_add(&used_closed, 1);
	snprintf(result->kek_version, sizeof(result->kek_version), "1");
	if (call->operation == KMS_WRAP)
		memcpy(result->wrapped, call->dek->bytes, result->wrapped_len = PGE_DEK_LEN);
	if (call->operation == KMS_UNWRAP)
		memcpy(result->dek.bytes, call->wrapped.data, PGE_DEK_LEN);
}

static void
perform_many(KmsSession *session, const KmsCall *calls, KmsResult *results, int n)
{
	int			before = atomic_load(&largest);

	atomic_fetch_add(&groups, 1);
	atomic_fetch_add(&group_sizes, n);
	while (before < n && !atomic_compare_exchange_weak(&largest, &before, n))
		;
	for (int i = 0; i < n; i++)
		perform(session, &calls[i], &results[i]);
}

static int
takes(const KmsSession *session)
{
	(void) session;
	return atomic_load(&taken_now);
}

static PgeStatus
parse_near(PgeBytes uri, KeyUri *key, char *detail)
{
	(void) detail;
	memset(key, 0, sizeof(*key));
	memcpy(key->path, uri.data, uri.len);
	return uri.len > 5 && memcmp(uri.data, "near:", 5) == 0 ? PGE_OK : PGE_KEK_NOT_FOUND;
}

static PgeStatus
format_near(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1])
{
	(void) server;
	return snprintf(uri, PGE_KEK_URI_MAX + 1, "%s", key->path) <= PGE_KEK_URI_MAX ? PGE_OK : PGE_TOO_LARGE;
}

static PgeStatus
parse_scheme(const char *scheme, PgeBytes uri, KeyUri *key, char *detail)
{
	KeyUriSplit split;
	PgeStatus	status = pge_key_uri_split(uri, &split, detail);

	memset(key, 0, sizeof(*key));
	if (status != PGE_OK || !pge_key_uri_scheme_is(&split, scheme))
		return PGE_KEK_NOT_FOUND;
	memcpy(key->scheme, scheme, strlen(scheme) + 1);
	memcpy(key->instance, split.instance, sizeof(key->instance));
	status = pge_key_uri_server(split.authority, key->server, detail);
	return status == PGE_OK ? pge_key_uri_path(split.path, key->path, detail) : status;
}

static PgeStatus
parse_far(PgeBytes uri, KeyUri *key, char *detail)
{
	return parse_scheme("far", uri, key, detail);
}

static PgeStatus
parse_bulk(PgeBytes uri, KeyUri *key, char *detail)
{
	return parse_scheme("bulk", uri, key, detail);
}

static PgeStatus
check_far(KmsInstance *instance, int *line, char *detail)
{
	const char *address = pge_kms_setting(instance, "address");

	(void) line;
	return address == NULL ? PGE_INVALID : pge_key_uri_server(text_bytes(address), instance->server, detail);
}

static PgeStatus
check_bulk(KmsInstance *instance, int *line, char *detail)
{
	if (pge_kms_setting(instance, "batch_size") != NULL)
		instance->many = (int) strtol(pge_kms_setting(instance, "batch_size"), NULL, 10);
	return check_far(instance, line, detail);
}

static const char *const far_settings[] = {"address", NULL};
static const char *const bulk_settings[] = {"address", "batch_size", NULL};
static const char *const near_settings[] = {NULL};
static const KmsProvider near_provider = {
	.name = "near", .settings = near_settings, .parse_uri = parse_near, .format_uri = format_near,
	.open = open_session, .reload = reload_session, .perform = perform, .close = close_session
};
static const KmsProvider far_provider = {
	.name = "far", .settings = far_settings, .parse_uri = parse_far, .check = check_far,
	.open = open_session, .perform = perform, .close = close_session
};
static const KmsProvider bulk_provider = {
	.name = "bulk", .settings = bulk_settings, .parse_uri = parse_bulk, .check = check_bulk,
	.open = open_session, .perform = perform, .close = close_session, .perform_many = perform_many, .takes = takes
};

const KmsProvider *const *
pge_kms_providers(void)
{
	static const KmsProvider *const list[] = {&near_provider, &far_provider, &bulk_provider, NULL};

	return list;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, "near") == 0 ? &near_provider : strcmp(name, "far") == 0 ? &far_provider :
		strcmp(name, "bulk") == 0 ? &bulk_provider : NULL;
}

/* --- the loop's part -------------------------------------------------------- */

static void
notify(void *arg)
{
	(void) arg;
}

static AgentSettings
settings_of(const char *path)
{
	AgentSettings settings = {.kms_concurrency = CONCURRENCY, .kms_timeout_ms = 1000};

	snprintf(settings.kms_config_file, sizeof(settings.kms_config_file), "%s", path);
	return settings;
}

static void
write_file(const char *text)
{
	FILE	   *out = fopen(file, "w");

	if (out == NULL || fputs(text, out) < 0 || fclose(out) != 0 || chmod(file, 0600) != 0)
		abort();
}

static void
begin(const char *text)
{
	const AgentSettings settings = settings_of(file);
	const KmsSettings kms = pge_agent_settings_kms(&settings);
	char		detail[KMS_DETAIL_LEN];

	write_file(text);
	hanging[0] = '\0';
	atomic_store(&released, false);
	atomic_store(&opened, 0);
	atomic_store(&closed, 0);
	atomic_store(&groups, 0);
	atomic_store(&group_sizes, 0);
	atomic_store(&largest, 0);
	check_status(pge_kms_sessions_open(&kms, file, &sessions, detail), PGE_OK, "(sessions)");
	check(sessions->problem[0] == '\0', "(as configured) %s", sessions->problem);
}

/* The file as it is, to its end; calls that are under way go on. */
static void
renew(void)
{
	const AgentSettings settings = settings_of(file);

	if (!pge_kms_reload_start(&reload, sessions, &settings))
		abort();
	for (int i = 0; i < TURNS && !pge_kms_reload_take(&reload); i++)
		(void) poll(NULL, 0, 1);
	if (reload.busy || reload.after == NULL)
		abort();
	pge_kms_sessions_release(sessions);
	sessions = reload.after;
}

static PgeFrame
request_of(uint16_t type, const char *from, const char *to)
{
	PgeFrame	request = {.type = type, .binding = bound, .database = text_bytes("app")};

	request.uri[request.nuris++] = text_bytes(from);
	if (to != NULL)
		request.uri[request.nuris++] = text_bytes(to);
	if (type != PGE_FRAME_WRAP_NEW)
	{
		request.wrapped[request.nwrapped++] = pge_bytes(dek.bytes, PGE_DEK_LEN);
		request.check_value = pge_bytes(check_value, sizeof(check_value));
	}
	return request;
}

/* Of a client that has so many requests under way, and waits until then. */
static AgentJob *
submit_behind(const PgeFrame *request, int before, uint64_t deadline_ms)
{
	PgeBuffer	out = new_buffer(PGE_FRAME_MAX);
	AgentJob   *job;

	if (pge_frame_encode(request, &out) != PGE_OK)
		abort();
	job = pge_job_new(pge_buffer_bytes(&out), sessions, deadline_ms);
	free(out.data);
	if (job == NULL || !pge_jobs_submit(&jobs, job, before))
		abort();
	return job;
}

static AgentJob *
submit(const PgeFrame *request)
{
	return submit_behind(request, 0, 0);
}

/* Frees what has finished; how many it was, and how many of them went well. */
static int
reap(int *good)
{
	AgentJob   *job = pge_jobs_take_finished(&jobs);
	int			count = 0;

	for (AgentJob *next; job != NULL; job = next, count++)
	{
		next = job->next;
		pge_flight_remove(&flight, job);
		if (good != NULL && job->answer != NULL && job->answer->status == PGE_OK)
			(*good)++;
		pge_job_free(job);
	}
	return count;
}

static int
reap_until(int wanted, int *good)
{
	int			count = 0;

	for (int i = 0; i < TURNS && count < wanted; i++)
	{
		count += reap(good);
		if (count < wanted)
			(void) poll(NULL, 0, 1);
	}
	return count;
}

static bool
wait_for(atomic_int * what, int value)
{
	for (int i = 0; i < TURNS && atomic_load(what) != value; i++)
		(void) poll(NULL, 0, 1);
	return atomic_load(what) == value;
}

static void
end(void)
{
	pge_kms_sessions_release(sessions);
	sessions = NULL;
	for (int i = 0; i < TURNS && pge_kms_sessions_closing() > 0; i++)
		(void) poll(NULL, 0, 1);
	check(atomic_load(&opened) == atomic_load(&closed), "each session that was opened is closed once");
	check(atomic_load(&used_closed) == 0, "none was used after that");
}

/* --- tests ------------------------------------------------------------------ */

/* Whatever hangs in b, what needs a alone is served: b has not taken a's threads. */
static void
check_two_services(uint16_t type, const char *what)
{
	PgeFrame	both = request_of(type, "far://a.example/k", "far://b.example/k");
	PgeFrame	first = request_of(PGE_FRAME_UNWRAP, "far://a.example/k", NULL);
	PgeFrame	near = request_of(type, "near:1", "far://a.example/k");
	int			good = 0;

	begin(FAR("a") FAR("b"));
	snprintf(hanging, sizeof(hanging), "b");
	for (int i = 0; i < 4 * CONCURRENCY; i++)
		(void) submit(&both);
	check(wait_for(&waiting, CONCURRENCY), "%s of two services hangs in the second", what);
	(void) submit(&first);
	(void) submit(&near);
	check(reap_until(2, &good) == 2 && good == 2, "and what needs the first alone is served");
	atomic_store(&released, true);
	check(reap_until(4 * CONCURRENCY, &good) == 4 * CONCURRENCY && good == 4 * CONCURRENCY + 2, "(it ends)");
	end();
}

/* A section that is changed twice: the third session has no queue with the first, which still hangs. */
static void
check_hanging_predecessors(void)
{
	PgeFrame	request = request_of(PGE_FRAME_UNWRAP, "far://a.example/k", NULL);
	int			good = 0;

	begin(FAR("a"));
	snprintf(hanging, sizeof(hanging), "a");
	for (int i = 0; i < CONCURRENCY; i++)
		(void) submit(&request);
	check(wait_for(&waiting, CONCURRENCY), "calls of a session hang");
	write_file("[far new]\naddress = a.example\nallow_keys = k\n");
	renew();
	write_file("[far newest]\naddress = a.example\nallow_keys = k\n");
	renew();
	(void) submit(&request);
	check(reap_until(1, &good) == 1 && good == 1, "what replaces its successor does not wait for it");
	atomic_store(&released, true);
	check(reap_until(CONCURRENCY, &good) == CONCURRENCY, "(it ends)");
	end();
}

/* What was asked before a reload is no answer for who asks after it, nor one database's for another. */
static void
check_joining(void)
{
	PgeFrame	request = request_of(PGE_FRAME_UNWRAP, "far://a.example/k", NULL);
	PgeFrame	foreign = request;
	AgentJob   *job;

	begin(FAR("a"));
	snprintf(hanging, sizeof(hanging), "a");
	job = submit(&request);
	pge_flight_add(&flight, job);
	check(wait_for(&waiting, 1), "a call hangs");
	foreign.database = text_bytes("other");
	check(pge_flight_find(&flight, &request, sessions, 0) == job, "an equal one joins it");
	check(pge_flight_find(&flight, &foreign, sessions, 0) == NULL, "another database's does not");
	check(pge_flight_find(&flight, &request, sessions, 1) == NULL, "nor does another server's, whose flushes are others");
	renew();
	check(pge_flight_find(&flight, &request, sessions, 0) == NULL, "nor does one after a reload that changed nothing");
	atomic_store(&released, true);
	check(reap_until(1, NULL) == 1, "(it ends)");
	end();
}

static void
begin_hanging(const char *text, const char *name, int concurrency)
{
	begin(text);
	pge_jobs_set_concurrency(&jobs, concurrency);
	snprintf(hanging, sizeof(hanging), "%s", name);
}

static void
let_go(int wanted, const char *what)
{
	int			good = 0;

	atomic_store(&released, true);
	check(reap_until(wanted, &good) == wanted && good == wanted, "%s", what);
	end();
	pge_jobs_set_concurrency(&jobs, CONCURRENCY);
}

/* What waits for the same key goes as one; of another key, set or deadline it does not. */
static void
check_groups(void)
{
	PgeFrame	request = request_of(PGE_FRAME_UNWRAP, "bulk://b.example/k", NULL);
	PgeFrame	other = request_of(PGE_FRAME_UNWRAP, "bulk://b.example/l", NULL);
	PgeFrame	created = request_of(PGE_FRAME_WRAP_NEW, "bulk://b.example/k", NULL);
	uint64_t	now = pge_monotonic_ms();

	begin_hanging(BULK("b"), "b", 1);
	(void) submit(&request);
	check(wait_for(&waiting, 1), "who finds a thread free goes alone");
	for (int i = 0; i < 5; i++)
	{
		(void) submit(&request);
		(void) submit(&other);
		(void) submit(&created);
	}
	let_go(16, "(all are served)");
	check(atomic_load(&groups) == 4 && atomic_load(&group_sizes) == 20, "what waits goes in a group for each key and kind: %d of %d calls",
		  atomic_load(&groups), atomic_load(&group_sizes));

	begin_hanging(BULK("b"), "b", 1);
	(void) submit(&request);
	check(wait_for(&waiting, 1), "(a call hangs)");
	for (int i = 0; i < 3; i++)
		(void) submit(&request);
	renew();
	for (int i = 0; i < 4; i++)
		(void) submit(&request);
	let_go(8, "(all are served)");
	check(atomic_load(&groups) == 2 && atomic_load(&largest) == 4, "what came before a reload does not go with what came after it");

	begin_hanging(BULK("b"), "b", 1);
	(void) submit(&request);
	check(wait_for(&waiting, 1), "(a call hangs)");
	(void) submit_behind(&request, 0, now + 1000000);
	(void) submit_behind(&request, 1, now + 1500000);
	(void) submit_behind(&request, 2, now + 3000000);
	let_go(4, "(all are served)");
	check(atomic_load(&groups) == 1 && atomic_load(&largest) == 2, "nor who would lose more than half of his time by it");

	begin_hanging(BULK("b"), "b", 1);
	(void) submit(&request);
	check(wait_for(&waiting, 1), "(a call hangs)");
	(void) submit_behind(&request, 0, now + 1500000);
	(void) submit_behind(&request, 1, now + 100000);
	(void) submit_behind(&request, 2, now + 1000000);
	(void) submit_behind(&request, 3, now + 1200000);
	(void) submit_behind(&request, 4, now + 2500000);
	let_go(6, "(all are served)");
	check(atomic_load(&groups) == 1 && atomic_load(&largest) == 3, "nor who would take more than half of another's: %d in a group", atomic_load(&largest));

	begin_hanging(FAR("a"), "a", 1);
	request = request_of(PGE_FRAME_UNWRAP, "far://a.example/k", NULL);
	for (int i = 0; i < 4; i++)
		(void) submit(&request);
	check(wait_for(&waiting, 1), "(a call hangs)");
	let_go(4, "a service that takes one call at a time gets them so");
	check(atomic_load(&groups) == 0, "(no group)");
}

/* The third group of rewraps waits until it is large, and holds up nobody else. */
static void
check_held_rewraps(void)
{
	PgeFrame	request = request_of(PGE_FRAME_REWRAP, "bulk://b.example/k", "bulk://b.example/l");
	PgeFrame	other = request_of(PGE_FRAME_REWRAP, "bulk://b.example/l", "bulk://b.example/k");
	PgeFrame	unwrap = request_of(PGE_FRAME_UNWRAP, "bulk://b.example/k", NULL);
	int			queued;
	int			running;
	AgentJob   *last = NULL;

	begin_hanging(BULK("b"), "b", 8);
	for (int i = 0; i < JOBS_REWRAPS_UNDER_WAY; i++)
	{
		(void) submit(&request);
		check(wait_for(&waiting, i + 1), "a rewrap that comes first goes at once");
	}
	for (int i = 0; i < KMS_MANY_MAX + 20; i++)
		last = submit(&request);
	(void) submit(&unwrap);
	(void) submit(&other);
	check(wait_for(&waiting, JOBS_REWRAPS_UNDER_WAY + 2), "an unwrap and a rewrap of other keys pass those that wait");
	pge_jobs_counts(&jobs, &queued, &running);
	check(queued == KMS_MANY_MAX + 20 && running == JOBS_REWRAPS_UNDER_WAY + 2, "which are %d, with %d under way", queued, running);
	check(pge_jobs_cancel(&jobs, last), "one of them is taken back");
	pge_job_free(last);
	let_go(KMS_MANY_MAX + 19 + JOBS_REWRAPS_UNDER_WAY + 2, "(all are served)");
	check(atomic_load(&largest) == KMS_MANY_MAX && atomic_load(&groups) == 6, "what has waited goes in groups of the largest size: %d calls",
		  atomic_load(&groups));
}

/* Beside a group that is under way the next one waits until it is as large, */
static void
check_even_groups(void)
{
	PgeFrame	request = request_of(PGE_FRAME_REWRAP, "bulk://b.example/k", "bulk://b.example/l");
	AgentJob   *two[JOBS_REWRAPS_UNDER_WAY];
	int			queued;
	int			running;

	begin_hanging(BULK("b"), "b", 8);
	for (int i = 0; i < JOBS_REWRAPS_UNDER_WAY; i++)
	{
		two[i] = submit(&request);
		check(wait_for(&waiting, i + 1), "(a rewrap hangs)");
	}
	for (int i = 0; i < 10; i++)
		(void) submit(&request);
	for (int i = 0; i < JOBS_REWRAPS_UNDER_WAY; i++)
		check(!pge_jobs_cancel(&jobs, two[i]) && reap_until(1, NULL) == 1, "(one of them ends)");
	check(wait_for(&waiting, 1), "(the ten hang)");
	for (int i = 0; i < 9; i++)
		(void) submit(&request);
	pge_jobs_counts(&jobs, &queued, &running);
	check(queued == 9 && running == 10, "beside ten under way nine wait: %d, %d", queued, running);
	(void) submit(&request);
	check(wait_for(&waiting, 2), "until they are ten");
	pge_jobs_counts(&jobs, &queued, &running);
	check(queued == 0 && running == 20, "and go as one: %d, %d", queued, running);
	let_go(20, "(all are served)");
}

/* and never long: a connection that hangs does not hold all. */
static void
check_hold_ends(void)
{
	PgeFrame	request = request_of(PGE_FRAME_REWRAP, "bulk://b.example/k", "bulk://b.example/l");
	PgeFrame	other = request_of(PGE_FRAME_REWRAP, "bulk://b.example/l", "bulk://b.example/k");
	int			expected = 0;

	jobs.hold_ms = 20;
	begin_hanging(BULK("b"), "b", 32);
	for (int i = 0; i < JOBS_REWRAPS_UNDER_WAY; i++)
	{
		(void) submit(&request);
		check(wait_for(&waiting, ++expected), "(a rewrap hangs)");
		(void) submit(&other);
		check(wait_for(&waiting, ++expected), "(and one of other keys)");
	}
	for (int round = 0; round < 2; round++)
	{
		for (int i = 0; i < 5; i++)
		{
			(void) submit(&request);
			(void) submit(&other);
		}
		for (int i = 0; i < TURNS && atomic_load(&waiting) < expected + 2; i++)
			(void) poll(NULL, 0, 1);
		check(atomic_load(&waiting) >= expected + 2, "what was held goes beside calls that hang, of both kinds: %d of %d more",
			  atomic_load(&waiting) - expected, 2);
		expected = atomic_load(&waiting);
	}
	let_go(2 * JOBS_REWRAPS_UNDER_WAY + 20, "(all are served)");
	jobs.hold_ms = FOR_EVER_MS;
}

/* What the service takes in several calls goes side by side: one after the other they would be late. */
static void
check_small_groups(const char *text, int taken, int most)
{
	PgeFrame	unwrap = request_of(PGE_FRAME_UNWRAP, "bulk://b.example/k", NULL);
	PgeFrame	rewrap = request_of(PGE_FRAME_REWRAP, "bulk://b.example/k", "bulk://b.example/l");
	AgentJob   *first = NULL;

	atomic_store(&taken_now, taken);
	begin_hanging(text, "b", 1);
	(void) submit(&unwrap);
	check(wait_for(&waiting, 1), "(a call hangs)");
	for (int i = 0; i < 3 * most; i++)
		(void) submit(&unwrap);
	let_go(3 * most + 1, "(all are served)");
	check(atomic_load(&largest) == (most > 1 ? most : 0), "a group has %d members, not %d", most, atomic_load(&largest));

	begin_hanging(text, "b", 8);
	for (int i = 0; i < JOBS_REWRAPS_UNDER_WAY; i++)
	{
		first = submit(&rewrap);
		check(wait_for(&waiting, i + 1), "(a rewrap hangs)");
	}
	for (int i = 0; i < 5 * most; i++)
		(void) submit(&rewrap);
	check(!pge_jobs_cancel(&jobs, first) && reap_until(1, NULL) == 1, "(one of them ends)");
	check(wait_for(&waiting, JOBS_REWRAPS_UNDER_WAY - 1 + 5), "what was held goes in groups of %d, side by side", most);
	let_go(JOBS_REWRAPS_UNDER_WAY - 1 + 5 * most, "(all are served)");
	atomic_store(&taken_now, KMS_MANY_MAX);
}

/* A group is cancelled with its last member. */
static void
check_cancelled_groups(void)
{
	PgeFrame	request = request_of(PGE_FRAME_UNWRAP, "bulk://b.example/k", NULL);
	AgentJob   *first;
	AgentJob   *two[2];
	int			good = 0;

	begin_hanging(BULK("b"), "b", 1);
	first = submit(&request);
	check(wait_for(&waiting, 1), "(a call hangs)");
	for (int i = 0; i < 2; i++)
		two[i] = submit(&request);
	check(!pge_jobs_cancel(&jobs, first), "a call that nobody waits for");
	check(reap_until(1, &good) == 1 && wait_for(&waiting, 1), "ends, and the group after it begins");
	check(!pge_jobs_cancel(&jobs, two[0]) && !pge_jobs_cancel(&jobs, two[0]), "of which one is cancelled, twice");
	check(!atomic_load(&two[1]->group->cancelled) && atomic_load(&waiting) == 1, "the call goes on for the other");
	check(!pge_jobs_cancel(&jobs, two[1]), "with whom it ends");
	good = 0;
	check(reap_until(2, &good) == 2, "(both are back)");
	end();
	pge_jobs_set_concurrency(&jobs, CONCURRENCY);
}

/* Who has asked for much does not keep waiting who asks for one. */
static void
check_turns(void)
{
	PgeFrame	request = request_of(PGE_FRAME_UNWRAP, "far://a.example/k", NULL);
	AgentJob   *job;
	AgentJob   *theirs;

	begin_hanging(FAR("a"), "a", 1);
	(void) submit(&request);
	check(wait_for(&waiting, 1), "(a call hangs)");
	for (int i = 0; i < 100; i++)
		(void) submit_behind(&request, 1 + i, 0);
	job = submit(&request);
	theirs = submit_behind(&request, 100, 0);
	check(jobs.queues[job->slot].last == theirs, "the more are under way, the later is the next one's turn");
	check(jobs.queues[job->slot].first == job, "who has none under way does not wait for a hundred of another's");
	let_go(103, "(all are served)");
}

/* Reload upon reload, with calls under way, of which some are cancelled. */
static void
check_storm(void)
{
	static const char *const texts[] = {
		FAR("a") BULK("b") FAR("c"), BULK("b"), "[far c]\naddress = a.example\nallow_keys = k\n" BULK("b"),
		"[far a]\n", "", FAR("c") BULK("b") FAR("a")
	};
	static const char *const uris[] = {"bulk://b.example/k", "far://a.example/k", "near:1", "bulk://b.example/l"};
	int			submitted = 0;
	int			finished = 0;
	int			taken_back = 0;

	begin(texts[0]);
	for (int round = 0; round < ROUNDS; round++)
	{
		const AgentSettings settings = settings_of(file);
		AgentJob   *mine[BURST];

		write_file(texts[round % (int) (sizeof(texts) / sizeof(texts[0]))]);
		if (!pge_kms_reload_start(&reload, sessions, &settings))
			abort();
		for (int i = 0; i < BURST; i++)
		{
			PgeFrame	request = i % 3 == 0 ? request_of(PGE_FRAME_REWRAP, uris[i % 4], uris[(i + round) % 4]) :
			request_of(PGE_FRAME_UNWRAP, uris[(i + round) % 4], NULL);

			mine[i] = submit(&request);
			submitted++;
		}
		for (int i = 0; i < BURST; i += 2)
			if (pge_jobs_cancel(&jobs, mine[i]))
			{
				pge_job_free(mine[i]);
				taken_back++;
			}
		pge_jobs_set_concurrency(&jobs, 1 + round % 4);
		if (round % 2 == 0)
			finished += reap(NULL);
		for (int i = 0; i < TURNS && !pge_kms_reload_take(&reload); i++)
			(void) poll(NULL, 0, 1);
		if (reload.busy || reload.after == NULL)
			abort();
		pge_kms_sessions_release(sessions);
		sessions = reload.after;
	}
	finished += reap_until(submitted - taken_back - finished, NULL);
	check(finished + taken_back == submitted, "all that was asked during %d reloads ended", ROUNDS);
	end();
	pge_jobs_set_concurrency(&jobs, CONCURRENCY);
}

int
main(void)
{
	PgeBinding	binding = {.dek_id = 7, .version = 1, .purpose = PGE_PURPOSE_AEAD, .algorithm = 1, .key_id = text_bytes("acme")};
	PgeBuffer	out = {binding_bytes, 0, sizeof(binding_bytes)};
	int			fd;

	snprintf(file, sizeof(file), "/tmp/jobs_test.XXXXXX");
	fd = mkstemp(file);
	if (fd < 0)
		abort();
	close(fd);
	check_status(pge_binding_encode(&binding, &out), PGE_OK, "(a binding)");
	bound = pge_buffer_bytes(&out);
	check_status(pge_check_value(&dek, bound, check_value), PGE_OK, "(a check value)");
	pge_jobs_init(&jobs, notify, NULL);
	jobs.hold_ms = FOR_EVER_MS;
	pge_jobs_set_concurrency(&jobs, CONCURRENCY);
	pge_kms_reload_init(&reload, notify, NULL);
	check_two_services(PGE_FRAME_REWRAP, "a rewrap");
	check_two_services(PGE_FRAME_WRAP_NEW, "a new key");
	check_hanging_predecessors();
	check_joining();
	check_groups();
	check_held_rewraps();
	check_even_groups();
	check_hold_ends();
	check_small_groups("[bulk b]\naddress = b.example\nallow_keys = *\nbatch_size = 3\n", KMS_MANY_MAX, 3);
	check_small_groups(BULK("b"), 2, 2);
	check_small_groups(BULK("b"), 1, 1);
	check_cancelled_groups();
	check_turns();
	check_storm();
	(void) unlink(file);
	return check_done();
}
