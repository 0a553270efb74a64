/*-------------------------------------------------------------------------
 *
 * jobs.c
 *	  Requests on their way through the worker threads.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "agent/jobs.h"

/* Providers keep big things on the heap. */
#define WORKER_STACK	(512 * 1024)

static bool start_worker(JobQueue *queue);
static void *worker_main(void *arg);
static AgentJob *wait_for_job(JobQueue *queue);
static void perform(AgentJob *job);
static void unlink_job(JobQueue *queue, AgentJob *job);

void
pge_jobs_init(AgentJobs *jobs, void (*notify) (void *arg), void *notify_arg)
{
	memset(jobs, 0, sizeof(*jobs));
	jobs->notify = notify;
	jobs->notify_arg = notify_arg;
	jobs->concurrency = 1;
	pthread_mutex_init(&jobs->lock, NULL);
	for (int i = 0; i < KMS_SLOTS; i++)
	{
		jobs->queues[i].jobs = jobs;
		pthread_cond_init(&jobs->queues[i].wake, NULL);
	}
}

/* Threads that are too many end when they next look for work. */
void
pge_jobs_set_concurrency(AgentJobs *jobs, int concurrency)
{
	pthread_mutex_lock(&jobs->lock);
	jobs->concurrency = concurrency;
	for (int i = 0; i < KMS_SLOTS; i++)
	{
		JobQueue   *queue = &jobs->queues[i];

		/* With more allowed, what already waits has no one else to start it. */
		while (queue->queued > queue->idle && start_worker(queue))
			;
		pthread_cond_broadcast(&queue->wake);
	}
	pthread_mutex_unlock(&jobs->lock);
}

AgentJob *
pge_job_new(PgeBytes frame, KmsSessions *sessions, uint64_t deadline_ms)
{
	AgentJob   *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	atomic_init(&job->cancelled, false);
	job->sessions = pge_kms_sessions_hold(sessions);
	job->deadline_ms = deadline_ms;
	job->len = frame.len;
	job->bytes = malloc(frame.len);
	if (job->bytes != NULL)
		memcpy(job->bytes, frame.data, frame.len);
	if (job->bytes == NULL ||
		pge_frame_decode(pge_bytes(job->bytes, job->len), &job->request) != PGE_OK)
	{
		pge_job_free(job);
		return NULL;
	}
	job->slot = pge_kms_sessions_slot(sessions, job->request.uri, job->request.nuris);
	return job;
}

void
pge_job_free(AgentJob *job)
{
	if (job->answer != NULL)
		pge_secret_wipe(job->answer, sizeof(*job->answer));
	free(job->answer);
	if (job->bytes != NULL)
		pge_secret_wipe(job->bytes, job->len);
	free(job->bytes);
	pge_kms_sessions_release(job->sessions);
	free(job);
}

bool
pge_jobs_submit(AgentJobs *jobs, AgentJob *job)
{
	JobQueue   *queue = &jobs->queues[job->slot];
	bool		served;

	pthread_mutex_lock(&jobs->lock);
	served = queue->idle > queue->queued || start_worker(queue) ||
		queue->threads > 0;
	if (served)
	{
		job->state = JOB_QUEUED;
		job->next = NULL;
		job->prev = queue->last;
		if (queue->last != NULL)
			queue->last->next = job;
		else
			queue->first = job;
		queue->last = job;
		queue->queued++;
		jobs->queued++;
		pthread_cond_signal(&queue->wake);
	}
	pthread_mutex_unlock(&jobs->lock);
	return served;
}

bool
pge_jobs_cancel(AgentJobs *jobs, AgentJob *job)
{
	bool		ours;

	atomic_store(&job->cancelled, true);
	pthread_mutex_lock(&jobs->lock);
	ours = job->state == JOB_QUEUED;
	if (ours)
		unlink_job(&jobs->queues[job->slot], job);
	pthread_mutex_unlock(&jobs->lock);
	return ours;
}

AgentJob *
pge_jobs_take_finished(AgentJobs *jobs)
{
	AgentJob   *first;

	pthread_mutex_lock(&jobs->lock);
	first = jobs->finished_first;
	jobs->finished_first = NULL;
	jobs->finished_last = NULL;
	pthread_mutex_unlock(&jobs->lock);
	return first;
}

void
pge_jobs_counts(AgentJobs *jobs, int *queued, int *running)
{
	pthread_mutex_lock(&jobs->lock);
	*queued = jobs->queued;
	*running = jobs->running;
	pthread_mutex_unlock(&jobs->lock);
}

/*
 * Caller holds jobs->lock.  false: there are enough, or the system has none.
 * The thread inherits our mask, in which all signals are blocked (serve.c).
 */
static bool
start_worker(JobQueue *queue)
{
	pthread_attr_t attr;
	pthread_t	thread;
	bool		started;

	if (queue->threads >= queue->jobs->concurrency ||
		pthread_attr_init(&attr) != 0)
		return false;
	started = pthread_attr_setstacksize(&attr, WORKER_STACK) == 0 &&
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0 &&
		pthread_create(&thread, &attr, worker_main, queue) == 0;
	pthread_attr_destroy(&attr);
	if (started)
		queue->threads++;
	return started;
}

static void *
worker_main(void *arg)
{
	JobQueue   *queue = arg;
	AgentJobs  *jobs = queue->jobs;
	AgentJob   *job;

	pthread_mutex_lock(&jobs->lock);
	while ((job = wait_for_job(queue)) != NULL)
	{
		jobs->running++;
		pthread_mutex_unlock(&jobs->lock);
		perform(job);
		pthread_mutex_lock(&jobs->lock);
		jobs->running--;
		job->state = JOB_FINISHED;
		job->next = NULL;
		if (jobs->finished_last != NULL)
			jobs->finished_last->next = job;
		else
			jobs->finished_first = job;
		jobs->finished_last = job;
		jobs->notify(jobs->notify_arg);
	}
	queue->threads--;
	pthread_mutex_unlock(&jobs->lock);
	return NULL;
}

/* Caller holds jobs->lock.  NULL: this thread is one too many. */
static AgentJob *
wait_for_job(JobQueue *queue)
{
	AgentJob   *job;

	while (queue->first == NULL || queue->threads > queue->jobs->concurrency)
	{
		if (queue->threads > queue->jobs->concurrency)
			return NULL;
		queue->idle++;
		pthread_cond_wait(&queue->wake, &queue->jobs->lock);
		queue->idle--;
	}
	job = queue->first;
	unlink_job(queue, job);
	job->state = JOB_RUNNING;
	return job;
}

static void
perform(AgentJob *job)
{
	AgentAnswer *answer = calloc(1, sizeof(*answer));

	if (answer != NULL)
		pge_request_perform(job->sessions, &job->request, job->deadline_ms,
							&job->cancelled, answer);
	job->answer = answer;
}

/* Caller holds jobs->lock. */
static void
unlink_job(JobQueue *queue, AgentJob *job)
{
	if (job->prev != NULL)
		job->prev->next = job->next;
	else
		queue->first = job->next;
	if (job->next != NULL)
		job->next->prev = job->prev;
	else
		queue->last = job->prev;
	job->prev = NULL;
	job->next = NULL;
	queue->queued--;
	queue->jobs->queued--;
}
