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

#include "keyring/key_list.h"
#include "keyring/keyring_private.h"

int
pge_keyring_key_ids(char ***key_ids)
{
	int			capacity = 64;
	int			count = 0;
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
		(*key_ids)[count++] =
			TextDatumGetCString(pge_keyring_column(tuple, &scan, Anum_key_key_id));
	}
	pge_keyring_scan_end(&scan);
	return count;
}
