/*-------------------------------------------------------------------------
 *
 * uses_file.c
 *	  The file of the use counts.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "crypto/mac.h"
#include "format/uses_file.h"

static const uint8_t magic[8] = {'P', 'G', 'E', 'U', 'S', 'E', 'S', 0x01};

static size_t
file_length(uint32_t count)
{
	return PGE_USES_HEADER_LEN + (size_t) count * PGE_USES_ENTRY_LEN + PGE_USES_DIGEST_LEN;
}

PgeStatus
pge_uses_encode(const PgeUses *uses, int count, PgeBuffer *out)
{
	uint8_t    *p = out->data;
	PgeBytes	body;
	PgeStatus	status;

	out->len = 0;
	if (count < 0 || count > PGE_USES_MAX || out->capacity < file_length((uint32_t) count))
		return PGE_TOO_LARGE;
	memcpy(p, magic, sizeof(magic));
	pge_put_u32(p + sizeof(magic), (uint32_t) count);
	p += PGE_USES_HEADER_LEN;
	for (int i = 0; i < count; i++, p += PGE_USES_ENTRY_LEN)
	{
		pge_put_u32(p, uses[i].database);
		pge_put_u32(p + 4, uses[i].dek_id);
		pge_put_u64(p + 8, uses[i].uses);
	}
	body = pge_bytes(out->data, (size_t) (p - out->data));
	status = pge_sha256(&body, 1, p);
	if (status == PGE_OK)
		out->len = file_length((uint32_t) count);
	return status;
}

static PgeStatus
check_whole(PgeBytes file)
{
	uint8_t		digest[PGE_MAC_LEN];
	PgeBytes	body;
	PgeStatus	status;
	uint32_t	count;

	if (file.len < file_length(0) || memcmp(file.data, magic, sizeof(magic)) != 0)
		return PGE_MALFORMED;
	count = pge_get_u32(file.data + sizeof(magic));
	if (count > PGE_USES_MAX || file.len != file_length(count))
		return PGE_MALFORMED;
	body = pge_bytes(file.data, file.len - PGE_USES_DIGEST_LEN);
	status = pge_sha256(&body, 1, digest);
	if (status != PGE_OK)
		return status;
	/* no secret: it finds damage, not malice */
	return memcmp(digest, file.data + body.len, sizeof(digest)) == 0 ? PGE_OK : PGE_MALFORMED;
}

PgeStatus
pge_uses_decode(PgeBytes file, PgeUses *uses, int *count)
{
	PgeStatus	status = check_whole(file);
	const uint8_t *p = file.data + PGE_USES_HEADER_LEN;

	*count = 0;
	if (status != PGE_OK)
		return status;
	for (int n = (int) pge_get_u32(file.data + sizeof(magic)); *count < n; p += PGE_USES_ENTRY_LEN)
	{
		PgeUses    *one = &uses[*count];

		one->database = pge_get_u32(p);
		one->dek_id = pge_get_u32(p + 4);
		one->uses = pge_get_u64(p + 8);
		if (one->dek_id == 0 || one->uses > INT64_MAX)
		{
			*count = 0;
			return PGE_MALFORMED;
		}
		++*count;
	}
	return PGE_OK;
}
