/*
 * kek_deks.h -- which DEKs need a KEK.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEK_DEKS_H
#define PGE_KEYRING_KEK_DEKS_H

#include "postgres.h"

/*
 * The DEKs with a live wrapping under this KEK and a dek_id above "after", in
 * the order of dek_id; at most "room" of them.  Returns how many.
 */
extern int	pge_keyring_deks_under(const char *kek, uint32 after,
								   uint32 *dek_ids, int room);

#endif							/* PGE_KEYRING_KEK_DEKS_H */
