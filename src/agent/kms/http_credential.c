/*-------------------------------------------------------------------------
 *
 * http_credential.c
 *	  The thread that keeps a credential fresh, and those who wait for it.
 *
 * Lifetimes are counted by CLOCK_BOOTTIME: a credential ages while the machine is
 * suspended, and CLOCK_REALTIME may be set.  Waits and deadlines are by
 * CLOCK_MONOTONIC, as everywhere in the agent; none is longer than look_ms, so
 * the thread is no later than that after a suspend.  A machine that is stopped
 * from outside sees neither clock move: then the service refuses, and that is
 * answered by a refresh.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/kms/http_credential.h"
#include "agent/kms/key_memory.h"
#include "base/secret.h"
#include "crypto/random.h"

#define LOOK_CANCELLED_MS	50
#define LIFETIME_MAX_MS		UINT64_C(315360000000)	/* ten years: no sum
													 * overflows */

/* One credential, with all who use it.  In key memory. */
typedef struct HeldCredential
{
	HttpCredential credential;
	int			users;			/* the holder's own included */
	uint64_t	generation;
	uint64_t	asked_ms;		/* boot time */
	uint64_t	came_ms;		/* boot time */
	uint64_t	renew_ms;		/* boot time; 0: never */
	uint64_t	expires_ms;		/* boot time; 0: never */
	bool		proven;			/* a call was not refused with it */
} HeldCredential;

struct HttpCredentials
{
	HttpCredentialsConfig config;
	pthread_t	thread;
	pthread_mutex_t lock;		/* of all below */
	pthread_cond_t work;		/* for the thread */
	pthread_cond_t news;		/* for who waits */
	atomic_bool stopping;

	HeldCredential *current;	/* NULL: none */
	uint64_t	generation;		/* of the newest there was */
	bool		stale;			/* its file has changed */

	/* the last obtain or renew, and when the next may be */
	PgeStatus	status;
	char		detail[KMS_DETAIL_LEN];
	uint64_t	failures;		/* ever */
	int			failures_in_row;
	int			refusals_in_row;	/* since a call was not refused */
	uint64_t	next_ms;		/* monotonic */
	bool		at_work;

	/*
	 * replaced after a refusal: how often, shortly after another, and when
	 * next
	 */
	int			replaced_in_row;
	uint64_t	replace_ms;		/* monotonic */

	/* refusals: each who reports one draws a number and waits for its answer */
	uint64_t	asked;
	uint64_t	asked_generation;	/* of the last one's credential */
	uint64_t	answered;
	PgeStatus	answer;
	char		answer_detail[KMS_DETAIL_LEN];
};

static atomic_ullong obtained;

static PgeStatus start_thread(HttpCredentials *c);
static void *keep_fresh(void *arg);
static void sleep_until_due(HttpCredentials *c);
static bool is_due(const HttpCredentials *c);
static void look_for_change(HttpCredentials *c);
static void refresh(HttpCredentials *c, bool may_renew);
static PgeStatus ask_provider(HttpCredentials *c, const HeldCredential *old, bool may_renew, HeldCredential *new, char *detail);
static PgeStatus renew(HttpCredentials *c, const HeldCredential *old, HeldCredential *new, char *detail);
static bool is_time_to_renew(const HeldCredential *held);
static void install(HttpCredentials *c, HeldCredential *new);
static void note_failure(HttpCredentials *c, PgeStatus status, const char *detail);
static void answer_refusals(HttpCredentials *c);
static bool serves_others(const HttpCredentials *c);
static PgeStatus verify(HttpCredentials *c, char *detail);
static void replace_refused(HttpCredentials *c);
static void note_replacement(HttpCredentials *c);
static void drop(HeldCredential **held);
static bool is_passing(PgeStatus status);
static bool is_valid(const HeldCredential *held);
static bool wait_for_news(HttpCredentials *c, const HttpLimits *limits);
static PgeStatus say_given_up(HttpCredentials *c, const HttpLimits *limits, char *detail);
static HttpLimits own_limits(const HttpCredentials *c);
static int	backoff_ms(int base_ms, int cap_ms, int failures);
static int	refusal_ms(const HttpPolicy *policy, int refusals);
static uint32_t draw(void);
static uint64_t clock_ms(clockid_t clock);
static struct timespec to_timespec(uint64_t ms);

uint64_t
pge_http_credentials_obtained(void)
{
	return atomic_load(&obtained);
}

PgeStatus
pge_http_credentials_start(const HttpCredentialsConfig *config, HttpCredentials **credentials,
						   char detail[KMS_DETAIL_LEN])
{
	HttpCredentials *c = calloc(1, sizeof(*c));
	PgeStatus	status = PGE_OUT_OF_MEMORY;

	*credentials = NULL;
	if (c != NULL)
	{
		c->config = *config;
		status = start_thread(c);
	}
	if (status != PGE_OK)
	{
		pge_kms_detail(detail, "There was no memory for another thread.");
		free(c);
		return status;
	}
	*credentials = c;
	return PGE_OK;
}

static PgeStatus
start_thread(HttpCredentials *c)
{
	pthread_condattr_t attributes;
	bool		started;

	if (pthread_condattr_init(&attributes) != 0)
		return PGE_OUT_OF_MEMORY;
	/* these cannot fail in this C library, which keeps no memory for them */
	(void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void) pthread_mutex_init(&c->lock, NULL);
	(void) pthread_cond_init(&c->work, &attributes);
	(void) pthread_cond_init(&c->news, &attributes);
	(void) pthread_condattr_destroy(&attributes);
	started = pthread_create(&c->thread, NULL, keep_fresh, c) == 0;
	if (started)
		return PGE_OK;
	(void) pthread_cond_destroy(&c->news);
	(void) pthread_cond_destroy(&c->work);
	(void) pthread_mutex_destroy(&c->lock);
	return PGE_OUT_OF_MEMORY;
}

void
pge_http_credentials_stop(HttpCredentials *c)
{
	if (c == NULL)
		return;
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->stopping, true);
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	drop(&c->current);
	pthread_cond_destroy(&c->news);
	pthread_cond_destroy(&c->work);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

PgeStatus
pge_http_credentials_wait(HttpCredentials *c, const HttpLimits *limits, HttpLease *lease,
						  char detail[KMS_DETAIL_LEN])
{
	PgeStatus	status = PGE_OK;
	uint64_t	failures_before;

	pthread_mutex_lock(&c->lock);
	failures_before = c->failures;
	while (!is_valid(c->current) && status == PGE_OK)
	{
		bool		refused = c->status != PGE_OK && !is_passing(c->status) && !c->at_work;
		bool		in_vain = c->failures - failures_before >= (uint64_t) c->config.policy->tries;
		bool		hopeless = c->failures_in_row >= c->config.policy->breaker_failures;

		if (refused || in_vain || hopeless)
		{
			status = c->status;
			pge_kms_detail(detail, "%s", c->detail);
		}
		else if (!wait_for_news(c, limits))
			status = say_given_up(c, limits, detail);
	}
	if (status == PGE_OK)
	{
		c->current->users++;
		lease->credential = &c->current->credential;
		lease->generation = c->current->generation;
	}
	pthread_mutex_unlock(&c->lock);
	return status;
}

void
pge_http_credentials_release(HttpCredentials *c, HttpLease *lease)
{
	/* the credential is the first member of what holds it */
	HeldCredential *held = (HeldCredential *) lease->credential;

	pthread_mutex_lock(&c->lock);
	drop(&held);
	pthread_mutex_unlock(&c->lock);
	lease->credential = NULL;
}

PgeStatus
pge_http_credentials_life(HttpCredentials *c, const HttpLimits *limits, HttpCredentialLife *life,
						  char detail[KMS_DETAIL_LEN])
{
	HttpLease	lease = {NULL, 0};
	PgeStatus	status = pge_http_credentials_wait(c, limits, &lease, detail);
	const HeldCredential *held = (const HeldCredential *) lease.credential;
	uint64_t	now_ms = clock_ms(CLOCK_BOOTTIME);

	*life = (HttpCredentialLife)
	{
		0
	};
	if (status != PGE_OK)
		return status;
	life->took_ms = held->came_ms - held->asked_ms;
	life->expires = held->expires_ms != 0;
	life->left_ms = held->expires_ms > now_ms ? held->expires_ms - now_ms : 0;
	pge_http_credentials_release(c, &lease);
	return PGE_OK;
}

PgeStatus
pge_http_credentials_refused(HttpCredentials *c, const HttpLimits *limits, uint64_t generation,
							 char detail[KMS_DETAIL_LEN])
{
	PgeStatus	status = PGE_OK;
	uint64_t	number;

	pthread_mutex_lock(&c->lock);
	if (c->current != NULL && c->current->generation == generation)
	{
		number = ++c->asked;
		c->asked_generation = generation;
		pthread_cond_signal(&c->work);
		while (c->answered < number && status == PGE_OK)
			if (!wait_for_news(c, limits))
				status = say_given_up(c, limits, detail);
		if (status == PGE_OK)
		{
			status = c->answer;
			if (status != PGE_OK && status != PGE_DENIED && c->answer_detail[0] != '\0')
				pge_kms_detail_append(detail, "%s", c->answer_detail);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return status;
}

void
pge_http_credentials_proven(HttpCredentials *c, uint64_t generation)
{
	pthread_mutex_lock(&c->lock);
	if (c->current != NULL && c->current->generation == generation)
	{
		c->refusals_in_row = 0;
		c->current->proven = true;
	}
	pthread_mutex_unlock(&c->lock);
}

/*
 * Caller holds the lock.  false: at the deadline, or cancelled.  Cancelling is
 * a flag that wakes nobody, so it is looked at.
 */
static bool
wait_for_news(HttpCredentials *c, const HttpLimits *limits)
{
	uint64_t	now_ms = clock_ms(CLOCK_MONOTONIC);
	uint64_t	until_ms = now_ms + LOOK_CANCELLED_MS;
	struct timespec until;

	if (now_ms >= limits->deadline_ms || (limits->cancelled != NULL && atomic_load(limits->cancelled)))
		return false;
	until = to_timespec(until_ms < limits->deadline_ms ? until_ms : limits->deadline_ms);
	(void) pthread_cond_timedwait(&c->news, &c->lock, &until);
	return true;
}

/* Why the credential is late, if that is known, and not only that it is. */
static PgeStatus
say_given_up(HttpCredentials *c, const HttpLimits *limits, char *detail)
{
	if (limits->cancelled != NULL && atomic_load(limits->cancelled))
		pge_kms_detail(detail, "Cancelled while waiting for the credential.");
	else if (c->status != PGE_OK)
		pge_kms_detail(detail, "%s", c->detail);
	else
		pge_kms_detail(detail, "The credential did not come in time.");
	return PGE_UNAVAILABLE;
}

static void *
keep_fresh(void *arg)
{
	HttpCredentials *c = arg;

	pthread_mutex_lock(&c->lock);
	while (!atomic_load(&c->stopping))
	{
		if (c->answered < c->asked)
			answer_refusals(c);
		else if (is_due(c))
			refresh(c, !c->stale);
		else
		{
			sleep_until_due(c);
			look_for_change(c);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static bool
is_due(const HttpCredentials *c)
{
	const HeldCredential *held = c->current;

	if (clock_ms(CLOCK_MONOTONIC) < c->next_ms)
		return false;
	return held == NULL || c->stale || is_time_to_renew(held);
}

static bool
is_time_to_renew(const HeldCredential *held)
{
	return held->renew_ms != 0 && clock_ms(CLOCK_BOOTTIME) >= held->renew_ms;
}

/* Caller holds the lock, here and in all that follows. */
static void
sleep_until_due(HttpCredentials *c)
{
	uint64_t	now_ms = clock_ms(CLOCK_MONOTONIC);
	uint64_t	until_ms = now_ms + (uint64_t) c->config.policy->look_ms;
	uint64_t	boot_ms = clock_ms(CLOCK_BOOTTIME);
	const HeldCredential *held = c->current;
	struct timespec until;

	if (held != NULL && held->renew_ms > boot_ms && until_ms > now_ms + (held->renew_ms - boot_ms))
		until_ms = now_ms + (held->renew_ms - boot_ms);
	if (c->next_ms > now_ms && c->next_ms < until_ms)
		until_ms = c->next_ms;
	until = to_timespec(until_ms);
	if (!atomic_load(&c->stopping) && c->answered == c->asked)
		(void) pthread_cond_timedwait(&c->work, &c->lock, &until);
}

/* What an administrator has put there does not wait for a back-off's end. */
static void
look_for_change(HttpCredentials *c)
{
	bool		changed;

	if (c->config.source->changed == NULL || atomic_load(&c->stopping))
		return;
	pthread_mutex_unlock(&c->lock);
	changed = c->config.source->changed(c->config.arg);
	pthread_mutex_lock(&c->lock);
	if (!changed)
		return;
	c->stale = true;
	c->next_ms = 0;
	c->refusals_in_row = 0;
}

static void
refresh(HttpCredentials *c, bool may_renew)
{
	HeldCredential *new = pge_key_calloc(1, sizeof(*new));
	HeldCredential *old = c->current;
	PgeStatus	status = PGE_OUT_OF_MEMORY;
	char		detail[KMS_DETAIL_LEN] = "There was no memory for the credential.";

	c->at_work = true;
	if (old != NULL)
		old->users++;
	if (new != NULL)
	{
		new->users = 1;
		detail[0] = '\0';
		pthread_mutex_unlock(&c->lock);
		status = ask_provider(c, old, may_renew, new, detail);
		pthread_mutex_lock(&c->lock);
	}
	drop(&old);
	c->at_work = false;
	if (status == PGE_OK)
		install(c, new);
	else
	{
		drop(&new);
		note_failure(c, status, detail);
	}
	pthread_cond_broadcast(&c->news);
}

/*
 * Without the lock.  What stands in a changed file may be refused (a secret id for one
 * login that is written again): the credential there is, is renewed in time all the same.
 */
static PgeStatus
ask_provider(HttpCredentials *c, const HeldCredential *old, bool may_renew, HeldCredential *new, char *detail)
{
	const HttpCredentialSource *source = c->config.source;
	bool		renewable = old != NULL && is_valid(old) && old->credential.renewable && source->renew != NULL;
	char		unused[KMS_DETAIL_LEN];
	HttpLimits	limits;
	PgeStatus	status;

	if (renewable && may_renew)
	{
		status = renew(c, old, new, detail);
		if (status == PGE_OK || is_passing(status) || atomic_load(&c->stopping))
			return status;
	}
	new->asked_ms = clock_ms(CLOCK_BOOTTIME);
	limits = own_limits(c);
	status = source->obtain(c->config.arg, &limits, &new->credential, detail);
	if (status == PGE_OK)
		atomic_fetch_add(&obtained, 1);
	if (status == PGE_OK || is_passing(status) || !renewable || may_renew || !is_time_to_renew(old) ||
		atomic_load(&c->stopping))
		return status;
	pge_secret_wipe(&new->credential, sizeof(new->credential));
	return renew(c, old, new, unused) == PGE_OK ? PGE_OK : status;
}

static PgeStatus
renew(HttpCredentials *c, const HeldCredential *old, HeldCredential *new, char *detail)
{
	HttpLimits	limits = own_limits(c);
	PgeStatus	status;

	new->asked_ms = clock_ms(CLOCK_BOOTTIME);
	status = c->config.source->renew(c->config.arg, &limits, &old->credential, &new->credential, detail);
	if (status != PGE_OK)
		pge_secret_wipe(&new->credential, sizeof(new->credential));
	return status;
}

/*
 * Renewed when about two thirds of its life are over: with jitter, because
 * servers that started together would come together for ever.
 */
static void
install(HttpCredentials *c, HeldCredential *new)
{
	uint64_t	told_ms = new->credential.lifetime_ms;
	uint64_t	life_ms = told_ms < LIFETIME_MAX_MS ? told_ms : LIFETIME_MAX_MS;
	uint64_t	early_ms = (life_ms / 10 * draw()) >> 32;

	if (life_ms > 0)
	{
		new->renew_ms = new->asked_ms + life_ms / 3 * 2 - early_ms;
		new->expires_ms = new->asked_ms + life_ms;
	}
	new->came_ms = clock_ms(CLOCK_BOOTTIME);
	new->generation = ++c->generation;
	drop(&c->current);
	c->current = new;
	c->stale = false;
	c->status = PGE_OK;
	c->failures_in_row = 0;
	/* however short its life is said to be */
	c->next_ms = clock_ms(CLOCK_MONOTONIC) + (uint64_t) c->config.policy->backoff_base_ms;
}

/* Whoever guesses a password too often is locked out: refusals wait longer. */
static void
note_failure(HttpCredentials *c, PgeStatus status, const char *detail)
{
	const HttpPolicy *policy = c->config.policy;

	c->status = status;
	pge_kms_detail(c->detail, "%s", detail);
	c->failures++;
	c->failures_in_row++;
	c->next_ms = clock_ms(CLOCK_MONOTONIC) + (uint64_t)
		(is_passing(status) ?
		 backoff_ms(policy->backoff_base_ms, policy->backoff_cap_ms, c->failures_in_row) :
		 refusal_ms(policy, c->failures_in_row));
	if (!is_valid(c->current))
		drop(&c->current);
}

/* One answer for all who asked before this began, and no older one for any. */
static void
answer_refusals(HttpCredentials *c)
{
	uint64_t	number = c->asked;
	char		detail[KMS_DETAIL_LEN] = "";
	PgeStatus	status = PGE_OK;

	/* or another has come meanwhile, or is about to */
	if (c->current != NULL && c->current->generation == c->asked_generation)
	{
		status = verify(c, detail);
		if (status == PGE_OK)
			status = PGE_DENIED;
		else if (status == PGE_UNAUTHENTICATED && serves_others(c))
			pge_kms_detail(detail, "Other calls are not refused with the same credential, which was replaced a short while ago.");
		else if (status == PGE_UNAUTHENTICATED)
		{
			replace_refused(c);
			status = c->status;
			pge_kms_detail(detail, "%s", c->detail);
		}
	}
	c->answered = number;
	c->answer = status;
	memcpy(c->answer_detail, detail, sizeof(detail));
	pthread_cond_broadcast(&c->news);
}

/*
 * One call that is always refused, among others that are not, would have a
 * credential replaced each time.  A verify() has looked at this one.
 */
static bool
serves_others(const HttpCredentials *c)
{
	return c->config.source->verify == NULL && c->current != NULL && c->current->proven &&
		clock_ms(CLOCK_MONOTONIC) < c->replace_ms;
}

static PgeStatus
verify(HttpCredentials *c, char *detail)
{
	HeldCredential *held = c->current;
	HttpLimits	limits = own_limits(c);
	PgeStatus	status;

	if (c->config.source->verify == NULL)
		return PGE_UNAUTHENTICATED;
	held->users++;
	pthread_mutex_unlock(&c->lock);
	status = c->config.source->verify(c->config.arg, &limits, &held->credential, detail);
	pthread_mutex_lock(&c->lock);
	if (status == PGE_OK)
		c->refusals_in_row = 0;
	drop(&held);
	return status;
}

/*
 * A credential that was refused is not used again.  Another is obtained at
 * once, unless it came of a refusal itself and was of no use: then what
 * obtain() gives is worth nothing, and is asked for seldom.
 */
static void
replace_refused(HttpCredentials *c)
{
	const HttpPolicy *policy = c->config.policy;

	drop(&c->current);
	if (++c->refusals_in_row > 1)
	{
		c->status = PGE_UNAUTHENTICATED;
		pge_kms_detail(c->detail, "The service refused the credential, and the one obtained after that.");
		c->next_ms = clock_ms(CLOCK_MONOTONIC) + (uint64_t) refusal_ms(policy, c->refusals_in_row - 1);
	}
	else
	{
		note_replacement(c);
		refresh(c, false);
	}
}

/* A while that has been quiet for long enough starts the count again. */
static void
note_replacement(HttpCredentials *c)
{
	const HttpPolicy *policy = c->config.policy;
	uint64_t	now_ms = clock_ms(CLOCK_MONOTONIC);

	if (now_ms > c->replace_ms + (uint64_t) policy->refusal_cap_ms)
		c->replaced_in_row = 0;
	c->replace_ms = now_ms + (uint64_t) refusal_ms(policy, ++c->replaced_in_row);
}

static void
drop(HeldCredential **held)
{
	if (*held != NULL && --(*held)->users == 0)
	{
		pge_secret_wipe(*held, sizeof(**held));
		free(*held);
	}
	*held = NULL;
}

/* Not the credential's fault. */
static bool
is_passing(PgeStatus status)
{
	return status == PGE_UNAVAILABLE || status == PGE_THROTTLED || status == PGE_OUT_OF_MEMORY;
}

static bool
is_valid(const HeldCredential *held)
{
	return held != NULL && (held->expires_ms == 0 || clock_ms(CLOCK_BOOTTIME) < held->expires_ms);
}

static HttpLimits
own_limits(const HttpCredentials *c)
{
	HttpLimits	limits = {clock_ms(CLOCK_MONOTONIC) + (uint64_t) c->config.timeout_ms, &c->stopping};

	return limits;
}

static int
backoff_ms(int base_ms, int cap_ms, int failures)
{
	return pge_http_backoff_ms(base_ms, cap_ms, failures, draw(), -1);
}

static int
refusal_ms(const HttpPolicy *policy, int refusals)
{
	return policy->refusal_base_ms + backoff_ms(policy->refusal_base_ms, policy->refusal_cap_ms, refusals);
}

/* Without chance it is less polite, not less right. */
static uint32_t
draw(void)
{
	uint32_t	chance;

	return pge_random_bytes(&chance, sizeof(chance)) == PGE_OK ? chance : UINT32_MAX / 2;
}

static uint64_t
clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static struct timespec
to_timespec(uint64_t ms)
{
	struct timespec time = {(time_t) (ms / 1000), (long) (ms % 1000) * 1000000};

	return time;
}
