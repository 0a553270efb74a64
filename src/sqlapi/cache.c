/*-------------------------------------------------------------------------
 *
 * cache.c
 *	  envelope_cache_flush, envelope_prewarm.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/report.h"
#include "cache/contexts.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "keyring/key_list.h"
#include "keyring/keyring.h"
#include "ops/prewarm.h"

PG_FUNCTION_INFO_V1(envelope_cache_flush);
PG_FUNCTION_INFO_V1(envelope_prewarm);

static void refuse_null(const char *what) pg_attribute_noreturn();
static void
refuse_null(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s is NULL", what)));
}

/* Naming a key needs the right to manage it. */
static void
require_manage(const char *key_id)
{
	KeyringKey	key;

	if (strlen(key_id) > PGE_KEY_ID_MAX || !pge_keyring_find_key(key_id, &key))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("key \"%s\" does not exist", pge_report_name(key_id)),
				 errhint("Create it with envelope_create_key.")));
	if ((pge_keyring_rights(GetUserId(), key_id) & PGE_RIGHT_MANAGE) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for key \"%s\"", key_id),
				 errdetail("It takes the right \"manage\" on this key."),
				 errhint("The right to a key is given with envelope_grant.")));
}

/*
 * W has one flush half, so naming a key flushes the others too: their next
 * values ask again, which is slower and never wrong.
 */
Datum
envelope_cache_flush(PG_FUNCTION_ARGS)
{
	pge_require_preloaded();
	if (PG_NARGS() == 1)
	{
		if (PG_ARGISNULL(0))
			refuse_null("key_id");
		require_manage(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	}
	pge_contexts_free_all();
	pge_dek_cache_flush();
	PG_RETURN_INT32((int32) pg_atomic_read_u32(&pge_control()->context_holders));
}

static int
named_keys(ArrayType *array, const char ***key_ids)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	*key_ids = palloc(sizeof(char *) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		char	   *key_id;

		if (nulls[i])
			refuse_null("a key_id");
		key_id = TextDatumGetCString(elements[i]);
		require_manage(key_id);
		(*key_ids)[i] = key_id;
	}
	return count;
}

/* Those that the caller may manage. */
static int
all_keys(const char ***key_ids)
{
	char	  **all;
	int			count = pge_keyring_key_ids(&all);
	int			kept = 0;

	for (int i = 0; i < count; i++)
	{
		if (pge_keyring_rights(GetUserId(), all[i]) & PGE_RIGHT_MANAGE)
			all[kept++] = all[i];
	}
	*key_ids = (const char **) all;
	return kept;
}

Datum
envelope_prewarm(PG_FUNCTION_ARGS)
{
	const char **key_ids;
	int			count;

	pge_require_preloaded();
	if (PG_NARGS() == 0)
		count = all_keys(&key_ids);
	else if (PG_ARGISNULL(0))
		refuse_null("key_ids");
	else
		count = named_keys(PG_GETARG_ARRAYTYPE_P(0), &key_ids);
	PG_RETURN_INT32(pge_prewarm(key_ids, count));
}
