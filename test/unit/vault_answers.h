/*
 * vault_answers.h -- answers of OpenBao 2.7.2, as it gave them: the seeds of
 * vault_answer_fuzz.  A program includes this once.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_VAULT_ANSWERS_H
#define PGE_TEST_VAULT_ANSWERS_H

#include "agent/kms/http.h"
#include "check.h"

#define ANSWERS	VECTORS "/../fuzz/corpus/vault_answer_fuzz/"

static uint8_t text[HTTP_ANSWER_MAX];

static inline HttpAnswer
answer_of(int status, const char *body)
{
	HttpAnswer	answer = {.status = status, .body = (uint8_t *) body, .len = strlen(body)};

	return answer;
}

/* A line with the status, then the body; at its exact size, for the sanitizer. */
static inline HttpAnswer
recorded(const char *name)
{
	HttpAnswer	answer = {0};
	char		path[512];
	FILE	   *file;
	size_t		len;

	snprintf(path, sizeof(path), ANSWERS "%s", name);
	file = fopen(path, "rb");
	if (file == NULL)
		abort();
	len = fread(text, 1, sizeof(text), file);
	fclose(file);
	answer.status = (int) strtol((const char *) text, NULL, 10);
	answer.len = len - 4;
	answer.body = malloc(answer.len + 1);
	if (answer.body == NULL)
		abort();
	memcpy(answer.body, text + 4, answer.len);
	answer.body[answer.len] = 0;
	return answer;
}

static inline PgeBytes
body_of(const HttpAnswer *answer)
{
	return pge_bytes(answer->body, answer->len);
}

#endif							/* PGE_TEST_VAULT_ANSWERS_H */
