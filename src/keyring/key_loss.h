/*
 * key_loss.h -- what would lose a data key is refused, unless somebody means it.
 *
 * A data key lives while its row is there and its state is not "destroyed".  Who
 * is about to do harm counts the living ones and refuses; that is an error, unless
 * a superuser has set pg_envelope.allow_key_loss in this session to the uuid of
 * this keyring, and then a line in the server's log.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEY_LOSS_H
#define PGE_KEYRING_KEY_LOSS_H

#include "postgres.h"

#include "access/htup.h"
#include "utils/relcache.h"

/* What happens to the keys, which the message says. */
typedef enum KeyHarm
{
	PGE_KEYS_LOST,				/* they would be gone, with all that there is */
	PGE_ROW_LOST,				/* they would be gone, with a row */
	PGE_KEYS_ENDANGERED,		/* ... or missing in dumps, or without a guard */
	PGE_ROW_ENDANGERED			/* ... or in need of another row */
} KeyHarm;

/*
 * The data keys that live, those of transactions under way included, since they may
 * commit; 0 where the extension is not installed.  Raises no error for tables that
 * are not as the extension made them.
 */
extern int64 pge_key_loss_living(void);

/* Does a data key live? */
extern bool pge_key_loss_any(void);

/* Whether this row of envelope.dek is of a living data key. */
extern bool pge_key_loss_row_lives(Relation dek, HeapTuple row);

/*
 * ereport(ERROR, KE014): "cannot <action>: <keys> data keys would be lost".  Returns
 * only if the session has the leave to lose them, which it logs.
 */
extern void pge_key_loss_refuse(const char *action, int64 keys, KeyHarm harm);

/* Whether the session has that leave. */
extern bool pge_key_loss_allowed(void);

#endif							/* PGE_KEYRING_KEY_LOSS_H */
