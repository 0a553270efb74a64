/*-------------------------------------------------------------------------
 *
 * planted_agent.c
 *	  The agent under sanitizers: options, leaks, planted faults.
 *
 * Its keeper and the tests give the agent next to no environment, so the
 * options are compiled in: reports go to files that begin with
 * PGE_SANITIZER_LOG, because nobody reads its standard error.  It ends by
 * _exit (src/agent/serve.c says why), which looks for no leaks: link with
 * -Wl,--wrap=_exit and it does.  PGE_PLANTED_FAULT in its environment names the
 * fault that it shall have.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <sanitizer/lsan_interface.h>

#include "planted_fault.h"

extern const char *__asan_default_options(void);
extern const char *__ubsan_default_options(void);
extern void __real__exit(int code) __attribute__((noreturn));
extern void __wrap__exit(int code) __attribute__((noreturn));

const char *
__asan_default_options(void)
{
	return "detect_leaks=1:verify_asan_link_order=0:log_path=" PGE_SANITIZER_LOG;
}

const char *
__ubsan_default_options(void)
{
	return "print_stacktrace=1:log_path=" PGE_SANITIZER_LOG;
}

void
__wrap__exit(int code)
{
	__lsan_do_leak_check();
	__real__exit(code);
}

static void
__attribute__((constructor))
plant(void)
{
	const char *name = getenv("PGE_PLANTED_FAULT");

	if (name != NULL && !pge_plant_fault(name))
		abort();
}
