/*
 * failing_memory.h -- an allocator that refuses the k-th request.
 *
 * A program includes this once.  Every allocation of the process is seen, that
 * of OpenSSL, libcurl and the C library too, since the program's own malloc
 * takes the place of theirs.  Under the sanitizers, which have an allocator of
 * their own, only what our code and OpenSSL ask for is seen: link with the
 * --wrap options of agent_memory_test.mk.
 *
 * The ledger is shared with the processes that are forked later; those that set
 * "memory_is_counted" write into it.  memory_begin(k) ... memory_end() encloses
 * what shall fail; memory_end() tells how many requests there were.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_FAILING_MEMORY_H
#define PGE_TEST_FAILING_MEMORY_H

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MARKS_MAX	8
#define MARK_LEN	16

typedef struct MemoryLedger
{
	atomic_long requests;
	atomic_long fail_at;		/* 0: never */
	atomic_long blocks;			/* allocated and not freed */
	atomic_int	freed_keys;		/* blocks that held a marked key when they
								 * were freed */
	atomic_int	nmarks;
	uint8_t		marks[MARKS_MAX][MARK_LEN];
} MemoryLedger;

static MemoryLedger *memory_ledger;
static bool memory_is_counted;	/* in this process */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEMORY_IS_WRAPPED 1
#endif
#endif

#ifdef MEMORY_IS_WRAPPED
#define OURS(name)		__wrap_##name
#define THEIRS(name)	__real_##name
extern void *OURS(malloc) (size_t len);
extern void *OURS(calloc) (size_t n, size_t len);
extern void *OURS(realloc) (void *block, size_t len);
extern void OURS(free) (void *block);
extern char *OURS(strdup) (const char *text);
extern char *OURS(strndup) (const char *text, size_t len);
extern int	OURS(posix_memalign) (void **block, size_t align, size_t len);
#else
#define OURS(name)		name
#define THEIRS(name)	__libc_##name
extern void *THEIRS(memalign) (size_t align, size_t len);
#endif
extern void *THEIRS(malloc) (size_t len);
extern void *THEIRS(calloc) (size_t n, size_t len);
extern void *THEIRS(realloc) (void *block, size_t len);
extern void THEIRS(free) (void *block);

static inline bool
memory_is_refused(void)
{
	if (!memory_is_counted ||
		atomic_fetch_add(&memory_ledger->requests, 1) + 1 != atomic_load(&memory_ledger->fail_at))
		return false;
	errno = ENOMEM;
	return true;
}

static inline void *
memory_note(void *block)
{
	if (memory_is_counted && block != NULL)
		atomic_fetch_add(&memory_ledger->blocks, 1);
	return block;
}

static inline void
memory_forget(void *block)
{
	if (!memory_is_counted || block == NULL)
		return;
	atomic_fetch_sub(&memory_ledger->blocks, 1);
	for (int i = 0; i < atomic_load(&memory_ledger->nmarks); i++)
		if (memmem(block, malloc_usable_size(block), memory_ledger->marks[i], MARK_LEN) != NULL)
			atomic_fetch_add(&memory_ledger->freed_keys, 1);
}

void *
OURS(malloc) (size_t len)
{
	return memory_is_refused() ? NULL : memory_note(THEIRS(malloc) (len));
}

void *
OURS(calloc) (size_t n, size_t len)
{
	return memory_is_refused() ? NULL : memory_note(THEIRS(calloc) (n, len));
}

void *
OURS(realloc) (void *block, size_t len)
{
	if (memory_is_refused())
		return NULL;
	if (block == NULL)
		return memory_note(THEIRS(realloc) (block, len));
	return THEIRS(realloc) (block, len);
}

void
OURS(free) (void *block)
{
	int			saved_errno = errno;

	memory_forget(block);
	THEIRS(free) (block);
	errno = saved_errno;
}

#ifdef MEMORY_IS_WRAPPED
char *
OURS(strndup) (const char *text, size_t len)
{
	size_t		n = strnlen(text, len);
	char	   *copy = malloc(n + 1);

	if (copy == NULL)
		return NULL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

char *
OURS(strdup) (const char *text)
{
	return OURS(strndup) (text, strlen(text));
}

static void *
crypto_malloc(size_t len, const char *file, int line)
{
	(void) file;
	(void) line;
	return malloc(len);
}

static void *
crypto_realloc(void *block, size_t len, const char *file, int line)
{
	(void) file;
	(void) line;
	return realloc(block, len);
}

static void
crypto_free(void *block, const char *file, int line)
{
	(void) file;
	(void) line;
	free(block);
}
#else
int
posix_memalign(void **block, size_t align, size_t len)
{
	if (memory_is_refused())
		return ENOMEM;
	*block = memory_note(THEIRS(memalign) (align, len));
	return *block == NULL ? ENOMEM : 0;
}

void *
aligned_alloc(size_t align, size_t len)
{
	return memory_is_refused() ? NULL : memory_note(THEIRS(memalign) (align, len));
}

void *
memalign(size_t align, size_t len)
{
	return aligned_alloc(align, len);
}
#endif

/* First of all: OpenSSL takes an allocator only before its first use. */
static inline void
memory_init(void)
{
	memory_ledger = mmap(NULL, sizeof(MemoryLedger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory_ledger == MAP_FAILED)
		abort();
#ifdef MEMORY_IS_WRAPPED
	if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1)
		abort();
#endif
}

/* k = 0 counts only. */
static inline void
memory_begin(long k)
{
	atomic_store(&memory_ledger->requests, 0);
	atomic_store(&memory_ledger->fail_at, k);
}

static inline long
memory_end(void)
{
	atomic_store(&memory_ledger->fail_at, 0);
	return atomic_load(&memory_ledger->requests);
}

static inline long
memory_blocks(void)
{
	return atomic_load(&memory_ledger->blocks);
}

/* From now on no block may hold these bytes when it is freed. */
static inline void
memory_mark_key(const uint8_t *key)
{
	int			n = atomic_load(&memory_ledger->nmarks);

	if (n == MARKS_MAX)
		abort();
	memcpy(memory_ledger->marks[n], key, MARK_LEN);
	atomic_store(&memory_ledger->nmarks, n + 1);
}

#endif							/* PGE_TEST_FAILING_MEMORY_H */
