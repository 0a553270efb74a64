/*
 * passphrase.h -- asks an administrator's command for a passphrase.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_PASSPHRASE_H
#define PGE_AGENT_PASSPHRASE_H

#include <stdatomic.h>

#include "agent/kms/kms_detail.h"
#include "base/bytes.h"
#include "base/status.h"

#define PASSPHRASE_MAX			1024
#define PASSPHRASE_DEADLINE_MS	10000	/* unless pge_passphrase_limit has
										 * shortened it */

/* Secret: whoever declares one wipes it with pge_secret_wipe. */
typedef struct Passphrase
{
	uint8_t		bytes[PASSPHRASE_MAX + 2];	/* room for a newline and to see
											 * that there is more */
	size_t		len;
} Passphrase;

/*
 * Runs "command" with /bin/sh and takes what it prints, less one newline at
 * the end.  PGE_UNAUTHENTICATED, with a sentence that never holds what it
 * printed, if it fails, prints nothing or more than PASSPHRASE_MAX bytes, or
 * takes longer than its deadline: then it is killed with its process group.  "cancelled" may be NULL.  The passphrase is wiped on failure.
 */
extern PgeStatus pge_passphrase_ask(const char *command, const atomic_bool *cancelled,
									Passphrase *passphrase, char detail[KMS_DETAIL_LEN]);

/*
 * For this process: who waits "timeout_ms" for an answer shall hear that the
 * command hangs, and not that nothing was heard.  0 sets no limit.
 */
extern void pge_passphrase_limit(int timeout_ms);

#endif							/* PGE_AGENT_PASSPHRASE_H */
