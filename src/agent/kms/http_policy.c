/*-------------------------------------------------------------------------
 *
 * http_policy.c
 *	  The arithmetic of retries and of the circuit breaker.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <limits.h>

#include "agent/kms/http_policy.h"

#define BUDGET_FULL		100		/* ten retries */

const HttpPolicy pge_http_policy = {
	.tries = 4,
	.backoff_base_ms = 100,
	.backoff_cap_ms = 5000,
	.refusal_base_ms = 1000,
	.refusal_cap_ms = 10000,
	.breaker_failures = 5,
	.breaker_open_ms = 5000,
	.verdict_ms = 1000,
	.look_ms = 1000,
	.denied_ms = 2000,
};

int
pge_http_backoff_ms(int base_ms, int cap_ms, int failures, uint32_t chance, int retry_after_ms)
{
	int64_t		limit = base_ms;
	int			wait_ms;

	for (int i = 1; i < failures && limit < cap_ms; i++)
		limit *= 2;
	if (limit > cap_ms)
		limit = cap_ms;
	/* chance is a fraction of 2^32 */
	wait_ms = (int) (((uint64_t) chance * (uint64_t) (limit + 1)) >> 32);
	if (retry_after_ms <= 0)
		return wait_ms;
	return retry_after_ms < INT_MAX - wait_ms ? retry_after_ms + wait_ms : INT_MAX;
}

void
pge_http_budget_init(HttpBudget *budget)
{
	budget->tenths = BUDGET_FULL;
}

void
pge_http_budget_call(HttpBudget *budget)
{
	if (budget->tenths < BUDGET_FULL)
		budget->tenths++;
}

bool
pge_http_budget_take(HttpBudget *budget)
{
	if (budget->tenths < 10)
		return false;
	budget->tenths -= 10;
	return true;
}

void
pge_http_breaker_init(HttpBreaker *breaker)
{
	*breaker = (HttpBreaker)
	{
		0
	};
}

HttpAdmission
pge_http_breaker_admit(HttpBreaker *breaker, const HttpPolicy *policy, uint64_t now_ms)
{
	if (!breaker->open)
		return HTTP_ADMITTED;
	if (breaker->probing || pge_http_breaker_wait_ms(breaker, policy, now_ms) > 0)
		return HTTP_NOT_ADMITTED;
	breaker->probing = true;
	return HTTP_ADMITTED_AS_PROBE;
}

void
pge_http_breaker_succeeded(HttpBreaker *breaker)
{
	pge_http_breaker_init(breaker);
}

/* What began before it opened and fails now says nothing new. */
void
pge_http_breaker_failed(HttpBreaker *breaker, const HttpPolicy *policy, uint64_t now_ms, bool probe)
{
	if (breaker->failures < policy->breaker_failures)
		breaker->failures++;
	if (breaker->open ? probe : breaker->failures == policy->breaker_failures)
	{
		breaker->open = true;
		breaker->opened_ms = now_ms;
	}
	if (probe)
		breaker->probing = false;
}

void
pge_http_breaker_abandoned(HttpBreaker *breaker)
{
	breaker->probing = false;
}

int
pge_http_breaker_wait_ms(const HttpBreaker *breaker, const HttpPolicy *policy, uint64_t now_ms)
{
	uint64_t	since = now_ms - breaker->opened_ms;

	if (!breaker->open || since >= (uint64_t) policy->breaker_open_ms)
		return 0;
	return policy->breaker_open_ms - (int) since;
}
