/*
 * crash_point.h -- named places where a test lets a process fail or die.
 *
 * Only with PGE_TEST_BUILD: elsewhere nothing of a point is compiled, not even
 * its name.  A test arms one by a file in the data directory, where all our
 * processes work: "NAME ACTION".  The first process that comes by takes the
 * file away, so each arming acts once.  Actions: kill (SIGKILL, itself), pause
 * (until the file that says so is gone), and as the macro allows
 *
 *	PGE_CRASH_POINT(name)				server: error, fatal
 *	PGE_CRASH_POINT_NO_THROW(name)		server, where nothing may be thrown
 *	PGE_CRASH_POINT_STATUS(name, status)	agent: error (of this status), fatal (exit)
 *	PGE_CRASH_POINT_EXIT(name)			agent: fatal
 *
 * test/t/633_crash_points.pl takes the list from these macros.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_CRASH_POINT_H
#define PGE_BASE_CRASH_POINT_H

#ifdef PGE_TEST_BUILD
#include <unistd.h>

typedef enum CrashAction
{
	CRASH_NOT,
	CRASH_ERROR,
	CRASH_FATAL
}			CrashAction;

/* Does what the process can do to itself; the rest is for the caller. */
extern CrashAction pge_crash_action(const char *name);

#define PGE_CRASH_POINT(name) \
	do { \
		CrashAction crash_action_ = pge_crash_action(name); \
		if (crash_action_ != CRASH_NOT) \
			ereport(crash_action_ == CRASH_FATAL ? FATAL : ERROR, \
					(errcode(ERRCODE_INTERNAL_ERROR), \
					 errmsg_internal("pg_envelope test: crash point \"%s\"", name))); \
	} while (0)
#define PGE_CRASH_POINT_NO_THROW(name) ((void) pge_crash_action(name))
#define PGE_CRASH_POINT_STATUS(name, status) \
	do { \
		CrashAction crash_action_ = pge_crash_action(name); \
		if (crash_action_ == CRASH_FATAL) \
			_exit(1); \
		if (crash_action_ == CRASH_ERROR) \
			(status) = PGE_IO_ERROR; \
	} while (0)
#define PGE_CRASH_POINT_EXIT(name) \
	do { \
		if (pge_crash_action(name) == CRASH_FATAL) \
			_exit(1); \
	} while (0)
#else
#define PGE_CRASH_POINT(name) ((void) 0)
#define PGE_CRASH_POINT_NO_THROW(name) ((void) 0)
#define PGE_CRASH_POINT_STATUS(name, status) ((void) 0)
#define PGE_CRASH_POINT_EXIT(name) ((void) 0)
#endif

#endif							/* PGE_BASE_CRASH_POINT_H */
