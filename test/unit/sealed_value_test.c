/*-------------------------------------------------------------------------
 *
 * sealed_value_test.c
 *	  The five bytes before a sealed value.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "format/sealed_value.h"

int
main(void)
{
	PgeBuffer	value = new_buffer(PGE_SEALED_LEN_MIN);
	uint32_t	id = 7;
	PgeBytes	body = {NULL, 0};

	pge_sealed_write_header(value.data, 0x01020304);
	check(memcmp(value.data, "\1\1\2\3\4", 5) == 0 && value.data[5] == 0xaa, "01 and the id, big-endian, five bytes");
	check_status(pge_sealed_parse(pge_bytes(value.data, PGE_SEALED_LEN_MIN), &id, &body), PGE_OK, "the shortest value parses");
	check(id == 0x01020304, "to its id");
	check(body.data == value.data + 5 && body.len == 28, "and its body");
	for (size_t len = 0; len < PGE_SEALED_LEN_MIN; len++)
		check_status(pge_sealed_parse(pge_bytes(value.data, len), &id, &body), PGE_MALFORMED, "%zu bytes are too short", len);
	check_status(pge_sealed_parse(pge_bytes(NULL, 0), &id, &body), PGE_MALFORMED, "nothing is too short");
	for (int first = 0; first < 256; first++)
	{
		value.data[0] = (uint8_t) first;
		check_status(pge_sealed_parse(pge_bytes(value.data, PGE_SEALED_LEN_MIN), &id, &body),
					 first == 1 ? PGE_OK : PGE_MALFORMED, "first byte %d", first);
	}
	pge_sealed_write_header(value.data, 0);
	check_status(pge_sealed_parse(pge_bytes(value.data, PGE_SEALED_LEN_MIN), &id, &body), PGE_MALFORMED, "id 0 is nobody's");
	check(id == 0x01020304, "a refused value leaves the id alone");
	pge_sealed_write_header(value.data, 0xffffffff);
	check_status(pge_sealed_parse(pge_bytes(value.data, PGE_SEALED_LEN_MIN), &id, &body), PGE_OK, "the largest id parses");
	check(id == 0xffffffff, "without a sign");
	free(value.data);
	return check_done();
}
