/*
 * jobs.h -- requests on their way through the worker threads.
 *
 * Each session has a queue and threads of its own, so a service that hangs
 * holds up nobody else's keys; what needs two of them waits apart from both.
 * Threads are made as they are needed, at most
 * "concurrency" for a service.
 *
 *	loop	pge_job_new -> pge_jobs_submit -> ... -> pge_jobs_take_finished
 *			-> pge_job_free; or pge_jobs_cancel at any time between
 *	worker	performs the request, puts the job among the finished ones, wakes
 *			the loop
 *
 * A worker that takes a job takes along what waits in the queue and asks the same of
 * the same keys, where the service takes many calls at once.  Nothing waits for
 * company: a job that finds a thread free goes alone.  Rewraps alone are held back, so
 * that the next group is large: beside one group of the same two keys that is not full
 * until as many wait as are in it, beside JOBS_REWRAPS_UNDER_WAY of them until one ends,
 * and never for more than JOBS_HOLD_MS, as a call may hang.  No group is larger than what
 * the service takes in one call: the rest goes beside it and not after it.
 *
 * A queue is in the order of turns: the more its client has under way, the later
 * is a job's turn, so that who asks for a thousand keys does not keep waiting who
 * asks for one.
 *
 * A job belongs to the loop's thread but while it is queued or running: then
 * only "waiters", "flight" and "cancelled" may be touched there.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_JOBS_H
#define PGE_AGENT_JOBS_H

#include <pthread.h>

#include "agent/requests.h"

#define JOBS_CONCURRENCY_MAX	256
#define JOBS_REWRAPS_UNDER_WAY	2
#define JOBS_HOLD_MS			200

typedef struct AgentWaiter AgentWaiter;
typedef struct AgentJob AgentJob;
typedef struct JobGroup JobGroup;

typedef enum JobState
{
	JOB_QUEUED,
	JOB_RUNNING,
	JOB_FINISHED
} JobState;

struct AgentJob
{
	/* the loop's */
	AgentWaiter *waiters;
	AgentJob   *flight_next;	/* single_flight.c */
	uint32_t	flight_hash;
	bool		in_flight_table;

	/* set before it is submitted */
	uint8_t    *bytes;
	size_t		len;
	PgeFrame	request;		/* spans point into "bytes" */
	KmsSessions *sessions;		/* held until the job is freed */
	uint32_t	server;			/* whose request it is (served.h) */
	int			slot;			/* whose queue it waits in (kms_sessions.h) */
	int			most;			/* of a group with it; 1: it goes alone */
	uint64_t	deadline_ms;	/* monotonic; 0: not known */
	uint64_t	credentials;	/* negative_answers.h: how many there had been */

	/* shared */
	atomic_bool cancelled;

	/* under the lock of AgentJobs */
	JobState	state;
	uint64_t	turn;
	bool		held;			/* a rewrap that waits for a group to end */
	JobGroup   *group;			/* while it runs */
	AgentJob   *prev;
	AgentJob   *next;

	/* the worker's, then, once finished, the loop's; NULL: memory was short */
	AgentAnswer *answer;
};

/* Jobs that a worker performs as one. */
struct JobGroup
{
	JobGroup   *next;			/* of the queue's */
	atomic_bool cancelled;		/* nobody waits for any */
	int			waited_for;
	uint64_t	shortest_ms;	/* what its members had left when it began */
	uint64_t	longest_ms;
	int			n;
	AgentJob   *jobs[KMS_MANY_MAX];
	AgentRequest requests[KMS_MANY_MAX];	/* the worker's */
};

typedef struct JobQueue
{
	struct AgentJobs *jobs;
	AgentJob   *first;
	AgentJob   *last;
	JobGroup   *groups;			/* under way */
	uint64_t	turn;			/* of the last that was taken */
	pthread_cond_t wake;
	int			queued;			/* but for those that are held, */
	int			held;			/* who are so many, */
	uint64_t	held_until_ms;	/* and only so long */
	int			threads;
	int			idle;
} JobQueue;

typedef struct AgentJobs
{
	void		(*notify) (void *arg);	/* a job has finished; any thread */
	void	   *notify_arg;

	pthread_mutex_t lock;		/* all below */
	int			concurrency;
	int			hold_ms;		/* JOBS_HOLD_MS, but for tests */
	int			queued;
	int			running;
	AgentJob   *finished_first;
	AgentJob   *finished_last;
	JobQueue	queues[KMS_SLOTS];
} AgentJobs;

extern void pge_jobs_init(AgentJobs *jobs, void (*notify) (void *arg), void *notify_arg);
extern void pge_jobs_set_concurrency(AgentJobs *jobs, int concurrency);

/* Copies the frame, and holds the set.  NULL: memory is short. */
extern AgentJob *pge_job_new(PgeBytes frame, KmsSessions *sessions, uint64_t deadline_ms);
extern void pge_job_free(AgentJob *job);

/*
 * "before": how many requests its client has under way.  false: no thread could be
 * made and none is there; the job is the caller's.
 */
extern bool pge_jobs_submit(AgentJobs *jobs, AgentJob *job, int before);

/* Nobody waits any more: true if it had not started and is the caller's again. */
extern bool pge_jobs_cancel(AgentJobs *jobs, AgentJob *job);

/* The finished jobs, linked by "next". */
extern AgentJob *pge_jobs_take_finished(AgentJobs *jobs);

extern void pge_jobs_counts(AgentJobs *jobs, int *queued, int *running);

#endif							/* PGE_AGENT_JOBS_H */
