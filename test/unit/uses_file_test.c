/*-------------------------------------------------------------------------
 *
 * uses_file_test.c
 *	  The file of the use counts: what is read is what was written, whole.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "crypto/mac.h"
#include "format/uses_file.h"

static PgeUses read_back[PGE_USES_MAX];

/* Puts a right digest under what was changed. */
static void
seal_again(PgeBuffer *file)
{
	PgeBytes	body = pge_bytes(file->data, file->len - PGE_USES_DIGEST_LEN);

	if (pge_sha256(&body, 1, file->data + body.len) != PGE_OK)
		abort();
}

static PgeStatus
decode(const PgeBuffer *file, int *count)
{
	return pge_uses_decode(pge_buffer_bytes(file), read_back, count);
}

static void
check_frozen(void)
{
	static const PgeUses uses[] = {{5, 7, 0x0102030405060708}};
	static const uint8_t expected[] = "PGEUSES\1\0\0\0\1\0\0\0\5\0\0\0\7\1\2\3\4\5\6\7\10";
	PgeBuffer	out = new_buffer(60);
	PgeBytes	body = pge_bytes(expected, 28);
	uint8_t		digest[PGE_MAC_LEN];
	int			count = -1;

	check_status(pge_uses_encode(uses, 1, &out), PGE_OK, "one data key encodes");
	check(out.len == 60 && memcmp(out.data, expected, 28) == 0, "to the bytes of the specification");
	check(pge_sha256(&body, 1, digest) == PGE_OK && memcmp(out.data + 28, digest, 32) == 0, "and their SHA-256");
	check_status(decode(&out, &count), PGE_OK, "and decodes");
	check(count == 1 && read_back[0].database == 5 && read_back[0].dek_id == 7 &&
		  read_back[0].uses == 0x0102030405060708, "to what went in");
	out.capacity = 59;
	check_status(pge_uses_encode(uses, 1, &out), PGE_TOO_LARGE, "a buffer one byte short is refused");
	check(out.len == 0, "and stays empty");
	free(out.data);
}

static void
check_damage(void)
{
	static const PgeUses uses[] = {{5, 7, 1000}, {5, 8, 2000}};
	PgeBuffer	out = new_buffer(77);
	int			count;

	check_status(pge_uses_encode(uses, 2, &out), PGE_OK, "two data keys encode");
	for (size_t bit = 0; bit < 8 * out.len; bit++)
	{
		out.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
		count = -1;
		if (decode(&out, &count) != PGE_MALFORMED || count != 0)
			check(false, "flipped bit %zu is seen, and nothing read", bit);
		out.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	check_status(decode(&out, &count), PGE_OK, "every flipped bit was seen, and without one it is read");
	for (size_t len = 0; len < out.len; len++)
	{
		PgeBuffer	cut = new_buffer(len);

		cut.len = len;
		memcpy(cut.data, out.data, len);
		if (decode(&cut, &count) != PGE_MALFORMED || count != 0)
			check(false, "%zu bytes are too short", len);
		free(cut.data);
	}
	out.len++;
	check_status(decode(&out, &count), PGE_MALFORMED, "one byte more is not read");
	out.len--;

	pge_put_u32(out.data + 16, 0);
	seal_again(&out);
	check_status(decode(&out, &count), PGE_MALFORMED, "dek_id 0 is not read, whatever the digest");
	pge_put_u32(out.data + 16, 7);
	pge_put_u64(out.data + 36, (uint64_t) INT64_MAX + 1);
	seal_again(&out);
	check_status(decode(&out, &count), PGE_MALFORMED, "nor a number that could wrap");
	check(count == 0, "and the data key before it is not either");
	pge_put_u64(out.data + 36, INT64_MAX);
	seal_again(&out);
	check_status(decode(&out, &count), PGE_OK, "the largest is");
	for (uint32_t i = 0; i < 4; i++)
	{
		uint32_t	wrong = (uint32_t[]) {1, 3, PGE_USES_MAX, 0xffffffff}[i];

		pge_put_u32(out.data + 8, wrong);
		seal_again(&out);
		check_status(decode(&out, &count), PGE_MALFORMED, "two entries that say they are %u are not", wrong);
	}
	free(out.data);
}

static void
check_sizes(void)
{
	static PgeUses uses[PGE_USES_MAX + 1];
	PgeBuffer	out = new_buffer(PGE_USES_FILE_MAX + PGE_USES_ENTRY_LEN);
	int			count;

	for (uint32_t i = 0; i <= PGE_USES_MAX; i++)
		uses[i] = (PgeUses)
	{
		i, i + 1, 3 * i
	};
	check_status(pge_uses_encode(uses, 0, &out), PGE_OK, "no data key encodes");
	check_status(decode(&out, &count), PGE_OK, "and decodes");
	check(count == 0, "to none");
	check_status(pge_uses_encode(uses, PGE_USES_MAX, &out), PGE_OK, "as many as there can be");
	check(out.len == PGE_USES_FILE_MAX, "make the largest file");
	check_status(decode(&out, &count), PGE_OK, "which is read");
	check(count == PGE_USES_MAX && memcmp(uses, read_back, sizeof(read_back)) == 0, "whole");
	check_status(pge_uses_encode(uses, PGE_USES_MAX + 1, &out), PGE_TOO_LARGE, "one more is not written");

	/* what another version might write */
	check_status(pge_uses_encode(uses, PGE_USES_MAX, &out), PGE_OK, "the largest again");
	out.len += PGE_USES_ENTRY_LEN;
	pge_put_u32(out.data + 8, PGE_USES_MAX + 1);
	seal_again(&out);
	check_status(decode(&out, &count), PGE_MALFORMED, "with one more is not read");
	free(out.data);
}

int
main(void)
{
	check_frozen();
	check_damage();
	check_sizes();
	return check_done();
}
