/*-------------------------------------------------------------------------
 *
 * key_describe.c
 *	  What a value's dek_id tells the current user.
 *
 * Whose a value is stays between those who have a right to its key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "keyring/key_describe.h"

static const char *state_of(const KeyringDek *dek);

void
pge_key_describe(uint32 dek_id, KeyDescription *description)
{
	memset(description, 0, sizeof(*description));
	description->known = pge_keyring_find_dek(dek_id, &description->dek);
	if (!description->known ||
		pge_keyring_rights(GetUserId(), description->dek.key_id) == 0)
		return;
	description->told = true;
	description->state = state_of(&description->dek);
}

/* A key that is not enabled says so for all its versions. */
static const char *
state_of(const KeyringDek *dek)
{
	KeyringKey	key;

	if (pge_keyring_find_key(dek->key_id, &key) && key.state != PGE_KEY_ENABLED)
		return pge_key_state_name(key.state);
	return pge_dek_state_name(dek->state);
}
