/*-------------------------------------------------------------------------
 *
 * encoding_fuzz.c
 *	  Base64: what is taken is written again, letter for letter; what is written
 *	  is read again.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/encoding.h"
#include "exact_copy.h"

static void
read_and_write(Base64Alphabet alphabet, PgeBytes text)
{
	PgeBuffer	bytes = exact_buffer(text.len / 4 * 3 + 2);
	PgeBuffer	again = exact_buffer(BASE64_LEN(bytes.capacity));

	if (pge_base64_decode(alphabet, text, &bytes) == PGE_OK)
	{
		require(pge_base64_encode(alphabet, pge_buffer_bytes(&bytes), &again) == PGE_OK);
		require(again.len == text.len);
		require(text.len == 0 || memcmp(again.data, text.data, text.len) == 0);
	}
	else
		require(bytes.len == 0);
	free(bytes.data);
	free(again.data);
}

static void
write_and_read(Base64Alphabet alphabet, PgeBytes bytes)
{
	PgeBuffer	text = exact_buffer(BASE64_LEN(bytes.len));
	PgeBuffer	again = exact_buffer(bytes.len);

	require(pge_base64_encode(alphabet, bytes, &text) == PGE_OK);
	require(pge_base64_decode(alphabet, pge_buffer_bytes(&text), &again) == PGE_OK);
	require(again.len == bytes.len);
	require(bytes.len == 0 || memcmp(again.data, bytes.data, bytes.len) == 0);
	free(text.data);
	free(again.data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);

	for (int alphabet = BASE64_STANDARD; alphabet <= BASE64_URL; alphabet++)
	{
		read_and_write((Base64Alphabet) alphabet, pge_buffer_bytes(&in));
		write_and_read((Base64Alphabet) alphabet, pge_buffer_bytes(&in));
	}
	free(in.data);
	return 0;
}
