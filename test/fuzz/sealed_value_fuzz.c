/*-------------------------------------------------------------------------
 *
 * sealed_value_fuzz.c
 *	  Parses any bytes as a value, tries to open them, seals them and opens that.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "crypto/aead.h"
#include "exact_copy.h"
#include "format/sealed_value.h"

static const PgeAlgorithm algorithms[] = {PGE_XAES_256_GCM, PGE_AES_256_GCM};

/* The key of the seeds that open: test/fuzz/make_seeds.py. */
static const PgeSecret dek = {"the fuzzers' key, 32 bytes long"};
static PgeAead *contexts[2];

static void
open_body(PgeAead *aead, size_t overhead, PgeBytes body)
{
	PgeBuffer	plain = exact_buffer(body.len > overhead ? body.len - overhead : 0);
	PgeStatus	status = pge_aead_open(aead, pge_bytes("a", 1), body, &plain);

	if (body.len < overhead)
		require(status == PGE_MALFORMED && plain.len == 0);
	else if (status == PGE_OK)
		require(plain.len == body.len - overhead);
	else
	{
		require(status == PGE_NOT_AUTHENTIC && plain.len == 0);
		for (size_t i = 0; i < plain.capacity; i++)
			require(plain.data[i] == 0);
	}
	free(plain.data);
}

static void
seal_and_open(PgeAead *aead, size_t overhead, PgeBytes plain)
{
	PgeBytes	associated = pge_bytes(plain.data, plain.len / 2);
	PgeBuffer	body = exact_buffer(plain.len + overhead);
	PgeBuffer	back = exact_buffer(plain.len);

	require(pge_aead_seal(aead, associated, plain, &body) == PGE_OK);
	require(body.len == body.capacity);
	require(pge_aead_open(aead, associated, pge_buffer_bytes(&body), &back) == PGE_OK);
	require(back.len == plain.len);
	require(plain.len == 0 || memcmp(back.data, plain.data, plain.len) == 0);
	free(body.data);
	free(back.data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgeBuffer	in = exact_copy(data, size);
	PgeBytes	body;
	uint32_t	id;
	bool		parses = pge_sealed_parse(pge_buffer_bytes(&in), &id, &body) == PGE_OK;

	if (parses)
	{
		uint8_t		header[PGE_SEALED_HEADER_LEN];

		pge_sealed_write_header(header, id);
		require(id != 0 && memcmp(header, data, sizeof(header)) == 0);
		require(body.data == in.data + sizeof(header) && body.len == size - sizeof(header));
	}
	for (int i = 0; i < 2; i++)
	{
		size_t		overhead = pge_aead_overhead(algorithms[i]);

		if (contexts[i] == NULL)
			require(pge_aead_new(algorithms[i], &dek, &contexts[i]) == PGE_OK);
		if (parses)
			open_body(contexts[i], overhead, body);
		seal_and_open(contexts[i], overhead, pge_buffer_bytes(&in));
	}
	free(in.data);
	return 0;
}
