/*-------------------------------------------------------------------------
 *
 * planted_main.c
 *	  A program that has the planted fault it is told.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "planted_fault.h"

int
main(int argc, char **argv)
{
	return argc == 2 && pge_plant_fault(argv[1]) ? 0 : 2;
}
