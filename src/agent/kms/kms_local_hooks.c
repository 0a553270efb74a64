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

static void
wait_as_told(const char *keyring_file, const atomic_bool *cancelled)
{
	const struct timespec step = {0, 5 * 1000000L};
	struct timespec start;
	struct timespec now;
	char		path[KEYRING_PATH_MAX + sizeof(".delay_ms")];
	char		text[16] = "";
	long		delay;
	ssize_t		got;
	int			fd;

	snprintf(path, sizeof(path), "%s.delay_ms", keyring_file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	delay = got > 0 ? strtol(text, NULL, 10) : 0;
	clock_gettime(CLOCK_MONOTONIC, &start);
	now = start;
	while (!(cancelled != NULL && atomic_load(cancelled)) &&
		   (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < delay)
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
