/*-------------------------------------------------------------------------
 *
 * kms_local_hooks.c
 *	  What tests tell the embedded key service by files beside the keyring.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "agent/kms/keyring_store.h"
#include "agent/kms/kms_local_hooks.h"

#ifdef PGE_TEST_BUILD
static void wait_as_told(const char *keyring_file, const atomic_bool *cancelled);
static void be_dumpable_as_told(const char *keyring_file);

void
pge_kms_local_obey(const char *keyring_file, const atomic_bool *cancelled)
{
	wait_as_told(keyring_file, cancelled);
	be_dumpable_as_told(keyring_file);
}

/* What stands in the file now; without one, none. */
static long
told_delay_ms(const char *path)
{
	char		text[16] = "";
	ssize_t		got;
	int			fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	return got > 0 ? strtol(text, NULL, 10) : 0;
}

/* Looks again and again, so that a test can let go what it has held up. */
static void
wait_as_told(const char *keyring_file, const atomic_bool *cancelled)
{
	const struct timespec step = {0, 5 * 1000000L};
	struct timespec start;
	struct timespec now;
	char		path[KEYRING_PATH_MAX + sizeof(".delay_ms")];

	snprintf(path, sizeof(path), "%s.delay_ms", keyring_file);
	clock_gettime(CLOCK_MONOTONIC, &start);
	now = start;
	while (!(cancelled != NULL && atomic_load(cancelled)) &&
		   (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < told_delay_ms(path))
	{
		nanosleep(&step, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
}

static void
be_dumpable_as_told(const char *keyring_file)
{
	char		path[KEYRING_PATH_MAX + sizeof(".dumpable")];

	snprintf(path, sizeof(path), "%s.dumpable", keyring_file);
	if (access(path, F_OK) == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
		abort();
}
#endif
