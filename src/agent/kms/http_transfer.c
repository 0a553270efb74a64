/*-------------------------------------------------------------------------
 *
 * http_transfer.c
 *	  One exchange, as libcurl sees it.
 *
 * Every option whose default could let a key or a token out is set here, not
 * relied on.  libcurl calls back as the exchange goes on; that is how we know
 * how far it came, and that nothing was sent if it never came to sending.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/kms/http_private.h"
#include "agent/kms/monotonic.h"
#include "base/limits.h"
#include "base/secret.h"

#define CONNECT_MS			2000
#define AFTER_POOL_MS		1000
#define UNHEARD_MS			5000	/* then a connection that is not
									 * acknowledged to is dead */
#define CA_CACHE_SECONDS	60	/* then a renewed CA file counts */

static bool headers_are_clean(const HttpRequest *request);
static bool is_token(const char *text);
static bool is_value(const char *text);
static PgeStatus build_headers(HttpTransfer *transfer);
static bool has_header(const HttpRequest *request, const char *name);
static bool add_header(HttpTransfer *transfer, const char *name, const char *value);
static bool append_line(HttpTransfer *transfer, const char *line);
static CURLcode set_connection(HttpTransfer *transfer);
static CURLcode set_refusals(HttpTransfer *transfer);
static CURLcode set_tls(HttpTransfer *transfer, const HttpIdentity *identity);
static CURLcode set_request(HttpTransfer *transfer);
static CURLcode set_times(HttpTransfer *transfer);
static CURLcode set_callbacks(HttpTransfer *transfer);
static int	on_lookup(void *resolver, void *reserved, void *arg);
static curl_socket_t on_connect(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
static bool may_connect(const HttpTarget *target, const struct curl_sockaddr *address);
static CURLcode on_tls(CURL *easy, void *ssl_ctx, void *arg);
static bool has_unread_bytes(const HttpTransfer *transfer, int from_port, int to_port);
static bool leads_to(int fd, int from_port, int to_port);
static int	on_send(void *arg, char *to, char *from, int to_port, int from_port);
static size_t on_header(char *line, size_t size, size_t n, void *arg);
static size_t on_body(char *data, size_t size, size_t n, void *arg);
static void describe_failure(const HttpTransfer *transfer, CURLcode result, char *detail);
static const char *fault_text(HttpFault fault);
static const char *phase_text(HttpPhase phase);
static bool is_about_identity(CURLcode result);

PgeStatus
pge_http_transfer_open(HttpTransfer *transfer, const HttpIdentity *identity,
					   const HttpRequest *request, HttpAnswer *answer, char *detail)
{
	PgeStatus	status;
	CURLcode	set;

	memset(transfer, 0, sizeof(*transfer));
	transfer->request = request;
	if (request->facts != NULL)
		memset(request->facts, 0, sizeof(*request->facts));
	pge_http_reader_init(&transfer->reader, answer);
	status = pge_http_target(request->url, identity->metadata, &transfer->target, detail);
	if (status != PGE_OK)
		return status;
	if (!headers_are_clean(request))
	{
		pge_kms_detail(detail, "A header of a request to %s has a character that may not be there.",
					   transfer->target.place);
		return PGE_INVALID;
	}
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || build_headers(transfer) != PGE_OK)
		return PGE_OUT_OF_MEMORY;

	set = set_connection(transfer);
	if (set == CURLE_OK)
		set = set_refusals(transfer);
	if (set == CURLE_OK)
		set = set_tls(transfer, identity);
	if (set == CURLE_OK)
		set = set_request(transfer);
	if (set == CURLE_OK)
		set = set_times(transfer);
	if (set == CURLE_OK)
		set = set_callbacks(transfer);
	if (set == CURLE_OUT_OF_MEMORY)
		return PGE_OUT_OF_MEMORY;
	if (set != CURLE_OK)
	{
		pge_kms_detail(detail, "libcurl does not do what a request to %s needs: %s.",
					   transfer->target.place, curl_easy_strerror(set));
		return PGE_INVALID;
	}
	return PGE_OK;
}

PgeStatus
pge_http_transfer_judge(HttpTransfer *transfer, CURLcode result, char *detail)
{
	HttpAnswer *answer = transfer->reader.answer;
	bool		whole = result == CURLE_OK && pge_http_reader_finish(&transfer->reader);

	pge_http_facts_ended(transfer, result);
	if (!whole)
		pge_http_answer_wipe(answer);
	answer->begun = transfer->phase != HTTP_WAITS;
	answer->sent = transfer->sent;
	if (whole)
		return PGE_OK;
	if (result == CURLE_OUT_OF_MEMORY || transfer->reader.fault == HTTP_NO_MEMORY)
		return PGE_OUT_OF_MEMORY;
	describe_failure(transfer, result, detail);
	return is_about_identity(result) ? PGE_INVALID : PGE_UNAVAILABLE;
}

bool
pge_http_transfer_renew(HttpTransfer *transfer)
{
	if (!transfer->spoiled || curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK)
		return false;
	transfer->spoiled = false;
	transfer->phase = HTTP_WAITS;
	return true;
}

void
pge_http_transfer_close(HttpTransfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	for (struct curl_slist *line = transfer->headers; line != NULL; line = line->next)
		pge_secret_wipe(line->data, strlen(line->data));
	curl_slist_free_all(transfer->headers);
	transfer->easy = NULL;
	transfer->headers = NULL;
}

/* --- the request --------------------------------------------------------- */

/* A line break in a value would be a header of somebody else's. */
static bool
headers_are_clean(const HttpRequest *request)
{
	if (!is_token(request->method) || request->nheaders > HTTP_HEADERS_MAX)
		return false;
	for (int i = 0; i < request->nheaders; i++)
		if (!is_token(request->headers[i].name) || !is_value(request->headers[i].value))
			return false;
	return true;
}

static bool
is_token(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if (!isalnum((unsigned char) *p) && *p != '-' && *p != '_')
			return false;
	return *text != '\0';
}

static bool
is_value(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char) *p < ' ' || *p == 0x7f)
			return false;
	return true;
}

/*
 * libcurl adds some of its own: no "Expect", which costs a round trip, and no
 * type for a body whose type the caller does not say.
 */
static PgeStatus
build_headers(HttpTransfer *transfer)
{
	const HttpRequest *request = transfer->request;

	for (int i = 0; i < request->nheaders; i++)
		if (!add_header(transfer, request->headers[i].name, request->headers[i].value))
			return PGE_OUT_OF_MEMORY;
	if (!append_line(transfer, "Expect:") ||
		(!has_header(request, "Content-Type") && !append_line(transfer, "Content-Type:")))
		return PGE_OUT_OF_MEMORY;
	return PGE_OK;
}

static bool
has_header(const HttpRequest *request, const char *name)
{
	for (int i = 0; i < request->nheaders; i++)
		if (strcasecmp(request->headers[i].name, name) == 0)
			return true;
	return false;
}

/* To libcurl "Name:" means none of that name; an empty one is "Name;". */
static bool
add_header(HttpTransfer *transfer, const char *name, const char *value)
{
	size_t		size = strlen(name) + strlen(value) + 3;
	char	   *line = malloc(size);
	bool		added;

	if (line == NULL)
		return false;
	(void) snprintf(line, size, *value != '\0' ? "%s: %s" : "%s;", name, value);
	added = append_line(transfer, line);
	pge_secret_wipe(line, size);
	free(line);
	return added;
}

static bool
append_line(HttpTransfer *transfer, const char *line)
{
	struct curl_slist *longer = curl_slist_append(transfer->headers, line);

	if (longer == NULL)
		return false;
	transfer->headers = longer;
	return true;
}

/* --- options: the first that is refused ends the list -------------------- */

#define SET(option, value) \
	do { \
		CURLcode	set_result = curl_easy_setopt(transfer->easy, option, value); \
		if (set_result != CURLE_OK) \
			return set_result; \
	} while (0)

static CURLcode
set_connection(HttpTransfer *transfer)
{
	const char *protocols = transfer->target.plain ? "http" : "https";

	SET(CURLOPT_URL, transfer->request->url);
	SET(CURLOPT_PROTOCOLS_STR, protocols);
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);	/* see http.h */
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_FRESH_CONNECT, transfer->request->once ? 1L : 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);	/* do not wait for a lookup that hangs */
	return CURLE_OK;
}

static CURLcode
set_refusals(HttpTransfer *transfer)
{
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");		/* whatever the environment says */
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_ACCEPT_ENCODING, NULL);
	SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_COOKIEFILE, NULL);
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) HTTP_ANSWER_MAX);
	return CURLE_OK;
}

static CURLcode
set_tls(HttpTransfer *transfer, const HttpIdentity *identity)
{
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_CA_CACHE_TIMEOUT, (long) CA_CACHE_SECONDS);
	if (identity->ca_file != NULL)
	{
		SET(CURLOPT_CAINFO, identity->ca_file);
		SET(CURLOPT_CAPATH, NULL);	/* else the system's would do as well */
	}
	if (identity->cert_file != NULL)
	{
		SET(CURLOPT_SSLCERT, identity->cert_file);
		SET(CURLOPT_SSLKEY, identity->key_file != NULL ? identity->key_file : identity->cert_file);
		SET(CURLOPT_KEYPASSWD, ""); /* else OpenSSL asks a terminal */
	}
	return CURLE_OK;
}

static CURLcode
set_request(HttpTransfer *transfer)
{
	const HttpRequest *request = transfer->request;
	bool		posts = request->body.data != NULL || strcmp(request->method, "POST") == 0;

	SET(CURLOPT_USERAGENT, "pg_envelope/" PGE_VERSION);
	SET(CURLOPT_HTTPHEADER, transfer->headers);
	if (posts)
	{
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body.len);
		SET(CURLOPT_POSTFIELDS, request->body.data != NULL ? (const char *) request->body.data : "");
	}
	else if (strcmp(request->method, "HEAD") == 0)
		SET(CURLOPT_NOBODY, 1L);
	else
		SET(CURLOPT_HTTPGET, 1L);
	SET(CURLOPT_CUSTOMREQUEST, request->method);
	return CURLE_OK;
}

/* The pool keeps the deadline; libcurl's own is for a pool that does not. */
static CURLcode
set_times(HttpTransfer *transfer)
{
	uint64_t	now_ms = pge_monotonic_ms();
	uint64_t	left = 1;		/* 0 would be none */

	if (transfer->request->deadline_ms > now_ms)
		left = transfer->request->deadline_ms - now_ms;
	if (left > INT32_MAX / 2)
		left = INT32_MAX / 2;
	SET(CURLOPT_TIMEOUT_MS, (long) left + AFTER_POOL_MS);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) CONNECT_MS);
	return CURLE_OK;
}

static CURLcode
set_callbacks(HttpTransfer *transfer)
{
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_RESOLVER_START_FUNCTION, on_lookup);
	SET(CURLOPT_RESOLVER_START_DATA, transfer);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_connect);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_SSL_CTX_FUNCTION, on_tls);
	SET(CURLOPT_SSL_CTX_DATA, transfer);
	SET(CURLOPT_PREREQFUNCTION, on_send);
	SET(CURLOPT_PREREQDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, transfer);
	return CURLE_OK;
}

/* --- as it goes on -------------------------------------------------------- */

static int
on_lookup(void *resolver, void *reserved, void *arg)
{
	HttpTransfer *transfer = arg;

	(void) resolver;
	(void) reserved;
	transfer->phase = HTTP_LOOKS_UP;
	return 0;
}

/*
 * Plain http goes to this machine, or to its metadata service, and nowhere else, whatever
 * a resolver made of the host.  The programs that a key service starts do not get our connections.
 */
static curl_socket_t
on_connect(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	const unsigned unheard_ms = UNHEARD_MS;
	HttpTransfer *transfer = arg;
	curl_socket_t fd;

	transfer->phase = HTTP_CONNECTS;
	transfer->connected = true;
	if (purpose != CURLSOCKTYPE_IPCXN || !may_connect(&transfer->target, address))
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	transfer->socket_error = fd == CURL_SOCKET_BAD ? errno : 0;
	if (fd != CURL_SOCKET_BAD && fd < FD_SETSIZE)
		FD_SET(fd, transfer->sockets);
	if (fd != CURL_SOCKET_BAD)
		(void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard_ms, sizeof(unheard_ms));
	return fd;
}

static bool
may_connect(const HttpTarget *target, const struct curl_sockaddr *address)
{
	if (target->metadata)
		return pge_http_is_metadata(&address->addr, address->addrlen);
	return !target->plain || pge_http_is_loopback(&address->addr, address->addrlen);
}

/*
 * OpenSSL keeps the last record that it opened until the next one comes.  From 8.17 on
 * libcurl judges the service when the handshake is over, and by then a client certificate
 * would have been shown to a stranger.
 */
static CURLcode
on_tls(CURL *easy, void *ssl_ctx, void *arg)
{
	HttpTransfer *transfer = arg;

	(void) easy;
	transfer->phase = HTTP_GREETS;
	(void) SSL_CTX_set_options(ssl_ctx, SSL_OP_CLEANSE_PLAINTEXT);
	SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, NULL);
	return CURLE_OK;
}

/*
 * What comes before the request is no answer to it, but libcurl would take it
 * for one: a wrapped key that is another's.  Or the service says good-bye.
 */
static bool
has_unread_bytes(const HttpTransfer *transfer, int from_port, int to_port)
{
	char		byte;

	for (int fd = 0; fd < FD_SETSIZE; fd++)
		if (FD_ISSET(fd, transfer->sockets) && leads_to(fd, from_port, to_port))
			return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
	return false;
}

/* libcurl does not say which socket it has chosen, but its ports. */
static bool
leads_to(int fd, int from_port, int to_port)
{
	struct sockaddr_in6 from = {0};
	struct sockaddr_in6 to = {0};
	socklen_t	from_len = sizeof(from);
	socklen_t	to_len = sizeof(to);

	/* a port stands in the same place of both families' addresses */
	return getsockname(fd, (struct sockaddr *) &from, &from_len) == 0 &&
		getpeername(fd, (struct sockaddr *) &to, &to_len) == 0 &&
		(from.sin6_family == AF_INET || from.sin6_family == AF_INET6) &&
		ntohs(from.sin6_port) == from_port && ntohs(to.sin6_port) == to_port;
}

/* The connection is there, and nothing of the request has left yet. */
static int
on_send(void *arg, char *to, char *from, int to_port, int from_port)
{
	HttpTransfer *transfer = arg;

	(void) to;
	(void) from;
	transfer->spoiled = !transfer->connected && has_unread_bytes(transfer, from_port, to_port);
	if (transfer->spoiled)
		return CURL_PREREQFUNC_ABORT;
	transfer->phase = HTTP_SENDS;
	transfer->sent = true;
	pge_http_facts_connected(transfer);
	return CURL_PREREQFUNC_OK;
}

static size_t
on_header(char *line, size_t size, size_t n, void *arg)
{
	HttpTransfer *transfer = arg;

	transfer->phase = HTTP_READS;
	return pge_http_reader_line(&transfer->reader, line, size * n) ? size * n : 0;
}

/*
 * The data are in the buffer that libcurl reads into, which it does not look at again, and
 * which 8.23 keeps as long as there are connections.
 */
static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	HttpTransfer *transfer = arg;
	bool		good;

	transfer->phase = HTTP_READS;
	good = size * n == 0 || pge_http_reader_body(&transfer->reader, data, size * n);
	pge_secret_wipe(data, size * n);
	return good ? size * n : 0;
}

/* --- what became of it ---------------------------------------------------- */

/*
 * What libcurl says of lookup, connection and TLS is about names, addresses and
 * certificates.  What it says later could quote the answer, and is not passed on.
 */
static void
describe_failure(const HttpTransfer *transfer, CURLcode result, char *detail)
{
	const char *place = transfer->target.place;
	const char *said = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(result);
	long		error = transfer->socket_error;

	if (transfer->reader.fault != HTTP_NO_FAULT)
		pge_kms_detail(detail, "The answer of %s %s.", place, fault_text(transfer->reader.fault));
	else if (result == CURLE_OPERATION_TIMEDOUT)
		pge_kms_detail(detail, "%s did not answer in time: %s took too long.", place,
					   phase_text(transfer->phase));
	else if (result == CURLE_ABORTED_BY_CALLBACK)
		pge_kms_detail(detail, "Nobody waits for the answer of %s any more.", place);
	else if (result == CURLE_COULDNT_RESOLVE_HOST)
		pge_kms_detail(detail, "The name lookup for %s failed.", place);
	else if (result == CURLE_COULDNT_CONNECT)
	{
		if (error == 0)
			(void) curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &error);
		pge_kms_detail(detail, "%s could not be connected to: %s.", place,
					   error > 0 ? strerror((int) error) : "no connection");
	}
	else if (is_about_identity(result))
		pge_kms_detail(detail, "TLS for %s cannot be set up: %s.", place, said);
	else if (transfer->phase == HTTP_GREETS ||
			 ((result == CURLE_RECV_ERROR || result == CURLE_SEND_ERROR) &&
			  strncmp(said, "OpenSSL ", 8) == 0))
		pge_kms_detail(detail, "TLS with %s failed: %s.", place, said);
	else if (result == CURLE_FILESIZE_EXCEEDED)
		pge_kms_detail(detail, "The answer of %s %s.", place, fault_text(HTTP_TOO_LONG));
	else if (result == CURLE_BAD_CONTENT_ENCODING)
		pge_kms_detail(detail, "The answer of %s %s.", place, fault_text(HTTP_ENCODED));
	else if (result == CURLE_OK || result == CURLE_PARTIAL_FILE || result == CURLE_GOT_NOTHING)
		pge_kms_detail(detail, "The answer of %s was cut off.", place);
	else
		pge_kms_detail(detail, "The exchange with %s failed: %s.", place, curl_easy_strerror(result));
}

static const char *
fault_text(HttpFault fault)
{
	switch (fault)
	{
		case HTTP_TOO_LONG:
			return "is longer than 1 MiB";
		case HTTP_HEADERS_TOO_LONG:
			return "has headers of more than 64 KiB";
		case HTTP_LENGTH_UNCLEAR:
			return "does not say clearly how long it is";
		case HTTP_ENCODED:
			return "has an encoding that was not asked for";
		case HTTP_NO_FAULT:
		case HTTP_NO_MEMORY:
			break;
	}
	return "could not be read";
}

static const char *
phase_text(HttpPhase phase)
{
	switch (phase)
	{
		case HTTP_WAITS:
			return "waiting for a free connection";
		case HTTP_LOOKS_UP:
			return "the name lookup";
		case HTTP_CONNECTS:
			return "connecting";
		case HTTP_GREETS:
			return "the TLS handshake";
		case HTTP_SENDS:
			return "waiting for the answer";
		case HTTP_READS:
			return "reading the answer";
	}
	return "the exchange";
}

/* Files of ours that a session names. */
static bool
is_about_identity(CURLcode result)
{
	return result == CURLE_SSL_CERTPROBLEM || result == CURLE_SSL_CACERT_BADFILE ||
		result == CURLE_SSL_ENGINE_NOTFOUND || result == CURLE_BAD_FUNCTION_ARGUMENT;
}
