/*-------------------------------------------------------------------------
 *
 * http_service_test.c
 *	  Tries, refusals, refreshes and the breaker, against a service that does
 *	  what a script says.
 *
 * Waits are short here by policy, and nothing is asserted of how soon a thing
 * happened, but for what would otherwise take minutes.  The clock of lifetimes
 * is bent: an hour passes when a test says so.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "fake_exchange.h"
#include "freed_keys.h"

#define HOUR_MS		INT64_C(3600000)
#define CALLERS		50

/* Back-offs of some ms; what shall not pass by itself takes hours. */
static const HttpPolicy quick = {
	.tries = 4, .backoff_base_ms = 1, .backoff_cap_ms = 4, .refusal_base_ms = 1, .refusal_cap_ms = 4,
	.breaker_failures = 5, .breaker_open_ms = 3600000, .look_ms = 5,
};

static const Step ok[] = {{.status = 200}, {.status = -1}};

static HttpPool pool = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .steps = ok};
static FakeLogin login =
{
	.lock = PTHREAD_MUTEX_INITIALIZER
};
static HttpServiceProvider provider;
static char detail[KMS_DETAIL_LEN];
static atomic_llong suspended_ms;	/* how far boot time is ahead */
static atomic_llong later_ms;	/* and monotonic time: only where no thread
								 * waits by it */

extern int	__real_clock_gettime(clockid_t clock, struct timespec *now);
extern int	__wrap_clock_gettime(clockid_t clock, struct timespec *now);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = __real_clock_gettime(clock, now);

	if (clock == CLOCK_BOOTTIME)
		now->tv_sec += atomic_load(&suspended_ms) / 1000;
	if (clock == CLOCK_MONOTONIC)
		now->tv_sec += atomic_load(&later_ms) / 1000;
	return result;
}

/* A service with a fresh fake; "source": how it logs in, NULL: it need not. */
static HttpService *
start(const HttpPolicy *policy, const HttpCredentialSource *source, const Step * steps)
{
	HttpServiceConfig config = {&pool, &provider, &login, PATIENCE_MS, policy};
	HttpService *service;

	pool.steps = steps;
	pool.exchanges = 0;
	pool.gate_closed = false;
	pool.good_token[0] = '\0';
	provider = (HttpServiceProvider)
	{
		.classify = fake_classify
	};
	if (source != NULL)
		provider.credential = *source;
	if (pge_http_service_start(&config, &service, detail) != PGE_OK)
		abort();
	return service;
}

static const HttpCredentialSource plain_login = {.obtain = fake_obtain};
static const HttpCredentialSource full_login = {fake_obtain, fake_renew, fake_verify, fake_changed};
static const HttpCredentialSource file_login = {.obtain = fake_obtain, .changed = fake_changed};

static void
reset_login(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	login = (FakeLogin)
	{
		.lock = lock
	};
}

static void
set_status(PgeStatus *which, PgeStatus status)
{
	pthread_mutex_lock(&login.lock);
	*which = status;
	pthread_mutex_unlock(&login.lock);
}

static void
set_flag(pthread_mutex_t *lock, bool *flag, bool value)
{
	pthread_mutex_lock(lock);
	*flag = value;
	pthread_mutex_unlock(lock);
}

static uint64_t
deadline_in(int64_t ms)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000 + (uint64_t) ms;
}

static PgeStatus
call_with(HttpService *service, bool repeatable, int64_t time_ms, const atomic_bool *cancelled, char *said)
{
	HttpServiceCall call = {fake_build, NULL, repeatable, time_ms == 0 ? 0 : deadline_in(time_ms), cancelled};
	HttpAnswer	answer;
	PgeStatus	status = pge_http_service_call(service, &call, &answer, said);

	if (status == PGE_OK && answer.len != 7)
		status = PGE_CRYPTO_FAILED;
	pge_http_answer_wipe(&answer);
	return status;
}

static PgeStatus
call(HttpService *service)
{
	detail[0] = '\0';
	return call_with(service, true, 0, NULL, detail);
}

static PgeStatus
call_to(HttpService *service, const char *url)
{
	HttpServiceCall call = {fake_build, (void *) url, true, 0, NULL};
	HttpAnswer	answer;
	PgeStatus	status = pge_http_service_call(service, &call, &answer, detail);

	pge_http_answer_wipe(&answer);
	return status;
}

/* Calls that run beside the test. */
typedef struct Caller
{
	pthread_t	thread;
	HttpService *service;
	int64_t		time_ms;
	atomic_bool cancelled;
	atomic_bool done;
	PgeStatus	status;
	char		detail[KMS_DETAIL_LEN];
}			Caller;

static Caller callers[CALLERS];

static void *
run_caller(void *arg)
{
	Caller	   *c = arg;

	c->status = call_with(c->service, true, c->time_ms, &c->cancelled, c->detail);
	atomic_store(&c->done, true);
	return NULL;
}

static void
begin_calls_from(int first, HttpService *service, int end, int64_t time_ms)
{
	for (int i = first; i < end; i++)
	{
		callers[i].service = service;
		callers[i].time_ms = time_ms;
		callers[i].detail[0] = '\0';
		atomic_store(&callers[i].cancelled, false);
		atomic_store(&callers[i].done, false);
		if (pthread_create(&callers[i].thread, NULL, run_caller, &callers[i]) != 0)
			abort();
	}
}

static void
begin_calls(HttpService *service, int count, int64_t time_ms)
{
	begin_calls_from(0, service, count, time_ms);
}

/* How many ended so. */
static int
end_calls(int count, PgeStatus status)
{
	int			ended = 0;

	for (int i = 0; i < count; i++)
	{
		pthread_join(callers[i].thread, NULL);
		ended += callers[i].status == status;
	}
	return ended;
}

static int
count_done(int count)
{
	int			done = 0;

	for (int i = 0; i < count; i++)
		done += atomic_load(&callers[i].done);
	return done;
}

static void
check_tries(const char *claim, const Step * steps, bool repeatable, PgeStatus expected, int tries)
{
	HttpService *service = start(&quick, NULL, steps);
	PgeStatus	status;

	detail[0] = '\0';
	status = call_with(service, repeatable, PATIENCE_MS, NULL, detail);
	check_status(status, expected, "%s", claim);
	check(pool.exchanges == tries, "it takes %d tries (%d)", tries, pool.exchanges);
	check(pool.last_once == !repeatable, "a change goes by a connection of its own");
	check((status == PGE_OK) == (detail[0] == '\0'), "what is wrong is said: %s", detail);
	pge_http_service_stop(service);
}

static void
test_retries(void)
{
	static const Step away_twice[] = {{.status = 503}, {.status = 0}, {.status = 200}, {.status = -1}};
	static const Step away[] = {{.status = 503}, {.status = -1}};
	static const Step throttled[] = {{.status = 429}, {.status = -1}};
	static const Step wrong[] = {{.status = 400}, {.status = -1}};
	static const Step denied[] = {{.status = 403}, {.status = -1}};
	static const Step refused[] = {{.status = 401}, {.status = -1}};
	static const Step not_sent[] = {{.status = 0, .not_sent = true}, {.status = 0, .not_sent = true}, {.status = 200}, {.status = -1}};
	static const Step lost[] = {{.status = 0}, {.status = 200}, {.status = -1}};
	static const Step asked_to_wait[] = {{.status = 429, .retry_after_ms = 100}, {.status = 200}, {.status = -1}};

	check_tries("a good answer", ok, true, PGE_OK, 1);
	check_tries("one that comes at the third try", away_twice, true, PGE_OK, 3);
	check_tries("a service that is away", away, true, PGE_UNAVAILABLE, 4);
	check_tries("one that throttles", throttled, true, PGE_THROTTLED, 4);
	check_tries("a wrong request is final", wrong, true, PGE_INVALID, 1);
	check_tries("a denial is final", denied, true, PGE_DENIED, 1);
	check_tries("a refusal without a credential is final", refused, true, PGE_UNAUTHENTICATED, 1);
	check_tries("a change that was not sent is tried again", not_sent, false, PGE_OK, 3);
	check_tries("a change whose answer is lost is not", lost, false, PGE_UNAVAILABLE, 1);
	check_tries("nor one that was answered with 503", away, false, PGE_UNAVAILABLE, 1);
	check_tries("nor one that was throttled", throttled, false, PGE_THROTTLED, 1);
	check_tries("what may be repeated is, when its answer is lost", lost, true, PGE_OK, 2);
	{
		uint64_t	begin = deadline_in(0);

		check_tries("the service says when", asked_to_wait, true, PGE_OK, 2);
		check(deadline_in(0) - begin >= 100, "and is obeyed");
	}
}

static void
test_retry_after_deadline(void)
{
	static const Step in_an_hour[] = {{.status = 429, .retry_after_ms = 3600000}, {.status = 200}, {.status = -1}};
	HttpService *service = start(&quick, NULL, in_an_hour);
	uint64_t	begin = deadline_in(0);

	check_status(call_with(service, true, 2 * PATIENCE_MS, NULL, detail), PGE_THROTTLED, "a wait past the deadline is not begun");
	check(pool.exchanges == 1 && deadline_in(0) - begin < PATIENCE_MS, "the call ends at once");
	pge_http_service_stop(service);
	service = start(&quick, NULL, in_an_hour);
	begin_calls(service, 1, 2 * HOUR_MS);
	wait_until(seen(&pool.lock, &pool.exchanges) == 1);
	begin = deadline_in(0);
	atomic_store(&callers[0].cancelled, true);
	check(end_calls(1, PGE_THROTTLED) == 1 && deadline_in(0) - begin < PATIENCE_MS, "who waits to try again can be cancelled");
	check(pool.exchanges == 1, "and does not try again");
	pge_http_service_stop(service);
}

/* 100 calls on a service that throttles all of them. */
static void
test_budget(void)
{
	static const Step throttled[] = {{.status = 429}, {.status = -1}};
	HttpService *service = start(&quick, NULL, throttled);

	for (int i = 0; i < 100; i++)
		if (call(service) != PGE_THROTTLED)
			abort();
	check(pool.exchanges > 115 && pool.exchanges <= 120, "100 calls that fail are 20 tries more, not 300 (%d)", pool.exchanges);
	pge_http_service_stop(service);
}

/* What was granted and not made, because there was no time for it, is not gone. */
static void
test_budget_of_waits(void)
{
	static const Step in_an_hour[] = {{.status = 503, .retry_after_ms = 3600000}, {.status = -1}};
	static const Step away[] = {{.status = 429}, {.status = 200}, {.status = -1}};
	HttpPolicy	policy = quick;
	HttpService *service;

	policy.breaker_failures = 1000;
	service = start(&policy, NULL, in_an_hour);
	for (int i = 0; i < 100; i++)
		if (call_with(service, true, PATIENCE_MS, NULL, detail) != PGE_UNAVAILABLE)
			abort();
	check(pool.exchanges == 100, "(100 calls that do not wait for an hour)");
	pool.steps = away;
	pool.exchanges = 0;
	check_status(call(service), PGE_OK, "leave the retries to those who can use them");
	pge_http_service_stop(service);
}

/* When all of them have begun to ask. */
static void
deadline_comes(int count)
{
	wait_until(seen(&pool.lock, &pool.inside) == count);
	atomic_fetch_add(&later_ms, PATIENCE_MS);
}

/* Who did not wait long enough, or only for a free connection, shows nothing. */
static void
test_short_deadlines(void)
{
	HttpPolicy	policy = quick;
	HttpService *service;

	policy.tries = 1;
	policy.verdict_ms = (int) HOUR_MS / 2;
	service = start(&policy, NULL, ok);
	set_flag(&pool.lock, &pool.gate_closed, true);
	begin_calls(service, 20, PATIENCE_MS);
	deadline_comes(20);
	check(end_calls(20, PGE_UNAVAILABLE) == 20 && pool.exchanges == 20, "20 callers in a hurry");
	set_flag(&pool.lock, &pool.gate_closed, false);
	check_status(call_with(service, true, HOUR_MS, NULL, detail), PGE_OK, "do not close the service to others");
	pge_http_service_stop(service);

	policy.verdict_ms = 1;
	service = start(&policy, NULL, ok);
	set_flag(&pool.lock, &pool.busy, true);
	set_flag(&pool.lock, &pool.gate_closed, true);
	begin_calls(service, 20, PATIENCE_MS);
	deadline_comes(20);
	check(end_calls(20, PGE_UNAVAILABLE) == 20, "20 that get no connection");
	set_flag(&pool.lock, &pool.gate_closed, false);
	check_status(call(service), PGE_OK, "nor do they");
	set_flag(&pool.lock, &pool.busy, false);
	set_flag(&pool.lock, &pool.gate_closed, true);
	begin_calls(service, 5, PATIENCE_MS);
	deadline_comes(5);
	check(end_calls(5, PGE_UNAVAILABLE) == 5, "5 that waited long enough for an answer");
	set_flag(&pool.lock, &pool.gate_closed, false);
	check_status(call(service), PGE_UNAVAILABLE, "do");
	pge_http_service_stop(service);
}

static void
test_breaker(void)
{
	static const Step away[] = {{.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 200}, {.status = -1}};
	HttpPolicy	policy = quick;
	HttpService *service = start(&quick, NULL, away);

	check_status(call(service), PGE_UNAVAILABLE, "four failures");
	check_status(call(service), PGE_UNAVAILABLE, "a fifth");
	check(pool.exchanges == 5, "then it is open, and that call has no further try");
	check_status(call(service), PGE_UNAVAILABLE, "the next call");
	check(pool.exchanges == 5, "asks nothing (%s)", detail);
	pge_http_service_stop(service);

	policy.tries = 1;
	service = start(&policy, NULL, away);
	for (int i = 0; i < 5; i++)
		(void) call(service);
	atomic_fetch_add(&later_ms, HOUR_MS);
	set_flag(&pool.lock, &pool.gate_closed, true);
	begin_calls(service, 20, PATIENCE_MS);
	wait_until(count_done(20) == 19);
	check(seen(&pool.lock, &pool.exchanges) == 6, "half open: of 20 calls one goes through");
	check(count_done(20) == 19, "the others end at once");
	set_flag(&pool.lock, &pool.gate_closed, false);
	check(end_calls(20, PGE_OK) == 1, "the probe succeeds");
	begin_calls(service, 20, PATIENCE_MS);
	check(end_calls(20, PGE_OK) == 20 && pool.exchanges == 26, "which lets all through");
	pge_http_service_stop(service);
}

static bool
is_500(const HttpAnswer *answer)
{
	return answer->status == 500;
}

static void
test_trouble_of_one_key(void)
{
	static const Step of_key[] = {{.status = 500}, {.status = -1}};
	static const Step mixed[] = {{.status = 503}, {.status = 500}, {.status = 503}, {.status = 503}, {.status = 500}, {.status = 503}, {.status = 503}, {.status = 200}, {.status = -1}};
	static const Step probed[] = {{.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 500}, {.status = 200}, {.status = -1}};
	HttpPolicy	policy = quick;
	HttpService *service = start(&quick, NULL, of_key);
	int			wrong = 0;

	provider.is_of_key = is_500;
	for (int i = 0; i < 20; i++)
		wrong += call(service) != PGE_UNAVAILABLE;
	check(wrong == 0 && pool.exchanges >= 20, "trouble of one key: each call asks (%d)", pool.exchanges);
	pool.steps = ok;
	check_status(call(service), PGE_OK, "the neighbour is served");
	pge_http_service_stop(service);

	policy.tries = 1;
	service = start(&policy, NULL, mixed);
	provider.is_of_key = is_500;
	for (int i = 0; i < 7; i++)
		(void) call(service);
	check_status(call(service), PGE_UNAVAILABLE, "nor does it show that the service is there");
	check(pool.exchanges == 7, "five failures of its own open the breaker");
	pge_http_service_stop(service);

	service = start(&policy, NULL, probed);
	provider.is_of_key = is_500;
	for (int i = 0; i < 5; i++)
		(void) call(service);
	atomic_fetch_add(&later_ms, HOUR_MS);
	check_status(call(service), PGE_UNAVAILABLE, "a probe meets the key");
	check_status(call(service), PGE_OK, "another may take its place at once");
	pge_http_service_stop(service);
}

static void
test_probes_that_fail(void)
{
	static const Step away[] = {{.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 200}, {.status = -1}};
	HttpPolicy	policy = quick;
	HttpService *service;

	policy.tries = 1;
	service = start(&policy, NULL, away);
	for (int i = 0; i < 5; i++)
		(void) call(service);
	atomic_fetch_add(&later_ms, HOUR_MS);
	check_status(call(service), PGE_UNAVAILABLE, "a probe fails");
	(void) call(service);
	check(pool.exchanges == 6, "and leaves it open");
	atomic_fetch_add(&later_ms, HOUR_MS);
	set_flag(&pool.lock, &pool.gate_closed, true);
	begin_calls(service, 1, PATIENCE_MS);
	wait_until(seen(&pool.lock, &pool.inside) == 1);
	atomic_store(&callers[0].cancelled, true);
	check(end_calls(1, PGE_UNAVAILABLE) == 1, "a probe is cancelled");
	set_flag(&pool.lock, &pool.gate_closed, false);
	check_status(call(service), PGE_OK, "another may take its place at once");
	pge_http_service_stop(service);
}

static void
test_denials(void)
{
	static const Step mixed[] = {{.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 403}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 200}, {.status = -1}};
	static const Step denied[] = {{.status = 403}, {.status = -1}};
	HttpPolicy	policy = quick;
	HttpService *service = start(&quick, NULL, denied);
	int			wrong = 0;

	for (int i = 0; i < 1000; i++)
		wrong += call(service) != PGE_DENIED;
	check(wrong == 0 && pool.exchanges == 1000, "1000 denials open nothing");
	pool.steps = ok;
	check_status(call(service), PGE_OK, "the neighbour is served");
	pge_http_service_stop(service);

	policy.tries = 1;
	service = start(&policy, NULL, mixed);
	for (int i = 0; i < 9; i++)
		(void) call(service);
	check_status(call(service), PGE_OK, "an answer between failures is an answer");
	pge_http_service_stop(service);
}

/* A call that is cancelled tells nothing of the service. */
static void
test_cancelled_exchanges(void)
{
	HttpService *service = start(&quick, NULL, ok);
	atomic_bool cancelled = true;

	set_flag(&pool.lock, &pool.gate_closed, true);
	begin_calls(service, 20, HOUR_MS);
	wait_until(seen(&pool.lock, &pool.inside) == 20);
	for (int i = 0; i < 20; i++)
		atomic_store(&callers[i].cancelled, true);
	check(end_calls(20, PGE_UNAVAILABLE) == 20 && pool.exchanges == 20, "20 calls are cancelled, and not tried again");
	set_flag(&pool.lock, &pool.gate_closed, false);
	check_status(call(service), PGE_OK, "the breaker is closed");
	check_status(call_with(service, true, 0, &cancelled, detail), PGE_UNAVAILABLE, "who is cancelled before");
	check(pool.exchanges == 21, "asks nothing");
	check_status(call_with(service, true, -1000, NULL, detail), PGE_UNAVAILABLE, "nor does who comes too late");
	check(pool.exchanges == 21, "(%s)", detail);
	pge_http_service_stop(service);
}

/* Open, it is not asked for a credential's sake either. */
static void
test_open_without_credential(void)
{
	static const Step away[] = {{.status = 503}, {.status = -1}};
	HttpService *service;
	uint64_t	begin;

	reset_login();
	atomic_store(&suspended_ms, 0);
	login.lifetime_ms = 100 * HOUR_MS;
	service = start(&quick, &plain_login, away);
	(void) call(service);
	(void) call(service);
	check(pool.exchanges == 5, "a service that is away");
	set_flag(&login.lock, &login.hangs, true);
	atomic_fetch_add(&suspended_ms, 101 * HOUR_MS);
	begin = deadline_in(0);
	check_status(call_with(service, true, 2 * PATIENCE_MS, NULL, detail), PGE_UNAVAILABLE, "nobody waits to log in to");
	check(deadline_in(0) - begin < PATIENCE_MS && pool.exchanges == 5, "%s", detail);
	pge_http_service_stop(service);
}

/* Who opens a session need not know how long others will wait. */
static void
test_unknown_timeout(void)
{
	HttpServiceConfig config = {.pool = &pool, .provider = &provider, .arg = &login, .policy = &quick};
	HttpService *service = start(&quick, &plain_login, ok);

	pge_http_service_stop(service);
	reset_login();
	check_status(pge_http_service_start(&config, &service, detail), PGE_OK, "a service without a timeout");
	check_status(call(service), PGE_OK, "has one all the same");
	check_status(call_with(service, true, PATIENCE_MS, NULL, detail), PGE_OK, "and is called with one, too");
	pge_http_service_stop(service);
}

static void
test_one_refresh_for_all(void)
{
	HttpService *service;

	reset_login();
	service = start(&quick, &plain_login, ok);
	snprintf(pool.good_token, sizeof(pool.good_token), CANARY "-2");
	set_flag(&pool.lock, &pool.gate_closed, true);
	begin_calls(service, CALLERS, PATIENCE_MS);
	wait_until(seen(&pool.lock, &pool.inside) == CALLERS);
	check(seen(&pool.lock, &pool.inside) == CALLERS, "50 calls are under way with a token that will be refused");
	set_flag(&pool.lock, &pool.gate_closed, false);
	check(end_calls(CALLERS, PGE_OK) == CALLERS, "all are served in the end");
	check(login.obtained == 2 && pool.exchanges == 2 * CALLERS, "by one refresh (%d logins)", login.obtained);
	check(strcmp(pool.last_token, CANARY "-2") == 0, "with its token");
	pge_http_service_stop(service);
}

static void
test_refused_for_good(void)
{
	static const Step refused[] = {{.status = 401}, {.status = -1}};
	HttpPolicy	policy = quick;
	HttpService *service;

	reset_login();
	policy.refusal_base_ms = policy.refusal_cap_ms = 3600000;
	service = start(&policy, &file_login, refused);
	check_status(call_with(service, false, PATIENCE_MS, NULL, detail), PGE_UNAUTHENTICATED, "refused twice");
	check(pool.exchanges == 2 && login.obtained == 2, "once with another token, for a change too");
	check_status(call(service), PGE_UNAUTHENTICATED, "the next call");
	check(pool.exchanges == 3 && login.obtained == 2, "does not get a third: %s", detail);
	check_status(call(service), PGE_UNAUTHENTICATED, "nor do those after it");
	check(pool.exchanges == 3 && login.obtained == 2, "which ask nothing: %s", detail);
	pool.steps = ok;
	set_flag(&login.lock, &login.file_changed, true);
	wait_until(seen(&login.lock, &login.obtained) == 3);
	wait_until(call(service) == PGE_OK);
	check_status(call(service), PGE_OK, "until the file is another");
	pge_http_service_stop(service);
}

/* One call that is always refused, among others that are not. */
static void
test_one_refused_among_many(void)
{
	static const Step refused[] = {{.status = 401}, {.status = -1}};
	HttpPolicy	policy = quick;
	HttpService *service;
	int			told = 0;
	int			served = 0;

	reset_login();
	policy.refusal_base_ms = policy.refusal_cap_ms = 3600000;
	service = start(&policy, &file_login, ok);
	for (int i = 0; i < 100; i++)
	{
		pool.steps = refused;
		told += call(service) == PGE_UNAUTHENTICATED;
		pool.steps = ok;
		served += call(service) == PGE_OK;
	}
	check(told == 100 && served == 100, "the one is refused, the others are served (%d, %d)", told, served);
	check(login.obtained == 2, "by one refresh, and not by 100 (%d logins)", login.obtained);
	check(strstr(detail, CANARY) == NULL, "(%s)", detail);
	snprintf(pool.good_token, sizeof(pool.good_token), CANARY "-3");
	set_flag(&login.lock, &login.file_changed, true);
	wait_until(call(service) == PGE_OK);
	check_status(call(service), PGE_OK, "a file that changes counts at once");
	pge_http_service_stop(service);
}

static void
test_verify(void)
{
	static const Step refused[] = {{.status = 401}, {.status = -1}};
	HttpService *service;

	reset_login();
	service = start(&quick, &full_login, refused);
	for (int i = 0; i < 10; i++)
		check_status(call(service), PGE_DENIED, "the credential is good, so a right is missing");
	check(login.obtained == 1 && login.verified == 10 && pool.exchanges == 10, "no login, no second try");
	check(strcmp(detail, "The service said 401.") == 0, "what the service said stays: %s", detail);
	set_status(&login.verify_status, PGE_UNAVAILABLE);
	check_status(call(service), PGE_UNAVAILABLE, "what cannot be verified: %s", detail);
	check(login.obtained == 1 && login.verified == 11, "is no refusal");
	set_status(&login.verify_status, PGE_UNAUTHENTICATED);
	snprintf(pool.good_token, sizeof(pool.good_token), CANARY "-2");
	pool.steps = ok;
	check_status(call(service), PGE_OK, "a credential that has ended is replaced");
	check(login.obtained == 2 && login.verified == 12, "by one login");
	set_status(&login.obtain_status, PGE_UNAVAILABLE);
	snprintf(pool.good_token, sizeof(pool.good_token), CANARY "-3");
	check_status(call(service), PGE_UNAVAILABLE, "when that fails, so does the call: %s", detail);
	set_status(&login.obtain_status, PGE_OK);
	wait_until(call(service) == PGE_OK);
	check_status(call(service), PGE_OK, "and the thread tries again by itself");
	pge_http_service_stop(service);
}

/* One KEK that is denied, again and again, costs one look at the credential, and its neighbour nothing. */
static void
test_denied_again(void)
{
	static const Step refused[] = {{.status = 401}, {.status = -1}};
	HttpPolicy	policy = quick;
	HttpService *service;
	int			wrong = 0;

	reset_login();
	policy.denied_ms = HOUR_MS;
	service = start(&policy, &full_login, refused);
	for (int i = 0; i < 1000; i++)
		wrong += call(service) != PGE_DENIED;
	check(wrong == 0 && login.verified == 1 && login.obtained == 1, "1000 denials, and the credential is verified once (%d)", login.verified);
	check(pool.exchanges == 1000, "each is the service's own");
	check_status(call_to(service, "https://kms.example/v1/other"), PGE_DENIED, "what another is refused for");
	check(login.verified == 2, "is looked into");
	pool.steps = ok;
	check_status(call(service), PGE_OK, "once it is let through");
	pool.steps = refused;
	(void) call(service);
	check(login.verified == 3, "a denial is news");
	set_status(&login.verify_status, PGE_UNAUTHENTICATED);
	check_status(call_to(service, "https://kms.example/v1/third"), PGE_UNAUTHENTICATED, "a credential that is bad");
	set_status(&login.verify_status, PGE_OK);
	wait_until(call(service) == PGE_DENIED);
	check(login.verified >= 5, "is replaced, and what was found of the old one is forgotten (%d)", login.verified);
	pge_http_service_stop(service);
}

/* Whether a credential is good is found out after its refusal, not before. */
static void
test_refused_during_verify(void)
{
	static const Step refused[] = {{.status = 401}, {.status = -1}};
	HttpService *service;

	reset_login();
	service = start(&quick, &full_login, refused);
	wait_until(seen(&login.lock, &login.tokens) == 1);
	set_flag(&login.lock, &login.hangs, true);
	begin_calls(service, 1, PATIENCE_MS);
	wait_until(seen(&login.lock, &login.verified) == 1);
	check(seen(&login.lock, &login.verified) == 1, "a credential is being verified");
	begin_calls_from(1, service, 20, PATIENCE_MS);
	wait_until(seen(&pool.lock, &pool.exchanges) == 20);
	/* should they not have reported that yet, there is less to see */
	pause_ms(50);
	set_flag(&login.lock, &login.hangs, false);
	check(end_calls(20, PGE_DENIED) == 20, "while 19 more calls are refused");
	check(login.verified >= 2 && login.verified <= 20, "for them it is verified again (%d times)", login.verified - 1);
	pge_http_service_stop(service);
}

static void
test_login_fails(void)
{
	HttpPolicy	policy = quick;
	HttpService *service;
	uint64_t	begin;
	int			obtained;

	reset_login();
	login.obtain_status = PGE_UNAVAILABLE;
	service = start(&quick, &file_login, ok);
	check_status(call(service), PGE_UNAVAILABLE, "no credential, no call: %s", detail);
	check(pool.exchanges == 0 && strcmp(detail, "The login failed.") == 0, "it hears why");
	wait_until(seen(&login.lock, &login.obtained) > 10);
	set_flag(&login.lock, &login.hangs, true);
	begin = deadline_in(0);
	check_status(call_with(service, true, 2 * PATIENCE_MS, NULL, detail), PGE_UNAVAILABLE, "a login that failed ten times");
	check(deadline_in(0) - begin < PATIENCE_MS, "and now hangs is not waited for");
	set_flag(&login.lock, &login.hangs, false);
	set_status(&login.obtain_status, PGE_OK);
	wait_until(call(service) == PGE_OK);
	check_status(call(service), PGE_OK, "once the login succeeds, so do calls");
	pge_http_service_stop(service);

	reset_login();
	login.obtain_status = PGE_UNAUTHENTICATED;
	policy.refusal_base_ms = policy.refusal_cap_ms = 3600000;
	service = start(&policy, &file_login, ok);
	for (int i = 0; i < 10; i++)
		check_status(call(service), PGE_UNAUTHENTICATED, "a refused login");
	check(login.obtained == 1, "is not repeated for each call");
	set_status(&login.obtain_status, PGE_OK);
	set_flag(&login.lock, &login.file_changed, true);
	wait_until(call(service) == PGE_OK);
	obtained = seen(&login.lock, &login.obtained);
	check(obtained == 2, "but when its file changes (%d)", obtained);
	pge_http_service_stop(service);
}

static void
test_waiters(void)
{
	HttpService *service;
	uint64_t	begin;

	reset_login();
	login.hangs = true;
	service = start(&quick, &plain_login, ok);
	begin_calls(service, 2, HOUR_MS);
	wait_until(seen(&login.lock, &login.obtained) == 1);
	begin = deadline_in(0);
	atomic_store(&callers[0].cancelled, true);
	atomic_store(&callers[1].cancelled, true);
	check(end_calls(2, PGE_UNAVAILABLE) == 2, "who waits for a credential can be cancelled");
	check(deadline_in(0) - begin < PATIENCE_MS, "(after %d ms)", (int) (deadline_in(0) - begin));
	begin = deadline_in(0);
	check_status(call_with(service, true, 100, NULL, detail), PGE_UNAVAILABLE, "or comes to the deadline");
	check(deadline_in(0) - begin >= 100 && deadline_in(0) - begin < PATIENCE_MS, "then: %s", detail);
	check(pool.exchanges == 0, "nothing was asked");
	begin = deadline_in(0);
	pge_http_service_stop(service);
	check(deadline_in(0) - begin < PATIENCE_MS, "a login that hangs does not delay the end");

	reset_login();
	{
		HttpPolicy	policy = quick;

		policy.look_ms = 2 * PATIENCE_MS;
		service = start(&policy, &full_login, ok);
		check_status(call(service), PGE_OK, "a thread that sleeps for long");
		/* should it not sleep yet, there is less to see */
		pause_ms(50);
		begin = deadline_in(0);
		pge_http_service_stop(service);
		check(deadline_in(0) - begin < PATIENCE_MS, "does not delay it either");
	}
}

/* The thread has been through its loop again. */
static void
let_it_look(void)
{
	int			looked = seen(&login.lock, &login.looked);

	wait_until(seen(&login.lock, &login.looked) >= looked + 3);
}

static void
test_ahead_of_expiry(void)
{
	HttpService *service;
	int			renewed = 0;

	reset_login();
	atomic_store(&suspended_ms, 0);
	login.lifetime_ms = 100 * HOUR_MS;
	login.renewable = true;
	service = start(&quick, &full_login, ok);
	check_status(call(service), PGE_OK, "a credential for 100 hours");
	for (int i = 1; i <= 3; i++)
	{
		atomic_fetch_add(&suspended_ms, 55 * HOUR_MS);
		let_it_look();
		renewed += seen(&login.lock, &login.renewed);
		atomic_fetch_add(&suspended_ms, 12 * HOUR_MS);
		wait_until(seen(&login.lock, &login.renewed) == i);
		check(seen(&login.lock, &login.renewed) == i, "is renewed before 67 are over");
		wait_until(seen(&login.lock, &login.tokens) == i + 1);
		let_it_look();
	}
	check(renewed == 0 + 1 + 2, "and not before 55 are");
	check(seen(&login.lock, &login.obtained) == 1 && seen(&pool.lock, &pool.exchanges) == 1, "without a call or a login");
	check(call(service) == PGE_OK && strcmp(pool.last_token, CANARY "-4") == 0, "calls have the newest");

	set_status(&login.renew_status, PGE_UNAUTHENTICATED);
	atomic_fetch_add(&suspended_ms, 67 * HOUR_MS);
	wait_until(seen(&login.lock, &login.tokens) == 5);
	check(seen(&login.lock, &login.obtained) == 2, "what cannot be renewed is obtained anew");
	set_flag(&login.lock, &login.renewable, false);
	set_status(&login.renew_status, PGE_OK);
	atomic_fetch_add(&suspended_ms, 67 * HOUR_MS);
	wait_until(seen(&login.lock, &login.tokens) == 6);
	renewed = seen(&login.lock, &login.renewed);
	atomic_fetch_add(&suspended_ms, 67 * HOUR_MS);
	wait_until(seen(&login.lock, &login.tokens) == 7);
	check(seen(&login.lock, &login.renewed) == renewed && seen(&login.lock, &login.obtained) == 3,
		  "so is what says that it is not renewable");
	pge_http_service_stop(service);
}

/* What is refused while its successor is on the way costs no login. */
static void
test_refused_during_renewal(void)
{
	const HttpCredentialSource source = {.obtain = fake_obtain, .renew = fake_renew};
	HttpService *service;

	reset_login();
	atomic_store(&suspended_ms, 0);
	login.lifetime_ms = 100 * HOUR_MS;
	login.renewable = true;
	service = start(&quick, &source, ok);
	check_status(call(service), PGE_OK, "a credential");
	set_flag(&login.lock, &login.hangs, true);
	atomic_fetch_add(&suspended_ms, 67 * HOUR_MS);
	wait_until(seen(&login.lock, &login.renewed) == 1);
	snprintf(pool.good_token, sizeof(pool.good_token), CANARY "-2");
	begin_calls(service, 1, PATIENCE_MS);
	wait_until(seen(&pool.lock, &pool.exchanges) == 2);
	/* should it not have reported that yet, there is less to see */
	pause_ms(50);
	set_flag(&login.lock, &login.hangs, false);
	check(end_calls(1, PGE_OK) == 1, "is refused while it is renewed");
	check(login.obtained == 1 && login.tokens == 2, "and the renewed one is taken, without a login");
	pge_http_service_stop(service);
}

static void
test_failing_refresh(void)
{
	HttpService *service;
	int			obtained;

	reset_login();
	atomic_store(&suspended_ms, 0);
	login.lifetime_ms = 100 * HOUR_MS;
	service = start(&quick, &file_login, ok);
	check_status(call(service), PGE_OK, "a credential");
	set_status(&login.obtain_status, PGE_UNAVAILABLE);
	atomic_fetch_add(&suspended_ms, 70 * HOUR_MS);
	wait_until(seen(&login.lock, &login.obtained) > 10);
	check(seen(&login.lock, &login.obtained) > 10, "whose refresh fails again and again");
	check(call(service) == PGE_OK && strcmp(pool.last_token, CANARY "-1") == 0, "goes on to be used");
	set_status(&login.obtain_status, PGE_UNAUTHENTICATED);
	obtained = seen(&login.lock, &login.obtained);
	wait_until(seen(&login.lock, &login.obtained) > obtained + 3);
	check(call(service) == PGE_OK && strcmp(pool.last_token, CANARY "-1") == 0, "when it is refused, too");
	atomic_fetch_add(&suspended_ms, 31 * HOUR_MS);
	check_status(call(service), PGE_UNAUTHENTICATED, "but not beyond its time");
	set_status(&login.obtain_status, PGE_UNAVAILABLE);
	obtained = seen(&login.lock, &login.obtained);
	wait_until(seen(&login.lock, &login.obtained) > obtained + 3);
	check_status(call(service), PGE_UNAVAILABLE, "nor then");
	check(pool.exchanges == 3, "nothing is asked with it");
	set_status(&login.obtain_status, PGE_OK);
	wait_until(call(service) == PGE_OK);
	check(strcmp(pool.last_token, CANARY "-2") == 0, "until there is another");
	pge_http_service_stop(service);
}

static void
test_rotated_file(void)
{
	HttpService *service;
	int			obtained;

	reset_login();
	service = start(&quick, &file_login, ok);
	check_status(call(service), PGE_OK, "a token from a file");
	set_flag(&login.lock, &login.file_changed, true);
	wait_until(call(service) == PGE_OK && strcmp(pool.last_token, CANARY "-2") == 0);
	check(strcmp(pool.last_token, CANARY "-2") == 0, "is read again when the file changes");
	set_status(&login.obtain_status, PGE_UNAUTHENTICATED);
	set_flag(&login.lock, &login.file_changed, true);
	obtained = seen(&login.lock, &login.obtained);
	wait_until(seen(&login.lock, &login.obtained) > obtained + 2);
	check(call(service) == PGE_OK && strcmp(pool.last_token, CANARY "-2") == 0, "one that cannot be read changes nothing");
	set_status(&login.obtain_status, PGE_OK);
	wait_until(seen(&login.lock, &login.tokens) == 3);
	wait_until(call(service) == PGE_OK && strcmp(pool.last_token, CANARY "-3") == 0);
	check(strcmp(pool.last_token, CANARY "-3") == 0, "and is read as soon as it can be");
	let_it_look();
	check(seen(&login.lock, &login.tokens) == 3, "once");
	pge_http_service_stop(service);
}

static void
test_used_up_secret(void)
{
	HttpService *service;
	int			obtained;

	reset_login();
	atomic_store(&suspended_ms, 0);
	login.lifetime_ms = 100 * HOUR_MS;
	login.renewable = true;
	service = start(&quick, &full_login, ok);
	check_status(call(service), PGE_OK, "a token for a secret id that was good once");
	set_status(&login.obtain_status, PGE_UNAUTHENTICATED);
	set_flag(&login.lock, &login.file_changed, true);
	obtained = seen(&login.lock, &login.obtained);
	wait_until(seen(&login.lock, &login.obtained) > obtained + 2);
	check(seen(&login.lock, &login.renewed) == 0, "whose file is written again, and refused");
	atomic_fetch_add(&suspended_ms, 70 * HOUR_MS);
	wait_until(seen(&login.lock, &login.renewed) > 0);
	wait_until(seen(&login.lock, &login.tokens) == 2);
	atomic_fetch_add(&suspended_ms, 60 * HOUR_MS);
	check(call(service) == PGE_OK && strcmp(pool.last_token, CANARY "-2") == 0, "is renewed in time all the same");
	pge_http_service_stop(service);
}

/* Renewed all the time while 50 threads use and lose it. */
static void
test_storm(void)
{
	HttpService *service;
	int			served = 0;

	reset_login();
	atomic_store(&suspended_ms, 0);
	login.lifetime_ms = 10;
	login.renewable = true;
	service = start(&quick, &full_login, ok);
	for (int round = 0; round < 20; round++)
	{
		begin_calls(service, CALLERS, PATIENCE_MS);
		if (round % 4 == 3)
			for (int i = 0; i < CALLERS; i += 2)
				atomic_store(&callers[i].cancelled, true);
		served += end_calls(CALLERS, PGE_OK);
	}
	check(served >= 15 * CALLERS, "calls are served while the credential changes all the time (%d)", served);
	check(seen(&login.lock, &login.tokens) > 1, "(%d times)", seen(&login.lock, &login.tokens));
	pge_http_service_stop(service);
}

/* The scan, and what it would find. */
static void
test_wiped(void)
{
	check(atomic_load(&freed_keys) == 0, "no token was left in freed memory");
	check(planted_keys_are_seen(), "a planted one is found");
}

int
main(void)
{
	mark_key(CANARY);
	test_retries();
	test_retry_after_deadline();
	test_budget();
	test_budget_of_waits();
	test_short_deadlines();
	test_breaker();
	test_trouble_of_one_key();
	test_probes_that_fail();
	test_denials();
	test_cancelled_exchanges();
	atomic_store(&later_ms, 0);
	test_open_without_credential();
	test_unknown_timeout();
	test_one_refresh_for_all();
	test_refused_for_good();
	test_one_refused_among_many();
	test_verify();
	test_denied_again();
	test_refused_during_verify();
	test_login_fails();
	test_waiters();
	test_ahead_of_expiry();
	test_refused_during_renewal();
	test_failing_refresh();
	test_rotated_file();
	test_used_up_secret();
	test_storm();
	test_wiped();
	return check_done();
}
