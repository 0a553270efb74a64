/*-------------------------------------------------------------------------
 *
 * wrapped_key_test.c
 *	  The stored form of a wrapped DEK.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "base/limits.h"
#include "check.h"
#include "format/wrapped_key.h"

static void
check_sizes(void)
{
	static const uint8_t service[PGE_WRAPPED_MAX];
	PgeBuffer	out = new_buffer(PGE_WRAPPED_MAX + 1);
	size_t		most = PGE_WRAPPED_MAX - PGE_WRAPPED_HEADER_LEN;
	PgeWrapForm form;
	PgeWrapHalf half;
	PgeBytes	bytes;

	check_status(pge_wrapped_encode(PGE_WRAP_LOCAL, PGE_HALF_NONE, pge_bytes(service, 0), &out), PGE_MALFORMED, "nothing is no wrapped key");
	check_status(pge_wrapped_encode(PGE_WRAP_LOCAL, PGE_HALF_NONE, pge_bytes(service, most), &out), PGE_OK, "the largest");
	check(out.len == PGE_WRAPPED_MAX, "has PGE_WRAPPED_MAX bytes");
	check_status(pge_wrapped_decode(pge_buffer_bytes(&out), &form, &half, &bytes), PGE_OK, "and is read");
	check_status(pge_wrapped_decode(pge_bytes(out.data, PGE_WRAPPED_MAX + 1), &form, &half, &bytes), PGE_MALFORMED, "one byte more is not");
	check_status(pge_wrapped_encode(PGE_WRAP_LOCAL, PGE_HALF_NONE, pge_bytes(service, most + 1), &out), PGE_TOO_LARGE, "nor written");
	check(out.len == 0, "the buffer stays empty");
	out.capacity = 12;
	check_status(pge_wrapped_encode(PGE_WRAP_LOCAL, PGE_HALF_NONE, pge_bytes(service, 10), &out), PGE_TOO_LARGE, "a buffer one byte short is refused");
	free(out.data);
}

int
main(void)
{
	PgeBuffer	out = new_buffer(10);
	PgeWrapForm form = 0;
	PgeWrapHalf half = 9;
	PgeBytes	bytes = {NULL, 0};

	check_status(pge_wrapped_encode(PGE_WRAP_LOCAL, PGE_HALF_NONE, text_bytes("service"), &out), PGE_OK, "a wrapped key encodes");
	check(same_bytes(pge_buffer_bytes(&out), pge_bytes("\1\1\0service", 10)), "to the bytes of the specification");
	check_status(pge_wrapped_decode(pge_buffer_bytes(&out), &form, &half, &bytes), PGE_OK, "and decodes");
	check(form == PGE_WRAP_LOCAL && half == PGE_HALF_NONE && same_bytes(bytes, text_bytes("service")), "to what went in");
	for (size_t len = 0; len <= PGE_WRAPPED_HEADER_LEN; len++)
		check_status(pge_wrapped_decode(pge_bytes(out.data, len), &form, &half, &bytes), PGE_MALFORMED, "%zu bytes are too short", len);
	check_status(pge_wrapped_decode(pge_bytes(out.data, PGE_WRAPPED_HEADER_LEN + 1), &form, &half, &bytes), PGE_OK, "one byte of service is enough");
	for (int i = 0; i < 3; i++)
		for (int value = 0; value < 256; value++)
		{
			uint8_t		right = "\1\1\0"[i];
			bool		good = value == right || (i == 1 && value >= PGE_WRAP_LOCAL && value <= PGE_WRAP_VAULT_AAD);

			out.data[i] = (uint8_t) value;
			check_status(pge_wrapped_decode(pge_buffer_bytes(&out), &form, &half, &bytes),
						 good ? PGE_OK : PGE_MALFORMED, "byte %d = %d", i, value);
			out.data[i] = right;
		}
	check_status(pge_wrapped_encode((PgeWrapForm) 5, PGE_HALF_NONE, text_bytes("s"), &out), PGE_MALFORMED, "an unknown form is not written");
	check_status(pge_wrapped_encode(PGE_WRAP_LOCAL, (PgeWrapHalf) 1, text_bytes("s"), &out), PGE_MALFORMED, "nor an unknown half");
	free(out.data);
	check_sizes();
	return check_done();
}
