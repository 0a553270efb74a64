/*
 * frame.h -- what travels on the agent's socket and on the keeper's pipe.
 *
 * Pure: one encoder and one parser for both programs.  Everything is big-endian.
 *
 * A frame is a header of PGE_FRAME_HEADER_LEN bytes
 *	u32 body length (at most PGE_FRAME_BODY_MAX)
 *	u8	protocol version (PGE_FRAME_VERSION; N accepts N-1)
 *	u8	type (PgeFrameType)
 *	u16 status (PgeStatus; 0 in requests)
 *	u64 ticket: random in a request, repeated in its answer
 *	u32 flush: the high half of the epoch that a request was made under; the
 *		agent joins equal unwraps only under equal flush
 *	u32 0
 * and a body of fields: u16 tag (PgeFrameTag), u16 length, bytes.  Fields may
 * repeat where PgeFrame has an array; any other repetition, an unknown tag, a
 * tag that this type of frame does not carry, a length outside its bounds, or a
 * byte left over is PGE_MALFORMED.  An empty detail is left out.  A name is
 * followed at once by its value; a value without a name is a pair whose name is
 * {NULL, 0}.  Details, URIs, KEK versions and values are UTF-8 without control
 * characters, except that a value may hold newlines and tabs.
 *
 * In memory a frame is one flat PgeFrame whose spans point into the bytes that
 * were parsed.  Spans not given are {NULL, 0}.
 *
 * Conversation of a backend (client) and the agent (server):
 *	client	HELLO		nonce (32, random)
 *	agent	CHALLENGE	nonce (32, random), proof = HMAC-SHA-256(secret, "pge agent 1" ‖ client nonce ‖ agent nonce)
 *	client	PROOF		proof = HMAC-SHA-256(secret, "pge client 1" ‖ client nonce ‖ agent nonce)
 *	client	requests, any number without waiting (pipelined); the agent answers
 *			each with the same ticket, in the order they finish.
 * PROOF has no answer of its own: requests may follow it in one write; a wrong
 * proof or anything malformed closes the connection.  A closed connection
 * cancels its requests.
 *
 * With an agent that is a service of another user (pg_envelope.agent = external)
 * there is no secret to share; the kernel says to each end who the other is:
 *	client	GREETING	nonce (32): which server this is, in which life of its
 *						shared memory: system identifier (u64), 24 random bytes
 *	agent	WELCOME		-
 *	client	requests
 * Flush counts of two servers have nothing to do with each other, so the agent
 * joins unwraps only under an equal greeting.  Neither end takes the one
 * conversation for the other: who waits for HELLO closes on GREETING, who waits
 * for CHALLENGE closes on WELCOME, and the reverse.
 *
 * What each request carries and its answer (status 0) carries; an answer with
 * another status carries "detail" (a sentence for DETAIL: names, paths, facts,
 * never key bytes):
 *	UNWRAP		uri[0], binding, check_value, wrapped[0], database	-> dek (32)
 *	WRAP_NEW	uri[1..n], binding, database				-> check_value, wrapped[n], kek_version[n]
 *				(the agent draws the DEK, wraps it under each URI, unwraps again, compares)
 *	REWRAP		uri[0] old, uri[1] new, binding, check_value, wrapped[0], database
 *															-> wrapped[0], kek_version[0]
 *				(the agent unwraps under old, verifies the check value, wraps under new, unwraps again and compares)
 *	CREATE_KEK	uri[0], or no uri: a new KEK in the local keyring; database -> uri[0], kek_version[0], detail (what an administrator must know)
 *	ROTATE_KEK	uri[0], database							-> kek_version[0]
 *	DESCRIBE_KEK uri[0], database							-> uri[0] (canonical), kek_version[0] (current), detail
 *	DESTROY_KEK	uri[0], immediate (only if there need be no way back), database -> detail (until when there is one)
 *	RESTORE_KEK	uri[0], database							-> kek_version[0] (current), detail
 *	STATUS		-											-> name[n], value[n]
 *
 * database is the name of the client's; without it only what is for any is allowed.
 *
 * The keeper's pipe (a socketpair; no handshake, the pair is private):
 *	keeper	SETTINGS	name[n], value[n], secret (32, first frame only)
 *	agent	READY		value[0] version of the agent
 *	agent	LOG			level (value[0]: "log" or "warning"), detail
 *	keeper closes: the agent answers what waits with PGE_AGENT_UNREACHABLE, wipes and exits.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_FORMAT_FRAME_H
#define PGE_FORMAT_FRAME_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/status.h"

#define PGE_FRAME_VERSION		1
#define PGE_FRAME_HEADER_LEN	24
#define PGE_FRAME_BODY_MAX		(128 * 1024)	/* 8 wrappings of 8 KiB and
												 * their URIs */
#define PGE_FRAME_MAX			(PGE_FRAME_HEADER_LEN + PGE_FRAME_BODY_MAX)
#define PGE_FRAME_NONCE_LEN		32
#define PGE_FRAME_PROOF_LEN		32
#define PGE_FRAME_PAIRS_MAX		48	/* name/value pairs */
#define PGE_FRAME_NAME_MAX		63
#define PGE_FRAME_VALUE_MAX		4096
#define PGE_FRAME_DETAIL_MAX	1024

typedef enum PgeFrameType
{
	PGE_FRAME_HELLO = 1,
	PGE_FRAME_CHALLENGE = 2,
	PGE_FRAME_PROOF = 3,
	PGE_FRAME_GREETING = 4,
	PGE_FRAME_WELCOME = 5,

	PGE_FRAME_UNWRAP = 16,
	PGE_FRAME_WRAP_NEW = 17,
	PGE_FRAME_REWRAP = 18,
	PGE_FRAME_CREATE_KEK = 19,
	PGE_FRAME_ROTATE_KEK = 20,
	PGE_FRAME_DESCRIBE_KEK = 21,
	PGE_FRAME_STATUS = 22,
	PGE_FRAME_DESTROY_KEK = 23,
	PGE_FRAME_RESTORE_KEK = 24,

	PGE_FRAME_ANSWER = 32,		/* to any request of 16 .. 31 */

	PGE_FRAME_SETTINGS = 48,
	PGE_FRAME_READY = 49,
	PGE_FRAME_LOG = 50
} PgeFrameType;

/* Bounds of the lengths are in frame.c's table. */
typedef enum PgeFrameTag
{
	PGE_TAG_NONCE = 1,
	PGE_TAG_PROOF = 2,
	PGE_TAG_SECRET = 3,
	PGE_TAG_BINDING = 4,
	PGE_TAG_CHECK_VALUE = 5,
	PGE_TAG_DEK = 6,
	PGE_TAG_DETAIL = 7,
	PGE_TAG_URI = 8,
	PGE_TAG_WRAPPED = 9,
	PGE_TAG_KEK_VERSION = 10,
	PGE_TAG_NAME = 11,
	PGE_TAG_VALUE = 12,
	PGE_TAG_DATABASE = 13,
	PGE_TAG_IMMEDIATE = 14
} PgeFrameTag;

typedef struct PgeFrame
{
	/* header */
	uint8_t		type;
	uint16_t	status;			/* PgeStatus */
	uint64_t	ticket;
	uint32_t	flush;

	/* body */
	PgeBytes	nonce;
	PgeBytes	proof;
	PgeBytes	secret;			/* the socket's secret: keeper's pipe only */
	PgeBytes	binding;
	PgeBytes	check_value;
	PgeBytes	database;		/* its name, in no encoding that we know */
	PgeBytes	immediate;		/* one byte, 1; not given: no */
	PgeBytes	dek;			/* key bytes: wipe what this points into */
	PgeBytes	detail;			/* UTF-8, no control characters */
	int			nuris;
	PgeBytes	uri[PGE_WRAPPINGS_MAX];
	int			nwrapped;
	PgeBytes	wrapped[PGE_WRAPPINGS_MAX];
	int			nkek_versions;
	PgeBytes	kek_version[PGE_WRAPPINGS_MAX];
	int			npairs;
	PgeBytes	name[PGE_FRAME_PAIRS_MAX];
	PgeBytes	value[PGE_FRAME_PAIRS_MAX];
} PgeFrame;

/*
 * How many bytes the frame that starts with this header has in all.  Needs
 * PGE_FRAME_HEADER_LEN bytes; PGE_MALFORMED for a version or length that we do
 * not take (so garbage is refused before a byte of body is read).
 */
extern PgeStatus pge_frame_length(const uint8_t header[PGE_FRAME_HEADER_LEN],
								  size_t *total);

/*
 * Parses exactly one whole frame; the spans point into "bytes".  Which fields a
 * type needs (and not only may have) is for its reader to check.
 */
extern PgeStatus pge_frame_decode(PgeBytes bytes, PgeFrame *frame);

/*
 * Writes one frame at the end of out (out->len grows).  PGE_TOO_LARGE if the
 * capacity is short or the body would be longer than PGE_FRAME_BODY_MAX, with
 * nothing written; PGE_MALFORMED if a field is outside its bounds, so that no
 * side can send what the other would refuse.
 */
extern PgeStatus pge_frame_encode(const PgeFrame *frame, PgeBuffer *out);

/*
 * Makes a string fit for a detail, URI or KEK version: each byte that is a
 * control character or not part of valid UTF-8 becomes a question mark.
 */
extern void pge_frame_clean_text(char *text);

#endif							/* PGE_FORMAT_FRAME_H */
