/*-------------------------------------------------------------------------
 *
 * frame_stream_test.c
 *	  Frames come through whole, and no freed block holds a key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/frame_stream.h"
#include "check.h"

static const uint8_t key[PGE_DEK_LEN] = "a key of thirty-two bytes: 0123";
static int	found_in_freed;

void		__real_free(void *p);
void		__wrap_free(void *p);

static bool
contains_key(const uint8_t *p, size_t len)
{
	for (size_t at = 0; at + 16 <= len; at++)
		if (memcmp(p + at, key, 16) == 0)
			return true;
	return false;
}

void
__wrap_free(void *p)
{
	if (p != NULL && contains_key(p, malloc_usable_size(p)))
		found_in_freed++;
	__real_free(p);
}

static void
open_pair(FrameStream *a, FrameStream *b)
{
	int			pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		abort();
	pge_stream_init(a, pair[0]);
	pge_stream_init(b, pair[1]);
}

/* Until the next frame is there. */
static PgeStatus
receive(FrameStream *from, FrameStream *to, PgeBytes *bytes)
{
	for (int i = 0; i < 1000; i++)
	{
		PgeStatus	status = pge_stream_next(to, PGE_FRAME_MAX, bytes);

		if (status != PGE_OK || bytes->len > 0)
			return status;
		if (!pge_stream_flush(from) || !pge_stream_fill(to))
			return PGE_IO_ERROR;
	}
	return PGE_UNAVAILABLE;
}

static void
check_traffic(void)
{
	static uint8_t wrapped[PGE_WRAPPED_MAX];
	PgeFrame	small = {.type = PGE_FRAME_ANSWER, .ticket = 1, .dek = pge_bytes(key, sizeof(key))};
	PgeFrame	big = {.type = PGE_FRAME_ANSWER, .ticket = 2, .dek = pge_bytes(key, sizeof(key)), .nwrapped = PGE_WRAPPINGS_MAX};
	FrameStream a;
	FrameStream b;
	PgeBytes	bytes;
	PgeFrame	frame;
	bool		all = true;

	for (int i = 0; i < PGE_WRAPPINGS_MAX; i++)
		big.wrapped[i] = pge_bytes(wrapped, sizeof(wrapped));
	open_pair(&a, &b);
	for (int i = 0; i < 100; i++)
		all = all && pge_stream_send(&a, i % 10 == 9 ? &big : &small) == PGE_OK;
	for (int i = 0; i < 100; i++)
	{
		all = all && receive(&a, &b, &bytes) == PGE_OK && pge_frame_decode(bytes, &frame) == PGE_OK &&
			frame.ticket == (i % 10 == 9 ? 2 : 1) && same_bytes(frame.dek, pge_bytes(key, sizeof(key)));
		pge_stream_consume(&b, bytes.len);
	}
	check(all, "100 frames, small and big, come through in their order");
	check(a.out_bytes == 0 && b.in_len == 0, "and nothing is left");
	check(!contains_key(b.in, b.in_capacity), "what was consumed is wiped");
	check(b.in_capacity < 8192, "the buffer is small again");
	all = pge_stream_send(&a, &small) == PGE_OK && pge_stream_flush(&a) && pge_stream_fill(&b) &&
		pge_stream_send(&a, &big) == PGE_OK;
	check(all, "(a key on its way in both buffers)");
	pge_stream_close(&a);
	pge_stream_close(&b);
	check(found_in_freed == 0, "no freed block held a key");
}

static void
check_limits(void)
{
	PgeFrame	log = {.type = PGE_FRAME_LOG, .detail = text_bytes("0123456789")};
	FrameStream a;
	FrameStream b;
	PgeBytes	bytes;

	open_pair(&a, &b);
	check(pge_stream_send(&a, &log) == PGE_OK && pge_stream_flush(&a) && pge_stream_fill(&b), "(a frame)");
	check_status(pge_stream_next(&b, PGE_FRAME_HEADER_LEN + 14, &bytes), PGE_OK, "a frame as long as the limit is taken");
	check(bytes.len == PGE_FRAME_HEADER_LEN + 14, "as a whole");
	check_status(pge_stream_next(&b, PGE_FRAME_HEADER_LEN + 13, &bytes), PGE_MALFORMED, "a longer one is not");
	pge_stream_close(&a);
	check(!pge_stream_fill(&b), "the peer's end is told");
	check(pge_stream_send(&b, &log) == PGE_OK && !pge_stream_flush(&b), "and writing to it is no signal");
	pge_stream_close(&b);
}

int
main(void)
{
	check_traffic();
	check_limits();
	return check_done();
}
