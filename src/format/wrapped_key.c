/*-------------------------------------------------------------------------
 *
 * wrapped_key.c
 *	  The three bytes before what a key service returned.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "base/limits.h"
#include "format/wrapped_key.h"

#define WRAPPED_VERSION		0x01
#define SERVICE_BYTES_MAX	(PGE_WRAPPED_MAX - PGE_WRAPPED_HEADER_LEN)

/* The forms and halves that this version reads; the others come with their services. */
static bool
is_known(unsigned form, unsigned half)
{
	return form >= PGE_WRAP_LOCAL && form <= PGE_WRAP_VAULT_AAD && half == PGE_HALF_NONE;
}

PgeStatus
pge_wrapped_encode(PgeWrapForm form, PgeWrapHalf half, PgeBytes service_bytes,
				   PgeBuffer *out)
{
	out->len = 0;
	if (!is_known(form, half) || service_bytes.len < 1)
		return PGE_MALFORMED;
	if (service_bytes.len > SERVICE_BYTES_MAX ||
		out->capacity < PGE_WRAPPED_HEADER_LEN + service_bytes.len)
		return PGE_TOO_LARGE;
	out->data[0] = WRAPPED_VERSION;
	out->data[1] = (uint8_t) form;
	out->data[2] = (uint8_t) half;
	memcpy(out->data + PGE_WRAPPED_HEADER_LEN, service_bytes.data, service_bytes.len);
	out->len = PGE_WRAPPED_HEADER_LEN + service_bytes.len;
	return PGE_OK;
}

PgeStatus
pge_wrapped_decode(PgeBytes wrapped, PgeWrapForm *form, PgeWrapHalf *half,
				   PgeBytes *service_bytes)
{
	if (wrapped.len <= PGE_WRAPPED_HEADER_LEN || wrapped.len > PGE_WRAPPED_MAX ||
		wrapped.data[0] != WRAPPED_VERSION ||
		!is_known(wrapped.data[1], wrapped.data[2]))
		return PGE_MALFORMED;
	*form = (PgeWrapForm) wrapped.data[1];
	*half = (PgeWrapHalf) wrapped.data[2];
	*service_bytes = pge_bytes(wrapped.data + PGE_WRAPPED_HEADER_LEN,
							   wrapped.len - PGE_WRAPPED_HEADER_LEN);
	return PGE_OK;
}
