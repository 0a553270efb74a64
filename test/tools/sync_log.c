/*
 * sync_log.c -- preloaded into a server: a line per fsync and rename below
 * pg_stat, in the order of their success, so that a test sees what would be
 * left after a power cut.
 *
 * PGE_SYNC_LOG: the file for the lines "fsync PATH" and "rename PATH", with
 * paths as from the data directory.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
log_line(const char *call, const char *path)
{
	const char *to = getenv("PGE_SYNC_LOG");
	const char *below = strstr(path, "pg_stat");
	char		line[256];
	int			fd;

	if (to == NULL || below == NULL || strncmp(below, "pg_stat_", 8) == 0)
		return;
	fd = open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	snprintf(line, sizeof(line), "%s %s\n", call, below);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		abort();
	close(fd);
}

int
fsync(int fd)
{
	int			rc = (int) syscall(SYS_fsync, fd);
	char		link[64];
	char		path[512];
	ssize_t		len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (rc == 0 && len > 0)
	{
		path[len] = '\0';
		log_line("fsync", path);
	}
	return rc;
}

int
rename(const char *from, const char *to)
{
	int			rc = (int) syscall(SYS_rename, from, to);

	if (rc == 0)
		log_line("rename", to);
	return rc;
}
