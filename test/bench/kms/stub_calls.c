/*-------------------------------------------------------------------------
 *
 * stub_calls.c
 *	  Which service a request is for, and how many there were of each kind.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stub.h"

#define KINDS		16

typedef struct Calls
{
	char		name[16];
	uint64_t	requests;
	uint64_t	items;
} Calls;

static Calls calls[KINDS];

char *
stub_answer(const char *method, const char *path, const char *headers, const char *body, size_t len,
			int *status)
{
	json_t	   *request = len > 0 ? json_loadb(body, len, 0, NULL) : NULL;
	const char *target = strstr(headers, "\r\nX-Amz-Target: TrentService.");
	json_t	   *answer;
	char	   *text;

	*status = 200;
	if (target != NULL)
		answer = stub_aws(target + strlen("\r\nX-Amz-Target: TrentService."), request);
	else
		answer = stub_vault(method, path, request);
	json_decref(request);
	if (answer == NULL)
	{
		*status = 400;
		answer = target != NULL ? json_pack("{s:s}", "__type", "ValidationException") :
			json_pack("{s:[s]}", "errors", "the stub does not know this");
	}
	text = json_dumps(answer, JSON_COMPACT);
	json_decref(answer);
	if (text == NULL)
		stub_die("an answer that is none");
	return text;
}

void
stub_count(const char *name, size_t items)
{
	for (int i = 0; i < KINDS; i++)
	{
		if (calls[i].name[0] == '\0')
			snprintf(calls[i].name, sizeof(calls[i].name), "%s", name);
		if (strcmp(calls[i].name, name) == 0)
		{
			calls[i].requests++;
			calls[i].items += items;
			return;
		}
	}
	stub_die("too many kinds of calls");
}

void
stub_print_calls(uint64_t handshakes)
{
	printf("{\"handshakes\": %lu", (unsigned long) handshakes);
	for (int i = 0; i < KINDS && calls[i].name[0] != '\0'; i++)
		printf(", \"%s\": [%lu, %lu]", calls[i].name, (unsigned long) calls[i].requests, (unsigned long) calls[i].items);
	printf("}\n");
}

void
stub_forget_calls(void)
{
	memset(calls, 0, sizeof(calls));
}
