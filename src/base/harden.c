/*-------------------------------------------------------------------------
 *
 * harden.c
 *	  No debugger, no core file.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include "miscadmin.h"

#include "base/harden.h"
#include "base/settings.h"

static void
harden(void)
{
	static int	hardened_pid = 0;	/* a child does not take it over as done */
	const struct rlimit none = {0, 0};

	if (hardened_pid == MyProcPid)
		return;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
		setrlimit(RLIMIT_CORE, &none) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not forbid debuggers and core files for this process: %m")));
	hardened_pid = MyProcPid;
}

void
pge_harden_process(void)
{
	if (pge_harden_backends)
		harden();
}

void
pge_harden_keeper(void)
{
#ifdef PGE_TEST_BUILD
	/* a test looks for keys in the keeper's memory too */
	if (!pge_harden_backends)
		return;
#endif
	harden();
}
