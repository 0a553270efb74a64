/*-------------------------------------------------------------------------
 *
 * frame_fuzz.c
 *	  Whatever decodes as a frame encodes to as many bytes, and those decode to
 *	  the same frame.
 *
 * Not to the same bytes: the order of a frame's fields is free.  Encoding twice
 * gives the same bytes, though.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "exact_copy.h"
#include "format/frame.h"

static PgeBuffer
encode(const PgeFrame *frame, size_t size)
{
	PgeBuffer	out = exact_buffer(size);

	require(pge_frame_encode(frame, &out) == PGE_OK);
	require(out.len == size);
	return out;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);
	PgeFrame	frame;
	PgeFrame	again;

	if (pge_frame_decode(pge_buffer_bytes(&in), &frame) == PGE_OK)
	{
		PgeBuffer	first = encode(&frame, size);
		PgeBuffer	second;

		require(pge_frame_decode(pge_buffer_bytes(&first), &again) == PGE_OK);
		require(again.type == frame.type && again.status == frame.status &&
				again.ticket == frame.ticket && again.flush == frame.flush &&
				again.nuris == frame.nuris && again.nwrapped == frame.nwrapped &&
				again.nkek_versions == frame.nkek_versions &&
				again.npairs == frame.npairs);
		second = encode(&again, size);
		require(memcmp(first.data, second.data, size) == 0);
		free(first.data);
		free(second.data);
	}
	free(in.data);
	return 0;
}
