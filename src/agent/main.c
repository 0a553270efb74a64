/*-------------------------------------------------------------------------
 *
 * main.c
 *	  The agent's command line.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
	{
		printf("pg_envelope_agent %s\n", PGE_VERSION);
		return 0;
	}
	fprintf(stderr, "usage: pg_envelope_agent --version\n");
	return 2;
}
