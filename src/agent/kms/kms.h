/*
 * kms.h -- the whole contract with a key service.  Called in the agent only.
 *
 * A service behind a library or a file (the local keyring, an HSM) performs a
 * call on one of the agent's worker threads: perform() may block, is thread
 * safe on one session, and looks at call->cancelled when it waits.
 *
 * Sessions are opened once per configured instance and closed at exit; open()
 * does not touch the service, so a service that is down does not stop the agent.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_H
#define PGE_AGENT_KMS_H

#include <stdatomic.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/status.h"

typedef enum KmsOperation
{
	KMS_WRAP,					/* uri, binding, dek -> wrapped, kek_version */
	KMS_UNWRAP,					/* uri, binding, wrapped -> dek */
	KMS_DESCRIBE,				/* uri -> kek_version (current), detail */
	KMS_CREATE,					/* uri or none -> uri, kek_version, detail */
	KMS_ROTATE					/* uri -> kek_version (new) */
} KmsOperation;

typedef struct KmsCall
{
	KmsOperation operation;
	PgeBytes	uri;
	PgeBytes	binding;		/* format/binding.h */
	PgeBytes	wrapped;		/* format/wrapped_key.h */
	const PgeSecret *dek;
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

typedef struct KmsSession KmsSession;

/* What the settings say to a provider; each takes what it knows. */
typedef struct KmsConfig
{
	const char *keyring_file;
	const char *keyring_passphrase_command; /* "" or NULL: none */
	int			timeout_ms;		/* how long who asks will wait; 0: not known */
} KmsConfig;

typedef struct KmsProvider
{
	const char *scheme;			/* what its URIs start with, without the
								 * colon: "local" */
	PgeStatus	(*open) (const KmsConfig *config, KmsSession **session);
	PgeStatus	(*reload) (KmsSession *session, const KmsConfig *config);
	void		(*perform) (KmsSession *session, const KmsCall *call,
							KmsResult *result);
	void		(*close) (KmsSession *session);
} KmsProvider;

/*
 * The one list: kms_registry.c.  NULL: no such service in this build.  An empty
 * URI (KMS_CREATE without one) is for the local keyring.
 */
extern const KmsProvider *pge_kms_provider_of(PgeBytes uri);
extern const KmsProvider *const *pge_kms_providers(void);	/* ends with NULL */

#endif							/* PGE_AGENT_KMS_H */
