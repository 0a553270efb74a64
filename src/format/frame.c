/*-------------------------------------------------------------------------
 *
 * frame.c
 *	  Writes and reads the frames between backend, keeper and agent.
 *
 * One table says for each field how long it may be, what it may hold and which
 * frames carry it; writer and reader both go by it, so that neither can send
 * what the other refuses.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "format/frame.h"

#define FIELD_HEADER_LEN	4

typedef enum FieldText
{
	FIELD_BYTES,				/* anything */
	FIELD_LINE,					/* UTF-8 without control characters */
	FIELD_LINES					/* the same, but newline and tab are taken */
} FieldText;

/* Sets of frame types, for the table below. */
#define IN_HELLO		(1u << 0)	/* greeting, too */
#define IN_CHALLENGE	(1u << 1)
#define IN_PROOF		(1u << 2)
#define IN_UNWRAP		(1u << 3)
#define IN_WRAP_NEW		(1u << 4)
#define IN_REWRAP		(1u << 5)
#define IN_KEK			(1u << 6)	/* create, rotate, describe, restore */
#define IN_NOTHING		(1u << 7)	/* status, welcome */
#define IN_ANSWER		(1u << 8)
#define IN_SETTINGS		(1u << 9)
#define IN_READY		(1u << 10)
#define IN_LOG			(1u << 11)
#define IN_DESTROY		(1u << 12)

typedef struct FieldRule
{
	size_t		min;
	size_t		max;
	FieldText	text;
	unsigned	carriers;
} FieldRule;

/* Indexed by PgeFrameTag. */
static const FieldRule field_rules[] = {
	[PGE_TAG_NONCE] = {PGE_FRAME_NONCE_LEN, PGE_FRAME_NONCE_LEN, FIELD_BYTES,
	IN_HELLO | IN_CHALLENGE},
	[PGE_TAG_PROOF] = {PGE_FRAME_PROOF_LEN, PGE_FRAME_PROOF_LEN, FIELD_BYTES,
	IN_CHALLENGE | IN_PROOF},
	[PGE_TAG_SECRET] = {PGE_SOCKET_SECRET_LEN, PGE_SOCKET_SECRET_LEN, FIELD_BYTES,
	IN_SETTINGS},
	[PGE_TAG_BINDING] = {1, PGE_BINDING_MAX, FIELD_BYTES,
	IN_UNWRAP | IN_WRAP_NEW | IN_REWRAP},
	[PGE_TAG_CHECK_VALUE] = {PGE_CHECK_VALUE_LEN, PGE_CHECK_VALUE_LEN, FIELD_BYTES,
	IN_UNWRAP | IN_REWRAP | IN_ANSWER},
	[PGE_TAG_DEK] = {PGE_DEK_LEN, PGE_DEK_LEN, FIELD_BYTES, IN_ANSWER},
	[PGE_TAG_DETAIL] = {1, PGE_FRAME_DETAIL_MAX, FIELD_LINE, IN_ANSWER | IN_LOG},
	[PGE_TAG_URI] = {1, PGE_KEK_URI_MAX, FIELD_LINE,
	IN_UNWRAP | IN_WRAP_NEW | IN_REWRAP | IN_KEK | IN_DESTROY | IN_ANSWER},
	[PGE_TAG_WRAPPED] = {1, PGE_WRAPPED_MAX, FIELD_BYTES,
	IN_UNWRAP | IN_REWRAP | IN_ANSWER},
	[PGE_TAG_KEK_VERSION] = {0, PGE_KEK_VERSION_MAX, FIELD_LINE, IN_ANSWER},
	[PGE_TAG_NAME] = {1, PGE_FRAME_NAME_MAX, FIELD_LINE, IN_ANSWER | IN_SETTINGS},
	[PGE_TAG_VALUE] = {0, PGE_FRAME_VALUE_MAX, FIELD_LINES,
	IN_ANSWER | IN_SETTINGS | IN_READY | IN_LOG},
	[PGE_TAG_DATABASE] = {1, PGE_DATABASE_MAX, FIELD_BYTES,
	IN_UNWRAP | IN_WRAP_NEW | IN_REWRAP | IN_KEK | IN_DESTROY},
	[PGE_TAG_IMMEDIATE] = {1, 1, FIELD_BYTES, IN_DESTROY},
};

#define TAG_LAST	PGE_TAG_IMMEDIATE

/* Writes fields; with data NULL it only counts. */
typedef struct FieldWriter
{
	uint8_t    *data;
	size_t		len;
	unsigned	type_set;
	PgeStatus	status;			/* the first failure */
} FieldWriter;

static unsigned type_set_of(uint8_t type);
static PgeStatus check_field(unsigned tag, PgeBytes field, unsigned type_set);
static bool is_text(PgeBytes text, bool lines);
static size_t utf8_sequence_length(const uint8_t *p, size_t left);
static PgeStatus store_field(PgeFrame *frame, unsigned tag, PgeBytes field,
							 unsigned *seen);
static PgeStatus store_pair_half(PgeFrame *frame, unsigned tag, PgeBytes field,
								 bool *name_waits);
static PgeStatus append(PgeBytes *array, int *count, int max, PgeBytes field);
static void write_body(const PgeFrame *frame, FieldWriter *writer);
static void write_array(FieldWriter *writer, unsigned tag,
						const PgeBytes *array, int count);
static void write_pairs(FieldWriter *writer, const PgeFrame *frame);
static void write_single(FieldWriter *writer, unsigned tag, PgeBytes field);
static void write_field(FieldWriter *writer, unsigned tag, PgeBytes field);

PgeStatus
pge_frame_length(const uint8_t header[PGE_FRAME_HEADER_LEN], size_t *total)
{
	uint32_t	body = pge_get_u32(header);

	if (header[4] != PGE_FRAME_VERSION || body > PGE_FRAME_BODY_MAX)
		return PGE_MALFORMED;
	*total = PGE_FRAME_HEADER_LEN + (size_t) body;
	return PGE_OK;
}

PgeStatus
pge_frame_decode(PgeBytes bytes, PgeFrame *frame)
{
	const uint8_t *p = bytes.data;
	size_t		total;
	unsigned	type_set;
	unsigned	seen = 0;
	bool		name_waits = false;

	memset(frame, 0, sizeof(*frame));
	if (bytes.len < PGE_FRAME_HEADER_LEN ||
		pge_frame_length(p, &total) != PGE_OK || total != bytes.len)
		return PGE_MALFORMED;
	frame->type = p[5];
	frame->status = pge_get_u16(p + 6);
	frame->ticket = pge_get_u64(p + 8);
	frame->flush = pge_get_u32(p + 16);
	type_set = type_set_of(frame->type);
	if (type_set == 0 || pge_get_u32(p + 20) != 0)
		return PGE_MALFORMED;
	if (frame->status != PGE_OK && frame->type != PGE_FRAME_ANSWER)
		return PGE_MALFORMED;

	for (size_t at = PGE_FRAME_HEADER_LEN; at < total;)
	{
		unsigned	tag;
		PgeBytes	field;
		PgeStatus	status;

		if (total - at < FIELD_HEADER_LEN)
			return PGE_MALFORMED;
		tag = pge_get_u16(p + at);
		field = pge_bytes(p + at + FIELD_HEADER_LEN, pge_get_u16(p + at + 2));
		at += FIELD_HEADER_LEN;
		if (field.len > total - at)
			return PGE_MALFORMED;
		at += field.len;

		status = check_field(tag, field, type_set);
		if (status == PGE_OK && (tag == PGE_TAG_NAME || tag == PGE_TAG_VALUE))
			status = store_pair_half(frame, tag, field, &name_waits);
		else if (status == PGE_OK)
			status = name_waits ? PGE_MALFORMED :
				store_field(frame, tag, field, &seen);
		if (status != PGE_OK)
			return status;
	}
	return name_waits ? PGE_MALFORMED : PGE_OK;
}

PgeStatus
pge_frame_encode(const PgeFrame *frame, PgeBuffer *out)
{
	FieldWriter writer = {.type_set = type_set_of(frame->type)};
	uint8_t    *header;

	if (writer.type_set == 0 ||
		(frame->status != PGE_OK && frame->type != PGE_FRAME_ANSWER))
		return PGE_MALFORMED;
	write_body(frame, &writer);
	if (writer.status != PGE_OK)
		return writer.status;
	if (writer.len > PGE_FRAME_BODY_MAX ||
		out->capacity - out->len < PGE_FRAME_HEADER_LEN + writer.len)
		return PGE_TOO_LARGE;

	header = out->data + out->len;
	pge_put_u32(header, (uint32_t) writer.len);
	header[4] = PGE_FRAME_VERSION;
	header[5] = frame->type;
	pge_put_u16(header + 6, frame->status);
	pge_put_u64(header + 8, frame->ticket);
	pge_put_u32(header + 16, frame->flush);
	pge_put_u32(header + 20, 0);

	writer.data = header + PGE_FRAME_HEADER_LEN;
	writer.len = 0;
	write_body(frame, &writer);
	out->len += PGE_FRAME_HEADER_LEN + writer.len;
	return PGE_OK;
}

void
pge_frame_clean_text(char *text)
{
	uint8_t    *p = (uint8_t *) text;
	size_t		left = strlen(text);

	while (left > 0)
	{
		size_t		n = utf8_sequence_length(p, left);

		if (n == 0 || !is_text(pge_bytes(p, n), false))
		{
			p[0] = '?';
			n = 1;
		}
		p += n;
		left -= n;
	}
}

/* 0: no such type. */
static unsigned
type_set_of(uint8_t type)
{
	switch (type)
	{
		case PGE_FRAME_HELLO:
		case PGE_FRAME_GREETING:
			return IN_HELLO;
		case PGE_FRAME_CHALLENGE:
			return IN_CHALLENGE;
		case PGE_FRAME_PROOF:
			return IN_PROOF;
		case PGE_FRAME_UNWRAP:
			return IN_UNWRAP;
		case PGE_FRAME_WRAP_NEW:
			return IN_WRAP_NEW;
		case PGE_FRAME_REWRAP:
			return IN_REWRAP;
		case PGE_FRAME_CREATE_KEK:
		case PGE_FRAME_ROTATE_KEK:
		case PGE_FRAME_DESCRIBE_KEK:
		case PGE_FRAME_RESTORE_KEK:
			return IN_KEK;
		case PGE_FRAME_DESTROY_KEK:
			return IN_DESTROY;
		case PGE_FRAME_STATUS:
		case PGE_FRAME_WELCOME:
			return IN_NOTHING;
		case PGE_FRAME_ANSWER:
			return IN_ANSWER;
		case PGE_FRAME_SETTINGS:
			return IN_SETTINGS;
		case PGE_FRAME_READY:
			return IN_READY;
		case PGE_FRAME_LOG:
			return IN_LOG;
	}
	return 0;
}

static PgeStatus
check_field(unsigned tag, PgeBytes field, unsigned type_set)
{
	const FieldRule *rule;

	if (tag == 0 || tag > TAG_LAST)
		return PGE_MALFORMED;
	rule = &field_rules[tag];
	if ((rule->carriers & type_set) == 0)
		return PGE_MALFORMED;
	if (field.len < rule->min || field.len > rule->max)
		return PGE_MALFORMED;
	if (rule->text != FIELD_BYTES && !is_text(field, rule->text == FIELD_LINES))
		return PGE_MALFORMED;
	return PGE_OK;
}

/*
 * Texts end up in log lines and in SQL's error messages, so whoever reads them
 * may rely on valid UTF-8 that cannot start a line or move a cursor.
 */
static bool
is_text(PgeBytes text, bool lines)
{
	size_t		at = 0;

	while (at < text.len)
	{
		uint8_t		c = text.data[at];
		size_t		n = utf8_sequence_length(text.data + at, text.len - at);

		if (n == 0)
			return false;
		if ((c < 0x20 && !(lines && (c == '\n' || c == '\t'))) || c == 0x7F)
			return false;
		if (c == 0xC2 && text.data[at + 1] < 0xA0)
			return false;		/* C1 control characters */
		at += n;
	}
	return true;
}

/* RFC 3629, table 3-7 of Unicode: no overlong form, surrogate, or > U+10FFFF. */
static size_t
utf8_sequence_length(const uint8_t *p, size_t left)
{
	uint8_t		low = 0x80;
	uint8_t		high = 0xBF;
	size_t		n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xC2 && p[0] <= 0xDF)
		n = 2;
	else if (p[0] >= 0xE0 && p[0] <= 0xEF)
		n = 3;
	else if (p[0] >= 0xF0 && p[0] <= 0xF4)
		n = 4;
	else
		return 0;
	if (p[0] == 0xE0)
		low = 0xA0;
	else if (p[0] == 0xED)
		high = 0x9F;
	else if (p[0] == 0xF0)
		low = 0x90;
	else if (p[0] == 0xF4)
		high = 0x8F;

	if (left < n || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xBF)
			return 0;
	return n;
}

/* "seen" has a bit for each single field met so far. */
static PgeStatus
store_field(PgeFrame *frame, unsigned tag, PgeBytes field, unsigned *seen)
{
	PgeBytes   *single = NULL;

	switch (tag)
	{
		case PGE_TAG_URI:
			return append(frame->uri, &frame->nuris, PGE_WRAPPINGS_MAX, field);
		case PGE_TAG_WRAPPED:
			return append(frame->wrapped, &frame->nwrapped,
						  PGE_WRAPPINGS_MAX, field);
		case PGE_TAG_KEK_VERSION:
			return append(frame->kek_version, &frame->nkek_versions,
						  PGE_WRAPPINGS_MAX, field);
		case PGE_TAG_NONCE:
			single = &frame->nonce;
			break;
		case PGE_TAG_PROOF:
			single = &frame->proof;
			break;
		case PGE_TAG_SECRET:
			single = &frame->secret;
			break;
		case PGE_TAG_BINDING:
			single = &frame->binding;
			break;
		case PGE_TAG_CHECK_VALUE:
			single = &frame->check_value;
			break;
		case PGE_TAG_DATABASE:
			single = &frame->database;
			break;
		case PGE_TAG_IMMEDIATE:
			single = &frame->immediate;
			break;
		case PGE_TAG_DEK:
			single = &frame->dek;
			break;
		case PGE_TAG_DETAIL:
			single = &frame->detail;
			break;
	}
	if (single == NULL || (*seen & (1u << tag)) != 0)
		return PGE_MALFORMED;
	*seen |= 1u << tag;
	*single = field;
	return PGE_OK;
}

/* A name opens a pair; the next field has to be its value. */
static PgeStatus
store_pair_half(PgeFrame *frame, unsigned tag, PgeBytes field, bool *name_waits)
{
	if (tag == PGE_TAG_NAME)
	{
		if (*name_waits || frame->npairs >= PGE_FRAME_PAIRS_MAX)
			return PGE_MALFORMED;
		frame->name[frame->npairs] = field;
		*name_waits = true;
		return PGE_OK;
	}
	*name_waits = false;
	return append(frame->value, &frame->npairs, PGE_FRAME_PAIRS_MAX, field);
}

static PgeStatus
append(PgeBytes *array, int *count, int max, PgeBytes field)
{
	if (*count >= max)
		return PGE_MALFORMED;
	array[(*count)++] = field;
	return PGE_OK;
}

static void
write_body(const PgeFrame *frame, FieldWriter *writer)
{
	write_single(writer, PGE_TAG_NONCE, frame->nonce);
	write_single(writer, PGE_TAG_PROOF, frame->proof);
	write_single(writer, PGE_TAG_SECRET, frame->secret);
	write_single(writer, PGE_TAG_BINDING, frame->binding);
	write_single(writer, PGE_TAG_CHECK_VALUE, frame->check_value);
	write_single(writer, PGE_TAG_DATABASE, frame->database);
	write_single(writer, PGE_TAG_IMMEDIATE, frame->immediate);
	write_single(writer, PGE_TAG_DEK, frame->dek);
	write_single(writer, PGE_TAG_DETAIL, frame->detail);
	write_array(writer, PGE_TAG_URI, frame->uri, frame->nuris);
	write_array(writer, PGE_TAG_WRAPPED, frame->wrapped, frame->nwrapped);
	write_array(writer, PGE_TAG_KEK_VERSION, frame->kek_version,
				frame->nkek_versions);
	write_pairs(writer, frame);
}

static void
write_array(FieldWriter *writer, unsigned tag, const PgeBytes *array, int count)
{
	if (count < 0 || count > PGE_WRAPPINGS_MAX)
	{
		writer->status = PGE_MALFORMED;
		return;
	}
	for (int i = 0; i < count; i++)
		write_field(writer, tag, array[i]);
}

static void
write_pairs(FieldWriter *writer, const PgeFrame *frame)
{
	if (frame->npairs < 0 || frame->npairs > PGE_FRAME_PAIRS_MAX)
	{
		writer->status = PGE_MALFORMED;
		return;
	}
	for (int i = 0; i < frame->npairs; i++)
	{
		write_single(writer, PGE_TAG_NAME, frame->name[i]);
		write_field(writer, PGE_TAG_VALUE, frame->value[i]);
	}
}

/* An empty single field is one that was not given. */
static void
write_single(FieldWriter *writer, unsigned tag, PgeBytes field)
{
	if (field.len > 0)
		write_field(writer, tag, field);
}

static void
write_field(FieldWriter *writer, unsigned tag, PgeBytes field)
{
	if (writer->status == PGE_OK)
		writer->status = check_field(tag, field, writer->type_set);
	if (writer->status != PGE_OK)
		return;
	if (writer->data != NULL)
	{
		uint8_t    *p = writer->data + writer->len;

		pge_put_u16(p, (uint16_t) tag);
		pge_put_u16(p + 2, (uint16_t) field.len);
		if (field.len > 0)
			memcpy(p + FIELD_HEADER_LEN, field.data, field.len);
	}
	writer->len += FIELD_HEADER_LEN + field.len;
}
