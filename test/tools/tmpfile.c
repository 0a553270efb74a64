/*
 * tmpfile.c -- preloaded into pg_dump, whose tar format makes temporary files in /tmp
 * whatever TMPDIR says: there may be none that we may write to.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

FILE *
tmpfile(void)
{
	char		name[] = "pge_tmpfile_XXXXXX";	/* in the current directory */
	int			fd = mkostemp(name, 0);
	FILE	   *file = NULL;

	if (fd >= 0 && unlink(name) == 0)
		file = fdopen(fd, "w+");
	if (fd >= 0 && file == NULL)
		close(fd);
	return file;
}

FILE *
tmpfile64(void)
{
	return tmpfile();
}
