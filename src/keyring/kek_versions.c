/*-------------------------------------------------------------------------
 *
 * kek_versions.c
 *	  Finds the newest version of a local KEK that ever wrapped a DEK.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "utils/rel.h"

#include "base/limits.h"
#include "keyring/kek_versions.h"
#include "keyring/keyring.h"
#include "keyring/keyring_private.h"

static uint32 last_version_under(const char *kek);

uint32
pge_kek_version_number(const char *text)
{
	size_t		len = strlen(text);
	uint64		number;

	if (len > 10 || strspn(text, "0123456789") != len)
		return 0;
	number = strtou64(text, NULL, 10);
	return number > PG_UINT32_MAX ? 0 : (uint32) number;
}

/* Several rows may have this URI: nothing keeps a KEK from having two names. */
uint32
pge_keyring_last_kek_version(const char *uri)
{
	KeyringScan scan;
	HeapTuple	tuple;
	uint32		last = 0;

	pge_keyring_scan_begin(&scan, "kek", "kek_pkey", NULL, 0);
	while ((tuple = pge_keyring_scan_next(&scan)) != NULL)
	{
		char		row_uri[PGE_KEK_URI_MAX + 1];
		char		name[NAMEDATALEN];

		pge_keyring_text_column(tuple, &scan, Anum_kek_uri, row_uri, sizeof(row_uri));
		pge_keyring_text_column(tuple, &scan, Anum_kek_name, name, sizeof(name));
		if (strcmp(row_uri, uri) == 0)
			last = Max(last, last_version_under(name));
	}
	pge_keyring_scan_end(&scan);
	return last;
}

/* By no index, which knows only live wrappings: a KEK is hardly ever rotated. */
static uint32
last_version_under(const char *kek)
{
	Relation	relation = table_open(pge_keyring_relid("wrapping"), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	uint32		last = 0;

	pge_keyring_key_text(&key, Anum_wrapping_kek, kek);
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 1, &key);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		KeyringScan row = {relation, scan};
		char		text[PGE_KEK_VERSION_MAX + 1];
		uint32		number;

		pge_keyring_text_column(tuple, &row, Anum_wrapping_kek_version, text, sizeof(text));
		number = pge_kek_version_number(text);
		if (number == 0)
			pge_keyring_refuse_row(tuple, &row, Anum_wrapping_kek_version,
								   "is no version of a KEK in the local keyring");
		last = Max(last, number);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return last;
}
