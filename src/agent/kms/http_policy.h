/*
 * http_policy.h -- how long to wait before a try, how many retries a service is
 * granted, and when it is left alone for a while.
 *
 * Pure: time and chance come from the caller, locks are his.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_HTTP_POLICY_H
#define PGE_AGENT_HTTP_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* Times in ms. */
typedef struct HttpPolicy
{
	int			tries;			/* of a call, the first included */
	int			backoff_base_ms;
	int			backoff_cap_ms;
	int			refusal_base_ms;	/* after a credential was refused */
	int			refusal_cap_ms;
	int			breaker_failures;	/* in a row, then it opens */
	int			breaker_open_ms;	/* then one probe */
	int			verdict_ms;		/* a try that had less time, and ran out of
								 * it, says nothing of the service */
	int			look_ms;		/* how often files are looked at */
	int			denied_ms;		/* so long a denial is a denial, without
								 * verifying the credential again */
} HttpPolicy;

extern const HttpPolicy pge_http_policy;

/*
 * The wait before the next try after "failures" (1, 2, ...) of them: full
 * jitter, that is anything from 0 to base * 2^(failures - 1), at most the cap;
 * on top of what the service asked for (retry_after_ms; -1: nothing), because it
 * asks all callers for the same.
 */
extern int	pge_http_backoff_ms(int base_ms, int cap_ms, int failures, uint32_t chance,
								int retry_after_ms);

/*
 * Retries are granted out of a bucket: each call puts in a tenth of one, so that
 * a service that fails all calls gets 10 % more of them and not four times as many.
 */
typedef struct HttpBudget
{
	int			tenths;
} HttpBudget;

extern void pge_http_budget_init(HttpBudget *budget);	/* full */
extern void pge_http_budget_call(HttpBudget *budget);	/* a call begins */
extern bool pge_http_budget_take(HttpBudget *budget);	/* one retry; false:
														 * none left */

typedef enum HttpAdmission
{
	HTTP_ADMITTED,
	HTTP_ADMITTED_AS_PROBE,		/* must be followed by succeeded, failed or
								 * abandoned */
	HTTP_NOT_ADMITTED
} HttpAdmission;

typedef struct HttpBreaker
{
	int			failures;		/* in a row */
	bool		open;
	bool		probing;
	uint64_t	opened_ms;
} HttpBreaker;

extern void pge_http_breaker_init(HttpBreaker *breaker);
extern HttpAdmission pge_http_breaker_admit(HttpBreaker *breaker, const HttpPolicy *policy, uint64_t now_ms);
extern void pge_http_breaker_succeeded(HttpBreaker *breaker);	/* whatever was answered */
extern void pge_http_breaker_failed(HttpBreaker *breaker, const HttpPolicy *policy, uint64_t now_ms,
									bool probe);
extern void pge_http_breaker_abandoned(HttpBreaker *breaker);	/* the probe ended
																 * without a verdict */

/* Until a probe is let through; 0 when closed. */
extern int	pge_http_breaker_wait_ms(const HttpBreaker *breaker, const HttpPolicy *policy, uint64_t now_ms);

#endif							/* PGE_AGENT_HTTP_POLICY_H */
