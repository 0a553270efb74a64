/*
 * key_memory.h -- memory for keys that stay, kept out of swap.
 *
 * Allocate with pge_key_calloc, wipe and free() as usual.  The pages stay locked when
 * the memory is freed: others of their bytes may be keys, and the heap gives
 * the same pages out again.  A lock that is refused (RLIMIT_MEMLOCK) is no
 * failure; pge_key_memory_swappable says so for who can tell somebody.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KEY_MEMORY_H
#define PGE_AGENT_KEY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

extern void *pge_key_calloc(size_t count, size_t size);
extern bool pge_key_memory_swappable(void);

#endif							/* PGE_AGENT_KEY_MEMORY_H */
