/*
 * monotonic.h -- what time it is, for deadlines and for how long something took.
 *
 * CLOCK_MONOTONIC: no administrator sets it; it stands while the machine is
 * suspended.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_MONOTONIC_H
#define PGE_AGENT_MONOTONIC_H

#include <stdint.h>
#include <time.h>

static inline int64_t
pge_monotonic_us(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline uint64_t
pge_monotonic_ms(void)
{
	return (uint64_t) pge_monotonic_us() / 1000;
}

#endif							/* PGE_AGENT_MONOTONIC_H */
