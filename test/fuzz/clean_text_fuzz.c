/*-------------------------------------------------------------------------
 *
 * clean_text_fuzz.c
 *	  Any text, made clean, is one that a frame takes; cleaning it again changes
 *	  nothing.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "exact_copy.h"
#include "format/frame.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static PgeFrame frame;
	size_t		len = strnlen((const char *) data, size < PGE_FRAME_DETAIL_MAX ? size : PGE_FRAME_DETAIL_MAX);
	char	   *text = malloc(len + 1);
	char	   *once = malloc(len + 1);
	PgeBuffer	out = exact_buffer(PGE_FRAME_HEADER_LEN + 4 + len);

	require(text != NULL && once != NULL);
	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	pge_frame_clean_text(text);
	require(strlen(text) == len);
	memcpy(once, text, len + 1);
	pge_frame_clean_text(text);
	require(strcmp(once, text) == 0);

	memset(&frame, 0, sizeof(frame));
	frame.type = PGE_FRAME_ANSWER;
	frame.detail = pge_bytes(text, len);
	require(pge_frame_encode(&frame, &out) == PGE_OK);
	free(text);
	free(once);
	free(out.data);
	return 0;
}
