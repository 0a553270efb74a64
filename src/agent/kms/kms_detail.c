/*-------------------------------------------------------------------------
 *
 * kms_detail.c
 *	  Writes the sentences that go with a status.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/kms/kms_detail.h"

static void append_formatted(char *detail, const char *format, va_list args);
static void mark_as_cut(char *detail);
static void make_printable(char *text);

void
pge_kms_detail(char detail[KMS_DETAIL_LEN], const char *format,...)
{
	va_list		args;

	detail[0] = '\0';
	va_start(args, format);
	append_formatted(detail, format, args);
	va_end(args);
}

void
pge_kms_detail_append(char detail[KMS_DETAIL_LEN], const char *format,...)
{
	size_t		len = strlen(detail);
	va_list		args;

	if (len > 0 && len + 1 < KMS_DETAIL_LEN)
	{
		detail[len] = ' ';
		detail[len + 1] = '\0';
	}
	va_start(args, format);
	append_formatted(detail, format, args);
	va_end(args);
}

static void
append_formatted(char *detail, const char *format, va_list args)
{
	size_t		start = strlen(detail);
	size_t		room = KMS_DETAIL_LEN - start;
	int			len = vsnprintf(detail + start, room, format, args);

	if (len < 0)
		detail[start] = '\0';
	else if ((size_t) len >= room)
		mark_as_cut(detail);
	make_printable(detail);
}

/* Never in the middle of a character: what was valid UTF-8 stays so. */
static void
mark_as_cut(char *detail)
{
	size_t		end = KMS_DETAIL_LEN - 1 - 3;

	while (end > 0 && ((unsigned char) detail[end] & 0xc0) == 0x80)
		end--;
	memcpy(detail + end, "...", 4);
}

static void
make_printable(char *text)
{
	bool		utf8 = pge_kms_is_utf8(pge_bytes(text, strlen(text)));

	for (char *p = text; *p != '\0'; p++)
	{
		unsigned char c = (unsigned char) *p;

		if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
			*p = '?';
	}
}

bool
pge_kms_is_utf8(PgeBytes text)
{
	const uint8_t *p = text.data;
	size_t		left = text.len;

	while (left > 0)
	{
		size_t		len = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;

		if (len == 0 || len > left)
			return false;
		for (size_t i = 1; i < len; i++)
		{
			if ((p[i] & 0xc0) != 0x80)
				return false;
		}
		if ((p[0] == 0xc2 && p[1] < 0xa0) ||
			(p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
			(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
			return false;
		p += len;
		left -= len;
	}
	return true;
}
