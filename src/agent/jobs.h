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

typedef struct AgentWaiter AgentWaiter;
typedef struct AgentJob AgentJob;

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
	int			slot;			/* whose queue it waits in (kms_sessions.h) */
	uint64_t	deadline_ms;	/* monotonic; 0: not known */

	/* shared */
	atomic_bool cancelled;

	/* under the lock of AgentJobs */
	JobState	state;
	AgentJob   *prev;
	AgentJob   *next;

	/* the worker's, then, once finished, the loop's; NULL: memory was short */
	AgentAnswer *answer;
};

typedef struct JobQueue
{
	struct AgentJobs *jobs;
	AgentJob   *first;
	AgentJob   *last;
	pthread_cond_t wake;
	int			queued;
	int			threads;
	int			idle;
} JobQueue;

typedef struct AgentJobs
{
	void		(*notify) (void *arg);	/* a job has finished; any thread */
	void	   *notify_arg;

	pthread_mutex_t lock;		/* all below */
	int			concurrency;
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

/* false: no thread could be made and none is there; the job is the caller's. */
extern bool pge_jobs_submit(AgentJobs *jobs, AgentJob *job);

/* Nobody waits any more: true if it had not started and is the caller's again. */
extern bool pge_jobs_cancel(AgentJobs *jobs, AgentJob *job);

/* The finished jobs, linked by "next". */
extern AgentJob *pge_jobs_take_finished(AgentJobs *jobs);

extern void pge_jobs_counts(AgentJobs *jobs, int *queued, int *running);

#endif							/* PGE_AGENT_JOBS_H */
