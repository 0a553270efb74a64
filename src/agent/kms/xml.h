/*
 * xml.h -- a pull parser for the little XML that AWS's query services answer with.
 *
 * Pure: spans of the text, nothing is copied.  Elements, their text, the declaration at the
 * beginning; attributes are read over.  No DOCTYPE, so no entity but the five that XML
 * has, no CDATA, no comments, no processing instructions: services have no need of them.
 *
 * begin -> next, next, ... until XML_END_OF_TEXT or XML_WRONG, which stay.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_XML_H
#define PGE_AGENT_XML_H

#include "base/bytes.h"
#include "base/status.h"

#define XML_DEPTH_MAX	16

typedef enum XmlEvent
{
	XML_ELEMENT,				/* begins: reader->path[depth - 1] */
	XML_ELEMENT_END,			/* the same, and reader->text, if no element
								 * is in it */
	XML_END_OF_TEXT,			/* all elements are closed, nothing follows */
	XML_WRONG
} XmlEvent;

typedef struct XmlReader
{
	PgeBytes	xml;
	size_t		at;
	int			depth;			/* of open elements */
	PgeBytes	path[XML_DEPTH_MAX];	/* their names, the outermost first */
	bool		is_leaf;		/* the innermost has had no element in it */
	PgeBytes	text;			/* between its tags, as it stands there */
	bool		closing;		/* of an empty element: its end is due */
	bool		ended;			/* its end was told: it is no more */
	bool		wrong;
} XmlReader;

extern void pge_xml_begin(XmlReader *reader, PgeBytes xml);
extern XmlEvent pge_xml_next(XmlReader *reader);

/* Do the open elements have these names, from the outermost on? NULL ends the list; "*": any. */
extern bool pge_xml_path_is(const XmlReader *reader, const char *const *path);

/*
 * A text with its entities replaced, and without blanks around it.  PGE_TOO_LARGE;
 * PGE_MALFORMED: another entity, or not visible ASCII.  *out is empty and wiped then.
 */
extern PgeStatus pge_xml_unescape(PgeBytes text, PgeBuffer *out);

#endif							/* PGE_AGENT_XML_H */
