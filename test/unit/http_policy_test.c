/*-------------------------------------------------------------------------
 *
 * http_policy_test.c
 *	  Waits before retries, the budget of retries, and the breaker's states.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <limits.h>

#include "agent/kms/http_policy.h"
#include "check.h"

static void
check_backoff(int failures, int least, int most)
{
	check(pge_http_backoff_ms(100, 5000, failures, 0, -1) == least &&
		  pge_http_backoff_ms(100, 5000, failures, UINT32_MAX, -1) == most,
		  "after %d failures, anything from %d to %d ms", failures, least, most);
}

static void
test_backoff(void)
{
	int			outside = 0;

	check_backoff(1, 0, 100);
	check_backoff(2, 0, 200);
	check_backoff(3, 0, 400);
	check_backoff(6, 0, 3200);
	check_backoff(7, 0, 5000);
	check_backoff(1000000, 0, 5000);
	for (uint64_t chance = 0; chance <= UINT32_MAX; chance += 65537 * 101)
	{
		int			wait_ms = pge_http_backoff_ms(100, 5000, 2, (uint32_t) chance, -1);

		outside += wait_ms < 0 || wait_ms > 200;
	}
	check(outside == 0, "whatever the chance");
	check(pge_http_backoff_ms(100, 5000, 2, UINT32_MAX / 2, -1) == 100, "half a chance is half of it");
	check(pge_http_backoff_ms(100, 5000, 1, 0, 7000) == 7000, "not less than the service asks for");
	check(pge_http_backoff_ms(100, 5000, 1, UINT32_MAX, 7000) == 7100, "but not all callers at once");
	check(pge_http_backoff_ms(100, 5000, 9, UINT32_MAX, INT_MAX) == INT_MAX, "an absurd wait is no short one");
	check(pge_http_backoff_ms(100, 5000, 1, UINT32_MAX, 0) == 100, "nor less than our own");
}

static void
test_budget(void)
{
	HttpBudget	budget;
	int			granted = 0;

	pge_http_budget_init(&budget);
	while (granted < 100 && pge_http_budget_take(&budget))
		granted++;
	check(granted == 10, "ten retries to begin with");
	for (int i = 0; i < 9; i++)
		pge_http_budget_call(&budget);
	check(!pge_http_budget_take(&budget), "nine calls earn none");
	pge_http_budget_call(&budget);
	check(pge_http_budget_take(&budget) && !pge_http_budget_take(&budget), "the tenth earns one");
	for (int i = 0; i < 100000; i++)
		pge_http_budget_call(&budget);
	for (granted = 0; granted < 100 && pge_http_budget_take(&budget);)
		granted++;
	check(granted == 10, "never more than ten are saved up");
}

static void
fail_times(HttpBreaker *breaker, int times, uint64_t now_ms)
{
	for (int i = 0; i < times; i++)
		pge_http_breaker_failed(breaker, &pge_http_policy, now_ms, false);
}

#define admit(now_ms)	pge_http_breaker_admit(&breaker, &pge_http_policy, (now_ms))

static void
test_breaker(void)
{
	HttpBreaker breaker;

	pge_http_breaker_init(&breaker);
	check(admit(0) == HTTP_ADMITTED, "closed at first");
	fail_times(&breaker, 4, 1000);
	check(admit(1000) == HTTP_ADMITTED, "and after four failures");
	pge_http_breaker_succeeded(&breaker);
	fail_times(&breaker, 4, 1000);
	check(admit(1000) == HTTP_ADMITTED, "four more, after a success");
	fail_times(&breaker, 1, 1000);
	check(admit(1000) == HTTP_NOT_ADMITTED && admit(5999) == HTTP_NOT_ADMITTED, "the fifth opens it for 5 s");
	check(pge_http_breaker_wait_ms(&breaker, &pge_http_policy, 2500) == 3500, "it knows how long");
	fail_times(&breaker, 3, 4000);
	check(pge_http_breaker_wait_ms(&breaker, &pge_http_policy, 4000) == 2000, "stragglers do not prolong it");
	check(admit(6000) == HTTP_ADMITTED_AS_PROBE, "then one probe");
	check(admit(6000) == HTTP_NOT_ADMITTED && admit(99999) == HTTP_NOT_ADMITTED, "and no second one beside it");
	fail_times(&breaker, 1, 7000);
	check(admit(7000) == HTTP_NOT_ADMITTED, "nor when a straggler fails");
	pge_http_breaker_failed(&breaker, &pge_http_policy, 8000, true);
	check(admit(12999) == HTTP_NOT_ADMITTED && admit(13000) == HTTP_ADMITTED_AS_PROBE, "a probe that fails: 5 s more");
	pge_http_breaker_abandoned(&breaker);
	check(admit(13000) == HTTP_ADMITTED_AS_PROBE, "one that is abandoned: another");
	pge_http_breaker_succeeded(&breaker);
	check(admit(13000) == HTTP_ADMITTED && admit(13000) == HTTP_ADMITTED, "one that succeeds: closed for all");
	check(pge_http_breaker_wait_ms(&breaker, &pge_http_policy, 13000) == 0, "nothing to wait for");
	fail_times(&breaker, 4, 13000);
	check(admit(13000) == HTTP_ADMITTED, "and it counts from the beginning");
}

int
main(void)
{
	test_backoff();
	test_budget();
	test_breaker();
	return check_done();
}
