/*
 * http_service.h -- what key services behind HTTP share around
 * pge_http_exchange(): the credential, retries, the retry budget, the breaker.
 *
 * pge_http_service_start -> call, call, ... (any threads) -> pge_http_service_stop.
 * start touches no service; a thread of the service's own then obtains the
 * credential, and keeps it fresh without calls.  A provider says
 * what is particular to it in an HttpServiceProvider, and per call in a build().
 *
 * A call waits for the credential, asks build() for the request of this try,
 * exchanges, asks classify() what the answer means, and then:
 *	PGE_UNAVAILABLE, PGE_THROTTLED: again after a wait (full jitter, or the
 *		service's Retry-After), while tries, deadline and the service's budget
 *		last.  What is not repeatable is tried again only if nothing was sent;
 *	PGE_UNAUTHENTICATED: once more with another credential, whether repeatable or
 *		not, for who refuses a credential has not acted; all calls that are
 *		refused together share one refresh.  With a verify(), which tells an
 *		expired credential from a missing right, the call ends as
 *		PGE_DENIED if the credential is good; the next that is refused at the same
 *		URL within denied_ms does so without another verify();
 *	else: final.
 * After HttpPolicy.breaker_failures PGE_UNAVAILABLE in a row (nothing else
 * counts: a denial is an answer, and a caller who gave it less than verdict_ms or
 * got no connection of the pool says nothing of the service, nor does the trouble of one key) calls fail at once, but for one probe each
 * breaker_open_ms; the first success closes the breaker.
 *
 * While a refresh fails and the old credential is valid, calls go on with it.
 * All waits end at the deadline, and within 50 ms of "cancelled"; an exchange
 * does as http.h says.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_HTTP_SERVICE_H
#define PGE_AGENT_HTTP_SERVICE_H

#include <stdatomic.h>

#include "agent/kms/http.h"
#include "agent/kms/http_credential.h"
#include "agent/kms/http_policy.h"
#include "agent/kms/kms_detail.h"
#include "base/status.h"

typedef struct HttpService HttpService;

typedef struct HttpServiceProvider
{
	/* All NULL but classify: a service that needs no credential. */
	HttpCredentialSource credential;

	/*
	 * Pure: what an answer with an HTTP status means; *detail says it, with
	 * the request's id, and without the body's text unless it is known to be
	 * harmless.
	 */
	PgeStatus	(*classify) (const HttpAnswer *answer, char detail[KMS_DETAIL_LEN]);

	/*
	 * Pure: is the PGE_UNAVAILABLE that classify() found in this answer the
	 * trouble of one key, whose neighbours are served?  NULL: of none.
	 */
	bool		(*is_of_key) (const HttpAnswer *answer);
} HttpServiceProvider;

/* What a service is made of; "pool" and "arg" outlive it. */
typedef struct HttpServiceConfig
{
	HttpPool   *pool;
	const HttpServiceProvider *provider;
	void	   *arg;			/* for the callbacks of provider->credential */
	int			timeout_ms;		/* for each obtain, renew, verify; and for
								 * calls without a deadline; 0: not known */
	const HttpPolicy *policy;	/* NULL: pge_http_policy */
} HttpServiceConfig;

typedef struct HttpServiceCall
{
	/*
	 * Fills method, url, headers and body, of zeros; the rest is the
	 * service's.  What they point to lives until the next build() or the end
	 * of the call, and is wiped by who made it; a header's value may point
	 * into the credential (NULL: the provider has none).  Called for each
	 * try.
	 */
	PgeStatus	(*build) (void *arg, const HttpCredential *credential,
						  HttpRequest *request, char detail[KMS_DETAIL_LEN]);
	void	   *arg;
	bool		repeatable;		/* doing it twice does no harm */
	uint64_t	deadline_ms;	/* KmsCall's; 0: none */
	const atomic_bool *cancelled;	/* KmsCall's; may be NULL */
} HttpServiceCall;

extern PgeStatus pge_http_service_start(const HttpServiceConfig *config, HttpService **service,
										char detail[KMS_DETAIL_LEN]);

/*
 * Joins the thread, wipes the credential.  No call is running.  NULL: nothing.
 * What the thread is in the middle of is cancelled.
 */
extern void pge_http_service_stop(HttpService *service);

/*
 * PGE_OK: classify() said so, and *answer is the service's.  Otherwise *answer
 * is the last one, if there was one.  The caller wipes it in any case
 * (pge_http_answer_wipe).
 */
extern PgeStatus pge_http_service_call(HttpService *service, const HttpServiceCall *call,
									   HttpAnswer *answer, char detail[KMS_DETAIL_LEN]);

/* *needed false: the provider has no credential. */
extern PgeStatus pge_http_service_credential(HttpService *service, const HttpLimits *limits, bool *needed,
											 HttpCredentialLife *life, char detail[KMS_DETAIL_LEN]);

#endif							/* PGE_AGENT_HTTP_SERVICE_H */
