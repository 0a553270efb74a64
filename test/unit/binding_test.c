/*-------------------------------------------------------------------------
 *
 * binding_test.c
 *	  Bindings: one way to write each, and nothing else is read.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "crypto/aead.h"
#include "format/binding.h"

static const PgeBinding example = {
	.keyring = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	.dek_id = 0x10111213, .version = 0x20212223, .purpose = PGE_PURPOSE_AEAD,
	.algorithm = PGE_AES_256_GCM, .key_id = {(const uint8_t *) "acme", 4}
};

/* 01, uuid, id, version, purpose, algorithm, length, "acme" */
static const uint8_t example_bytes[] = {
	0x01, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23, 0x01, 0x02, 0x00, 0x04, 'a', 'c', 'm', 'e'
};

static void
check_example(void)
{
	PgeBuffer	out = new_buffer(PGE_BINDING_MAX);
	PgeBinding	back;

	check_status(pge_binding_encode(&example, &out), PGE_OK, "a binding encodes");
	check(same_bytes(pge_buffer_bytes(&out), pge_bytes(example_bytes, sizeof(example_bytes))), "to the bytes of the specification");
	check_status(pge_binding_decode(pge_buffer_bytes(&out), &back), PGE_OK, "and decodes");
	check(memcmp(back.keyring, example.keyring, PGE_UUID_LEN) == 0, "keyring");
	check(back.dek_id == example.dek_id, "dek_id");
	check(back.version == example.version, "version");
	check(back.purpose == example.purpose, "purpose");
	check(back.algorithm == example.algorithm, "algorithm");
	check(same_bytes(back.key_id, example.key_id), "key_id");
	out.capacity = sizeof(example_bytes) - 1;
	check_status(pge_binding_encode(&example, &out), PGE_TOO_LARGE, "a buffer one byte short is refused");
	check(out.len == 0, "and stays empty");
	free(out.data);
}

static PgeStatus
encode_and_decode(const PgeBinding *binding)
{
	PgeBuffer	out = new_buffer(PGE_BINDING_MAX);
	PgeBinding	back;
	PgeStatus	status = pge_binding_encode(binding, &out);

	if (status == PGE_OK && pge_binding_decode(pge_buffer_bytes(&out), &back) != PGE_OK)
		status = PGE_INVALID;
	free(out.data);
	return status;
}

static void
check_fields(void)
{
	static uint8_t name[PGE_KEY_ID_MAX + 1];
	PgeBinding	b = example;

	b.key_id = pge_bytes(name, PGE_KEY_ID_MAX);
	check_status(encode_and_decode(&b), PGE_OK, "a key_id of 255 bytes");
	b.key_id = pge_bytes(name, PGE_KEY_ID_MAX + 1);
	check_status(encode_and_decode(&b), PGE_MALFORMED, "one of 256 is refused");
	b.key_id = pge_bytes(name, 0);
	check_status(encode_and_decode(&b), PGE_MALFORMED, "an empty one is refused");
	b = example;
	b.dek_id = 0;
	check_status(encode_and_decode(&b), PGE_MALFORMED, "dek_id 0 is refused");
	b = example;
	b.version = 0;
	check_status(encode_and_decode(&b), PGE_MALFORMED, "version 0 is refused");
	b = example;
	b.purpose = 2;
	check_status(encode_and_decode(&b), PGE_MALFORMED, "an unknown purpose is refused");
	b = example;
	b.algorithm = 3;
	check_status(encode_and_decode(&b), PGE_MALFORMED, "an unknown algorithm is refused");
	b.algorithm = 0;
	check_status(encode_and_decode(&b), PGE_MALFORMED, "so is none");
}

static PgeStatus
decode_with(size_t at, uint8_t value)
{
	PgeBuffer	copy = new_buffer(sizeof(example_bytes));
	PgeBinding	back;
	PgeStatus	status;

	memcpy(copy.data, example_bytes, sizeof(example_bytes));
	copy.data[at] = value;
	status = pge_binding_decode(pge_bytes(copy.data, sizeof(example_bytes)), &back);
	free(copy.data);
	return status;
}

static void
check_strictness(void)
{
	PgeBuffer	longer = new_buffer(sizeof(example_bytes) + 1);
	PgeBinding	back;

	memcpy(longer.data, example_bytes, sizeof(example_bytes));
	for (size_t len = 0; len <= sizeof(example_bytes) + 1; len++)
	{
		PgeBuffer	cut = new_buffer(len);

		memcpy(cut.data, longer.data, len);
		check_status(pge_binding_decode(pge_bytes(cut.data, len), &back),
					 len == sizeof(example_bytes) ? PGE_OK : PGE_MALFORMED, "%zu bytes", len);
		free(cut.data);
	}
	check_status(decode_with(0, 0), PGE_MALFORMED, "version byte 0 is refused");
	check_status(decode_with(0, 2), PGE_MALFORMED, "version byte 2 is refused");
	check_status(decode_with(25, 0), PGE_MALFORMED, "purpose 0 is refused");
	check_status(decode_with(26, 9), PGE_MALFORMED, "algorithm 9 is refused");
	check_status(decode_with(27, 1), PGE_MALFORMED, "a length of 260 is refused");
	check_status(decode_with(28, 3), PGE_MALFORMED, "a byte left over is refused");
	check_status(decode_with(28, 5), PGE_MALFORMED, "a byte missing is refused");
	free(longer.data);
}

/* Any change of DEK or binding changes the check value. */
static void
check_check_value(void)
{
	PgeSecret	dek = {{0x42}};
	uint8_t		first[PGE_CHECK_VALUE_LEN];
	uint8_t		second[PGE_CHECK_VALUE_LEN];
	uint8_t		bytes[sizeof(example_bytes)];
	bool		all = true;

	check_status(pge_check_value(&dek, pge_bytes(example_bytes, sizeof(example_bytes)), first), PGE_OK, "a check value");
	check_status(pge_check_value(&dek, pge_bytes(example_bytes, sizeof(example_bytes)), second), PGE_OK, "again");
	check(memcmp(first, second, sizeof(first)) == 0, "is the same");
	for (size_t i = 0; i < sizeof(bytes); i++)
	{
		memcpy(bytes, example_bytes, sizeof(bytes));
		bytes[i] ^= 1;
		all = all && pge_check_value(&dek, pge_bytes(bytes, sizeof(bytes)), second) == PGE_OK &&
			memcmp(first, second, sizeof(first)) != 0;
	}
	check(all, "each byte of the binding counts");
	for (size_t i = 0; i < PGE_DEK_LEN; i++)
	{
		dek.bytes[i] ^= 1;
		all = all && pge_check_value(&dek, pge_bytes(example_bytes, sizeof(example_bytes)), second) == PGE_OK &&
			memcmp(first, second, sizeof(first)) != 0;
		dek.bytes[i] ^= 1;
	}
	check(all, "each byte of the DEK counts");
}

int
main(void)
{
	check_example();
	check_fields();
	check_strictness();
	check_check_value();
	return check_done();
}
