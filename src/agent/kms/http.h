/*
 * http.h -- HTTPS exchanges with key services, one at a time for each caller,
 * many at once for a pool.
 *
 * A pool is a thread with a libcurl multi handle of its own and one identity
 * (CA, client certificate): its connections are kept alive, used by its callers
 * in turn, and never shared with another pool.  TLS 1.2 or
 * later, always verified; no redirects, no proxies, no netrc, no cookies, no
 * compression.  Plain http only to literals of 127.0.0.0/8 and to [::1], looked
 * at in the URL and in the address connected to; of a pool for metadata also to the
 * link-local addresses where AWS serves those, each spelled in its one form:
 * 169.254.169.254, 169.254.170.2, 169.254.170.23, [fd00:ec2::254], [fd00:ec2::23].
 *
 * What libcurl holds of headers and bodies is wiped when it frees it, because
 * its memory comes from us (pge_http_init).  HTTP/1.1 is spoken, and never HTTP/2,
 * whose kept connections hold what was last said on them, in buffers of libcurl's and
 * libnghttp2's that nobody else can wipe.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_HTTP_H
#define PGE_AGENT_KMS_HTTP_H

#include <stdatomic.h>

#include "agent/kms/kms_detail.h"
#include "base/bytes.h"
#include "base/status.h"

#define HTTP_ANSWER_MAX		(1024 * 1024)	/* body; PGE_UNAVAILABLE beyond */
#define HTTP_HEADERS_MAX	16

typedef struct HttpPool HttpPool;

/* Copied by the pool. */
typedef struct HttpIdentity
{
	const char *ca_file;		/* NULL: the system's */
	const char *cert_file;		/* NULL: none */
	const char *key_file;		/* NULL: in cert_file */
	int			connections;	/* at most; kms_concurrency */
	bool		metadata;		/* plain http to a metadata service, too */
} HttpIdentity;

typedef struct HttpHeader
{
	const char *name;
	const char *value;
} HttpHeader;

/* How far an exchange came, and over what; an old connection took no time. */
typedef enum HttpReached
{
	HTTP_REACHED_NOTHING,
	HTTP_REACHED_NAME,			/* its addresses are known */
	HTTP_REACHED_HOST,			/* connected */
	HTTP_REACHED_SERVICE		/* and, but for plain http, TLS is there */
} HttpReached;

typedef struct HttpFacts
{
	HttpReached reached;
	bool		plain;			/* no TLS was asked for */
	int64_t		us[HTTP_REACHED_SERVICE + 1];	/* each took, a failed one
												 * included; [0] is unused */
	char		address[64];	/* connected to, or tried last; "": none */
	char		tls_version[16];	/* "TLSv1.3" */
	int64_t		certificate_s;	/* until the service's certificate expires */
} HttpFacts;

/* All of it stays the caller's. */
typedef struct HttpRequest
{
	const char *method;			/* "GET", "POST", ... */
	const char *url;
	int			nheaders;
	HttpHeader	headers[HTTP_HEADERS_MAX];
	PgeBytes	body;			/* data NULL: none */
	bool		once;			/* a change: on a connection of its own, since
								 * libcurl sends again what a kept one has
								 * lost */
	uint64_t	deadline_ms;	/* monotonic */
	const atomic_bool *cancelled;	/* may be NULL */
	HttpFacts  *facts;			/* filled in whatever becomes of it; NULL: not
								 * asked for */
} HttpRequest;

/* What was not in the answer is 0, -1 or "". */
typedef struct HttpAnswer
{
	int			status;			/* of HTTP; 0: none came */
	uint8_t    *body;			/* with a zero byte behind it, for
								 * convenience; NULL unless PGE_OK */
	size_t		len;
	char		content_type[64];	/* cut off if longer, as is the next */
	char		request_id[128];	/* x-amzn-RequestId, X-Request-Id, ...;
									 * printable */
	char		error_type[96]; /* x-amzn-ErrorType, as the two before */
	int64_t		date;			/* of "Date", seconds since 1970; 0: none or
								 * wrong */
	int			retry_after_ms; /* -1: none */
	bool		begun;			/* the pool has taken it up: a lookup, a
								 * connection, or more */
	bool		sent;			/* the request may have reached the service: a
								 * change must not be repeated blindly */
} HttpAnswer;

/*
 * Starts libcurl, whose memory is wiped when it is freed from then on.  Before
 * any other use of libcurl in the process; a second call does nothing.
 */
extern PgeStatus pge_http_init(void);

/* The files of the identity are read when a connection is made. */
extern PgeStatus pge_http_pool_new(const HttpIdentity *identity, HttpPool **pool,
								   char detail[KMS_DETAIL_LEN]);

/* No exchange is running. */
extern void pge_http_pool_free(HttpPool *pool);

/*
 * Blocks until the answer is whole, the deadline has passed or "cancelled" is
 * seen (within 100 ms).  PGE_OK: answer->status is what the service said,
 * whatever it is.  PGE_INVALID: a URL or a header that may not be, or a file of
 * the identity that cannot be used.  PGE_OUT_OF_MEMORY.  PGE_UNAVAILABLE for all else, a cancelled call too, and
 * the answer holds nothing but "begun" and "sent".
 *
 * *detail then says the host and what failed: name lookup, connection, TLS
 * and why, out of time in which phase, too long, cut off.  It never holds a
 * header's value, the URL's path or query, or anything of a body.
 *
 * The answer need not be initialised, and is to be wiped whatever the status is.
 */
extern PgeStatus pge_http_exchange(HttpPool *pool, const HttpRequest *request,
								   HttpAnswer *answer, char detail[KMS_DETAIL_LEN]);
extern void pge_http_answer_wipe(HttpAnswer *answer);

#endif							/* PGE_AGENT_KMS_HTTP_H */
