/*
 * fault.c -- preloaded into the agent: logs and breaks the calls that make a
 * file durable, so that a crash or a full disk comes at a chosen place.
 *
 * PGE_FAULT_LOG: a file that gets one line per call.  PGE_FAULT: "CALL:N:kill"
 * or "CALL:N:ERRNO", for the Nth call (from 1) of write, fsync or renameat to
 * descriptors above 2.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
log_line(const char *call, const char *what)
{
	const char *path = getenv("PGE_FAULT_LOG");
	char		line[128];
	int			fd = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	snprintf(line, sizeof(line), "%s %s\n", call, what);
	if (syscall(SYS_write, fd, line, strlen(line)) < 0)
		abort();
	close(fd);
}

/* True: the call fails with errno. */
static bool
breaks(const char *call, int *count)
{
	const char *fault = getenv("PGE_FAULT");
	char		expected[64];

	++*count;
	snprintf(expected, sizeof(expected), "%s:%d:", call, *count);
	if (fault == NULL || strncmp(fault, expected, strlen(expected)) != 0)
		return false;
	fault += strlen(expected);
	if (strcmp(fault, "kill") == 0)
		raise(SIGKILL);
	errno = (int) strtol(fault, NULL, 10);
	return true;
}

int
fsync(int fd)
{
	static int	count;
	struct stat st;

	log_line("fsync", fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? "directory" : "file");
	if (breaks("fsync", &count))
		return -1;
	return (int) syscall(SYS_fsync, fd);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	static int	count;

	log_line("renameat", to);
	if (breaks("renameat", &count))
		return -1;
	return (int) syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

ssize_t
write(int fd, const void *bytes, size_t len)
{
	static int	count;

	if (fd > STDERR_FILENO)
	{
		log_line("write", "file");
		if (breaks("write", &count))
			return -1;
	}
	return syscall(SYS_write, fd, bytes, len);
}
