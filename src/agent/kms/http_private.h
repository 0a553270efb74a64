/*
 * http_private.h -- what the files of the HTTP client share.
 *
 * http_facts tells what a connection is like, http_url says where a URL leads, http_answer reads what comes back, http_transfer
 * is one exchange as libcurl sees it, http_memory libcurl's allocator;
 * http.c has the pool, its thread and its callers.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_HTTP_PRIVATE_H
#define PGE_AGENT_KMS_HTTP_PRIVATE_H

#include <netinet/in.h>
#include <sys/select.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "agent/kms/http.h"

#define HTTP_HOST_MAX			255 /* a DNS name */
#define HTTP_HEADER_BYTES_MAX	(64 * 1024)
#define HTTP_VALUE_MAX			64	/* of Date, Retry-After */

/* Where a URL leads. */
typedef struct HttpTarget
{
	bool		plain;			/* http: to a loopback address only, or ... */
	bool		metadata;		/* ... to one of a metadata service */
	char		place[HTTP_HOST_MAX + 8];	/* host:port, for details */
} HttpTarget;

/* What libcurl would have taken, and we do not. */
typedef enum HttpFault
{
	HTTP_NO_FAULT,
	HTTP_TOO_LONG,
	HTTP_HEADERS_TOO_LONG,
	HTTP_LENGTH_UNCLEAR,
	HTTP_ENCODED,
	HTTP_NO_MEMORY
} HttpFault;

/* An answer while it comes. */
typedef struct HttpReader
{
	HttpAnswer *answer;
	size_t		capacity;		/* of answer->body, less one */
	size_t		header_bytes;
	bool		complete;		/* all of the headers are here */
	bool		has_length;
	bool		has_encoding;
	char		retry_after[HTTP_VALUE_MAX];
	HttpFault	fault;
} HttpReader;

/* How far an exchange has come. */
typedef enum HttpPhase
{
	HTTP_WAITS,					/* for its turn, or for a connection */
	HTTP_LOOKS_UP,
	HTTP_CONNECTS,
	HTTP_GREETS,				/* TLS */
	HTTP_SENDS,					/* or waits for the answer */
	HTTP_READS
} HttpPhase;

/* One exchange.  The pool's thread has it from "submitted" to "done". */
typedef struct HttpTransfer
{
	CURL	   *easy;
	struct curl_slist *headers;
	const HttpRequest *request;
	HttpReader	reader;
	HttpTarget	target;
	fd_set	   *sockets;		/* the pool's, some of them closed again */
	HttpPhase	phase;
	bool		connected;		/* on a connection of its own making */
	bool		spoiled;		/* the kept one had something to read */
	bool		sent;
	int			socket_error;	/* errno, if there was no socket to be had */
	char		error[CURL_ERROR_SIZE];
} HttpTransfer;

/*
 * For request->facts: what is known while the connection is the transfer's, and how
 * far it came in the end.
 */
extern void pge_http_facts_connected(HttpTransfer *transfer);
extern void pge_http_facts_ended(HttpTransfer *transfer, CURLcode result);

/*
 * PGE_INVALID: not a URL that we go to ("metadata": HttpIdentity's).  *detail never has
 * the URL.
 */
extern PgeStatus pge_http_target(const char *url, bool metadata, HttpTarget *target, char *detail);
extern bool pge_http_is_loopback(const struct sockaddr *address, socklen_t len);
extern bool pge_http_is_metadata(const struct sockaddr *address, socklen_t len);

/* Both: false if the exchange has to end; reader->fault says why. */
extern void pge_http_reader_init(HttpReader *reader, HttpAnswer *answer);
extern bool pge_http_reader_line(HttpReader *reader, const char *line, size_t len);
extern bool pge_http_reader_body(HttpReader *reader, const void *data, size_t len);

/* All has come: false if that is no whole answer. */
extern bool pge_http_reader_finish(HttpReader *reader);

/*
 * open() makes transfer->easy ready for a multi handle; judge() turns what
 * became of it into a status, a detail and a whole or an empty answer; close() is
 * due after open() whatever it said.
 */
extern PgeStatus pge_http_transfer_open(HttpTransfer *transfer, const HttpIdentity *identity,
										const HttpRequest *request, HttpAnswer *answer,
										char *detail);
extern PgeStatus pge_http_transfer_judge(HttpTransfer *transfer, CURLcode result, char *detail);

/*
 * Nothing was sent, because the kept connection had something to read before;
 * ready for another, on a new one.  false: that is not so.
 */
extern bool pge_http_transfer_renew(HttpTransfer *transfer);
extern void pge_http_transfer_close(HttpTransfer *transfer);

#endif							/* PGE_AGENT_KMS_HTTP_PRIVATE_H */
