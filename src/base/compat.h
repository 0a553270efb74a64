/*
 * compat.h -- every difference between server versions, in one place.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_COMPAT_H
#define PGE_BASE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "pg_envelope is for PostgreSQL 15 to 18"
#endif

/* The secret region reaches a process by fork and in no other way. */
#ifdef EXEC_BACKEND
#error "pg_envelope cannot work in a server built with EXEC_BACKEND"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Gone in 18, whose pg_noreturn the versions before it do not have. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/*
 * ExecutorRun_hook's parameters, and how it keeps a query from having parallel
 * workers: it says that the plan was run before, and, where minor versions up to
 * 15.10, 16.6 and 17.2 go by that instead, that it may be run again.
 */
#if PG_VERSION_NUM >= 180000
#define PGE_EXECUTOR_RUN_PARAMETERS \
	QueryDesc *query, ScanDirection direction, uint64 count
#define PGE_EXECUTOR_RUN_ARGUMENTS	query, direction, count
#define PGE_EXECUTOR_RUN_ALONE		(query->already_executed = true)
#else
#define PGE_EXECUTOR_RUN_PARAMETERS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define PGE_EXECUTOR_RUN_ARGUMENTS	query, direction, count, execute_once
#define PGE_EXECUTOR_RUN_ALONE \
	(query->already_executed = true, execute_once = false)
#endif

/* 17 lets an extension name what it waits for. */
#if PG_VERSION_NUM >= 170000
#define PGE_NEW_WAIT_EVENT(name)	WaitEventExtensionNew(name)
#else
#define PGE_NEW_WAIT_EVENT(name)	PG_WAIT_EXTENSION
#endif

/* What pg_stat_activity shows for a backend that waits for the agent. */
extern uint32 pge_wait_event_agent(void);

#endif							/* PGE_BASE_COMPAT_H */
