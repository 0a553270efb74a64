/*-------------------------------------------------------------------------
 *
 * http_answer.c
 *	  Reads the answer of a service, line by line and piece by piece.
 *
 * libcurl forgives much.  A body may be a key, so what is not clear is not
 * taken: two lengths, a length beside chunks, an encoding nobody asked for.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "agent/kms/http_private.h"
#include "base/secret.h"

#define FIRST_CAPACITY	4096

static void forget_headers(HttpReader *reader);
static void read_status(HttpReader *reader, const char *line, size_t len);
static bool read_header(HttpReader *reader, const char *line, size_t len);
static bool take_header(HttpReader *reader, const char *name, const char *value, size_t len);
static HttpFault judge_length(HttpReader *reader, const char *value, size_t len);
static HttpFault judge_encoding(HttpReader *reader, const char *name, const char *value, size_t len);
static bool is_request_id(const char *name);
static void copy_printable(char *to, size_t size, const char *value, size_t len);
static bool grow(HttpReader *reader, size_t wanted);
static int	retry_after_ms(const char *value, int64_t date);
static bool stop(HttpReader *reader, HttpFault fault);

void
pge_http_reader_init(HttpReader *reader, HttpAnswer *answer)
{
	memset(answer, 0, sizeof(*answer));
	memset(reader, 0, sizeof(*reader));
	reader->answer = answer;
	answer->retry_after_ms = -1;
}

void
pge_http_answer_wipe(HttpAnswer *answer)
{
	if (answer->body != NULL)
		pge_secret_wipe(answer->body, answer->len);
	free(answer->body);
	memset(answer, 0, sizeof(*answer));
	answer->retry_after_ms = -1;
}

/* A line of the status, of the headers, or of what a chunked body has behind it. */
bool
pge_http_reader_line(HttpReader *reader, const char *line, size_t len)
{
	reader->header_bytes += len;
	if (reader->header_bytes > HTTP_HEADER_BYTES_MAX)
		return stop(reader, HTTP_HEADERS_TOO_LONG);
	if (reader->complete)
		return true;
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	if (len == 0)
		reader->complete = reader->answer->status >= 200;	/* 1xx: more comes */
	else if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
		read_status(reader, line, len);
	else
		return read_header(reader, line, len);
	return true;
}

bool
pge_http_reader_body(HttpReader *reader, const void *data, size_t len)
{
	HttpAnswer *answer = reader->answer;

	if (len > HTTP_ANSWER_MAX - answer->len)
		return stop(reader, HTTP_TOO_LONG);
	if (!grow(reader, answer->len + len))
		return stop(reader, HTTP_NO_MEMORY);
	memcpy(answer->body + answer->len, data, len);
	answer->len += len;
	answer->body[answer->len] = '\0';
	return true;
}

bool
pge_http_reader_finish(HttpReader *reader)
{
	HttpAnswer *answer = reader->answer;

	if (reader->fault != HTTP_NO_FAULT || !reader->complete || answer->status > 599)
		return false;
	if (!grow(reader, answer->len))
		return stop(reader, HTTP_NO_MEMORY);
	answer->body[answer->len] = '\0';
	answer->retry_after_ms = retry_after_ms(reader->retry_after, answer->date);
	return true;
}

/* What an interim answer said is not said of the final one. */
static void
forget_headers(HttpReader *reader)
{
	HttpAnswer *answer = reader->answer;

	answer->status = 0;
	answer->content_type[0] = '\0';
	answer->request_id[0] = '\0';
	answer->error_type[0] = '\0';
	answer->date = 0;
	reader->has_length = false;
	reader->has_encoding = false;
	reader->retry_after[0] = '\0';
}

/* "HTTP/1.1 200 OK" */
static void
read_status(HttpReader *reader, const char *line, size_t len)
{
	const char *at = memchr(line, ' ', len);
	int			status = 0;

	forget_headers(reader);
	if (at == NULL || at + 4 > line + len)
		return;
	for (int i = 1; i <= 3; i++)
	{
		if (at[i] < '0' || at[i] > '9')
			return;
		status = status * 10 + (at[i] - '0');
	}
	reader->answer->status = status;
}

static bool
read_header(HttpReader *reader, const char *line, size_t len)
{
	char		name[32];
	const char *colon = memchr(line, ':', len);
	size_t		name_len = colon != NULL ? (size_t) (colon - line) : 0;
	const char *value;
	const char *end = line + len;

	if (name_len == 0 || name_len >= sizeof(name))
		return true;			/* none of those that we know */
	memcpy(name, line, name_len);
	name[name_len] = '\0';
	for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
		;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return take_header(reader, name, value, (size_t) (end - value));
}

static bool
take_header(HttpReader *reader, const char *name, const char *value, size_t len)
{
	HttpAnswer *answer = reader->answer;
	char		date[HTTP_VALUE_MAX];
	HttpFault	fault = HTTP_NO_FAULT;

	if (strcasecmp(name, "Content-Length") == 0)
		fault = judge_length(reader, value, len);
	else if (strcasecmp(name, "Content-Encoding") == 0 ||
			 strcasecmp(name, "Transfer-Encoding") == 0)
		fault = judge_encoding(reader, name, value, len);
	else if (strcasecmp(name, "Content-Type") == 0)
		copy_printable(answer->content_type, sizeof(answer->content_type), value, len);
	else if (is_request_id(name) && answer->request_id[0] == '\0')
		copy_printable(answer->request_id, sizeof(answer->request_id), value, len);
	else if (strcasecmp(name, "x-amzn-ErrorType") == 0)
		copy_printable(answer->error_type, sizeof(answer->error_type), value, len);
	else if (strcasecmp(name, "Retry-After") == 0)
		copy_printable(reader->retry_after, sizeof(reader->retry_after), value, len);
	else if (strcasecmp(name, "Date") == 0)
	{
		time_t		when;

		copy_printable(date, sizeof(date), value, len);
		when = curl_getdate(date, NULL);
		answer->date = when > 0 ? (int64_t) when : 0;
	}
	return fault == HTTP_NO_FAULT || stop(reader, fault);
}

static HttpFault
judge_length(HttpReader *reader, const char *value, size_t len)
{
	size_t		length = 0;

	if (reader->has_length || reader->has_encoding || len == 0)
		return HTTP_LENGTH_UNCLEAR;
	reader->has_length = true;
	for (size_t i = 0; i < len; i++)
	{
		if (value[i] < '0' || value[i] > '9')
			return HTTP_LENGTH_UNCLEAR;
		length = length * 10 + (size_t) (value[i] - '0');
		if (length > HTTP_ANSWER_MAX)
			return HTTP_TOO_LONG;
	}
	return HTTP_NO_FAULT;
}

/* We said that we take none, so only chunks may come. */
static HttpFault
judge_encoding(HttpReader *reader, const char *name, const char *value, size_t len)
{
	if (strcasecmp(name, "Content-Encoding") == 0)
		return len == 8 && strncasecmp(value, "identity", 8) == 0 ? HTTP_NO_FAULT : HTTP_ENCODED;
	if (len != 7 || strncasecmp(value, "chunked", 7) != 0)
		return HTTP_ENCODED;
	if (reader->has_length || reader->has_encoding)
		return HTTP_LENGTH_UNCLEAR;
	reader->has_encoding = true;
	return HTTP_NO_FAULT;
}

static bool
is_request_id(const char *name)
{
	static const char *const names[] = {
		"X-Request-Id", "x-amzn-RequestId", "x-amz-request-id", "x-ms-request-id", "X-Vault-Request-Id"
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

static void
copy_printable(char *to, size_t size, const char *value, size_t len)
{
	size_t		n = len < size - 1 ? len : size - 1;

	for (size_t i = 0; i < n; i++)
	{
		unsigned char c = (unsigned char) value[i];

		to[i] = '?';
		if (c >= ' ' && c < 0x7f)
			to[i] = value[i];
	}
	to[n] = '\0';
}

/* One more than wanted, for the zero byte; what was there is wiped. */
static bool
grow(HttpReader *reader, size_t wanted)
{
	HttpAnswer *answer = reader->answer;
	size_t		capacity = reader->capacity > 0 ? reader->capacity : FIRST_CAPACITY;
	uint8_t    *larger;

	if (answer->body != NULL && wanted <= reader->capacity)
		return true;
	while (capacity < wanted)
		capacity *= 2;
	larger = malloc(capacity + 1);
	if (larger == NULL)
		return false;
	if (answer->body != NULL)
	{
		memcpy(larger, answer->body, answer->len);
		pge_secret_wipe(answer->body, answer->len);
		free(answer->body);
	}
	answer->body = larger;
	reader->capacity = capacity;
	return true;
}

/* In seconds, or until a date, by the service's own clock if it said its time. */
static int
retry_after_ms(const char *value, int64_t date)
{
	int64_t		seconds = 0;
	const char *p = value;

	if (*value == '\0')
		return -1;
	while (*p >= '0' && *p <= '9' && seconds < INT_MAX)
		seconds = seconds * 10 + (*p++ - '0');
	if (*p != '\0' && (*p < '0' || *p > '9'))
	{
		time_t		when = curl_getdate(value, NULL);

		if (when <= 0)
			return -1;
		seconds = (int64_t) when - (date > 0 ? date : (int64_t) time(NULL));
	}
	if (seconds < 0)
		seconds = 0;
	return seconds > INT_MAX / 1000 ? INT_MAX : (int) (seconds * 1000);
}

static bool
stop(HttpReader *reader, HttpFault fault)
{
	reader->fault = fault;
	return false;
}
