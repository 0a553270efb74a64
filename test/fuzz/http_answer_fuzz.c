/*-------------------------------------------------------------------------
 *
 * http_answer_fuzz.c
 *	  What a service sends: a whole answer has a clear length and harmless texts.
 *
 * The input is cut into lines up to the first empty one of a final answer, as
 * libcurl does it; what follows is body, in pieces.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/kms/http_private.h"
#include "exact_copy.h"

#define PIECE	100

static bool
is_printable(const char *text, size_t size)
{
	size_t		len = strnlen(text, size);

	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] >= 0x7f)
			return false;
	return len < size;
}

/* Bytes of exactly that length, so that the sanitizer sees a read behind them. */
static bool
feed(HttpReader *reader, const uint8_t *data, size_t len, bool is_line)
{
	uint8_t    *copy = malloc(len > 0 ? len : 1);
	bool		goes_on;

	require(copy != NULL);
	if (len > 0)
		memcpy(copy, data, len);
	goes_on = is_line ? pge_http_reader_line(reader, (const char *) copy, len) :
		pge_http_reader_body(reader, copy, len);
	free(copy);
	require(goes_on == (reader->fault == HTTP_NO_FAULT));
	return goes_on;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	HttpAnswer	answer;
	HttpReader	reader;
	size_t		body = 0;
	bool		goes_on = true;

	pge_http_reader_init(&reader, &answer);
	while (goes_on && !reader.complete && data < end)
	{
		const uint8_t *newline = memchr(data, '\n', (size_t) (end - data));
		size_t		len = newline != NULL ? (size_t) (newline + 1 - data) : (size_t) (end - data);

		goes_on = feed(&reader, data, len, true);
		data += len;
	}
	while (goes_on && data < end)
	{
		size_t		len = (size_t) (end - data) < PIECE ? (size_t) (end - data) : PIECE;

		goes_on = feed(&reader, data, len, false);
		data += len;
		body += len;
	}
	if (goes_on && pge_http_reader_finish(&reader))
	{
		require(answer.status >= 200 && answer.status <= 599);
		require(answer.len == body && answer.body[body] == '\0');
		require(!reader.has_length || !reader.has_encoding);
		require(answer.date >= 0 && answer.retry_after_ms >= -1);
	}
	require(is_printable(answer.content_type, sizeof(answer.content_type)));
	require(is_printable(answer.request_id, sizeof(answer.request_id)));
	pge_http_answer_wipe(&answer);
	require(answer.body == NULL && answer.len == 0);
	return 0;
}
