/*
 * keyring_import.h -- keys of another database, from its document.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_OPS_KEYRING_IMPORT_H
#define PGE_OPS_KEYRING_IMPORT_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct ImportResult
{
	const char *key_id;
	int32		version;
	bool		imported;		/* else it was here already */
	const char *detail;
} ImportResult;

/* Called for each version, by key_id and version. */
typedef void (*ImportSink) (void *arg, const ImportResult *result);

/*
 * All or nothing, in the caller's transaction.  A data key goes into a table only
 * after each of its wrappings was unwrapped here and its check value agreed.  What
 * is here stays as it is.  A key that comes is the current user's as if created; one
 * that is here needs the right to manage it.
 */
extern void pge_import_keyring(Jsonb * document, ImportSink sink, void *arg);

#endif							/* PGE_OPS_KEYRING_IMPORT_H */
