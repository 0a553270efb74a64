/*-------------------------------------------------------------------------
 *
 * frame_stream.c
 *	  Frames on one non-blocking socket.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/frame_stream.h"
#include "base/secret.h"

/* Holds some requests of usual size; grows for a bigger frame and back. */
#define STREAM_IN_CAPACITY	4096

struct StreamChunk
{
	StreamChunk *next;
	size_t		len;
	size_t		written;
	uint8_t		bytes[];
};

static bool resize_input(FrameStream *stream, size_t capacity);
static void drop_first_chunk(FrameStream *stream);

void
pge_stream_init(FrameStream *stream, int fd)
{
	memset(stream, 0, sizeof(*stream));
	stream->fd = fd;
}

bool
pge_stream_fill(FrameStream *stream)
{
	ssize_t		n;

	if (stream->in == NULL && !resize_input(stream, STREAM_IN_CAPACITY))
		return false;
	if (stream->in_len == stream->in_capacity)
		return true;			/* a whole frame waits to be consumed */
	n = recv(stream->fd, stream->in + stream->in_len,
			 stream->in_capacity - stream->in_len, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	stream->in_len += (size_t) n;
	return n > 0;
}

PgeStatus
pge_stream_next(FrameStream *stream, size_t max, PgeBytes *frame)
{
	size_t		total;

	*frame = pge_bytes(NULL, 0);
	if (stream->in_len < PGE_FRAME_HEADER_LEN)
		return PGE_OK;
	if (pge_frame_length(stream->in, &total) != PGE_OK || total > max)
		return PGE_MALFORMED;
	if (total > stream->in_capacity && !resize_input(stream, total))
		return PGE_OUT_OF_MEMORY;
	if (stream->in_len >= total)
		*frame = pge_bytes(stream->in, total);
	return PGE_OK;
}

void
pge_stream_consume(FrameStream *stream, size_t len)
{
	size_t		rest = stream->in_len - len;

	memmove(stream->in, stream->in + len, rest);
	pge_secret_wipe(stream->in + rest, len);
	stream->in_len = rest;

	/* If memory is short the big buffer simply stays. */
	if (stream->in_capacity > STREAM_IN_CAPACITY && rest <= STREAM_IN_CAPACITY)
		(void) resize_input(stream, STREAM_IN_CAPACITY);
}

PgeStatus
pge_stream_send(FrameStream *stream, const PgeFrame *frame)
{
	static uint8_t scratch[PGE_FRAME_MAX];	/* the loop's thread only */
	PgeBuffer	out = {scratch, 0, sizeof(scratch)};
	StreamChunk *chunk;
	PgeStatus	status = pge_frame_encode(frame, &out);

	if (status != PGE_OK)
		return status;
	chunk = malloc(sizeof(*chunk) + out.len);
	if (chunk != NULL)
	{
		chunk->next = NULL;
		chunk->len = out.len;
		chunk->written = 0;
		memcpy(chunk->bytes, scratch, out.len);
		if (stream->out_last != NULL)
			stream->out_last->next = chunk;
		else
			stream->out_first = chunk;
		stream->out_last = chunk;
		stream->out_bytes += out.len;
	}
	pge_secret_wipe(scratch, out.len);
	return chunk != NULL ? PGE_OK : PGE_OUT_OF_MEMORY;
}

bool
pge_stream_flush(FrameStream *stream)
{
	while (stream->out_first != NULL)
	{
		StreamChunk *chunk = stream->out_first;
		ssize_t		n = send(stream->fd, chunk->bytes + chunk->written,
							 chunk->len - chunk->written,
							 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
		chunk->written += (size_t) n;
		stream->out_bytes -= (size_t) n;
		if (chunk->written == chunk->len)
			drop_first_chunk(stream);
	}
	return true;
}

void
pge_stream_close(FrameStream *stream)
{
	while (stream->out_first != NULL)
		drop_first_chunk(stream);
	pge_secret_wipe(stream->in, stream->in_capacity);
	free(stream->in);
	if (stream->fd >= 0)
		close(stream->fd);
	pge_stream_init(stream, -1);
}

/* Not realloc, which would leave the old copy behind. */
static bool
resize_input(FrameStream *stream, size_t capacity)
{
	uint8_t    *fresh = malloc(capacity);

	if (fresh == NULL)
		return false;
	if (stream->in != NULL)
	{
		memcpy(fresh, stream->in, stream->in_len);
		pge_secret_wipe(stream->in, stream->in_capacity);
		free(stream->in);
	}
	stream->in = fresh;
	stream->in_capacity = capacity;
	return true;
}

static void
drop_first_chunk(FrameStream *stream)
{
	StreamChunk *chunk = stream->out_first;

	stream->out_bytes -= chunk->len - chunk->written;
	stream->out_first = chunk->next;
	if (stream->out_first == NULL)
		stream->out_last = NULL;
	pge_secret_wipe(chunk->bytes, chunk->len);
	free(chunk);
}
