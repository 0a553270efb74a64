/*-------------------------------------------------------------------------
 *
 * key_list.c
 *	  The names of all keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup.h"
#include "utils/builtins.h"

#include "base/limits.h"
#include "keyring/key_list.h"
#include "keyring/keyring_private.h"

int
pge_keyring_key_ids(char ***key_ids)
{
	int			capacity = 64;
	int			count = 0;
	char		key_id[PGE_KEY_ID_MAX + 1];
	KeyringScan scan;
	HeapTuple	tuple;

	*key_ids = palloc(sizeof(char *) * capacity);
	pge_keyring_scan_begin(&scan, "key", "key_pkey", NULL, 0);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		if (count == capacity)
		{
			capacity *= 2;
			*key_ids = repalloc(*key_ids, sizeof(char *) * capacity);
		}
		pge_keyring_text_column(tuple, &scan, Anum_key_key_id, key_id, sizeof(key_id));
		(*key_ids)[count++] = pstrdup(key_id);
	}
	pge_keyring_scan_end(&scan);
	return count;
}
