/*
 * keyring_private.h -- what the files of this room share: finding rows by
 * index, and taking their columns apart.
 *
 * Column numbers are those of pg_envelope--0.1.0.sql; later columns follow them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEYRING_PRIVATE_H
#define PGE_KEYRING_KEYRING_PRIVATE_H

#include "postgres.h"

#include "access/genam.h"
#include "access/htup.h"
#include "access/skey.h"
#include "utils/relcache.h"

#include "base/compat.h"

/* A running scan of one of our tables under a fresh snapshot. */
typedef struct KeyringScan
{
	Relation	relation;
	SysScanDesc scan;
} KeyringScan;

extern void pge_keyring_scan_begin(KeyringScan *scan, const char *table,
								   const char *index, ScanKey keys, int nkeys);
extern HeapTuple pge_keyring_scan_next(KeyringScan *scan);
extern void pge_keyring_scan_end(KeyringScan *scan);

extern void pge_keyring_key_text(ScanKey key, int attno, const char *value);

/*
 * ereport(ERROR, KE013), which names table, column and row; "what" ends the
 * sentence that begins with "it".
 */
extern void pge_keyring_refuse_row(HeapTuple tuple, const KeyringScan *scan,
								   int attno, const char *what) pg_attribute_noreturn();

/* Columns: what the tables' checks do not allow is refused as above, NULL first of all. */
extern Datum pge_keyring_column(HeapTuple tuple, const KeyringScan *scan, int attno);
extern void pge_keyring_text_column(HeapTuple tuple, const KeyringScan *scan,
									int attno, char *dst, size_t size);
extern size_t pge_keyring_bytes_column(HeapTuple tuple, const KeyringScan *scan, int attno,
									   uint8 *dst, size_t least, size_t most);
extern int32 pge_keyring_count_column(HeapTuple tuple, const KeyringScan *scan, int attno);
extern uint32 pge_keyring_dek_id_column(HeapTuple tuple, const KeyringScan *scan, int attno);

/* The role as which our statements run. */
extern Oid	pge_keyring_owner(void);

#define Anum_keyring_uuid			1
#define Anum_kek_name				1
#define Anum_kek_uri				2
#define Anum_kek_state				3
#define Anum_kek_unused_since		5
#define Anum_key_key_id				1
#define Anum_key_kek				2
#define Anum_key_algorithm			3
#define Anum_key_require_associated	4
#define Anum_key_state				5
#define Anum_dek_dek_id				1
#define Anum_dek_key_id				2
#define Anum_dek_version			3
#define Anum_dek_purpose			4
#define Anum_dek_algorithm			5
#define Anum_dek_keyring			6
#define Anum_dek_check_value		7
#define Anum_dek_state				8
#define Anum_wrapping_dek_id		1
#define Anum_wrapping_seq			2
#define Anum_wrapping_kek			3
#define Anum_wrapping_kek_version	4
#define Anum_wrapping_wrapped		5
#define Anum_wrapping_superseded	7
#define Anum_key_grant_key_id		1
#define Anum_key_grant_role_name	2
#define Anum_key_grant_role_oid		3
#define Anum_key_grant_rights		4

#endif							/* PGE_KEYRING_KEYRING_PRIVATE_H */
