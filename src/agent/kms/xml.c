/*-------------------------------------------------------------------------
 *
 * xml.c
 *	  Walks through XML, one tag at a time.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/kms/xml.h"
#include "base/secret.h"

static XmlEvent next_tag(XmlReader *reader);
static XmlEvent open_element(XmlReader *reader);
static XmlEvent close_element(XmlReader *reader);
static XmlEvent is_wrong(XmlReader *reader);
static bool skip_declaration(XmlReader *reader);
static bool skip_attributes(XmlReader *reader);
static bool skip_value(XmlReader *reader);
static PgeBytes read_name(XmlReader *reader);
static bool skip_blanks(XmlReader *reader);
static bool is_blanks(PgeBytes text);
static bool take(XmlReader *reader, const char *what);
static bool is_name_byte(uint8_t c);
static bool is_blank(uint8_t c);
static bool is(PgeBytes text, const char *s);

void
pge_xml_begin(XmlReader *reader, PgeBytes xml)
{
	memset(reader, 0, sizeof(*reader));
	reader->xml = xml;
	if (!skip_declaration(reader))
		reader->wrong = true;
}

XmlEvent
pge_xml_next(XmlReader *reader)
{
	if (reader->wrong)
		return XML_WRONG;
	if (reader->ended)
	{
		reader->depth--;
		reader->is_leaf = false;
		reader->ended = false;
	}
	if (reader->closing)
	{
		reader->closing = false;
		reader->ended = true;
		return XML_ELEMENT_END;
	}
	return next_tag(reader);
}

static XmlEvent
next_tag(XmlReader *reader)
{
	size_t		start = reader->at;
	const uint8_t *tag = start < reader->xml.len ? memchr(reader->xml.data + start, '<', reader->xml.len - start) : NULL;
	size_t		end = tag == NULL ? reader->xml.len : (size_t) (tag - reader->xml.data);

	reader->text = pge_bytes(reader->xml.data + start, end - start);
	reader->at = end;
	/* only a leaf has a text, and the document has one root */
	if (tag == NULL)
		return reader->depth == 0 && reader->is_leaf == false && is_blanks(reader->text) && reader->path[0].len > 0 ?
			XML_END_OF_TEXT : is_wrong(reader);
	if (take(reader, "</"))
		return reader->is_leaf || is_blanks(reader->text) ? close_element(reader) : is_wrong(reader);
	if (!is_blanks(reader->text) || (reader->depth == 0 && reader->path[0].len > 0))
		return is_wrong(reader);
	reader->at++;
	return open_element(reader);
}

static XmlEvent
open_element(XmlReader *reader)
{
	PgeBytes	name = read_name(reader);

	if (name.len == 0 || reader->depth == XML_DEPTH_MAX || !skip_attributes(reader))
		return is_wrong(reader);
	reader->path[reader->depth++] = name;
	reader->is_leaf = true;
	reader->text = pge_bytes(NULL, 0);
	if (take(reader, "/>"))
		reader->closing = true;
	else if (!take(reader, ">"))
		return is_wrong(reader);
	return XML_ELEMENT;
}

static XmlEvent
close_element(XmlReader *reader)
{
	PgeBytes	name = read_name(reader);
	const PgeBytes *open = &reader->path[reader->depth > 0 ? reader->depth - 1 : 0];

	(void) skip_blanks(reader);
	if (reader->depth == 0 || name.len != open->len || memcmp(name.data, open->data, name.len) != 0 || !take(reader, ">"))
		return is_wrong(reader);
	if (!reader->is_leaf)
		reader->text = pge_bytes(NULL, 0);
	reader->ended = true;
	return XML_ELEMENT_END;
}

static XmlEvent
is_wrong(XmlReader *reader)
{
	reader->wrong = true;
	return XML_WRONG;
}

/* <?xml ... ?>, and a byte order mark before it. */
static bool
skip_declaration(XmlReader *reader)
{
	(void) take(reader, "\xef\xbb\xbf");
	(void) skip_blanks(reader);
	if (!take(reader, "<?xml"))
		return true;
	while (reader->at < reader->xml.len && !take(reader, "?>"))
		if (reader->xml.data[reader->at] == '<' || reader->xml.data[reader->at] == '>')
			return false;
		else
			reader->at++;
	return reader->at < reader->xml.len;
}

static bool
skip_attributes(XmlReader *reader)
{
	while (skip_blanks(reader))
	{
		if (reader->at == reader->xml.len || !is_name_byte(reader->xml.data[reader->at]))
			return true;
		(void) read_name(reader);
		(void) skip_blanks(reader);
		if (!take(reader, "="))
			return false;
		(void) skip_blanks(reader);
		if (!skip_value(reader))
			return false;
	}
	return true;
}

static bool
skip_value(XmlReader *reader)
{
	uint8_t		quote = reader->at < reader->xml.len ? reader->xml.data[reader->at] : 0;

	if (quote != '"' && quote != '\'')
		return false;
	while (++reader->at < reader->xml.len && reader->xml.data[reader->at] != quote)
		if (reader->xml.data[reader->at] == '<')
			return false;
	return reader->at++ < reader->xml.len;
}

static PgeBytes
read_name(XmlReader *reader)
{
	size_t		start = reader->at;

	while (reader->at < reader->xml.len && is_name_byte(reader->xml.data[reader->at]))
		reader->at++;
	return pge_bytes(reader->xml.data + start, reader->at - start);
}

/* Were there any? */
static bool
skip_blanks(XmlReader *reader)
{
	size_t		start = reader->at;

	while (reader->at < reader->xml.len && is_blank(reader->xml.data[reader->at]))
		reader->at++;
	return reader->at > start;
}

static bool
is_blanks(PgeBytes text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!is_blank(text.data[i]))
			return false;
	return true;
}

static bool
take(XmlReader *reader, const char *what)
{
	size_t		len = strlen(what);

	if (reader->xml.len - reader->at < len || memcmp(reader->xml.data + reader->at, what, len) != 0)
		return false;
	reader->at += len;
	return true;
}

static bool
is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' ||
		c == ':';
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
is(PgeBytes text, const char *s)
{
	return text.len == strlen(s) && memcmp(text.data, s, text.len) == 0;
}

bool
pge_xml_path_is(const XmlReader *reader, const char *const *path)
{
	int			depth = 0;

	for (; path[depth] != NULL; depth++)
		if (depth == reader->depth || (strcmp(path[depth], "*") != 0 && !is(reader->path[depth], path[depth])))
			return false;
	return depth == reader->depth;
}

PgeStatus
pge_xml_unescape(PgeBytes text, PgeBuffer *out)
{
	static const struct
	{
		const char *name;
		char		stands_for;
	}			entities[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}};
	XmlReader	reader = {.xml = text};
	PgeStatus	status = PGE_OK;

	(void) skip_blanks(&reader);
	while (reader.xml.len > reader.at && is_blank(reader.xml.data[reader.xml.len - 1]))
		reader.xml.len--;
	out->len = 0;
	while (reader.at < reader.xml.len && status == PGE_OK)
	{
		uint8_t		c = reader.xml.data[reader.at];
		bool		found = c != '&' && c > 0x20 && c < 0x7f;

		if (found)
			reader.at++;
		for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]) && !found; i++)
		{
			found = take(&reader, entities[i].name);
			c = (uint8_t) entities[i].stands_for;
		}
		if (!found)
			status = PGE_MALFORMED;
		else if (out->len == out->capacity)
			status = PGE_TOO_LARGE;
		else
			out->data[out->len++] = c;
	}
	if (status == PGE_OK)
		return PGE_OK;
	pge_secret_wipe(out->data, out->capacity);
	out->len = 0;
	return status;
}
