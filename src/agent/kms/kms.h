/*
 * kms.h -- the whole contract with a key service.  Called in the agent only.
 *
 * A session is one open instance of a provider: a section of the configuration
 * (kms_config.h), or the local keyring.  open() does not touch the service, so
 * one that is down does not stop the agent.  perform() runs on one of the agent's
 * worker threads: it may block, is thread safe on one session, ends by
 * call->deadline_ms and looks at call->cancelled when it waits.  perform_many()
 * does the same for a group.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_H
#define PGE_AGENT_KMS_H

#include <stdatomic.h>

#include "agent/kms/key_uri.h"
#include "agent/kms/kms_config.h"
#include "agent/kms/kms_detail.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/status.h"

typedef enum KmsOperation
{
	KMS_WRAP,					/* key, binding, dek -> wrapped, kek_version */
	KMS_UNWRAP,					/* key, binding, wrapped -> dek */
	KMS_DESCRIBE,				/* key -> kek_version (current), detail; uri
								 * if the service knows the key by another
								 * name for ever */
	KMS_CREATE,					/* key or none -> uri, kek_version, detail */
	KMS_ROTATE,					/* key -> kek_version (new) */
	KMS_REWRAP,					/* key, from, binding, wrapped -> wrapped,
								 * kek_version; in the service, which does not
								 * give the DEK out */
	KMS_DESTROY,				/* key, immediate -> detail: until when it can
								 * be called off, or that it is final, for
								 * people.  On its way already: PGE_OK, and
								 * says so.  PGE_KEK_NOT_FOUND: no such key
								 * any more.  PGE_INVALID and the sentence: a
								 * service that does it at once only, without
								 * "immediate".  What came of a lost answer is
								 * asked, and not tried again */
	KMS_RESTORE					/* key -> kek_version (current), detail; calls
								 * off a destruction that is scheduled, so
								 * that the key works again.
								 * PGE_KEK_NOT_FOUND: gone for good */
} KmsOperation;

/* Calls of a group at most. */
#define KMS_MANY_MAX	500

typedef struct KmsCall
{
	KmsOperation operation;
	PgeBytes	uri;			/* canonical, without "?instance="; empty:
								 * KMS_CREATE without a key */
	const KeyUri *key;			/* the same, in parts; NULL if "uri" is empty */
	const KeyUri *from;			/* KMS_REWRAP: the key of "wrapped", of the
								 * same session; NULL otherwise */
	PgeBytes	binding;		/* format/binding.h */
	PgeBytes	wrapped;		/* format/wrapped_key.h */
	const PgeSecret *dek;
	bool		immediate;		/* KMS_DESTROY: there need be no way back */
	uint64_t	deadline_ms;	/* monotonic; 0: not known */
	const atomic_bool *cancelled;	/* nobody waits any more */
} KmsCall;

/* The caller wipes it; "detail" never holds key bytes, tokens or a service's body. */
typedef struct KmsResult
{
	PgeStatus	status;
	PgeSecret	dek;
	uint8_t		wrapped[PGE_WRAPPED_MAX];
	size_t		wrapped_len;
	char		kek_version[PGE_KEK_VERSION_MAX + 1];
	char		uri[PGE_KEK_URI_MAX + 1];
	char		detail[512];
	bool		alarm;			/* "detail" has what is said once only: it is
								 * for the log, too */
} KmsResult;

/* What stands between us and a key, found one by one. */
#define KMS_STEPS_MAX	8

typedef struct KmsStep
{
	const char *name;			/* "tls": a word for people */
	PgeStatus	status;
	int64_t		us;				/* it took */
	char		detail[KMS_DETAIL_LEN]; /* what was found, or what failed and
										 * what to do; as a result's */
} KmsStep;

typedef struct KmsWay
{
	int			count;			/* up to the first that failed */
	KmsStep		steps[KMS_STEPS_MAX];
} KmsWay;

typedef struct KmsSession KmsSession;

/* What an instance is opened with.  Lives as long as its session. */
typedef struct KmsSettings
{
	const char *keyring_file;
	const char *keyring_passphrase_command; /* "" or NULL: none */
	int			timeout_ms;		/* how long who asks will wait; 0: not known */
	int			concurrency;	/* calls under way at most */
	bool		external;		/* a service of its own: the file's [agent]
								 * says all the above.  false: the server
								 * starts it (instance->spawned) */
	const KmsInstance *instance;	/* its section; of the local keyring an
									 * empty one if there is none */
} KmsSettings;

typedef struct KmsProvider
{
	const char *name;			/* of its sections and its URIs: "local" */
	const char *const *settings;	/* what a section of it may say besides
									 * the common ones (kms_config.h); ends
									 * with NULL */

	/*
	 * Pure.  Any spelling of a URI in parts.  PGE_KEK_NOT_FOUND: not one of
	 * ours; PGE_INVALID with *detail: ours, and wrong.
	 */
	PgeStatus	(*parse_uri) (PgeBytes uri, KeyUri *key, char *detail);

	/*
	 * Pure.  The canonical URI, "server" in place of a missing one; with
	 * key->instance if there is one.  NULL: pge_key_uri_format().
	 */
	PgeStatus	(*format_uri) (const KeyUri *key, const char *server,
							   char uri[PGE_KEK_URI_MAX + 1]);

	/*
	 * Is the section complete and right?  Pure but for looking whether files
	 * are there.  Fills instance->server.  PGE_INVALID with *detail and
	 * *line.
	 */
	PgeStatus	(*check) (KmsInstance *instance, int *line, char *detail);

	/* *detail is for the server's log. */
	PgeStatus	(*open) (const KmsSettings *settings, KmsSession **session,
						 char *detail);

	/* NULL: with other settings a session is opened beside the old one. */
	PgeStatus	(*reload) (KmsSession *session, const KmsSettings *settings);
	void		(*perform) (KmsSession *session, const KmsCall *call,
							KmsResult *result);

	/*
	 * A group of 2 to KMS_MANY_MAX calls that agree in all but binding,
	 * wrapped and dek; operation is KMS_WRAP, KMS_UNWRAP or KMS_REWRAP.  Each
	 * has a result of its own, in the same place, zeroed before.  NULL:
	 * perform() is called for one after the other.
	 */
	void		(*perform_many) (KmsSession *session, const KmsCall *calls,
								 KmsResult *results, int n);

	/*
	 * How many of a group are one call to the service, which may have said so
	 * by now.  Any thread; does not wait.  NULL: instance->many.
	 */
	int			(*takes) (const KmsSession *session);

	/*
	 * Pure.  Can the service itself take this wrapping from one key of a
	 * session to another, or to the newest version of the same?  KMS_REWRAP
	 * comes only after a yes.  NULL: never.
	 */
	bool		(*rewraps) (const KeyUri *from, const KeyUri *to, PgeBytes wrapped);

	/*
	 * For people who ask why a key does not work: the steps before the first
	 * call, none of which changes anything.  Only deadline_ms and cancelled
	 * of the call count.  NULL: there are none.
	 */
	void		(*reach) (KmsSession *session, const KmsCall *call, KmsWay *way);

	/* No call is running.  May take its time, but not for ever. */
	void		(*close) (KmsSession *session);
} KmsProvider;

/*
 * The one list: kms_registry.c.  It ends with NULL; the first is the local
 * keyring, which makes KEKs that were given no URI.
 */
extern const KmsProvider *const *pge_kms_providers(void);

/* Not in the list, for no URI names it: the section [agent] (kms_config_agent.c). */
extern const KmsProvider pge_kms_agent_section;

/* Another step, PGE_OK so far. */
extern KmsStep *pge_kms_way_step(KmsWay *way, const char *name, int64_t us);

/*
 * The parts of a URI in any spelling, and whose it is.  PGE_KEK_NOT_FOUND: no
 * provider's; PGE_INVALID: it is wrong.  *detail says it.
 */
extern PgeStatus pge_kms_parse_uri(PgeBytes uri, KeyUri *key, const KmsProvider **provider, char *detail);

/* Its one spelling, at the instance's server; "name" is that of "?instance=", "" for none. */
extern PgeStatus pge_kms_format_uri(const KeyUri *key, const char *name, const KmsInstance *instance,
									char uri[PGE_KEK_URI_MAX + 1], char *detail);

/* NULL: no such provider in this build. */
extern const KmsProvider *pge_kms_provider_named(const char *name);

#endif							/* PGE_AGENT_KMS_H */
