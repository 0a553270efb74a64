/*-------------------------------------------------------------------------
 *
 * refuse.c
 *	  Why a value is not sealed or opened, in the user's words.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/report.h"
#include "ops/refuse.h"

static const PgeBytes no_detail = {NULL, 0};

void
pge_refuse_not_authentic(void)
{
	pge_report_error(PGE_NOT_AUTHENTIC, "could not open the value", no_detail);
}

static void refuse_right(const char *key_id) pg_attribute_noreturn();
static void
refuse_right(const char *key_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 key_id ? errmsg("permission denied for key \"%s\"", key_id)
			 : errmsg("permission denied for the key of this value"),
			 errhint("The right to a key is given with envelope_grant.")));
}

static void
refuse_state(KeyState state, DekState version_state, const char *key_id)
{
	if (state == PGE_KEY_STATE_DISABLED)
		pge_report_error(PGE_KEY_DISABLED,
						 psprintf("key \"%s\" is disabled", key_id), no_detail);
	if (state == PGE_KEY_STATE_DESTROYED || version_state == PGE_DEK_DESTROYED)
		pge_report_error(PGE_KEY_DESTROYED,
						 psprintf("key \"%s\" is destroyed", key_id), no_detail);
}

static void refuse_unbound(const char *key_id) pg_attribute_noreturn();
static void
refuse_unbound(const char *key_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("key \"%s\" requires associated data", key_id),
			 errhint("Pass associated_data, such as envelope_bind('table.column', id).")));
}

/* No active version: no such key, or one that may not seal. */
static void refuse_no_active(const char *key_id, uint32 need, Oid user) pg_attribute_noreturn();
static void
refuse_no_active(const char *key_id, uint32 need, Oid user)
{
	KeyringKey	key;

	if (strlen(key_id) > PGE_KEY_ID_MAX || !pge_keyring_find_key(key_id, &key))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("key \"%s\" does not exist", pge_report_name(key_id)),
				 errhint("Create it with envelope_create_key.")));
	if ((pge_keyring_rights(user, key_id) & need) != need)
		refuse_right(key_id);
	refuse_state(key.state, PGE_DEK_ACTIVE, key_id);
	pge_report_error(PGE_COMPROMISED,
					 psprintf("no version of key \"%s\" may seal", key_id),
					 no_detail);
}

static void refuse_seal(const DekRequest *request, const KeyringMemo *memo, Oid user) pg_attribute_noreturn();
static void
refuse_seal(const DekRequest *request, const KeyringMemo *memo, Oid user)
{
	/* of a name that is too long, enough to see that it is */
	const char *key_id = pnstrdup((const char *) request->key_id.data,
								  Min(request->key_id.len, PGE_KEY_ID_MAX + 1));

	if (memo == NULL)
		refuse_no_active(key_id, request->need, user);
	if ((memo->rights & request->need) != request->need)
		refuse_right(key_id);
	refuse_state(memo->key_state, memo->dek.state, key_id);
	refuse_unbound(key_id);
}

void
pge_refuse(const DekRequest *request, const KeyringMemo *memo, Oid user)
{
	bool		named = request->key_id.data != NULL;

	if (request->seal)
		refuse_seal(request, memo, user);
	if (memo == NULL)
		pge_report_error(PGE_UNKNOWN_DEK,
						 psprintf("data key %u of the value is not known", request->dek_id),
						 no_detail);
	if (named && (request->key_id.len != memo->key_id_len ||
				  memcmp(request->key_id.data, memo->dek.key_id,
						 memo->key_id_len) != 0))
		pge_refuse_not_authentic();
	if ((memo->rights & request->need) != request->need)
		refuse_right(named ? memo->dek.key_id : NULL);
	refuse_state(memo->key_state, memo->dek.state, memo->dek.key_id);
	refuse_unbound(memo->dek.key_id);
}
