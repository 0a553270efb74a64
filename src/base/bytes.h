/*
 * bytes.h -- spans of bytes, and big-endian numbers in them.
 *
 * Pure.  A PgeBytes borrows; a PgeBuffer is room that the caller owns and a
 * function fills up to "capacity"; a function never writes past it and says
 * PGE_TOO_LARGE instead.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_BYTES_H
#define PGE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct PgeBytes
{
	const uint8_t *data;
	size_t		len;
} PgeBytes;

typedef struct PgeBuffer
{
	uint8_t    *data;
	size_t		len;
	size_t		capacity;
} PgeBuffer;

static inline PgeBytes
pge_bytes(const void *data, size_t len)
{
	PgeBytes	b = {(const uint8_t *) data, len};

	return b;
}

static inline PgeBytes
pge_buffer_bytes(const PgeBuffer *buffer)
{
	return pge_bytes(buffer->data, buffer->len);
}

static inline void
pge_put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t) (v >> 8);
	p[1] = (uint8_t) v;
}

static inline void
pge_put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t) (v >> 24);
	p[1] = (uint8_t) (v >> 16);
	p[2] = (uint8_t) (v >> 8);
	p[3] = (uint8_t) v;
}

static inline void
pge_put_u64(uint8_t *p, uint64_t v)
{
	pge_put_u32(p, (uint32_t) (v >> 32));
	pge_put_u32(p + 4, (uint32_t) v);
}

static inline uint16_t
pge_get_u16(const uint8_t *p)
{
	return (uint16_t) ((p[0] << 8) | p[1]);
}

static inline uint32_t
pge_get_u32(const uint8_t *p)
{
	return ((uint32_t) p[0] << 24) | ((uint32_t) p[1] << 16) |
		((uint32_t) p[2] << 8) | (uint32_t) p[3];
}

static inline uint64_t
pge_get_u64(const uint8_t *p)
{
	return ((uint64_t) pge_get_u32(p) << 32) | pge_get_u32(p + 4);
}

#endif							/* PGE_BASE_BYTES_H */
