/*-------------------------------------------------------------------------
 *
 * http_service_memory_test.c
 *	  Whatever allocation fails, a service starts, is called, has its
 *	  credential refused and stops, or says that there was no memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "fake_exchange.h"
#include "failing_memory.h"

static const HttpPolicy quick = {
	.tries = 4, .backoff_base_ms = 1, .backoff_cap_ms = 4, .refusal_base_ms = 1, .refusal_cap_ms = 4,
	.breaker_failures = 5, .breaker_open_ms = 1, .look_ms = 1000,
};
static const Step ok[] = {{.status = 200}, {.status = -1}};
static const HttpServiceProvider provider = {
	.credential = {.obtain = fake_obtain, .renew = fake_renew},
	.classify = fake_classify,
};

static HttpPool pool = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .steps = ok};
static FakeLogin login =
{
	.lock = PTHREAD_MUTEX_INITIALIZER
};

/* One life; its only call is refused once. */
static PgeStatus
live(void)
{
	HttpServiceConfig config = {&pool, &provider, &login, PATIENCE_MS, &quick};
	HttpServiceCall call = {.build = fake_build, .repeatable = true};
	HttpService *service;
	HttpAnswer	answer;
	char		detail[KMS_DETAIL_LEN] = "";
	PgeStatus	status;

	login.tokens = 0;
	snprintf(pool.good_token, sizeof(pool.good_token), CANARY "-2");
	status = pge_http_service_start(&config, &service, detail);
	if (status == PGE_OK)
	{
		status = pge_http_service_call(service, &call, &answer, detail);
		pge_http_answer_wipe(&answer);
	}
	pge_http_service_stop(service);
	return (status == PGE_OK) == (detail[0] == '\0') ? status : PGE_CRYPTO_FAILED;
}

static void
test_each_allocation(void)
{
	int			failed = 0;
	int			wrong = 0;
	long		count;
	long		blocks;
	long		left;
	PgeStatus	first;

	memory_is_counted = true;
	/* what the C library keeps of its first thread */
	(void) live();
	blocks = memory_blocks();
	memory_begin(0);
	first = live();
	count = memory_end();
	left = memory_blocks() - blocks;
	for (long k = 1; k <= count; k++)
	{
		PgeStatus	status;

		memory_begin(k);
		status = live();
		(void) memory_end();
		failed += status == PGE_OUT_OF_MEMORY;
		/* the thread asks again for a credential that it had no room for */
		wrong += (status != PGE_OK && status != PGE_OUT_OF_MEMORY) || memory_blocks() != blocks;
	}
	memory_is_counted = false;
	check_status(first, PGE_OK, "a call is served by the second credential");
	check(left == 0, "and leaves nothing");
	check(count >= 6 && failed >= 3, "%ld allocations may fail, %d end the call", count, failed);
	check(wrong == 0, "none does harm (%d did)", wrong);
}

static void
test_wiped(void)
{
	char	   *volatile planted;

	check(atomic_load(&memory_ledger->freed_keys) == 0, "no token was left in freed memory");
	memory_is_counted = true;
	planted = malloc(64);
	if (planted == NULL)
		abort();
	for (size_t i = 0; i < 64; i++)
		((volatile char *) planted)[i] = CANARY[i % MARK_LEN];
	free(planted);
	memory_is_counted = false;
	check(atomic_load(&memory_ledger->freed_keys) == 1, "a planted one is found");
}

int
main(void)
{
	memory_init();
	memory_mark_key((const uint8_t *) CANARY);
	test_each_allocation();
	test_wiped();
	return check_done();
}
