/*-------------------------------------------------------------------------
 *
 * random_test.c
 *	  Each random byte is given once, on both sides of a fork too.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <sys/wait.h>
#include <pthread.h>
#include <unistd.h>

#include "check.h"
#include "crypto/random_private.h"

#define COUNT	20000			/* enough to go through pools of every size */
#define LEN		12

typedef struct Nonce
{
	uint8_t		bytes[LEN];
} Nonce;

#define THREADS	4
#define PER_THREAD	200000		/* long enough for threads to run side by side */

static Nonce nonces[THREADS * PER_THREAD];
static pthread_barrier_t all_there;

static int
compare(const void *a, const void *b)
{
	return memcmp(a, b, LEN);
}

static bool
all_differ(size_t count)
{
	qsort(nonces, count, sizeof(Nonce), compare);
	for (size_t i = 1; i < count; i++)
		if (compare(&nonces[i - 1], &nonces[i]) == 0)
			return false;
	return true;
}

static bool
draw(Nonce *out, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (pge_nonce_take(pge_nonce_pool(), out[i].bytes, LEN) != PGE_OK)
			return false;
	return true;
}

static void *
draw_in_thread(void *out)
{
	pthread_barrier_wait(&all_there);
	return draw(out, PER_THREAD) ? out : NULL;
}

static void
check_threads(void)
{
	pthread_t	threads[THREADS];
	bool		good = true;

	if (pthread_barrier_init(&all_there, NULL, THREADS) != 0)
		abort();
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, draw_in_thread, nonces + i * PER_THREAD) != 0)
			abort();
	for (int i = 0; i < THREADS; i++)
	{
		void	   *result = NULL;

		pthread_join(threads[i], &result);
		good = good && result != NULL;
	}
	check(good, "%d threads draw", THREADS);
	check(all_differ((size_t) THREADS * PER_THREAD), "and share no nonce");
}

/* The pool is half full when the process forks: neither side may go on with it as the other does. */
static void
check_fork(int generations)
{
	int			fds[2];
	pid_t		child;
	size_t		got = 0;
	ssize_t		n;
	int			status = 1;

	if (pipe(fds) != 0 || !draw(nonces, 100))
		abort();
	child = fork();
	if (child == 0)
	{
		/* Also by way of a child that drew nothing itself. */
		for (int i = 1; i < generations; i++)
		{
			pid_t		grandchild = fork();

			if (grandchild != 0)
				_exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 1);
		}
		_exit(draw(nonces, 500) && write(fds[1], nonces, 500 * sizeof(Nonce)) == 500 * (ssize_t) sizeof(Nonce) ? 0 : 1);
	}
	close(fds[1]);
	if (!draw(nonces, 500))
		abort();
	while (got < 500 * sizeof(Nonce) && (n = read(fds[0], (uint8_t *) (nonces + 500) + got, 500 * sizeof(Nonce) - got)) > 0)
		got += (size_t) n;
	close(fds[0]);
	check(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the process %d forks down draws", generations);
	check(got == 500 * sizeof(Nonce) && all_differ(1000), "and shares no nonce with us");
}

int
main(void)
{
	static uint8_t big[100000];
	uint8_t		guarded[LEN + 2] = {0xaa,[LEN + 1] = 0xbb};
	uint8_t		histogram[256] = {0};
	int			seen = 0;

	check(draw(nonces, COUNT) && all_differ(COUNT), "%d nonces differ", COUNT);
	check_status(pge_nonce_take(pge_nonce_pool(), guarded + 1, LEN), PGE_OK, "a nonce");
	check(guarded[0] == 0xaa && guarded[LEN + 1] == 0xbb, "writes what was asked for and no more");
	for (int i = 0; i < 5000; i++)
	{
		uint8_t		lens[32] = {0};
		size_t		len = (size_t) i % 33;

		if (pge_nonce_take(pge_nonce_pool(), lens, len) != PGE_OK)
			abort();
		if (len > 0 && !histogram[lens[len - 1]]++)
			seen++;
	}
	check(seen > 250, "odd lengths come out random too");
	pge_random_drop_pool();
	pge_random_drop_pool();
	check(draw(nonces, COUNT), "a dropped pool fills again");
	check_threads();
	check_fork(1);
	check_fork(2);
	check_fork(3);
	check_status(pge_random_bytes(big, sizeof(big)), PGE_OK, "100,000 bytes at once");
	check(!all_zero(big, 64) && !all_zero(big + sizeof(big) - 64, 64), "filled to both ends");
	check_status(pge_random_bytes(big, 0), PGE_OK, "nothing");
	return check_done();
}
