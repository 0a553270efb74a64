/*-------------------------------------------------------------------------
 *
 * sealed_value.c
 *	  The header of a sealed value.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "format/sealed_value.h"

PgeStatus
pge_sealed_parse(PgeBytes sealed, uint32_t *dek_id, PgeBytes *body)
{
	uint32_t	id;

	if (sealed.len < PGE_SEALED_LEN_MIN || sealed.data[0] != PGE_SEALED_VERSION)
		return PGE_MALFORMED;
	id = pge_get_u32(sealed.data + 1);
	if (id == 0)
		return PGE_MALFORMED;
	*dek_id = id;
	*body = pge_bytes(sealed.data + PGE_SEALED_HEADER_LEN,
					  sealed.len - PGE_SEALED_HEADER_LEN);
	return PGE_OK;
}

void
pge_sealed_write_header(uint8_t *out, uint32_t dek_id)
{
	out[0] = PGE_SEALED_VERSION;
	pge_put_u32(out + 1, dek_id);
}
