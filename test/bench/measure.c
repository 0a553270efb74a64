/*-------------------------------------------------------------------------
 *
 * measure.c
 *	  Calls a function as the executor does, and says how long it took.
 *
 * The clock is read here, around the calls alone: no scan, no protocol and no
 * client are in the figure, and a difference between two functions is not
 * diluted by what both have to go through.  As in the
 * executor there is one FmgrInfo for all the calls of a statement, and what a
 * call allocates is freed before the next.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "cipher.h"

PG_FUNCTION_INFO_V1(bench_loop);
PG_FUNCTION_INFO_V1(bench_calls);
PG_FUNCTION_INFO_V1(bench_cpu_ns);
PG_FUNCTION_INFO_V1(bench_evp_seal);
PG_FUNCTION_INFO_V1(bench_evp_open);

#define MAX_ARGUMENTS	4

/* A function and, for each argument, the values that it takes in turn. */
typedef struct Subject
{
	FmgrInfo	function;
	MemoryContext per_call;
	int			nargs;
	Datum	   *values[MAX_ARGUMENTS];
	int			count[MAX_ARGUMENTS];
}			Subject;

static int64
now_ns(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now) != 0)
		elog(ERROR, "measure: no clock");
	return (int64) now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * A loop that waits for nobody is measured by the time that it had a core: what
 * other processes take from it is no cost of the function.
 */
static int64
cpu_ns(void)
{
	return now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* Arguments 2 and up of ours, up to the first NULL, are the lists. */
static void
read_subject(FunctionCallInfo fcinfo, Subject * subject)
{
	fmgr_info(PG_GETARG_OID(0), &subject->function);
	subject->per_call = AllocSetContextCreate(CurrentMemoryContext, "one call",
											  ALLOCSET_DEFAULT_SIZES);
	subject->nargs = 0;
	for (int i = 2; i < PG_NARGS() && !PG_ARGISNULL(i); i++)
	{
		bool	   *nulls;
		int			n = subject->nargs++;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(i), BYTEAOID, -1, false, TYPALIGN_INT,
						  &subject->values[n], &nulls, &subject->count[n]);
		if (subject->count[n] == 0)
			elog(ERROR, "measure: argument %d takes no value", n + 1);
	}
	if (subject->nargs != subject->function.fn_nargs)
		elog(ERROR, "measure: the function takes %d arguments", subject->function.fn_nargs);
}

static void
call_in_turn(Subject * subject, int64 turn)
{
	LOCAL_FCINFO(call, MAX_ARGUMENTS);
	MemoryContext caller = MemoryContextSwitchTo(subject->per_call);

	InitFunctionCallInfoData(*call, &subject->function, subject->nargs,
							 C_COLLATION_OID, NULL, NULL);
	for (int i = 0; i < subject->nargs; i++)
	{
		call->args[i].value = subject->values[i][turn % subject->count[i]];
		call->args[i].isnull = false;
	}
	(void) FunctionCallInvoke(call);
	if (call->isnull)
		elog(ERROR, "measure: the function returned NULL");
	MemoryContextSwitchTo(caller);
	MemoryContextReset(subject->per_call);
}

/*
 * bench_loop(function, times, list, ...): nanoseconds per call, on average over
 * so many calls.  Before the clock starts every value has had its turn once, so
 * whatever the function keeps in a transaction exists.
 */
Datum
bench_loop(PG_FUNCTION_ARGS)
{
	int64		times = PG_GETARG_INT32(1);
	int64		turns = 1;
	int64		from;
	Subject		subject;

	read_subject(fcinfo, &subject);
	for (int i = 0; i < subject.nargs; i++)
		turns = Max(turns, subject.count[i]);
	for (int64 turn = 0; turn < turns; turn++)
		call_in_turn(&subject, turn);
	from = cpu_ns();
	for (int64 turn = 0; turn < times; turn++)
	{
		CHECK_FOR_INTERRUPTS();
		call_in_turn(&subject, turn);
	}
	PG_RETURN_FLOAT8((double) (cpu_ns() - from) / times);
}

/* For loops that are not written in C. */
Datum
bench_cpu_ns(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_FLOAT8((double) cpu_ns());
}

/*
 * bench_calls(function, times, list, ...): nanoseconds of each call, the first
 * one too, and what it waited for.
 */
Datum
bench_calls(PG_FUNCTION_ARGS)
{
	int			times = PG_GETARG_INT32(1);
	Datum	   *taken = palloc(sizeof(Datum) * times);
	Subject		subject;

	read_subject(fcinfo, &subject);
	for (int turn = 0; turn < times; turn++)
	{
		int64		from = now_ns(CLOCK_MONOTONIC);

		call_in_turn(&subject, turn);
		taken[turn] = Float8GetDatum((double) (now_ns(CLOCK_MONOTONIC) - from));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(taken, times, FLOAT8OID, sizeof(float8),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The cipher alone in a loop; no call, no palloc. */
static float8
cipher_ns(FunctionCallInfo fcinfo, bool open)
{
	CipherKind	kind = PG_GETARG_BOOL(0) ? CIPHER_XAES : CIPHER_GCM;
	int			size = PG_GETARG_INT32(1);
	int64		times = PG_GETARG_INT32(2);
	uint8	   *plain = palloc0(size);
	uint8	   *sealed = palloc(size + cipher_overhead(kind));
	int64		from;

	cipher_seal(kind, NONCE_COUNTER, plain, size, sealed);
	from = cpu_ns();
	if (open)
		for (int64 i = 0; i < times; i++)
			cipher_open(kind, sealed, size + cipher_overhead(kind), plain);
	else
		for (int64 i = 0; i < times; i++)
			cipher_seal(kind, NONCE_COUNTER, plain, size, sealed);
	return (float8) (cpu_ns() - from) / times;
}

/* bench_evp_seal(xaes, size, times) */
Datum
bench_evp_seal(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(cipher_ns(fcinfo, false));
}

Datum
bench_evp_open(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(cipher_ns(fcinfo, true));
}
