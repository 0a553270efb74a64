/*-------------------------------------------------------------------------
 *
 * http.c
 *	  A pool of connections: its thread, and those who wait for it.
 *
 * Callers make their transfer ready, hand it over and sleep.  The thread alone
 * touches the multi handle.  It takes as many transfers as connections are
 * allowed, so that the others wait here, under their own deadline, and not
 * inside libcurl.
 *
 * Lock: pool->lock guards the two lists' ends that both sides touch ("waiting",
 * "stopping") and every transfer's "done".  Nobody waits or calls libcurl
 * holding it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/kms/http_private.h"
#include "agent/kms/monotonic.h"

#define POOL_STACK	(512 * 1024)
#define STEP_MS		50			/* how often "cancelled" is looked at */
#define IDLE_MS		60000

/* A caller and its transfer, in one of the two lists. */
typedef struct HttpCall
{
	struct HttpCall *next;
	HttpTransfer transfer;
	CURLcode	result;
	bool		done;
	pthread_cond_t wake;
} HttpCall;

struct HttpPool
{
	HttpIdentity identity;		/* its strings are ours */
	CURLM	   *multi;
	pthread_t	thread;
	pthread_mutex_t lock;
	HttpCall   *waiting;		/* oldest first */
	HttpCall  **waiting_end;
	bool		stopping;
	fd_set		sockets;		/* the thread's own, as are these */
	HttpCall   *active;
	int			nactive;
};

static bool copy_identity(HttpIdentity *to, const HttpIdentity *from);
static bool copy_text(const char **to, const char *from);
static void free_identity(HttpIdentity *identity);
static CURLM *new_multi(int connections);
static bool start_thread(HttpPool *pool);
static void wait_until_done(HttpPool *pool, HttpCall *call);
static void *pool_main(void *arg);
static bool take_waiting(HttpPool *pool);
static void activate(HttpPool *pool, HttpCall *call);
static void collect_finished(HttpPool *pool);
static void end_overdue(HttpPool *pool);
static bool is_over(const HttpCall *call, uint64_t now, CURLcode *result);
static int	time_to_sleep(HttpPool *pool);
static void fail_active(HttpPool *pool);
static void remove_active(HttpPool *pool, HttpCall *call);
static void finish(HttpPool *pool, HttpCall *call, CURLcode result);

PgeStatus
pge_http_pool_new(const HttpIdentity *identity, HttpPool **result,
				  char detail[KMS_DETAIL_LEN])
{
	PgeStatus	status = pge_http_init();
	HttpPool   *pool;

	*result = NULL;
	if (status != PGE_OK)
	{
		pge_kms_detail(detail, "libcurl could not be started, or is not one that uses OpenSSL.");
		return status;
	}
	pool = calloc(1, sizeof(*pool));
	if (pool == NULL)
		return PGE_OUT_OF_MEMORY;
	pool->waiting_end = &pool->waiting;
	if (!copy_identity(&pool->identity, identity) ||
		(pool->multi = new_multi(pool->identity.connections)) == NULL ||
		pthread_mutex_init(&pool->lock, NULL) != 0)
		status = PGE_OUT_OF_MEMORY;
	else if (!start_thread(pool))
	{
		pge_kms_detail(detail, "A thread for the connections could not be started.");
		pthread_mutex_destroy(&pool->lock);
		status = PGE_OUT_OF_MEMORY;
	}
	if (status == PGE_OK)
	{
		*result = pool;
		return PGE_OK;
	}
	if (pool->multi != NULL)
		(void) curl_multi_cleanup(pool->multi);
	free_identity(&pool->identity);
	free(pool);
	return status;
}

void
pge_http_pool_free(HttpPool *pool)
{
	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_mutex_unlock(&pool->lock);
	(void) curl_multi_wakeup(pool->multi);
	(void) pthread_join(pool->thread, NULL);
	(void) curl_multi_cleanup(pool->multi);
	pthread_mutex_destroy(&pool->lock);
	free_identity(&pool->identity);
	free(pool);
}

PgeStatus
pge_http_exchange(HttpPool *pool, const HttpRequest *request, HttpAnswer *answer,
				  char detail[KMS_DETAIL_LEN])
{
	HttpCall	call = {0};
	PgeStatus	status;

	detail[0] = '\0';
	status = pge_http_transfer_open(&call.transfer, &pool->identity, request, answer, detail);
	if (status == PGE_OK && pthread_cond_init(&call.wake, NULL) != 0)
		status = PGE_OUT_OF_MEMORY;
	if (status == PGE_OK)
	{
		wait_until_done(pool, &call);
		if (pge_http_transfer_renew(&call.transfer))
			wait_until_done(pool, &call);
		pthread_cond_destroy(&call.wake);
		status = pge_http_transfer_judge(&call.transfer, call.result, detail);
	}
	pge_http_transfer_close(&call.transfer);
	return status;
}

/* --- the caller's side ---------------------------------------------------- */

/* The thread keeps the deadline: it alone can take the transfer back from libcurl. */
static void
wait_until_done(HttpPool *pool, HttpCall *call)
{
	call->done = false;
	call->next = NULL;
	pthread_mutex_lock(&pool->lock);
	*pool->waiting_end = call;
	pool->waiting_end = &call->next;
	pthread_mutex_unlock(&pool->lock);
	(void) curl_multi_wakeup(pool->multi);

	pthread_mutex_lock(&pool->lock);
	while (!call->done)
		pthread_cond_wait(&call->wake, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

static bool
copy_identity(HttpIdentity *to, const HttpIdentity *from)
{
	to->connections = from->connections > 0 ? from->connections : 1;
	to->metadata = from->metadata;
	return copy_text(&to->ca_file, from->ca_file) &&
		copy_text(&to->cert_file, from->cert_file) &&
		copy_text(&to->key_file, from->key_file);
}

static bool
copy_text(const char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

static void
free_identity(HttpIdentity *identity)
{
	free((char *) identity->ca_file);
	free((char *) identity->cert_file);
	free((char *) identity->key_file);
}

/*
 * CURLMOPT_QUICK_EXIT: a lookup that hangs is not waited for at the end.  A libcurl
 * whose lookups are the transfer's (CURLOPT_QUICK_EXIT), not the pool's, does not know it.
 */
#define MULTI_QUICK_EXIT	((CURLMoption) (CURLOPTTYPE_LONG + 21))

static CURLM *
new_multi(int connections)
{
	CURLM	   *multi = curl_multi_init();
	CURLMcode	quick;

	if (multi == NULL)
		return NULL;
	quick = curl_multi_setopt(multi, MULTI_QUICK_EXIT, 1L);
	if ((quick == CURLM_OK || quick == CURLM_UNKNOWN_OPTION) &&
		curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) connections) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) connections) == CURLM_OK)
		return multi;
	(void) curl_multi_cleanup(multi);
	return NULL;
}

/* With every signal blocked, in the thread and in those that libcurl starts. */
static bool
start_thread(HttpPool *pool)
{
	pthread_attr_t attr;
	sigset_t	all;
	sigset_t	old;
	bool		started = false;

	if (pthread_attr_init(&attr) != 0)
		return false;
	sigfillset(&all);
	if (pthread_attr_setstacksize(&attr, POOL_STACK) == 0 &&
		pthread_sigmask(SIG_SETMASK, &all, &old) == 0)
	{
		started = pthread_create(&pool->thread, &attr, pool_main, pool) == 0;
		(void) pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	return started;
}

/* --- the thread ----------------------------------------------------------- */

static void *
pool_main(void *arg)
{
	HttpPool   *pool = arg;
	int			running;

	while (take_waiting(pool))
	{
		if (curl_multi_perform(pool->multi, &running) != CURLM_OK)
			fail_active(pool);
		collect_finished(pool);
		end_overdue(pool);
		if (curl_multi_poll(pool->multi, NULL, 0, time_to_sleep(pool), NULL) != CURLM_OK)
		{
			struct timespec pause = {0, 10 * 1000000L};

			fail_active(pool);
			(void) nanosleep(&pause, NULL);
		}
	}
	return NULL;
}

/* False: it is time to end. */
static bool
take_waiting(HttpPool *pool)
{
	for (;;)
	{
		HttpCall   *call = NULL;
		bool		stopping;

		pthread_mutex_lock(&pool->lock);
		stopping = pool->stopping;
		if (pool->nactive < pool->identity.connections && pool->waiting != NULL)
		{
			call = pool->waiting;
			pool->waiting = call->next;
			if (pool->waiting == NULL)
				pool->waiting_end = &pool->waiting;
		}
		pthread_mutex_unlock(&pool->lock);
		if (call == NULL)
			return !stopping;
		activate(pool, call);
	}
}

/* On a kept connection it is said at once, to whoever has given it up as well. */
static void
activate(HttpPool *pool, HttpCall *call)
{
	CURLcode	result;

	if (is_over(call, pge_monotonic_ms(), &result))
	{
		finish(pool, call, result);
		return;
	}
	call->transfer.sockets = &pool->sockets;
	call->next = pool->active;
	pool->active = call;
	pool->nactive++;
	if (curl_multi_add_handle(pool->multi, call->transfer.easy) != CURLM_OK)
	{
		remove_active(pool, call);
		finish(pool, call, CURLE_OUT_OF_MEMORY);
	}
}

static void
collect_finished(HttpPool *pool)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(pool->multi, &left)) != NULL)
	{
		CURLcode	result = message->data.result;
		HttpCall   *call = pool->active;

		while (call != NULL && call->transfer.easy != message->easy_handle)
			call = call->next;
		if (message->msg != CURLMSG_DONE || call == NULL)
			continue;
		remove_active(pool, call);
		finish(pool, call, result);
	}
}

/* Those who are under way, and those who still wait for their turn. */
static void
end_overdue(HttpPool *pool)
{
	uint64_t	now = pge_monotonic_ms();
	CURLcode	result;
	HttpCall   *next;
	HttpCall   *over = NULL;

	for (HttpCall *call = pool->active; call != NULL; call = next)
	{
		next = call->next;
		if (!is_over(call, now, &result))
			continue;
		remove_active(pool, call);
		finish(pool, call, result);
	}

	pthread_mutex_lock(&pool->lock);
	for (HttpCall **link = &pool->waiting; *link != NULL;)
	{
		HttpCall   *call = *link;

		if (!is_over(call, now, &call->result))
		{
			link = &call->next;
			continue;
		}
		*link = call->next;
		if (*link == NULL)
			pool->waiting_end = link;
		call->next = over;
		over = call;
	}
	pthread_mutex_unlock(&pool->lock);
	for (; over != NULL; over = next)
	{
		next = over->next;
		finish(pool, over, over->result);
	}
}

static bool
is_over(const HttpCall *call, uint64_t now, CURLcode *result)
{
	const HttpRequest *request = call->transfer.request;

	if (request->cancelled != NULL && atomic_load(request->cancelled))
		*result = CURLE_ABORTED_BY_CALLBACK;
	else if (now >= request->deadline_ms)
		*result = CURLE_OPERATION_TIMEDOUT;
	else
		return false;
	return true;
}

/* A newcomer or pool_free() wakes us; a cancel and a deadline do not. */
static int
time_to_sleep(HttpPool *pool)
{
	uint64_t	now = pge_monotonic_ms();
	uint64_t	wake = now + STEP_MS;
	bool		busy = pool->active != NULL;

	for (HttpCall *call = pool->active; call != NULL; call = call->next)
		if (call->transfer.request->deadline_ms < wake)
			wake = call->transfer.request->deadline_ms;
	pthread_mutex_lock(&pool->lock);
	if (pool->stopping || (pool->waiting != NULL && pool->nactive < pool->identity.connections))
		wake = now;
	for (HttpCall *call = pool->waiting; call != NULL; call = call->next)
	{
		busy = true;
		if (call->transfer.request->deadline_ms < wake)
			wake = call->transfer.request->deadline_ms;
	}
	busy = busy || pool->stopping;
	pthread_mutex_unlock(&pool->lock);
	if (!busy)
		return IDLE_MS;
	return wake > now ? (int) (wake - now) : 0;
}

/* libcurl is out of memory or of descriptors; nothing it has can be trusted. */
static void
fail_active(HttpPool *pool)
{
	while (pool->active != NULL)
	{
		HttpCall   *call = pool->active;

		remove_active(pool, call);
		finish(pool, call, CURLE_OUT_OF_MEMORY);
	}
}

/* From libcurl, too: the caller's memory is the caller's again. */
static void
remove_active(HttpPool *pool, HttpCall *call)
{
	HttpCall  **link = &pool->active;

	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
	pool->nactive--;
	(void) curl_multi_remove_handle(pool->multi, call->transfer.easy);
}

/* The call is gone as soon as the lock is. */
static void
finish(HttpPool *pool, HttpCall *call, CURLcode result)
{
	pthread_mutex_lock(&pool->lock);
	call->result = result;
	call->done = true;
	pthread_cond_signal(&call->wake);
	pthread_mutex_unlock(&pool->lock);
}
