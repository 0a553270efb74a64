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
#include "agent/kms/monotonic.h"

/* Providers keep big things on the heap. */
#define WORKER_STACK	(512 * 1024)

static bool start_worker(JobQueue *queue);
static void *worker_main(void *arg);
static bool wait_for_group(JobQueue *queue, JobGroup *group);
static void wait_for_work(JobQueue *queue);
static void release_held(JobQueue *queue);
static void take_group(JobQueue *queue, JobGroup *group);
static AgentJob *first_not_held(const JobQueue *queue);
static void take_job(JobQueue *queue, AgentJob *job, JobGroup *group);
static bool may_join(const AgentJob *job, JobGroup *group, uint64_t now);
static uint64_t time_left(const AgentJob *job, uint64_t now);
static bool are_alike(const AgentJob *a, const AgentJob *b);
static bool is_held_back(const AgentJob *job);
static bool must_wait(const JobQueue *queue, const AgentJob *job, int more);
static int	count_alike(const JobQueue *queue, const AgentJob *like);
static bool is_full(const JobGroup *group);
static void hold_alike(JobQueue *queue, const AgentJob *job, bool held);
static void wake_one(JobQueue *queue);
static void perform(JobGroup *group);
static void finish_group(JobQueue *queue, JobGroup *group);
static void link_job(JobQueue *queue, AgentJob *job);
static void unlink_job(JobQueue *queue, AgentJob *job);
static void count_job(JobQueue *queue, const AgentJob *job, int by);

void
pge_jobs_init(AgentJobs *jobs, void (*notify) (void *arg), void *notify_arg)
{
	pthread_condattr_t attr;

	memset(jobs, 0, sizeof(*jobs));
	jobs->notify = notify;
	jobs->notify_arg = notify_arg;
	jobs->concurrency = 1;
	jobs->hold_ms = JOBS_HOLD_MS;
	pthread_mutex_init(&jobs->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	for (int i = 0; i < KMS_SLOTS; i++)
	{
		jobs->queues[i].jobs = jobs;
		pthread_cond_init(&jobs->queues[i].wake, &attr);
	}
	pthread_condattr_destroy(&attr);
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
	job->slot = pge_kms_sessions_slot(sessions, job->request.uri, job->request.nuris, &job->most);
	return job;
}

void
pge_job_free(AgentJob *job)
{
	if (job->answer != NULL)
		pge_answer_wipe(job->answer);
	free(job->answer);
	if (job->bytes != NULL)
		pge_secret_wipe(job->bytes, job->len);
	free(job->bytes);
	pge_kms_sessions_release(job->sessions);
	free(job);
}

bool
pge_jobs_submit(AgentJobs *jobs, AgentJob *job, int before)
{
	JobQueue   *queue = &jobs->queues[job->slot];
	bool		served;

	pthread_mutex_lock(&jobs->lock);
	job->held = must_wait(queue, job, 1);
	served = job->held || queue->idle > queue->queued || start_worker(queue) ||
		queue->threads > 0;
	if (served)
	{
		if (!job->held && is_held_back(job))
			hold_alike(queue, job, false);
		job->state = JOB_QUEUED;
		job->turn = queue->turn + 1 + (uint64_t) before;
		link_job(queue, job);
		if (!job->held)
			pthread_cond_signal(&queue->wake);
		else if (queue->held == 1)
			wake_one(queue);
	}
	pthread_mutex_unlock(&jobs->lock);
	return served;
}

bool
pge_jobs_cancel(AgentJobs *jobs, AgentJob *job)
{
	bool		ours;

	pthread_mutex_lock(&jobs->lock);
	ours = job->state == JOB_QUEUED;
	if (ours)
		unlink_job(&jobs->queues[job->slot], job);
	else if (!atomic_exchange(&job->cancelled, true) && job->state == JOB_RUNNING &&
			 --job->group->waited_for == 0)
		atomic_store(&job->group->cancelled, true);
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
	JobGroup	group;

	pthread_mutex_lock(&jobs->lock);
	while (wait_for_group(queue, &group))
	{
		pthread_mutex_unlock(&jobs->lock);
		perform(&group);
		pthread_mutex_lock(&jobs->lock);
		finish_group(queue, &group);
		jobs->notify(jobs->notify_arg);
	}
	queue->threads--;
	pthread_mutex_unlock(&jobs->lock);
	return NULL;
}

/* Caller holds jobs->lock, as of all below but perform().  false: this thread is one too many. */
static bool
wait_for_group(JobQueue *queue, JobGroup *group)
{
	while (queue->queued == 0 || queue->threads > queue->jobs->concurrency)
	{
		if (queue->threads > queue->jobs->concurrency)
			return false;
		wait_for_work(queue);
	}
	take_group(queue, group);
	return true;
}

static void
wait_for_work(JobQueue *queue)
{
	uint64_t	until = queue->held_until_ms;
	struct timespec end = {(time_t) (until / 1000), (long) (until % 1000) * 1000000};

	queue->idle++;
	if (queue->held > 0)
		(void) pthread_cond_timedwait(&queue->wake, &queue->jobs->lock, &end);
	else
		pthread_cond_wait(&queue->wake, &queue->jobs->lock);
	queue->idle--;
	if (queue->held > 0 && pge_monotonic_ms() >= queue->held_until_ms)
		release_held(queue);
}

/* What they waited for takes too long. */
static void
release_held(JobQueue *queue)
{
	for (AgentJob *job = queue->first; job != NULL; job = job->next)
		job->held = false;
	queue->queued += queue->held;
	queue->held = 0;
}

/* The first job that is not held, and what may go with it. */
static void
take_group(JobQueue *queue, JobGroup *group)
{
	AgentJob   *first = first_not_held(queue);
	AgentJob   *next;
	uint64_t	now;

	group->n = group->waited_for = 0;
	atomic_init(&group->cancelled, false);
	group->next = queue->groups;
	queue->groups = group;
	queue->turn = first->turn > queue->turn ? first->turn : queue->turn;
	next = first->next;
	take_job(queue, first, group);
	if (first->most <= 1)
		return;
	now = pge_monotonic_ms();
	group->shortest_ms = group->longest_ms = time_left(first, now);
	for (AgentJob *job = next; job != NULL && !is_full(group); job = next)
	{
		next = job->next;
		if (may_join(job, group, now))
			take_job(queue, job, group);
	}
	if (must_wait(queue, first, 0))
		hold_alike(queue, first, true);
	/* for what is left, or to look after those that are held */
	if (queue->held > 0 || (is_held_back(first) && queue->queued > 0))
		wake_one(queue);
}

static AgentJob *
first_not_held(const JobQueue *queue)
{
	AgentJob   *job = queue->first;

	while (job->held)
		job = job->next;
	return job;
}

static void
take_job(JobQueue *queue, AgentJob *job, JobGroup *group)
{
	unlink_job(queue, job);
	job->state = JOB_RUNNING;
	job->group = group;
	group->jobs[group->n++] = job;
	group->waited_for++;
	queue->jobs->running++;
}

/*
 * A group ends by its first deadline: nobody shall lose more than half of his time by
 * it, whoever came first.
 */
static bool
may_join(const AgentJob *job, JobGroup *group, uint64_t now)
{
	uint64_t	left = time_left(job, now);
	uint64_t	shortest = left < group->shortest_ms ? left : group->shortest_ms;
	uint64_t	longest = left > group->longest_ms ? left : group->longest_ms;

	if (job->held || !are_alike(job, group->jobs[0]) || shortest < longest / 2)
		return false;
	group->shortest_ms = shortest;
	group->longest_ms = longest;
	return true;
}

static uint64_t
time_left(const AgentJob *job, uint64_t now)
{
	if (job->deadline_ms == 0)
		return UINT64_MAX;
	return job->deadline_ms > now ? job->deadline_ms - now : 0;
}

static bool
are_alike(const AgentJob *a, const AgentJob *b)
{
	return a->most > 1 && b->most > 1 && a->sessions == b->sessions &&
		pge_requests_agree(&a->request, &b->request);
}

/* So that they come to be many, and a round trip is shared: nobody waits for one in particular. */
static bool
is_held_back(const AgentJob *job)
{
	return job->most > 1 && job->request.type == PGE_FRAME_REWRAP;
}

/* "more" of its kind are coming to those that are in the queue. */
static bool
must_wait(const JobQueue *queue, const AgentJob *job, int more)
{
	int			under_way = 0;
	int			members = 0;

	if (!is_held_back(job))
		return false;
	for (const JobGroup *group = queue->groups; group != NULL; group = group->next)
		if (!is_full(group) && are_alike(group->jobs[0], job))
		{
			under_way++;
			members += group->n;
		}
	if (under_way == 0 || under_way >= JOBS_REWRAPS_UNDER_WAY)
		return under_way > 0;
	return queue->held + queue->queued + more < members || count_alike(queue, job) + more < members;
}

static int
count_alike(const JobQueue *queue, const AgentJob *like)
{
	int			count = 0;

	for (const AgentJob *job = queue->first; job != NULL; job = job->next)
		count += are_alike(job, like);
	return count;
}

static bool
is_full(const JobGroup *group)
{
	return group->n >= group->jobs[0]->most;
}

static void
hold_alike(JobQueue *queue, const AgentJob *like, bool held)
{
	for (AgentJob *job = queue->first; job != NULL; job = job->next)
	{
		if (job->held == held || !are_alike(job, like))
			continue;
		count_job(queue, job, -1);
		job->held = held;
		count_job(queue, job, 1);
	}
}

/* Those that were held have not woken or started a thread when they came. */
static void
wake_one(JobQueue *queue)
{
	if (queue->idle > 0)
		pthread_cond_signal(&queue->wake);
	else
		(void) start_worker(queue);
}

/* No lock is held. */
static void
perform(JobGroup *group)
{
	int			n = 0;

	for (int i = 0; i < group->n; i++)
	{
		AgentJob   *job = group->jobs[i];

		job->answer = calloc(1, sizeof(*job->answer));
		if (job->answer == NULL)
			continue;
		group->requests[n++] = (AgentRequest)
		{
			&job->request, job->deadline_ms, &job->cancelled, job->answer
		};
	}
	if (n > 0)
		pge_requests_perform(group->jobs[0]->sessions, group->requests, n, &group->cancelled);
}

/* Those that were held for it may go now: one thread is told, and this one looks as well. */
static void
finish_group(JobQueue *queue, JobGroup *group)
{
	AgentJobs  *jobs = queue->jobs;
	JobGroup  **link = &queue->groups;

	while (*link != group)
		link = &(*link)->next;
	*link = group->next;
	if (is_held_back(group->jobs[0]) && !must_wait(queue, group->jobs[0], 0))
	{
		hold_alike(queue, group->jobs[0], false);
		pthread_cond_signal(&queue->wake);
	}
	for (int i = 0; i < group->n; i++)
	{
		AgentJob   *job = group->jobs[i];

		jobs->running--;
		job->state = JOB_FINISHED;
		job->group = NULL;
		job->next = NULL;
		if (jobs->finished_last != NULL)
			jobs->finished_last->next = job;
		else
			jobs->finished_first = job;
		jobs->finished_last = job;
	}
}

/* What comes late has its turn late, so its place is looked for from the end. */
static void
link_job(JobQueue *queue, AgentJob *job)
{
	AgentJob   *before = queue->last;

	while (before != NULL && before->turn > job->turn)
		before = before->prev;
	job->prev = before;
	job->next = before != NULL ? before->next : queue->first;
	if (job->prev != NULL)
		job->prev->next = job;
	else
		queue->first = job;
	if (job->next != NULL)
		job->next->prev = job;
	else
		queue->last = job;
	count_job(queue, job, 1);
	queue->jobs->queued++;
}

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
	count_job(queue, job, -1);
	queue->jobs->queued--;
}

/* Those that are held are so for a time that begins with the first. */
static void
count_job(JobQueue *queue, const AgentJob *job, int by)
{
	if (!job->held)
		queue->queued += by;
	else
	{
		if (queue->held == 0)
			queue->held_until_ms = pge_monotonic_ms() + (uint64_t) queue->jobs->hold_ms;
		queue->held += by;
	}
}
