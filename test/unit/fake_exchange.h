/*
 * fake_exchange.h -- a key service in the place of pge_http_exchange(), and a
 * provider for http_service.h that logs in to it.
 *
 * A program includes this once.  The pool is the fake: what it answers is a
 * script whose last step goes on for ever; with "good_token" it refuses all other
 * tokens first; while "gate" is closed exchanges wait inside, until they are late.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_FAKE_EXCHANGE_H
#define PGE_TEST_FAKE_EXCHANGE_H

#include <pthread.h>
#include <time.h>

#include "agent/kms/http_service.h"
#include "check.h"

/* Begins each token, so that what is left of one can be found. */
#define CANARY			"c4nary-of-tokens"
#define PATIENCE_MS		60000	/* for what must happen: a machine may be slow */

typedef struct Step
{
	int			status;			/* 0: none comes */
	bool		not_sent;		/* then: nor did the request go out */
	int			retry_after_ms; /* 0: none */
}			Step;

struct HttpPool
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const		Step *steps;	/* ends with { -1 } */
	int			exchanges;
	int			inside;			/* of them, now */
	bool		gate_closed;
	bool		busy;			/* behind the gate they wait for a connection */
	bool		last_once;
	char		last_token[64];
	char		good_token[64];
};

typedef struct FakeLogin
{
	pthread_mutex_t lock;
	PgeStatus	obtain_status;
	PgeStatus	renew_status;
	PgeStatus	verify_status;
	uint64_t	lifetime_ms;
	bool		renewable;
	bool		hangs;			/* all of it, until cancelled */
	bool		file_changed;	/* until obtain has been called */
	int			obtained;		/* calls, successful or not */
	int			renewed;
	int			verified;
	int			looked;
	int			tokens;			/* given out; the n-th is CANARY-n */
}			FakeLogin;

static inline uint64_t
real_ms(void)
{
	struct timespec now;

	/* not by clock_gettime, which a test may bend */
	timespec_get(&now, TIME_UTC);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static inline void
pause_ms(long ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	(void) nanosleep(&pause, NULL);
}

/* Waits for an event. */
#define wait_until(holds) \
	do { \
		uint64_t	wait_end = real_ms() + PATIENCE_MS; \
		while (!(holds) && real_ms() < wait_end) \
			pause_ms(1); \
	} while (0)

static inline bool
was_cancelled(const atomic_bool *cancelled)
{
	return cancelled != NULL && atomic_load(cancelled);
}

static inline bool
is_late(const HttpRequest *request)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000 >= request->deadline_ms;
}

/* Caller holds the lock. */
static inline bool
pass_gate(HttpPool *pool, const HttpRequest *request)
{
	pool->inside++;
	pthread_cond_broadcast(&pool->changed);
	while (pool->gate_closed && !was_cancelled(request->cancelled) && !is_late(request))
	{
		pthread_mutex_unlock(&pool->lock);
		pause_ms(1);
		pthread_mutex_lock(&pool->lock);
	}
	pool->inside--;
	return !pool->gate_closed;
}

PgeStatus
pge_http_exchange(HttpPool *pool, const HttpRequest *request, HttpAnswer *answer, char detail[KMS_DETAIL_LEN])
{
	const		Step *step = pool->steps;
	int			number;
	bool		passed;
	bool		good;

	memset(answer, 0, sizeof(*answer));
	answer->retry_after_ms = -1;
	pthread_mutex_lock(&pool->lock);
	number = pool->exchanges++;
	for (int i = 0; i < number && step[1].status >= 0; i++)
		step++;
	good = pool->good_token[0] == '\0' ||
		(request->nheaders > 0 && strcmp(request->headers[0].value, pool->good_token) == 0);
	snprintf(pool->last_token, sizeof(pool->last_token), "%s",
			 request->nheaders > 0 ? request->headers[0].value : "");
	pool->last_once = request->once;
	answer->begun = !(pool->gate_closed && pool->busy);
	passed = pass_gate(pool, request);
	pthread_mutex_unlock(&pool->lock);
	answer->sent = !step->not_sent;
	if (!passed || step->status == 0)
	{
		pge_kms_detail(detail, "It did not answer.");
		return PGE_UNAVAILABLE;
	}
	answer->status = good ? step->status : 401;
	answer->retry_after_ms = step->retry_after_ms > 0 ? step->retry_after_ms : -1;
	answer->body = calloc(1, 8);
	answer->len = answer->body != NULL ? 7 : 0;
	if (answer->body != NULL)
		return PGE_OK;
	pge_kms_detail(detail, "There was no memory for the answer.");
	return PGE_OUT_OF_MEMORY;
}

void
pge_http_answer_wipe(HttpAnswer *answer)
{
	free(answer->body);
	memset(answer, 0, sizeof(*answer));
}

static inline PgeStatus
fake_token(FakeLogin * login, PgeStatus status, HttpCredential *credential, char *detail)
{
	if (status != PGE_OK)
	{
		pge_kms_detail(detail, "The login failed.");
		return status;
	}
	snprintf(credential->token, sizeof(credential->token), CANARY "-%d", ++login->tokens);
	credential->lifetime_ms = login->lifetime_ms;
	credential->renewable = login->renewable;
	return PGE_OK;
}

/* Caller holds the lock. */
static inline void
hang(FakeLogin * login, const HttpLimits *limits)
{
	while (login->hangs && !was_cancelled(limits->cancelled))
	{
		pthread_mutex_unlock(&login->lock);
		pause_ms(1);
		pthread_mutex_lock(&login->lock);
	}
}

static inline PgeStatus
fake_obtain(void *arg, const HttpLimits *limits, HttpCredential *credential, char *detail)
{
	FakeLogin  *login = arg;
	PgeStatus	status;

	pthread_mutex_lock(&login->lock);
	login->obtained++;
	login->file_changed = false;
	hang(login, limits);
	status = login->hangs ? PGE_UNAVAILABLE : login->obtain_status;
	if (!all_zero((const uint8_t *) credential, sizeof(*credential)))
		status = PGE_CRYPTO_FAILED;
	status = fake_token(login, status, credential, detail);
	pthread_mutex_unlock(&login->lock);
	return status;
}

static inline PgeStatus
fake_renew(void *arg, const HttpLimits *limits, const HttpCredential *current, HttpCredential *renewed, char *detail)
{
	FakeLogin  *login = arg;
	PgeStatus	status;

	pthread_mutex_lock(&login->lock);
	login->renewed++;
	hang(login, limits);
	status = strncmp(current->token, CANARY, strlen(CANARY)) == 0 ? login->renew_status : PGE_INVALID;
	/* a provider need not clean up what it could not finish */
	if (status != PGE_OK)
		snprintf(renewed->token, sizeof(renewed->token), CANARY "-half");
	status = fake_token(login, status, renewed, detail);
	pthread_mutex_unlock(&login->lock);
	return status;
}

static inline PgeStatus
fake_verify(void *arg, const HttpLimits *limits, const HttpCredential *current, char *detail)
{
	FakeLogin  *login = arg;
	PgeStatus	status;

	pthread_mutex_lock(&login->lock);
	login->verified++;
	hang(login, limits);
	status = strncmp(current->token, CANARY, strlen(CANARY)) == 0 ? login->verify_status : PGE_INVALID;
	pthread_mutex_unlock(&login->lock);
	if (status != PGE_OK)
		pge_kms_detail(detail, "The lookup failed.");
	return status;
}

static inline bool
fake_changed(void *arg)
{
	FakeLogin  *login = arg;
	bool		changed;

	pthread_mutex_lock(&login->lock);
	login->looked++;
	changed = login->file_changed;
	pthread_mutex_unlock(&login->lock);
	return changed;
}

static inline PgeStatus
fake_classify(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN])
{
	pge_kms_detail(detail, "The service said %d.", answer->status);
	switch (answer->status)
	{
		case 200:
			detail[0] = '\0';
			return PGE_OK;
		case 400:
			return PGE_INVALID;
		case 401:
			return PGE_UNAUTHENTICATED;
		case 403:
			return PGE_DENIED;
		case 429:
			return PGE_THROTTLED;
		default:
			return PGE_UNAVAILABLE;
	}
}

static inline PgeStatus
fake_build(void *arg, const HttpCredential *credential, HttpRequest *request, char *detail)
{
	(void) detail;
	request->method = "POST";
	request->url = arg != NULL ? arg : "https://fake.invalid/";
	if (credential != NULL)
		request->headers[request->nheaders++] = (HttpHeader)
	{
		"X-Token", credential->token
	};
	return PGE_OK;
}

/* An int of what threads write. */
static inline int
seen(pthread_mutex_t *lock, const int *counter)
{
	int			value;

	pthread_mutex_lock(lock);
	value = *counter;
	pthread_mutex_unlock(lock);
	return value;
}

#endif							/* PGE_TEST_FAKE_EXCHANGE_H */
