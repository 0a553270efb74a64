/*
 * http_credential.h -- a credential that is there when a call needs it.
 *
 * A thread obtains it, renews or obtains it again ahead of its expiry (with
 * jitter), when its file changes, and once after a service refused it.  Calls
 * borrow it: pge_http_credentials_wait -> use -> pge_http_credentials_release.
 * It is in key memory (key_memory.h), never altered, and wiped when the last who
 * borrowed it is done.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_HTTP_CREDENTIAL_H
#define PGE_AGENT_HTTP_CREDENTIAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/kms/http_policy.h"
#include "agent/kms/kms_detail.h"
#include "base/status.h"

#define HTTP_TOKEN_MAX	8192

typedef struct HttpCredential
{
	char		token[HTTP_TOKEN_MAX + 1];
	uint64_t	lifetime_ms;	/* from the moment it was asked for; 0: it
								 * does not expire */
	bool		renewable;		/* renew() may prolong it */
} HttpCredential;

/* For the exchanges of a callback. */
typedef struct HttpLimits
{
	uint64_t	deadline_ms;	/* monotonic */
	const atomic_bool *cancelled;
} HttpLimits;

/*
 * What a provider knows of its credential.  Called by the service's thread
 * only, one at a time, holding no lock; they may exchange over the service's
 * pool (never by pge_http_service_call, which would wait for this thread).
 * *detail tells of a failure without the credential.  PGE_UNAVAILABLE and
 * PGE_THROTTLED: tried again soon; anything else: a refusal, tried
 * again seldom, because services lock out who guesses.
 */
typedef struct HttpCredentialSource
{
	/* *credential is zeros; wiped by the caller. */
	PgeStatus	(*obtain) (void *arg, const HttpLimits *limits, HttpCredential *credential,
						   char detail[KMS_DETAIL_LEN]);

	/*
	 * *renewed is zeros.  Asked only for one that is renewable; anything but
	 * PGE_OK, PGE_UNAVAILABLE, PGE_THROTTLED: obtain() is asked at once.
	 * NULL: always obtain.
	 */
	PgeStatus	(*renew) (void *arg, const HttpLimits *limits, const HttpCredential *current,
						  HttpCredential *renewed, char detail[KMS_DETAIL_LEN]);

	/*
	 * The service refused a call.  PGE_OK: the credential is good all the
	 * same, so it was a right that is missing; PGE_UNAUTHENTICATED: it is
	 * not, obtain another.  NULL: a refusal is always the credential's.
	 */
	PgeStatus	(*verify) (void *arg, const HttpLimits *limits, const HttpCredential *current,
						   char detail[KMS_DETAIL_LEN]);

	/*
	 * Has what obtain() reads changed since obtain() was called last
	 * (secret_file.h)? Asked each second.  NULL: never.
	 */
	bool		(*changed) (void *arg);
} HttpCredentialSource;

/*
 * What http_service.c does with it; providers have no need of the rest.
 */
typedef struct HttpCredentials HttpCredentials;

/* A credential that is borrowed; tells one from the next. */
typedef struct HttpLease
{
	const HttpCredential *credential;
	uint64_t	generation;		/* 1, 2, ... */
} HttpLease;

typedef struct HttpCredentialsConfig
{
	const HttpCredentialSource *source;
	void	   *arg;
	int			timeout_ms;		/* for each callback */
	const HttpPolicy *policy;
} HttpCredentialsConfig;

/* How often one was obtained, by all there are: what was denied before may not be now. */
extern uint64_t pge_http_credentials_obtained(void);

extern PgeStatus pge_http_credentials_start(const HttpCredentialsConfig *config,
											HttpCredentials **credentials,
											char detail[KMS_DETAIL_LEN]);
extern void pge_http_credentials_stop(HttpCredentials *credentials);	/* nobody borrows or
																		 * waits */

/*
 * Waits for one that is valid now.  Ends with the status and the detail of
 * obtain() if that was a refusal, has failed as often as a call is tried, or as
 * often in a row as the breaker suffers; with PGE_UNAVAILABLE at the deadline and when cancelled.
 */
extern PgeStatus pge_http_credentials_wait(HttpCredentials *credentials, const HttpLimits *limits,
										   HttpLease *lease, char detail[KMS_DETAIL_LEN]);
extern void pge_http_credentials_release(HttpCredentials *credentials, HttpLease *lease);

/*
 * A call was refused with the credential of this generation, and *detail says
 * how.  Waits for what comes of that: PGE_OK, there is another, borrow that;
 * PGE_DENIED, verify() found it good; else why there is no other, which is
 * appended to *detail.  Without a verify(), one that other calls are not refused
 * with is replaced seldom: a call that is refused with any would cost a login
 * each time.
 */
extern PgeStatus pge_http_credentials_refused(HttpCredentials *credentials, const HttpLimits *limits,
											  uint64_t generation, char detail[KMS_DETAIL_LEN]);

/* Waits as above, and tells how long it was in coming, and is to live. */
typedef struct HttpCredentialLife
{
	uint64_t	took_ms;
	bool		expires;
	uint64_t	left_ms;
} HttpCredentialLife;

extern PgeStatus pge_http_credentials_life(HttpCredentials *credentials, const HttpLimits *limits,
										   HttpCredentialLife *life, char detail[KMS_DETAIL_LEN]);

/* A call was not refused with it: should it be refused later, that is news. */
extern void pge_http_credentials_proven(HttpCredentials *credentials, uint64_t generation);

#endif							/* PGE_AGENT_HTTP_CREDENTIAL_H */
