/*-------------------------------------------------------------------------
 *
 * planted_fault.c
 *	  The faults themselves.
 *
 * Volatile throughout, or the compiler would reason the fault away.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "planted_fault.h"

#define BLOCK	24

static unsigned char *volatile block;
static volatile int number;
static volatile int branch;

static void
read_behind_block(void)
{
	volatile int i = BLOCK;

	block = malloc(BLOCK);
	if (block != NULL)
	{
		number = block[i];
		free(block);
	}
}

/* Not an overflow: the server's own flags (-fwrapv) define those. */
static void
shift_too_far(void)
{
	volatile int bits = 40;

	number = 1 << bits;
}

static void
decide_on_nothing(void)
{
	block = malloc(BLOCK);
	if (block != NULL)
	{
		if (block[1] == 'x')
			branch = 1;
		free(block);
	}
}

static void
lose_block(void)
{
	block = malloc(BLOCK);
	block = NULL;
}

bool
pge_plant_fault(const char *name)
{
	static const struct
	{
		const char *name;
		void		(*commit) (void);
	}			faults[] = {
		{"heap", read_behind_block},
		{"undefined", shift_too_far},
		{"uninitialised", decide_on_nothing},
		{"leak", lose_block},
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
	{
		if (strcmp(name, faults[i].name) == 0)
		{
			faults[i].commit();
			return true;
		}
	}
	return false;
}
