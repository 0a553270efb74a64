/*
 * kms_sessions.h -- the open sessions of the key services that are configured.
 *
 * A set does not change: other settings make another set, which shares with the one
 * before every session that has not changed.  Who uses a set holds a reference;
 * a request keeps to the set that it began with, and a session is closed when
 * the last set that has it is gone.
 *
 *	loop	open -> (renewed by a thread, kms_reload.h) ... -> release
 *	job		hold -> find ... -> release
 *
 * Every session has a slot, which is a queue and threads of its own in jobs.h.  It
 * keeps its slot for life.  What needs two services that are not here has another one,
 * so that the one that hangs does not hold the other's threads.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_SESSIONS_H
#define PGE_AGENT_KMS_SESSIONS_H

#include "agent/kms/kms.h"
#include "agent/kms/kms_detail.h"

#define KMS_SESSIONS_MAX	33	/* slots of sessions: one more than there can
								 * be instances */
#define KMS_SLOT_OF_SEVERAL	KMS_SESSIONS_MAX	/* no session's */
#define KMS_SLOTS			(KMS_SESSIONS_MAX + 1)

typedef struct KmsOpened KmsOpened;
typedef struct KmsFile KmsFile;

typedef struct KmsSessionEntry
{
	const KmsInstance *instance;	/* as the set's configuration has it */
	KmsOpened  *opened;			/* shared with other sets */
} KmsSessionEntry;

typedef struct KmsSessions
{
	atomic_int	references;
	KmsFile    *file;			/* shared with other sets */
	int			count;
	KmsSessionEntry entries[KMS_INSTANCES_MAX]; /* the first is the local
												 * keyring's */
	char		problem[KMS_DETAIL_LEN];	/* why the file as it is now is
											 * not in force; "": it is */
} KmsSessions;

/* Which session a URI is for. */
typedef struct KmsTarget
{
	const KmsInstance *instance;
	KmsOpened  *opened;
	bool		has_key;		/* false: a KEK that is to be made */
	KeyUri		key;
	char		uri[PGE_KEK_URI_MAX + 1];	/* canonical, without an instance */
} KmsTarget;

/*
 * The first set.  A configuration that is not in order is left out, with the
 * reason in "problem", because the local keyring has to work without it.
 * Otherwise *detail says why there is none.  With settings->external the section
 * [agent] has the rest of the settings, and nothing works without the file.
 */
extern PgeStatus pge_kms_sessions_open(const KmsSettings *settings, const char *config_file,
									   KmsSessions **sessions, char *detail);

/*
 * Another set, after the settings or the file have changed.  A configuration that is
 * not in order leaves everything as it was, with the reason in the new set's
 * "problem".  *refused is the name of a provider that keeps what it had, with
 * *refusal, or NULL.  May take as long as a passphrase command does.
 */
extern PgeStatus pge_kms_sessions_renew(const KmsSessions *before, const KmsSettings *settings,
										const char *config_file, KmsSessions **after,
										const char **refused, PgeStatus *refusal);

/* What the set was made of; lives as long as it. */
extern const KmsConfig *pge_kms_sessions_config(const KmsSessions *sessions);

/* Any thread. */
extern KmsSessions *pge_kms_sessions_hold(KmsSessions *sessions);
extern void pge_kms_sessions_release(KmsSessions *sessions);

/* Closes are in threads of their own, for they may take their time: how many. */
extern int	pge_kms_sessions_closing(void);

/*
 * An empty URI is for the local keyring.  PGE_KEK_NOT_FOUND: of no provider
 * that we have; PGE_INVALID: malformed, or not what the configuration allows.
 */
extern PgeStatus pge_kms_sessions_find(const KmsSessions *sessions, PgeBytes uri,
									   KmsTarget *target, char *detail);

/*
 * The slot of the one service of these URIs that is not on this host, or
 * KMS_SLOT_OF_SEVERAL; else the local keyring's, which answers at once.  *most: how
 * many that ask the same of them are worth performing as one, since each service that
 * is not here takes as many calls at once; at most KMS_MANY_MAX.
 */
extern int	pge_kms_sessions_slot(const KmsSessions *sessions, const PgeBytes *uris, int nuris, int *most);

/* The target's session performs them.  The caller has filled in all but uri and key. */
extern void pge_kms_target_perform(const KmsTarget *target, KmsCall *calls, KmsResult *results, int n);

/* Can the service itself take this wrapping from one to the other? */
extern bool pge_kms_target_rewraps(const KmsTarget *from, const KmsTarget *to, PgeBytes wrapped);

/*
 * The URI to store: canonical, with the instance if one was named.  "known_as" is
 * what the service calls the key; "": what it was asked for.
 */
extern PgeStatus pge_kms_target_uri(const KmsTarget *target, const char *known_as,
									char uri[PGE_KEK_URI_MAX + 1], char *detail);

#endif							/* PGE_AGENT_KMS_SESSIONS_H */
