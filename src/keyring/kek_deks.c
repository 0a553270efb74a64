/*-------------------------------------------------------------------------
 *
 * kek_deks.c
 *	  Finds the DEKs that need a KEK, a chunk at a time.
 *
 * A rewrap of any number of DEKs must not hold them all in memory, and an SQL
 * cursor of an old snapshot would miss some: so a fresh scan per chunk, in the
 * order of the index wrapping_kek.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "keyring/kek_deks.h"
#include "keyring/keyring.h"
#include "keyring/keyring_private.h"

int
pge_keyring_deks_under(const char *kek, uint32 after, uint32 *dek_ids, int room)
{
	Relation	relation = table_open(pge_keyring_relid("wrapping"), AccessShareLock);
	Relation	index = index_open(pge_keyring_relid("wrapping_kek"), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int			count = 0;

	pge_keyring_key_text(&keys[0], Anum_wrapping_kek, kek);
	ScanKeyInit(&keys[1], Anum_wrapping_dek_id, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum((int64) after));
	scan = systable_beginscan_ordered(relation, index, NULL, lengthof(keys), keys);
	while (count < room &&
		   (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		KeyringScan row = {relation, scan};

		dek_ids[count++] = pge_keyring_dek_id_column(tuple, &row, Anum_wrapping_dek_id);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(relation, AccessShareLock);
	return count;
}
