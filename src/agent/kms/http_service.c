/*-------------------------------------------------------------------------
 *
 * http_service.c
 *	  Tries of a call, until one of them is final.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/kms/http_service.h"
#include "agent/kms/monotonic.h"
#include "crypto/random.h"

#define LOOK_CANCELLED_MS	50
#define TIMEOUT_UNKNOWN_MS	10000	/* the default of pg_envelope.kms_timeout */

/*
 * What is denied again and again would have the credential verified each time.
 * By URL: what another key's call is refused for may be the credential.
 */
#define DENIALS_REMEMBERED	32

typedef struct RememberedDenial
{
	uint64_t	target;			/* 0: none */
	uint64_t	generation;		/* of the credential that is good */
	uint64_t	until_ms;
} RememberedDenial;

struct HttpService
{
	HttpServiceConfig config;
	HttpCredentials *credentials;	/* NULL: it needs none */
	pthread_mutex_t lock;		/* of all below */
	HttpBudget	budget;
	HttpBreaker breaker;
	RememberedDenial denials[DENIALS_REMEMBERED];
	int			next_denial;	/* the oldest */
};

/* One call, over all its tries. */
typedef struct HttpCallState
{
	HttpService *service;
	const HttpServiceCall *call;
	HttpLimits	limits;
	HttpAnswer *answer;
	char	   *detail;
	int			tries;
	bool		exchanged;		/* this try: the status is of an exchange */
	bool		hurried;		/* this try: it had too little time */
	bool		refreshed;		/* one refused credential is replaced, no
								 * second */
	uint64_t	generation;		/* of this try's credential */
	uint64_t	target;			/* of this try's URL */
} HttpCallState;

static PgeStatus try_once(HttpCallState *state);
static PgeStatus try_with(HttpCallState *state, const HttpCredential *credential);
static PgeStatus exchange(HttpCallState *state, const HttpCredential *credential);
static PgeStatus refuse_if_open(HttpCallState *state);
static PgeStatus say_open(HttpCallState *state, int wait_ms);
static bool shows_nothing(const HttpCallState *state, PgeStatus status);
static void note_outcome(HttpCallState *state, PgeStatus status, bool probe);
static bool may_try_again(HttpCallState *state, PgeStatus status);
static bool replace_credential(HttpCallState *state, PgeStatus *status);
static uint64_t hash_url(const char *url);
static RememberedDenial *find_denial(HttpService *service, uint64_t target);
static bool is_denied_again(HttpCallState *state);
static void remember_denial(HttpCallState *state);
static void forget_denial(HttpCallState *state);
static bool grant_retry(HttpService *service);
static bool wait_before_retry(HttpCallState *state);
static bool is_cancelled(const HttpCallState *state);

PgeStatus
pge_http_service_start(const HttpServiceConfig *config, HttpService **service, char detail[KMS_DETAIL_LEN])
{
	HttpService *s = calloc(1, sizeof(*s));
	PgeStatus	status = PGE_OK;

	*service = NULL;
	if (s == NULL)
	{
		pge_kms_detail(detail, "There was no memory for a key service.");
		return PGE_OUT_OF_MEMORY;
	}
	s->config = *config;
	if (s->config.policy == NULL)
		s->config.policy = &pge_http_policy;
	if (s->config.timeout_ms <= 0)
		s->config.timeout_ms = TIMEOUT_UNKNOWN_MS;
	(void) pthread_mutex_init(&s->lock, NULL);
	pge_http_budget_init(&s->budget);
	pge_http_breaker_init(&s->breaker);
	if (config->provider->credential.obtain != NULL)
	{
		HttpCredentialsConfig credentials = {
			.source = &config->provider->credential,
			.arg = config->arg,
			.timeout_ms = s->config.timeout_ms,
			.policy = s->config.policy,
		};

		status = pge_http_credentials_start(&credentials, &s->credentials, detail);
	}
	if (status != PGE_OK)
	{
		pge_http_service_stop(s);
		return status;
	}
	*service = s;
	return PGE_OK;
}

void
pge_http_service_stop(HttpService *service)
{
	if (service == NULL)
		return;
	pge_http_credentials_stop(service->credentials);
	pthread_mutex_destroy(&service->lock);
	free(service);
}

PgeStatus
pge_http_service_credential(HttpService *service, const HttpLimits *limits, bool *needed,
							HttpCredentialLife *life, char detail[KMS_DETAIL_LEN])
{
	*needed = service->credentials != NULL;
	return *needed ? pge_http_credentials_life(service->credentials, limits, life, detail) : PGE_OK;
}

PgeStatus
pge_http_service_call(HttpService *service, const HttpServiceCall *call, HttpAnswer *answer,
					  char detail[KMS_DETAIL_LEN])
{
	HttpCallState state = {.service = service, .call = call, .answer = answer, .detail = detail};
	PgeStatus	status;

	*answer = (HttpAnswer)
	{
		.retry_after_ms = -1
	};
	state.limits.cancelled = call->cancelled;
	state.limits.deadline_ms = call->deadline_ms;
	if (call->deadline_ms == 0)
		state.limits.deadline_ms = pge_monotonic_ms() + (uint64_t) service->config.timeout_ms;
	pthread_mutex_lock(&service->lock);
	pge_http_budget_call(&service->budget);
	pthread_mutex_unlock(&service->lock);
	do
	{
		state.tries++;
		status = try_once(&state);
	} while ((status == PGE_UNAUTHENTICATED && replace_credential(&state, &status)) ||
			 (may_try_again(&state, status) && wait_before_retry(&state)));
	return status;
}

static PgeStatus
try_once(HttpCallState *state)
{
	HttpService *service = state->service;
	HttpLease	lease = {NULL, 0};
	PgeStatus	status;

	state->exchanged = false;
	if (is_cancelled(state))
	{
		pge_kms_detail(state->detail, "Cancelled.");
		return PGE_UNAVAILABLE;
	}
	/* looked at before as well, so that nobody waits for a credential in vain */
	status = refuse_if_open(state);
	if (status != PGE_OK || service->credentials == NULL)
		return status != PGE_OK ? status : try_with(state, NULL);
	status = pge_http_credentials_wait(service->credentials, &state->limits, &lease, state->detail);
	if (status != PGE_OK)
		return status;
	state->generation = lease.generation;
	status = try_with(state, lease.credential);
	pge_http_credentials_release(service->credentials, &lease);
	if (state->exchanged && status == PGE_OK)
		forget_denial(state);
	if (state->exchanged && (status == PGE_OK || status == PGE_DENIED))
		pge_http_credentials_proven(service->credentials, state->generation);
	return status;
}

static PgeStatus
try_with(HttpCallState *state, const HttpCredential *credential)
{
	HttpService *service = state->service;
	const HttpPolicy *policy = service->config.policy;
	HttpAdmission admission;
	PgeStatus	status;
	int			wait_ms;

	pthread_mutex_lock(&service->lock);
	admission = pge_http_breaker_admit(&service->breaker, policy, pge_monotonic_ms());
	wait_ms = pge_http_breaker_wait_ms(&service->breaker, policy, pge_monotonic_ms());
	pthread_mutex_unlock(&service->lock);
	if (admission == HTTP_NOT_ADMITTED)
		return say_open(state, wait_ms);
	status = exchange(state, credential);
	note_outcome(state, status, admission == HTTP_ADMITTED_AS_PROBE);
	return status;
}

static PgeStatus
exchange(HttpCallState *state, const HttpCredential *credential)
{
	const HttpServiceCall *call = state->call;
	HttpRequest request = {.method = NULL};
	PgeStatus	status;

	/* what is not tried says nothing of the service */
	if (pge_monotonic_ms() >= state->limits.deadline_ms)
	{
		pge_kms_detail(state->detail, "There was no time left to ask the service.");
		return PGE_UNAVAILABLE;
	}
	status = call->build(call->arg, credential, &request, state->detail);
	if (status != PGE_OK)
		return status;
	state->target = hash_url(request.url);
	request.once = !call->repeatable;
	request.deadline_ms = state->limits.deadline_ms;
	request.cancelled = state->limits.cancelled;
	state->hurried = state->limits.deadline_ms < pge_monotonic_ms() + (uint64_t) state->service->config.policy->verdict_ms;
	pge_http_answer_wipe(state->answer);
	status = pge_http_exchange(state->service->config.pool, &request, state->answer, state->detail);
	state->exchanged = status == PGE_OK || status == PGE_UNAVAILABLE;
	if (status == PGE_OK)
		status = state->service->config.provider->classify(state->answer, state->detail);
	return status;
}

static PgeStatus
refuse_if_open(HttpCallState *state)
{
	HttpService *service = state->service;
	int			wait_ms;

	pthread_mutex_lock(&service->lock);
	wait_ms = pge_http_breaker_wait_ms(&service->breaker, service->config.policy, pge_monotonic_ms());
	pthread_mutex_unlock(&service->lock);
	return wait_ms > 0 ? say_open(state, wait_ms) : PGE_OK;
}

/* A call whose own tries have opened it keeps what it has seen. */
static PgeStatus
say_open(HttpCallState *state, int wait_ms)
{
	int			failures = state->service->config.policy->breaker_failures;

	if (state->tries == 1 && wait_ms > 0)
		pge_kms_detail(state->detail, "The service was not available %d times in a row; it is tried again in %d ms.",
					   failures, wait_ms);
	else if (state->tries == 1)
		pge_kms_detail(state->detail, "The service was not available %d times in a row; another call is trying it now.",
					   failures);
	return PGE_UNAVAILABLE;
}

/* By who was in a hurry, cancelled, or never got its turn; or of a key that is in trouble of its own. */
static bool
shows_nothing(const HttpCallState *state, PgeStatus status)
{
	const HttpServiceProvider *provider = state->service->config.provider;

	if (!state->exchanged)
		return true;
	if (status == PGE_UNAVAILABLE && state->answer->status != 0 && provider->is_of_key != NULL)
		return provider->is_of_key(state->answer);
	if (status != PGE_UNAVAILABLE || state->answer->status != 0)
		return false;
	return is_cancelled(state) || !state->answer->begun ||
		(state->hurried && pge_monotonic_ms() >= state->limits.deadline_ms);
}

/* Any answer but "unavailable" shows that the service is there. */
static void
note_outcome(HttpCallState *state, PgeStatus status, bool probe)
{
	HttpService *service = state->service;

	pthread_mutex_lock(&service->lock);
	if (shows_nothing(state, status))
	{
		if (probe)
			pge_http_breaker_abandoned(&service->breaker);
	}
	else if (status == PGE_UNAVAILABLE)
		pge_http_breaker_failed(&service->breaker, service->config.policy, pge_monotonic_ms(), probe);
	else
		pge_http_breaker_succeeded(&service->breaker);
	pthread_mutex_unlock(&service->lock);
}

/* false: *status is final. */
static bool
replace_credential(HttpCallState *state, PgeStatus *status)
{
	HttpCredentials *credentials = state->service->credentials;

	if (!state->exchanged || state->refreshed || credentials == NULL)
		return false;
	state->refreshed = true;
	if (is_denied_again(state))
		*status = PGE_DENIED;
	else
	{
		*status = pge_http_credentials_refused(credentials, &state->limits, state->generation, state->detail);
		if (*status == PGE_DENIED)
			remember_denial(state);
	}
	/* why there is no other credential is final, whatever it is */
	state->exchanged = false;
	return *status == PGE_OK;
}

/* FNV-1a.  Which keys there are to ask for is the configuration's to say. */
static uint64_t
hash_url(const char *url)
{
	uint64_t	hash = UINT64_C(14695981039346656037);

	for (; *url != '\0'; url++)
		hash = (hash ^ (uint8_t) *url) * UINT64_C(1099511628211);
	return hash != 0 ? hash : 1;
}

/* Caller holds the lock. */
static RememberedDenial *
find_denial(HttpService *service, uint64_t target)
{
	for (int i = 0; i < DENIALS_REMEMBERED; i++)
		if (service->denials[i].target == target)
			return &service->denials[i];
	return NULL;
}

static bool
is_denied_again(HttpCallState *state)
{
	HttpService *service = state->service;
	const RememberedDenial *denial;
	bool		again;

	pthread_mutex_lock(&service->lock);
	denial = find_denial(service, state->target);
	again = denial != NULL && denial->generation == state->generation &&
		pge_monotonic_ms() < denial->until_ms;
	pthread_mutex_unlock(&service->lock);
	return again;
}

static void
remember_denial(HttpCallState *state)
{
	HttpService *service = state->service;
	RememberedDenial *denial;

	pthread_mutex_lock(&service->lock);
	denial = find_denial(service, state->target);
	if (denial == NULL)
	{
		denial = &service->denials[service->next_denial];
		service->next_denial = (service->next_denial + 1) % DENIALS_REMEMBERED;
	}
	denial->target = state->target;
	denial->generation = state->generation;
	denial->until_ms = pge_monotonic_ms() + (uint64_t) service->config.policy->denied_ms;
	pthread_mutex_unlock(&service->lock);
}

/* It was let through: should it be refused next, that is news. */
static void
forget_denial(HttpCallState *state)
{
	HttpService *service = state->service;
	RememberedDenial *denial;

	pthread_mutex_lock(&service->lock);
	denial = find_denial(service, state->target);
	if (denial != NULL)
		denial->target = 0;
	pthread_mutex_unlock(&service->lock);
}

static bool
may_try_again(HttpCallState *state, PgeStatus status)
{
	const HttpPolicy *policy = state->service->config.policy;

	return state->exchanged && (status == PGE_UNAVAILABLE || status == PGE_THROTTLED) &&
		(state->call->repeatable || !state->answer->sent) &&
		state->tries < policy->tries && !is_cancelled(state);
}

static bool
grant_retry(HttpService *service)
{
	bool		granted;

	pthread_mutex_lock(&service->lock);
	granted = pge_http_budget_take(&service->budget);
	pthread_mutex_unlock(&service->lock);
	return granted;
}

/* false: there is no time for another try, or none is granted: that is asked last. */
static bool
wait_before_retry(HttpCallState *state)
{
	const HttpPolicy *policy = state->service->config.policy;
	uint32_t	chance;
	uint64_t	until_ms;

	if (pge_random_bytes(&chance, sizeof(chance)) != PGE_OK)
		chance = UINT32_MAX / 2;
	until_ms = pge_monotonic_ms() + (uint64_t)
		pge_http_backoff_ms(policy->backoff_base_ms, policy->backoff_cap_ms, state->tries, chance,
							state->answer->retry_after_ms);
	if (until_ms >= state->limits.deadline_ms || !grant_retry(state->service))
		return false;
	for (uint64_t now = pge_monotonic_ms(); now < until_ms; now = pge_monotonic_ms())
	{
		uint64_t	step_ms = until_ms - now < LOOK_CANCELLED_MS ? until_ms - now : LOOK_CANCELLED_MS;
		struct timespec step = {0, (long) step_ms * 1000000};

		if (is_cancelled(state))
			return false;
		(void) nanosleep(&step, NULL);
	}
	return true;
}

static bool
is_cancelled(const HttpCallState *state)
{
	return state->limits.cancelled != NULL && atomic_load(state->limits.cancelled);
}
