/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Jansson, held to one spelling, in memory that is wiped.
 *
 * Jansson never asks how large a block is, so its size stands before it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kms/http.h"
#include "agent/kms/json.h"
#include "base/secret.h"

#define SIZE_ROOM	alignof(max_align_t)

/*
 * Jansson 2.14 goes on without the letter for which it found no memory, so that a
 * text would be another (seen); and says of other failures only that they were one.
 */
static _Thread_local bool out_of_memory;

static void *
allocate(size_t len)
{
	uint8_t    *block = len > SIZE_MAX - SIZE_ROOM ? NULL : malloc(SIZE_ROOM + len);

	if (block == NULL)
	{
		out_of_memory = true;
		return NULL;
	}
	memcpy(block, &len, sizeof(len));
	return block + SIZE_ROOM;
}

static void
wipe_and_free(void *p)
{
	uint8_t    *block = p;
	size_t		len;

	if (block == NULL)
		return;
	block -= SIZE_ROOM;
	memcpy(&len, block, sizeof(len));
	pge_secret_wipe(block, SIZE_ROOM + len);
	free(block);
}

void
pge_json_init(void)
{
	json_set_alloc_funcs(allocate, wipe_and_free);
	json_object_seed(0);
}

/*
 * Jansson parses by recursion.  It does not matter here whether it will find
 * the brackets well paired.
 */
static bool
is_too_deep(PgeBytes text)
{
	bool		in_string = false;
	int			depth = 0;

	for (size_t i = 0; i < text.len; i++)
	{
		uint8_t		c = text.data[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
		{
			if (++depth > JSON_DEPTH_MAX)
				return true;
		}
		else if (!in_string && (c == '}' || c == ']'))
			depth--;
	}
	return false;
}

PgeStatus
pge_json_parse(PgeBytes text, json_t **object, char detail[KMS_DETAIL_LEN])
{
	*object = NULL;
	if (text.len > HTTP_ANSWER_MAX || is_too_deep(text))
	{
		pge_kms_detail(detail, "The JSON is too long or nested too deeply.");
		return PGE_MALFORMED;
	}
	out_of_memory = false;
	/* without an error's text, which would quote the answer, on the stack too */
	*object = json_loadb((const char *) text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(*object) && !out_of_memory)
		return PGE_OK;
	pge_kms_detail(detail, out_of_memory ? "There was no memory to read the JSON." :
				   *object != NULL ? "The JSON is no object." : "The JSON is not well-formed.");
	json_decref(*object);
	*object = NULL;
	return out_of_memory ? PGE_OUT_OF_MEMORY : PGE_MALFORMED;
}

json_t *
pge_json_object(const json_t *object, const char *name)
{
	json_t	   *member = json_object_get(object, name);

	return json_is_object(member) ? member : NULL;
}

json_t *
pge_json_array(const json_t *object, const char *name)
{
	json_t	   *member = json_object_get(object, name);

	return json_is_array(member) ? member : NULL;
}

bool
pge_json_text(const json_t *object, const char *name, PgeBytes *text)
{
	const json_t *member = json_object_get(object, name);

	*text = pge_bytes(NULL, 0);
	if (!json_is_string(member))
		return false;
	*text = pge_bytes(json_string_value(member), json_string_length(member));
	return true;
}

bool
pge_json_string(const json_t *object, const char *name, char *out, size_t size)
{
	PgeBytes	text;

	out[0] = '\0';
	if (!pge_json_text(object, name, &text) || text.len >= size)
		return false;
	memcpy(out, text.data, text.len);
	out[text.len] = '\0';
	return true;
}

bool
pge_json_int(const json_t *object, const char *name, int64_t *out)
{
	const json_t *member = json_object_get(object, name);

	*out = json_integer_value(member);
	return json_is_integer(member);
}

bool
pge_json_bool(const json_t *object, const char *name, bool *out)
{
	const json_t *member = json_object_get(object, name);

	*out = json_is_true(member);
	return json_is_boolean(member);
}

json_t *
pge_json_new_text(PgeBytes text)
{
	return json_stringn(text.len > 0 ? (const char *) text.data : "", text.len);
}

/* Twice, so that no buffer of Jansson's grows with it. */
PgeStatus
pge_json_dump(const json_t *json, PgeBuffer *out)
{
	size_t		len = json_dumpb(json, NULL, 0, JSON_COMPACT);

	*out = (PgeBuffer)
	{
		NULL, 0, 0
	};
	if (len == 0)
		return PGE_OUT_OF_MEMORY;
	out->data = malloc(len + 1);
	if (out->data == NULL)
		return PGE_OUT_OF_MEMORY;
	out->capacity = len + 1;
	out->len = json_dumpb(json, (char *) out->data, len, JSON_COMPACT);
	if (out->len == len)
	{
		out->data[len] = '\0';
		return PGE_OK;
	}
	pge_json_text_free(out);
	return PGE_OUT_OF_MEMORY;
}

PgeStatus
pge_json_finish(json_t *object, PgeStatus status, PgeBuffer *out)
{
	memset(out, 0, sizeof(*out));
	if (status == PGE_OK)
		status = object == NULL ? PGE_OUT_OF_MEMORY : pge_json_dump(object, out);
	json_decref(object);
	return status;
}

void
pge_json_text_free(PgeBuffer *text)
{
	pge_secret_wipe(text->data, text->capacity);
	free(text->data);
	*text = (PgeBuffer)
	{
		NULL, 0, 0
	};
}
