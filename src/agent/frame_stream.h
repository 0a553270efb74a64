/*
 * frame_stream.h -- frames on one non-blocking socket.
 *
 * Reads are bounded by the reader's own limit on a frame's length; what was
 * consumed or written is wiped, because answers carry data keys and the
 * keeper's settings carry the socket's secret.
 *
 * pge_stream_init -> (fill, next, consume)* and (send, flush)* ->
 * pge_stream_close.  Belongs to the loop's thread.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_FRAME_STREAM_H
#define PGE_AGENT_FRAME_STREAM_H

#include "base/bytes.h"
#include "base/status.h"
#include "format/frame.h"

typedef struct StreamChunk StreamChunk;

typedef struct FrameStream
{
	int			fd;
	uint8_t    *in;
	size_t		in_len;
	size_t		in_capacity;
	StreamChunk *out_first;
	StreamChunk *out_last;
	size_t		out_bytes;		/* queued, not written yet */
} FrameStream;

extern void pge_stream_init(FrameStream *stream, int fd);

/* Reads once what is there.  false: the peer is gone, or memory is short. */
extern bool pge_stream_fill(FrameStream *stream);

/*
 * The first frame, if it is here as a whole: *frame has its bytes, or length 0
 * if more must be read first.  PGE_MALFORMED: what comes is no frame of ours, or
 * one longer than max.
 */
extern PgeStatus pge_stream_next(FrameStream *stream, size_t max,
								 PgeBytes *frame);

/* Drops and wipes the first frame, of that length. */
extern void pge_stream_consume(FrameStream *stream, size_t len);

/* Queues a frame. */
extern PgeStatus pge_stream_send(FrameStream *stream, const PgeFrame *frame);

/* Writes what the socket takes.  false: the peer is gone. */
extern bool pge_stream_flush(FrameStream *stream);

extern void pge_stream_close(FrameStream *stream);

#endif							/* PGE_AGENT_FRAME_STREAM_H */
