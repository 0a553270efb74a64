/*
 * agent.h -- everything the daemon has, in one place.
 *
 * One thread, the loop's, owns all of it; worker threads see the sessions, the
 * lock-guarded part of the jobs, and their own job.  Nothing is unbounded: the
 * limits are here.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_AGENT_H
#define PGE_AGENT_AGENT_H

#include <sys/types.h>

#include <curl/curl.h>

#include "agent/agent_settings.h"
#include "agent/frame_stream.h"
#include "agent/handshake.h"
#include "agent/jobs.h"
#include "agent/kms_reload.h"
#include "agent/negative_answers.h"
#include "agent/own_socket.h"
#include "agent/served.h"
#include "agent/single_flight.h"

#define AGENT_CLIENTS_MAX		1024
#define AGENT_WAITERS_MAX		4096	/* requests of all clients */
#define AGENT_CLIENT_WAITERS	PGE_REQUESTS_MAX	/* of one; past it we do
													 * not read from it */
#define AGENT_CLIENT_SHARE		16	/* likewise, while half of those of all
									 * wait: a few that ask for much do not
									 * use up what others need */
#define AGENT_CLIENT_OUT_MAX	(256 * 1024)	/* unread answers; past it
												 * likewise */
#define AGENT_FRAMES_PER_TURN	64
#define AGENT_HANDSHAKE_MS		2000
#define AGENT_IDLE_MS			1000	/* who asks nothing for so long makes
										 * room */

typedef enum ClientState
{
	CLIENT_GREETS,				/* HELLO has to come */
	CLIENT_PROVES,				/* PROOF has to come */
	CLIENT_TRUSTED
} ClientState;

typedef struct AgentClient AgentClient;

/* One request of one client, waiting for one job. */
struct AgentWaiter
{
	AgentWaiter *job_next;
	AgentWaiter *client_next;
	AgentJob   *job;
	AgentClient *client;
	uint64_t	ticket;
};

struct AgentClient
{
	AgentClient *next;
	FrameStream stream;
	ClientState state;
	Handshake	handshake;
	uint64_t	handshake_deadline;
	uint64_t	last_heard;
	pid_t		pid;
	uint32_t	server;			/* served.h; 0: the only one */
	AgentWaiter *waiters;
	int			nwaiters;
	bool		gone;			/* to be freed at the end of the turn */
	bool		readable;		/* poll said so in this turn */
};

/* What envelope_status() shows. */
typedef struct AgentCounters
{
	uint64_t	connections;
	uint64_t	refused;		/* connections closed for what they sent */
	uint64_t	requests;
	uint64_t	unwraps;		/* performed, not those that joined */
	uint64_t	joined;
	uint64_t	remembered;		/* refusals that were no news */
	uint64_t	cancelled;		/* requests whose connection closed */
	uint64_t	throttled;
	uint64_t	failures;		/* requests answered with an error */
	int64_t		last_success;	/* seconds since 1970; 0: never */
	int64_t		last_failure;
	char		last_error[PGE_FRAME_DETAIL_MAX + 64];	/* with the status
														 * before it */
} AgentCounters;

typedef struct Agent
{
	CURLM	   *multi;
	bool		external;		/* a service of its own, no keeper's child */
	uid_t		peer_uid;		/* whose processes it serves */
	int			listen_fd;
	OwnSocket	socket;			/* external */
	ServedServers served;		/* external */
	int			signal_fd;
	FrameStream keeper;			/* external: closed */
	bool		configured;
	bool		stopping;
	int			exit_code;
	PgeSecret	socket_secret;
	AgentSettings settings;
	KmsSessions *sessions;		/* NULL: not configured yet */
	KmsReload	reload;
	AgentJobs	jobs;
	SingleFlight flight;
	NegativeAnswers negatives;
	AgentClient *clients;
	int			nclients;
	int			max_clients;	/* AGENT_CLIENTS_MAX, or what descriptors
								 * allow */
	int			nwaiters;
	uint64_t	accept_again;	/* out of descriptors: not before this time */
	uint64_t	refusal_logged;
	int			refusals_unlogged;
	uint64_t	descriptors_logged;
	uint64_t	remarked;		/* when "remark" was logged; 0: never */
	char		remark[PGE_FRAME_DETAIL_MAX + 1];
	int64_t		started;
	AgentCounters counters;
} Agent;

/* Monotonic. */
extern uint64_t pge_agent_now_ms(void);

#endif							/* PGE_AGENT_AGENT_H */
