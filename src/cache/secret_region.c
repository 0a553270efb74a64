/*-------------------------------------------------------------------------
 *
 * secret_region.c
 *	  One mapping, made by the postmaster and inherited by every process.
 *
 * The socket's secret has the first page, the slots the rest.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "base/secret.h"
#include "base/settings.h"
#include "cache/secret_region.h"

#ifndef __NR_memfd_secret
#define __NR_memfd_secret 447	/* the same on every architecture */
#endif

static uint8 *region = NULL;
static Size region_size = 0;
static Size page_size = 0;
static SecretRegionKind kind = PGE_REGION_NONE;
static int	creator_pid = 0;

/*
 * Memory that no other process and no debugger's read can see, nor the kernel's
 * own copies.  On failure errno says why; *step which call it was.
 */
static uint8 *
map_memfd_secret(Size size, const char **step)
{
	int			fd;
	void	   *p = MAP_FAILED;
	int			save_errno;

	*step = "memfd_secret";
	fd = (int) syscall(__NR_memfd_secret, O_CLOEXEC);
	if (fd < 0)
		return NULL;
	*step = "ftruncate";
	if (ftruncate(fd, (off_t) size) == 0)
	{
		*step = "mmap";
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	save_errno = errno;
	close(fd);					/* pidfd_getfd could take it from us */
	errno = save_errno;
	return p == MAP_FAILED ? NULL : p;
}

static void
report_no_memfd_secret(int elevel, const char *step)
{
	bool		limit = errno == EAGAIN;

	ereport(elevel,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("pg_envelope could not get secret memory: %s: %m", step),
			 limit ?
			 errhint("Raise the limit of locked memory (ulimit -l, LimitMEMLOCK=) or lower \"pg_envelope.cache_size\".") :
			 errhint("Linux before 6.5 needs the boot option secretmem.enable=1; or set \"pg_envelope.secret_memory\" to \"prefer\", with weaker protection.")));
}

/*
 * Shared memory of the ordinary kind, kept out of swap and out of core files
 * (whose default filter takes shared anonymous memory in).
 */
static uint8 *
map_fallback(Size size)
{
	void	   *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
						 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("pg_envelope could not map %zu bytes: %m", size)));
	if (madvise(p, size, MADV_DONTDUMP) != 0)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("pg_envelope could not keep its keys out of core files: %m")));
	kind = PGE_REGION_LOCKED;
	if (mlock(p, size) != 0)
	{
		kind = PGE_REGION_UNLOCKED;
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("pg_envelope could not lock the memory of its keys: %m"),
				 errdetail("The keys may be written to swap space."),
				 errhint("Raise the limit of locked memory (ulimit -l, LimitMEMLOCK=).")));
	}
	return p;
}

/* The postmaster's own end only: a child that ends leaves the keys of the others. */
static void
wipe_at_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (MyProcPid == creator_pid)
		pge_secret_region_wipe();
}

void
pge_secret_region_create(Size slots_size)
{
	const char *step = NULL;

	Assert(region == NULL);
	page_size = (Size) sysconf(_SC_PAGESIZE);
	region_size = add_size(page_size, TYPEALIGN(page_size, slots_size));

	if (pge_secret_memory != PGE_SECRET_MEMORY_FALLBACK)
	{
		region = map_memfd_secret(region_size, &step);
		if (region != NULL)
			kind = PGE_REGION_MEMFD_SECRET;
		else
			report_no_memfd_secret(pge_secret_memory == PGE_SECRET_MEMORY_REQUIRE ? FATAL : LOG,
								   step);
	}
	if (region == NULL)
		region = map_fallback(region_size);
	creator_pid = MyProcPid;
	on_proc_exit(wipe_at_exit, (Datum) 0);
}

void
pge_secret_region_wipe(void)
{
	pge_secret_wipe(region, region_size);
}

#ifdef PGE_TEST_BUILD
Size
pge_secret_region_not_zero(void)
{
	Size		n = 0;

	for (Size i = 0; i < region_size; i++)
		n += region[i] != 0;
	return n;
}
#endif

SecretRegionKind
pge_secret_region_kind(void)
{
	return kind;
}

const char *
pge_secret_region_kind_name(void)
{
	switch (kind)
	{
		case PGE_REGION_NONE:
			return "none";
		case PGE_REGION_MEMFD_SECRET:
			return "memfd_secret";
		case PGE_REGION_LOCKED:
			return "fallback, locked";
		case PGE_REGION_UNLOCKED:
			return "fallback, not locked";
	}
	return "unknown";
}

uint8 *
pge_secret_region_socket_secret(void)
{
	return region;
}

void *
pge_secret_region_slots(Size *size)
{
	if (region == NULL)
	{
		*size = 0;
		return NULL;
	}
	*size = region_size - page_size;
	return region + page_size;
}
