/*-------------------------------------------------------------------------
 *
 * json_fuzz.c
 *	  JSON of key services: what is taken is an object that can be asked for
 *	  anything, and that is read again from what is written of it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/json.h"
#include "exact_copy.h"

int			LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void) argc;
	(void) argv;
	pge_json_init();
	return 0;
}

static void
ask_for_all(const json_t *object)
{
	const char *name;
	json_t	   *member;
	PgeBytes	text;
	char		room[8];
	int64_t		number;
	bool		flag;

	json_object_foreach((json_t *) object, name, member)
	{
		int			kinds = (pge_json_object(object, name) != NULL) + (pge_json_array(object, name) != NULL);

		kinds += pge_json_text(object, name, &text);
		kinds += pge_json_int(object, name, &number);
		kinds += pge_json_bool(object, name, &flag);
		require(kinds == (json_is_null(member) || json_is_real(member) ? 0 : 1));
		require(text.len == 0 || memchr(text.data, '\0', text.len) == NULL);
		require(pge_json_string(object, name, room, sizeof(room)) == (text.data != NULL && text.len < sizeof(room)));
		require(memchr(room, '\0', sizeof(room)) != NULL);
	}
}

static void
write_and_read(const json_t *object)
{
	char		detail[KMS_DETAIL_LEN];
	PgeBuffer	text;
	json_t	   *again;

	require(pge_json_dump(object, &text) == PGE_OK);
	require(pge_json_parse(pge_buffer_bytes(&text), &again, detail) == PGE_OK);
	require(json_equal(object, again));
	json_decref(again);
	pge_json_text_free(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);
	char		detail[KMS_DETAIL_LEN];
	json_t	   *object;

	if (pge_json_parse(pge_buffer_bytes(&in), &object, detail) == PGE_OK)
	{
		require(json_is_object(object));
		ask_for_all(object);
		write_and_read(object);
		json_decref(object);
	}
	else
		require(object == NULL);
	free(in.data);
	return 0;
}
