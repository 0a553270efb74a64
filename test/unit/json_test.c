/*-------------------------------------------------------------------------
 *
 * json_test.c
 *	  JSON of key services: one object, strictly, and nothing of it left behind.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/http.h"
#include "agent/kms/json.h"
#include "check.h"
#include "failing_memory.h"

static const char *const taken[] = {
	"{}", " {\"a\":1} \n", "{\"a\":{\"a\":1}}", "{\"a\":\"\\u0041\\ud83d\\ude00\"}", "{\"a\":[1,2.5,-3,true,false,null]}",
	"{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"{{\"}",
};

static const char *const refused[] = {
	"", " ", "null", "1", "\"a\"", "[]", "[{}]", "{}{}", "{} x", "{", "}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
	"{'a':1}", "{\"a\":01}", "{\"a\":+1}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":NaN}", "{\"a\":1e999}", "{\"a\":0x10}",
	"{\"a\":1,\"a\":1}", "{\"a\":{\"b\":1,\"b\":2}}", "{\"a\":1,\"\\u0061\":2}", "{\"a\":\"\\u0000\"}", "{\"\\u0000\":1}",
	"{\"a\":\"\\ud800\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\n\"}",
	"{\"a\":\"x}", "{\"a\":\"\\x\"}", "{\"a\":9223372036854775808}", "\xef\xbb\xbf{}", "{\"a\":1}//", "/**/{}", "{\"a\":tru}",
	"{\"a\":[1,]}", "{\"a\":[1}", "{\"a\":1]",
};

static PgeStatus
parse(PgeBytes text, json_t **object)
{
	char		detail[KMS_DETAIL_LEN] = "";
	PgeBuffer	in = new_buffer(text.len);
	PgeStatus	status;

	if (text.len > 0)
		memcpy(in.data, text.data, text.len);
	status = pge_json_parse(pge_bytes(in.data, text.len), object, detail);
	if ((status == PGE_OK) != (detail[0] == '\0') || (status == PGE_OK) != (*object != NULL))
		status = PGE_CRYPTO_FAILED;
	free(in.data);
	return status;
}

static void
test_texts(void)
{
	json_t	   *object;

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
	{
		check_status(parse(text_bytes(taken[i]), &object), PGE_OK, "taken: %zu", i);
		json_decref(object);
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		check_status(parse(text_bytes(refused[i]), &object), PGE_MALFORMED, "refused: %zu", i);
	check_status(parse(pge_bytes("{\"a\":\"x\0\"}", 10), &object), PGE_MALFORMED, "a zero byte is refused");
	check_status(parse(pge_bytes("{}\0", 3), &object), PGE_MALFORMED, "and behind the end");
}

static PgeStatus
parse_nested(int depth, const char *open, char close)
{
	PgeBuffer	text = new_buffer((size_t) depth * (strlen(open) + 1) + 1);
	json_t	   *object;
	PgeStatus	status;

	for (int i = 0; i < depth; i++)
	{
		memcpy(text.data + text.len, open, strlen(open));
		text.len += strlen(open);
	}
	text.data[text.len++] = '1';
	memset(text.data + text.len, close, (size_t) depth);
	text.len += (size_t) depth;
	status = parse(pge_buffer_bytes(&text), &object);
	json_decref(object);
	free(text.data);
	return status;
}

static void
test_depth_and_length(void)
{
	PgeBuffer	text = new_buffer(HTTP_ANSWER_MAX + 1);
	json_t	   *object;

	check_status(parse_nested(JSON_DEPTH_MAX, "{\"a\":", '}'), PGE_OK, "%d deep is taken", JSON_DEPTH_MAX);
	check_status(parse_nested(JSON_DEPTH_MAX + 1, "{\"a\":", '}'), PGE_MALFORMED, "one more is not");
	check_status(parse_nested(200000, "[", ']'), PGE_MALFORMED, "a deep array is refused unparsed");
	memset(text.data, ' ', text.capacity);
	memcpy(text.data, "{}", 2);
	check_status(parse(pge_bytes(text.data, HTTP_ANSWER_MAX), &object), PGE_OK, "the longest answer is taken");
	json_decref(object);
	check_status(parse(pge_bytes(text.data, HTTP_ANSWER_MAX + 1), &object), PGE_MALFORMED, "one byte more is not");
	free(text.data);
}

static void
test_members(void)
{
	json_t	   *object;
	PgeBytes	text;
	char		room[4];
	int64_t		number;
	bool		flag;

	check_status(parse(text_bytes("{\"s\":\"abc\",\"l\":\"abcd\",\"i\":-7,\"r\":7.0,\"t\":true,\"f\":false,\"n\":null,"
								  "\"o\":{\"x\":1},\"a\":[1],\"e\":\"\"}"), &object), PGE_OK, "an answer with all types");
	check(pge_json_text(object, "s", &text) && same_bytes(text, text_bytes("abc")), "a text");
	check(pge_json_text(object, "e", &text) && text.len == 0, "an empty text");
	check(!pge_json_text(object, "i", &text) && text.data == NULL, "a number is no text");
	check(!pge_json_text(object, "missing", &text) && !pge_json_text(NULL, "s", &text), "nor is what is not there");
	check(pge_json_string(object, "s", room, sizeof(room)) && strcmp(room, "abc") == 0, "a string that just fits");
	check(!pge_json_string(object, "l", room, sizeof(room)) && room[0] == '\0', "one that does not");
	check(!pge_json_string(object, "n", room, sizeof(room)) && room[0] == '\0', "null is no string");
	check(pge_json_int(object, "i", &number) && number == -7, "a number");
	check(!pge_json_int(object, "r", &number) && number == 0, "7.0 is no integer");
	check(!pge_json_int(object, "s", &number) && !pge_json_int(object, "t", &number), "nor are others");
	check(pge_json_bool(object, "t", &flag) && flag && pge_json_bool(object, "f", &flag) && !flag, "true and false");
	check(!pge_json_bool(object, "i", &flag) && !pge_json_bool(object, "n", &flag) && !flag, "nothing else is");
	check(json_object_size(pge_json_object(object, "o")) == 1 && pge_json_object(object, "a") == NULL &&
		  pge_json_object(NULL, "o") == NULL, "an object");
	check(json_array_size(pge_json_array(object, "a")) == 1 && pge_json_array(object, "o") == NULL, "an array");
	json_decref(object);
}

static PgeStatus
write_and_read(PgeBytes secret, bool *same)
{
	json_t	   *object = json_object();
	json_t	   *back = NULL;
	PgeBuffer	text = {NULL, 0, 0};
	PgeStatus	status = PGE_OUT_OF_MEMORY;
	char		detail[KMS_DETAIL_LEN];
	PgeBytes	read;

	*same = false;
	if (object != NULL && json_object_set_new(object, "plaintext", pge_json_new_text(secret)) == 0)
		status = pge_json_dump(object, &text);
	json_decref(object);
	if (status == PGE_OK)
		status = pge_json_parse(pge_buffer_bytes(&text), &back, detail);
	if (status == PGE_OK)
		*same = pge_json_text(back, "plaintext", &read) && same_bytes(read, secret) && text.data[text.len] == 0;
	json_decref(back);
	pge_json_text_free(&text);
	return status;
}

static void
test_writing(void)
{
	bool		same;
	json_t	   *bad = pge_json_new_text(text_bytes("\xff"));

	check(bad == NULL, "what is not UTF-8 is not written");
	check(write_and_read(text_bytes("a \"quoted\" \\ \x01 text \xc3\xa9"), &same) == PGE_OK && same, "what is written is read");
	check(write_and_read(pge_bytes(NULL, 0), &same) == PGE_OK && same, "so is an empty text");
}

/* Whatever allocation fails: no crash, no leak, and no freed block has the secret. */
static void
test_failing_memory(void)
{
	static char secret[200];
	bool		same = true;
	long		count;
	long		blocks;
	int			wrong = 0;
	int			refused = 0;
	PgeStatus	status;

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (char) ('A' + i % 23);
	memory_mark_key((const uint8_t *) secret + 23);
	memory_is_counted = true;
	(void) write_and_read(pge_bytes(secret, sizeof(secret)), &same);
	blocks = memory_blocks();
	memory_begin(0);
	status = write_and_read(pge_bytes(secret, sizeof(secret)), &same);
	count = memory_end();
	for (long k = 1; k <= count; k++)
	{
		PgeStatus	failed;
		bool		ours;

		memory_begin(k);
		failed = write_and_read(pge_bytes(secret, sizeof(secret)), &ours);
		(void) memory_end();
		/* Jansson does without some */
		if ((failed == PGE_OK ? !ours : failed != PGE_OUT_OF_MEMORY) || memory_blocks() != blocks)
			wrong++;
		refused += failed != PGE_OK;
	}
	memory_is_counted = false;
	check(status == PGE_OK && same && count > 5, "a secret is written and read in %ld allocations", count);
	check(wrong == 0 && refused > 5, "each of them may fail (%d did harm)", wrong);
	check(atomic_load(&memory_ledger->freed_keys) == 0, "no block was freed with the secret in it");
}

/* A scan that finds nothing anywhere proves nothing. */
static void
test_planted(void)
{
	char	   *volatile copy;

	memory_is_counted = true;
	copy = malloc(64);
	if (copy == NULL)
		abort();
	for (int i = 0; i < MARK_LEN; i++)
		((volatile uint8_t *) copy)[i] = memory_ledger->marks[0][i];
	free(copy);
	memory_is_counted = false;
	check(atomic_load(&memory_ledger->freed_keys) == 1, "a planted one is seen");
}

int
main(void)
{
	memory_init();
	pge_json_init();
	test_texts();
	test_depth_and_length();
	test_members();
	test_writing();
	test_failing_memory();
	test_planted();
	return check_done();
}
