/*
 * json.h -- strict JSON from and for key services, in memory that is wiped.
 *
 * Jansson with an allocator of ours: all that it frees is wiped first, so a
 * DEK in an answer is gone when the answer's json_t is (json_decref).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_JSON_H
#define PGE_AGENT_JSON_H

#include <jansson.h>

#include "agent/kms/kms_detail.h"
#include "base/bytes.h"
#include "base/status.h"

#define JSON_DEPTH_MAX	32

/* Once, before the first use of Jansson and of any thread that may use it. */
extern void pge_json_init(void);

/*
 * The whole text is one object; no name twice, at most JSON_DEPTH_MAX deep and
 * HTTP_ANSWER_MAX long, UTF-8, no "\u0000".  PGE_MALFORMED with *detail,
 * which never quotes the text.  The caller ends *object with json_decref.
 */
extern PgeStatus pge_json_parse(PgeBytes text, json_t **object, char detail[KMS_DETAIL_LEN]);

/*
 * Members of an object (NULL: it has none).  false: not there, or of another
 * type; *out is then 0, "" or empty.
 */
extern json_t *pge_json_object(const json_t *object, const char *name); /* borrowed; NULL */
extern json_t *pge_json_array(const json_t *object, const char *name);	/* borrowed; NULL */
extern bool pge_json_text(const json_t *object, const char *name, PgeBytes *text);	/* borrowed */
extern bool pge_json_string(const json_t *object, const char *name, char *out, size_t size);	/* false: too long, too */
extern bool pge_json_int(const json_t *object, const char *name, int64_t *out);
extern bool pge_json_bool(const json_t *object, const char *name, bool *out);

/* A string from bytes that need not end in NUL; NULL: not UTF-8, out of memory. */
extern json_t *pge_json_new_text(PgeBytes text);

/* Compact; *out is freed with pge_json_text_free, which wipes it. */
extern PgeStatus pge_json_dump(const json_t *json, PgeBuffer *out);

/* The end of building one: frees it, and if "status" is PGE_OK writes it. */
extern PgeStatus pge_json_finish(json_t *object, PgeStatus status, PgeBuffer *out);
extern void pge_json_text_free(PgeBuffer *text);

#endif							/* PGE_AGENT_JSON_H */
