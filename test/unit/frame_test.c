/*-------------------------------------------------------------------------
 *
 * frame_test.c
 *	  Frames: the bytes of the specification, and nothing else is taken.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "format/frame.h"

static const uint8_t key_bytes[32] = {1, 2, 3};

/* The frame under change, and its length. */
static uint8_t raw[PGE_FRAME_MAX + 64];
static size_t raw_len;

static void
start_raw(uint8_t type)
{
	memset(raw, 0, PGE_FRAME_HEADER_LEN);
	raw[4] = PGE_FRAME_VERSION;
	raw[5] = type;
	raw_len = PGE_FRAME_HEADER_LEN;
}

static void
add_raw(unsigned tag, const void *data, size_t len)
{
	pge_put_u16(raw + raw_len, (uint16_t) tag);
	pge_put_u16(raw + raw_len + 2, (uint16_t) len);
	memcpy(raw + raw_len + 4, data, len);
	raw_len += 4 + len;
	pge_put_u32(raw, (uint32_t) (raw_len - PGE_FRAME_HEADER_LEN));
}

/* At its exact size, so that ASan sees a read of one byte more. */
static PgeStatus
decode_exactly(const uint8_t *data, size_t len, PgeFrame *frame)
{
	PgeBuffer	copy = new_buffer(len);
	PgeStatus	status;

	memcpy(copy.data, data, len);
	status = pge_frame_decode(pge_bytes(copy.data, len), frame);
	free(copy.data);
	return status;
}

static PgeStatus
decode_raw(void)
{
	PgeFrame	frame;

	return decode_exactly(raw, raw_len, &frame);
}

static void
check_example(void)
{
	static const uint8_t expected[] = {
		0, 0, 0, 16, 1, 21, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0, 0, 0,
		0, 8, 0, 12, 'l', 'o', 'c', 'a', 'l', ':', '1', '2', '-', '3', '4', '5'
	};
	PgeFrame	frame = {
		.type = PGE_FRAME_DESCRIBE_KEK, .ticket = 0x0102030405060708, .flush = 9,
		.nuris = 1, .uri = {text_bytes("local:12-345")}
	};
	PgeBuffer	out = new_buffer(sizeof(expected));
	PgeFrame	back;
	size_t		total = 0;

	check_status(pge_frame_encode(&frame, &out), PGE_OK, "a frame encodes into a buffer of its size");
	check(same_bytes(pge_buffer_bytes(&out), pge_bytes(expected, sizeof(expected))), "to the bytes of the specification");
	check_status(pge_frame_length(expected, &total), PGE_OK, "its header tells the length");
	check(total == sizeof(expected), "which is that of header and body");
	check_status(pge_frame_decode(pge_bytes(expected, sizeof(expected)), &back), PGE_OK, "it decodes");
	check(back.type == frame.type && back.ticket == frame.ticket && back.flush == frame.flush && back.status == 0, "header");
	check(back.nuris == 1 && same_bytes(back.uri[0], frame.uri[0]), "body");
	check(back.binding.data == NULL && back.nwrapped == 0 && back.npairs == 0, "what is not given is empty");

	out.len = 0;
	out.capacity = sizeof(expected) - 1;
	memset(out.data, 0xaa, sizeof(expected));
	check_status(pge_frame_encode(&frame, &out), PGE_TOO_LARGE, "a buffer of one byte less is too small");
	check(out.len == 0 && out.data[0] == 0xaa, "and stays as it was");
	free(out.data);

	out = new_buffer(2 * sizeof(expected));
	pge_frame_encode(&frame, &out);
	check_status(pge_frame_encode(&frame, &out), PGE_OK, "a second frame goes behind the first");
	check(out.len == 2 * sizeof(expected) &&
		  memcmp(out.data + sizeof(expected), expected, sizeof(expected)) == 0, "and leaves it whole");
	free(out.data);
}

static void
check_all_fields(void)
{
	static uint8_t wrapped[PGE_WRAPPED_MAX];
	PgeBuffer	out = new_buffer(PGE_FRAME_MAX);
	PgeFrame	frame = {
		.type = PGE_FRAME_ANSWER, .status = PGE_WRAPPING_DAMAGED,
		.check_value = pge_bytes(key_bytes, 32), .dek = pge_bytes(key_bytes, 32),
		.detail = text_bytes("why"), .nuris = 1, .uri = {text_bytes("local:1")},
		.nwrapped = PGE_WRAPPINGS_MAX, .nkek_versions = 2,
		.kek_version = {text_bytes(""), text_bytes("2")},
		.npairs = 2, .name = {text_bytes("a"), {NULL, 0}},
		.value = {text_bytes(""), text_bytes("line\nline\tend")}
	};
	PgeFrame	back;

	for (int i = 0; i < PGE_WRAPPINGS_MAX; i++)
		frame.wrapped[i] = pge_bytes(wrapped, i == 0 ? 1 : sizeof(wrapped));
	check_status(pge_frame_encode(&frame, &out), PGE_OK, "an answer with all its fields, eight full wrappings among them, encodes");
	check_status(pge_frame_decode(pge_buffer_bytes(&out), &back), PGE_OK, "and decodes");
	check(back.status == PGE_WRAPPING_DAMAGED, "status");
	check(same_bytes(back.check_value, frame.check_value) && same_bytes(back.dek, frame.dek), "check value and key");
	check(same_bytes(back.detail, frame.detail), "detail");
	check(back.nwrapped == PGE_WRAPPINGS_MAX && back.wrapped[0].len == 1 && back.wrapped[7].len == PGE_WRAPPED_MAX, "wrappings in their order");
	check(back.nkek_versions == 2 && back.kek_version[0].len == 0 && same_bytes(back.kek_version[1], text_bytes("2")), "versions, an empty one too");
	check(back.npairs == 2 && same_bytes(back.name[0], text_bytes("a")) && back.value[0].len == 0, "a pair with an empty value");
	check(back.name[1].data == NULL && same_bytes(back.value[1], frame.value[1]), "a value without name");
	free(out.data);
}

static void
check_header(void)
{
	size_t		total;
	bool		all = true;

	start_raw(PGE_FRAME_STATUS);
	check_status(decode_raw(), PGE_OK, "a frame may be a header alone");
	for (size_t len = 0; len < PGE_FRAME_HEADER_LEN; len++)
	{
		PgeFrame	frame;

		all = all && decode_exactly(raw, len, &frame) == PGE_MALFORMED;
	}
	check(all, "a part of a header is no frame");
	raw_len++;
	check_status(decode_raw(), PGE_MALFORMED, "nor a header and a byte that it does not count");
	for (int version = 0; version < 256; version++)
	{
		start_raw(PGE_FRAME_STATUS);
		raw[4] = (uint8_t) version;
		all = all && (decode_raw() == PGE_OK) == (version == PGE_FRAME_VERSION) &&
			(pge_frame_length(raw, &total) == PGE_OK) == (version == PGE_FRAME_VERSION);
	}
	check(all, "only our version is taken");
	start_raw(PGE_FRAME_STATUS);
	pge_put_u32(raw, PGE_FRAME_BODY_MAX);
	check(pge_frame_length(raw, &total) == PGE_OK && total == PGE_FRAME_MAX, "the longest body");
	pge_put_u32(raw, PGE_FRAME_BODY_MAX + 1);
	check_status(pge_frame_length(raw, &total), PGE_MALFORMED, "one byte more is refused by the header");
	pge_put_u32(raw, 0xffffffff);
	check_status(pge_frame_length(raw, &total), PGE_MALFORMED, "and so is the greatest number");
	for (int type = 0; type < 256; type++)
	{
		bool		known = (type >= 1 && type <= 5) || (type >= 16 && type <= 24) ||
		type == 32 || (type >= 48 && type <= 50);

		start_raw((uint8_t) type);
		all = all && (decode_raw() == PGE_OK) == known;
		raw[7] = PGE_MALFORMED;
		all = all && (decode_raw() == PGE_OK) == (type == PGE_FRAME_ANSWER);
	}
	check(all, "unknown types, and a status in anything but an answer, are refused");
	for (int i = 20; i < 24; i++)
	{
		start_raw(PGE_FRAME_STATUS);
		raw[i] = 1;
		all = all && decode_raw() == PGE_MALFORMED;
	}
	check(all, "the last four bytes are zero");
}

typedef struct TagCase
{
	unsigned	tag;
	uint8_t		carrier;		/* a type that has it */
	uint8_t		stranger;		/* one that has not */
	size_t		min;
	size_t		max;
	bool		repeats;
	bool		text;
} TagCase;

static const TagCase tag_cases[] = {
	{PGE_TAG_NONCE, PGE_FRAME_HELLO, PGE_FRAME_PROOF, 32, 32, false, false},
	{PGE_TAG_PROOF, PGE_FRAME_CHALLENGE, PGE_FRAME_HELLO, 32, 32, false, false},
	{PGE_TAG_SECRET, PGE_FRAME_SETTINGS, PGE_FRAME_ANSWER, 32, 32, false, false},
	{PGE_TAG_BINDING, PGE_FRAME_UNWRAP, PGE_FRAME_ANSWER, 1, PGE_BINDING_MAX, false, false},
	{PGE_TAG_CHECK_VALUE, PGE_FRAME_REWRAP, PGE_FRAME_WRAP_NEW, 32, 32, false, false},
	{PGE_TAG_DEK, PGE_FRAME_ANSWER, PGE_FRAME_WRAP_NEW, 32, 32, false, false},
	{PGE_TAG_DETAIL, PGE_FRAME_LOG, PGE_FRAME_UNWRAP, 1, PGE_FRAME_DETAIL_MAX, false, true},
	{PGE_TAG_URI, PGE_FRAME_CREATE_KEK, PGE_FRAME_STATUS, 1, PGE_KEK_URI_MAX, true, true},
	{PGE_TAG_WRAPPED, PGE_FRAME_UNWRAP, PGE_FRAME_WRAP_NEW, 1, PGE_WRAPPED_MAX, true, false},
	{PGE_TAG_KEK_VERSION, PGE_FRAME_ANSWER, PGE_FRAME_ROTATE_KEK, 0, PGE_KEK_VERSION_MAX, true, true},
	{PGE_TAG_VALUE, PGE_FRAME_READY, PGE_FRAME_STATUS, 0, PGE_FRAME_VALUE_MAX, true, true},
	{PGE_TAG_DATABASE, PGE_FRAME_CREATE_KEK, PGE_FRAME_STATUS, 1, PGE_DATABASE_MAX, false, false},
	{PGE_TAG_IMMEDIATE, PGE_FRAME_DESTROY_KEK, PGE_FRAME_RESTORE_KEK, 1, 1, false, false},
	{PGE_TAG_URI, PGE_FRAME_DESTROY_KEK, PGE_FRAME_STATUS, 1, PGE_KEK_URI_MAX, true, true},
	{PGE_TAG_URI, PGE_FRAME_RESTORE_KEK, PGE_FRAME_STATUS, 1, PGE_KEK_URI_MAX, true, true},
	{PGE_TAG_DATABASE, PGE_FRAME_DESTROY_KEK, PGE_FRAME_STATUS, 1, PGE_DATABASE_MAX, false, false},
};

static PgeStatus
decode_one(uint8_t type, unsigned tag, size_t len)
{
	static uint8_t filler[PGE_WRAPPED_MAX + 1];

	memset(filler, 'x', sizeof(filler));
	start_raw(type);
	add_raw(tag, filler, len);
	return decode_raw();
}

static void
check_field_rules(void)
{
	for (size_t i = 0; i < sizeof(tag_cases) / sizeof(tag_cases[0]); i++)
	{
		const TagCase *c = &tag_cases[i];
		uint8_t		data[64];

		memset(data, 'x', sizeof(data));
		check(decode_one(c->carrier, c->tag, c->min) == PGE_OK &&
			  decode_one(c->carrier, c->tag, c->max) == PGE_OK, "tag %u: lengths %zu and %zu", c->tag, c->min, c->max);
		check(decode_one(c->carrier, c->tag, c->max + 1) == PGE_MALFORMED &&
			  (c->min == 0 || decode_one(c->carrier, c->tag, c->min - 1) == PGE_MALFORMED), "tag %u: no other", c->tag);
		check_status(decode_one(c->stranger, c->tag, c->min), PGE_MALFORMED, "tag %u: not in type %u", c->tag, c->stranger);
		(void) decode_one(c->carrier, c->tag, c->min);
		add_raw(c->tag, data, c->min);
		check((decode_raw() == PGE_OK) == c->repeats, "tag %u: %s", c->tag, c->repeats ? "repeats" : "once");
		start_raw(c->carrier);
		data[c->min > 0 ? c->min - 1 : 0] = 0x07;
		add_raw(c->tag, data, c->min > 0 ? c->min : 1);
		check((decode_raw() == PGE_OK) == !c->text, "tag %u: %s", c->tag, c->text ? "no control characters" : "any bytes");
	}
	check_status(decode_one(PGE_FRAME_ANSWER, 0, 1), PGE_MALFORMED, "tag 0 is unknown");
	check_status(decode_one(PGE_FRAME_ANSWER, PGE_TAG_IMMEDIATE + 1, 1), PGE_MALFORMED, "so is the one after the last");
	check_status(decode_one(PGE_FRAME_ANSWER, 0xffff, 1), PGE_MALFORMED, "and the greatest");
}

static void
check_repetition(void)
{
	bool		all = true;

	start_raw(PGE_FRAME_WRAP_NEW);
	for (int i = 0; i < PGE_WRAPPINGS_MAX; i++)
		add_raw(PGE_TAG_URI, "u", 1);
	check_status(decode_raw(), PGE_OK, "as many URIs as there may be wrappings");
	add_raw(PGE_TAG_URI, "u", 1);
	check_status(decode_raw(), PGE_MALFORMED, "and no more");

	start_raw(PGE_FRAME_ANSWER);
	for (int i = 0; i < PGE_FRAME_PAIRS_MAX; i++)
	{
		add_raw(PGE_TAG_NAME, "n", 1);
		add_raw(PGE_TAG_VALUE, "v", 1);
	}
	check_status(decode_raw(), PGE_OK, "the greatest number of pairs");
	add_raw(PGE_TAG_NAME, "n", 1);
	add_raw(PGE_TAG_VALUE, "v", 1);
	check_status(decode_raw(), PGE_MALFORMED, "and no more");
	raw_len -= 10;
	pge_put_u32(raw, (uint32_t) (raw_len - PGE_FRAME_HEADER_LEN));
	add_raw(PGE_TAG_VALUE, "v", 1);
	check_status(decode_raw(), PGE_MALFORMED, "nor a value alone");

	start_raw(PGE_FRAME_ANSWER);
	add_raw(PGE_TAG_NAME, "n", 1);
	check_status(decode_raw(), PGE_MALFORMED, "a name without value");
	add_raw(PGE_TAG_NAME, "n", 1);
	add_raw(PGE_TAG_VALUE, "v", 1);
	check_status(decode_raw(), PGE_MALFORMED, "two names");
	start_raw(PGE_FRAME_ANSWER);
	add_raw(PGE_TAG_NAME, "n", 1);
	add_raw(PGE_TAG_DETAIL, "d", 1);
	add_raw(PGE_TAG_VALUE, "v", 1);
	check_status(decode_raw(), PGE_MALFORMED, "something between name and value");

	start_raw(PGE_FRAME_UNWRAP);
	add_raw(PGE_TAG_URI, "local:1", 7);
	for (size_t cut = 1; cut < 11; cut++)
	{
		PgeFrame	frame;

		pge_put_u32(raw, (uint32_t) (raw_len - PGE_FRAME_HEADER_LEN - cut));
		all = all && decode_exactly(raw, raw_len - cut, &frame) == PGE_MALFORMED;
	}
	check(all, "a field cut anywhere");
	pge_put_u32(raw, (uint32_t) (raw_len - PGE_FRAME_HEADER_LEN));
	pge_put_u16(raw + PGE_FRAME_HEADER_LEN + 2, 8);
	check_status(decode_raw(), PGE_MALFORMED, "a field longer than the frame");
}

typedef struct TextCase
{
	const char *text;
	bool		fits;
	const char *cleaned;
} TextCase;

static const TextCase text_cases[] = {
	{"plain", true, "plain"},
	{"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91", true, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91"},
	{"\xf4\x8f\xbf\xbf", true, "\xf4\x8f\xbf\xbf"},
	{"a\nb", false, "a?b"},
	{"a\x1b[2J", false, "a?[2J"},
	{"a\x7f", false, "a?"},
	{"\xc2\x85", false, "??"},	/* a C1 control character: a new line to some */
	{"\xc2\xa0", true, "\xc2\xa0"},
	{"\xff", false, "?"},
	{"\x80", false, "?"},
	{"\xc3", false, "?"},
	{"\xc0\xaf", false, "??"},	/* overlong */
	{"\xe0\x9f\xbf", false, "???"},
	{"\xf0\x8f\xbf\xbf", false, "????"},
	{"\xed\xa0\x80", false, "???"}, /* a surrogate */
	{"\xf4\x90\x80\x80", false, "????"},	/* past U+10FFFF */
	{"\xe2\x82", false, "??"},
	{"\xe2\x82z", false, "??z"},
};

static void
check_texts(void)
{
	for (size_t i = 0; i < sizeof(text_cases) / sizeof(text_cases[0]); i++)
	{
		const TextCase *c = &text_cases[i];
		PgeFrame	frame = {.type = PGE_FRAME_LOG, .detail = text_bytes(c->text)};
		PgeBuffer	out = new_buffer(PGE_FRAME_MAX);
		char		text[32];

		check((pge_frame_encode(&frame, &out) == PGE_OK) == c->fits, "text %zu is %s", i, c->fits ? "written" : "not written");
		start_raw(PGE_FRAME_LOG);
		add_raw(PGE_TAG_DETAIL, c->text, strlen(c->text));
		check((decode_raw() == PGE_OK) == c->fits, "and %s", c->fits ? "read" : "not read");
		snprintf(text, sizeof(text), "%s", c->text);
		pge_frame_clean_text(text);
		check(strcmp(text, c->cleaned) == 0, "and cleaned it is what it should be");
		free(out.data);
	}
	start_raw(PGE_FRAME_READY);
	add_raw(PGE_TAG_VALUE, "a\n\tb", 4);
	check_status(decode_raw(), PGE_OK, "values may have lines and tabs");
	start_raw(PGE_FRAME_READY);
	add_raw(PGE_TAG_VALUE, "a\rb", 3);
	check_status(decode_raw(), PGE_MALFORMED, "but no other control character");
	start_raw(PGE_FRAME_READY);
	add_raw(PGE_TAG_VALUE, "a\0b", 3);
	check_status(decode_raw(), PGE_MALFORMED, "nor a zero byte");
}

static void
check_encoder_refuses(void)
{
	PgeBuffer	out = new_buffer(PGE_FRAME_MAX);
	PgeFrame	frame = {.type = PGE_FRAME_UNWRAP, .secret = pge_bytes(key_bytes, 32)};
	PgeFrame	request = {.type = PGE_FRAME_STATUS, .status = PGE_INVALID};
	PgeFrame	unknown = {.type = 77};
	PgeFrame	many = {.type = PGE_FRAME_WRAP_NEW, .nuris = PGE_WRAPPINGS_MAX + 1};
	PgeFrame	negative = {.type = PGE_FRAME_ANSWER, .npairs = -1};
	PgeFrame	shortened = {.type = PGE_FRAME_ANSWER, .dek = pge_bytes(key_bytes, 31)};
	static char value[PGE_FRAME_VALUE_MAX];
	PgeFrame	big = {.type = PGE_FRAME_ANSWER, .npairs = PGE_FRAME_PAIRS_MAX};

	check_status(pge_frame_encode(&frame, &out), PGE_MALFORMED, "the secret is not written into a request");
	check_status(pge_frame_encode(&request, &out), PGE_MALFORMED, "nor a status");
	check_status(pge_frame_encode(&unknown, &out), PGE_MALFORMED, "nor an unknown type");
	check_status(pge_frame_encode(&many, &out), PGE_MALFORMED, "nor too many URIs");
	check_status(pge_frame_encode(&negative, &out), PGE_MALFORMED, "nor a negative number of pairs");
	check_status(pge_frame_encode(&shortened, &out), PGE_MALFORMED, "nor a key of another length");
	memset(value, 'v', sizeof(value));
	for (int i = 0; i < PGE_FRAME_PAIRS_MAX; i++)
		big.value[i] = pge_bytes(value, sizeof(value));
	check_status(pge_frame_encode(&big, &out), PGE_TOO_LARGE, "nor a body past the limit, whatever the buffer");
	check(out.len == 0, "and nothing was written");
	free(out.data);
}

int
main(void)
{
	check_example();
	check_all_fields();
	check_header();
	check_field_rules();
	check_repetition();
	check_texts();
	check_encoder_refuses();
	return check_done();
}
