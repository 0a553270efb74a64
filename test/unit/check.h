/*
 * check.h -- the whole test framework of the unit tests.
 *
 * A program includes this once, calls check() per claim and returns
 * check_done(), which prints the closing line "N passed, N failed".
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_CHECK_H
#define PGE_TEST_CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/status.h"

/* A secret of 32 such bytes.  (gcc 15 warns of a string that leaves no room for its zero.) */
#define EIGHT_OF(c)		c, c, c, c, c, c, c, c
#define SECRET_OF(c)	{{EIGHT_OF(c), EIGHT_OF(c), EIGHT_OF(c), EIGHT_OF(c)}}

static int	check_passed;
static int	check_failed;

/* "file" and "line" are the caller's. */
static inline bool
__attribute__((format(printf, 4, 5)))
check_at(const char *file, int line, bool holds, const char *claim,...)
{
	va_list		args;

	printf("%s %d - ", holds ? "ok" : "not ok", check_passed + check_failed + 1);
	va_start(args, claim);
	vprintf(claim, args);
	va_end(args);
	if (holds)
		printf("\n");
	else
		printf(" (%s:%d)\n", file, line);
	fflush(stdout);
	if (holds)
		check_passed++;
	else
		check_failed++;
	return holds;
}

#define check(holds, ...) check_at(__FILE__, __LINE__, (holds), __VA_ARGS__)

#define check_status(got, expected, ...) \
	do { \
		PgeStatus	check_got = (got); \
		if (!check(check_got == (expected), __VA_ARGS__)) \
			printf("#   status \"%s\"\n", pge_status_name(check_got)); \
	} while (0)

static inline bool
same_bytes(PgeBytes a, PgeBytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool
all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != 0)
			return false;
	return true;
}

/* A buffer of exactly this size on the heap, so that ASan sees one byte more. */
static inline PgeBuffer
new_buffer(size_t capacity)
{
	PgeBuffer	buffer = {malloc(capacity > 0 ? capacity : 1), 0, capacity};

	if (buffer.data == NULL)
		abort();
	memset(buffer.data, 0xaa, capacity > 0 ? capacity : 1);
	return buffer;
}

static inline PgeBytes
text_bytes(const char *text)
{
	return pge_bytes(text, strlen(text));
}

static inline int
check_done(void)
{
	printf("%d passed, %d failed\n", check_passed, check_failed);
	return check_failed == 0 && check_passed > 0 ? 0 : 1;
}

#endif							/* PGE_TEST_CHECK_H */
