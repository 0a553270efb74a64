/*-------------------------------------------------------------------------
 *
 * key_memory.c
 *	  Locked pages of the ordinary heap.
 *
 * Of the ordinary heap, so that tools which watch it go on to see overruns.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "agent/kms/key_memory.h"

static atomic_bool refused;

void *
pge_key_calloc(size_t count, size_t size)
{
	void	   *p = calloc(count, size);

	/* calloc has seen that the product does not overflow */
	if (p != NULL && mlock(p, count * size) != 0)
		atomic_store(&refused, true);
	return p;
}

bool
pge_key_memory_swappable(void)
{
	return atomic_load(&refused);
}
