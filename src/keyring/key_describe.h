/*
 * key_describe.h -- what a value's dek_id tells whom.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEY_DESCRIBE_H
#define PGE_KEYRING_KEY_DESCRIBE_H

#include "postgres.h"

#include "keyring/keyring.h"

typedef struct KeyDescription
{
	bool		known;			/* there is such a data key; of it anybody may
								 * know the algorithm */
	bool		told;			/* and the current user has a right to its key */
	KeyringDek	dek;
	const char *state;			/* NULL unless told */
} KeyDescription;

extern void pge_key_describe(uint32 dek_id, KeyDescription *description);

#endif							/* PGE_KEYRING_KEY_DESCRIBE_H */
