/*-------------------------------------------------------------------------
 *
 * crash_point.c
 *	  What a test has armed, and doing it (compiled with PGE_TEST_BUILD only).
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/crash_point.h"

#ifdef PGE_TEST_BUILD
/* In the data directory; the second says that it happened. */
#define ARMED	"pg_envelope.crash_armed"
#define FIRED	"pg_envelope.crash_fired"

/* *action: what the file says to do here; false: it means no place, or another. */
static bool
is_armed(const char *name, char *action, size_t size)
{
	char		text[128] = "";
	size_t		len = strlen(name);
	ssize_t		got;
	int			fd = open(ARMED, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got <= 0 || strncmp(text, name, len) != 0 || text[len] != ' ')
		return false;
	snprintf(action, size, "%s", text + len + 1);
	return rename(ARMED, FIRED) == 0;	/* false: another process was faster */
}

static void
pause_until_told(void)
{
	const struct timespec step = {0, 2 * 1000000L};

	while (access(FIRED, F_OK) == 0)
		(void) nanosleep(&step, NULL);
}

CrashAction
pge_crash_action(const char *name)
{
	char		action[16];
	int			save_errno = errno;
	CrashAction result = CRASH_NOT;

	if (is_armed(name, action, sizeof(action)))
	{
		if (strcmp(action, "kill") == 0)
			(void) kill(getpid(), SIGKILL);
		else if (strcmp(action, "pause") == 0)
			pause_until_told();
		else
			result = strcmp(action, "fatal") == 0 ? CRASH_FATAL : CRASH_ERROR;
	}
	errno = save_errno;
	return result;
}
#endif
