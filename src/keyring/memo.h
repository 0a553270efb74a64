/*
 * memo.h -- what this session knows of a key: its row and the rights of a user.
 *
 * No key material; lives in the session.  An entry counts only while W is what
 * it was before the row was read (R2), so a committed change of our tables acts
 * at the next value.  What no table of ours says (role membership, a standby's
 * replay) comes by invalidation messages: pge_memo_hear() at the first value of
 * a statement.  A change by this transaction itself acts from the end of its
 * command: the row trigger calls pge_memo_note_own_change().
 *
 * Absence and refusals are never remembered.  The caller decides by what a row
 * says, on every value; the pointer is good until the next call of this module.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_MEMO_H
#define PGE_KEYRING_MEMO_H

#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"

#include "keyring/keyring.h"

typedef struct KeyringMemo
{
	/* stamps: both must be those of now */
	uint64		w;
	uint64		heard;

	Oid			user;
	uint32		rights;			/* of user, on the key */
	KeyState	key_state;
	bool		require_associated_data;
	uint16		key_id_len;
	KeyringDek	dek;			/* ends with key_id's NUL: copy by
								 * pge_memo_copy_dek */
} KeyringMemo;

/*
 * The DEK of a value's header (open), the active DEK of a key (seal); NULL: no
 * such row.  "w" is the W that the value loaded first of all (R1); "need" are
 * the rights without which the tables are asked again.
 */
extern const KeyringMemo *pge_memo_dek(uint32 dek_id, Oid user, uint64 w,
									   uint32 need);
extern const KeyringMemo *pge_memo_active(const char *key_id, int key_id_len,
										  Oid user, uint64 w, uint32 need);

/*
 * Listens to invalidations if this is the first value of a statement at this
 * call site.
 *
 * "First value of a statement" is told by the call site: a statement's executor
 * makes its own FmgrInfo, also when a prepared plan runs again in an open
 * transaction, which takes no new lock and so hears nothing.  Where a call site
 * outlives a statement (a cursor, an expression of PL/pgSQL) the client's next
 * message has another start time.
 */
extern void pge_memo_hear_first(FmgrInfo *site);

static inline void
pge_memo_hear(FmgrInfo *site)
{
	if (unlikely(site == NULL || site->fn_extra == NULL ||
				 *(TimestampTz *) site->fn_extra != GetCurrentStatementStartTimestamp()))
		pge_memo_hear_first(site);
}

static inline void
pge_memo_copy_dek(KeyringDek *dek, const KeyringMemo *memo)
{
	memcpy(dek, &memo->dek, offsetof(KeyringDek, key_id) + memo->key_id_len + 1);
}

/* Before each row of our tables that this transaction changes. */
extern void pge_memo_note_own_change(void);

/* Aborts, also of subtransactions, of a transaction that changed our tables. */
extern void pge_memo_forget(void);

/* Once, at preload. */
extern void pge_memo_register_callbacks(void);

#endif							/* PGE_KEYRING_MEMO_H */
