/*
 * writes.h -- changing rows of schema "envelope".
 *
 * Each function runs one statement through SPI as the tables' owner, so that
 * constraints and row triggers hold; the caller has decided rights before, with
 * GetUserId(), and has called pge_write_allowed() first of all.  None of them
 * talks to the agent: do that before you take a row lock here.  (Who destroys a
 * KEK or gives it another URI asks under its lock: nobody may wrap meanwhile.)
 *
 * Lock order: kek (by name), key (by key_id), dek, wrapping.  A maker of DEKs locks its
 * KEKs FOR SHARE and looks again whether they are enabled; whoever retires a
 * KEK locks its row FOR UPDATE first.  So no DEK slips under a retired KEK.
 *
 * How a rewrap uses this, for one DEK, after the agent gave the new bytes:
 *	pge_write_supersede(dek_id, w->seq, pge_bytes(w->wrapped, w->wrapped_len))
 *		compare-and-swap: false if somebody else was there first
 *	pge_write_wrapping(dek_id, new_kek, kek_version, wrapped)
 *		draws the next seq; false if the DEK has a live wrapping under new_kek
 * and around them pge_lock_kek(old, PGE_LOCK_UPDATE), pge_write_kek_state(old,
 * PGE_KEK_RETIRED), pge_write_move_keys(old, new), pge_write_kek_unused(old).
 * To undo both steps of one DEK wrap them in a subtransaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_WRITES_H
#define PGE_KEYRING_WRITES_H

#include "postgres.h"

#include "keyring/keyring.h"

typedef enum RowLock
{
	PGE_LOCK_SHARE,
	PGE_LOCK_UPDATE				/* FOR NO KEY UPDATE: foreign keys still pass */
} RowLock;

/* 25006 and its kin: read-only transaction, recovery, parallel mode. */
extern void pge_write_allowed(const char *function);

/*
 * Lock, and read what is there after the wait.  False: there is no such row.
 * 40001 if this transaction's snapshot is too old to see the row.
 */
extern bool pge_lock_kek(const char *name, RowLock lock, KeyringKek *kek);

/*
 * Until the end of the transaction no other one makes, alters or retires a KEK, of whatever
 * name; who has begun is waited for.  Before pge_lock_kek.
 */
extern void pge_lock_all_keks(void);

extern bool pge_lock_key(const char *key_id, KeyringKey *key);

/* All that a rewrap of this KEK writes or moves, in the order of key_id. */
extern void pge_lock_keys_of_kek(const char *kek);

/* Returns the keyring's uuid, that of "drawn" if there was none yet. */
extern void pge_write_keyring(const uint8 drawn[PGE_UUID_LEN],
							  uint8 uuid[PGE_UUID_LEN]);

/* What the agent said of a version is made fit for the database's encoding.
 * Inserts return false if the name (the dek_id, the pair) is taken. */
extern bool pge_write_kek(const char *name, const char *uri);
extern bool pge_write_key(const KeyringKey *key);
extern bool pge_write_dek(const KeyringDek *dek, TimestampTz created);	/* forces a synchronous
																		 * commit */
extern bool pge_write_wrapping(uint32 dek_id, const char *kek,
							   PgeBytes kek_version, PgeBytes wrapped);

extern void pge_write_kek_uri(const char *name, const char *uri);
extern void pge_write_kek_state(const char *name, KekState state);
extern void pge_write_kek_unused(const char *name); /* from now, this LSN */
extern void pge_write_kek_used(const char *name);	/* again */
extern void pge_write_key_state(const char *key_id, KeyState state);
extern uint64 pge_write_move_keys(const char *old_kek, const char *new_kek);
extern void pge_write_dek_state(uint32 dek_id, DekState state);

/*
 * One live wrapping, if its bytes are still those (40001 if they are, and this
 * transaction's snapshot is too old to see it); all live ones of a DEK.
 */
extern bool pge_lock_wrapping(uint32 dek_id, int32 seq, PgeBytes wrapped);
extern bool pge_write_supersede(uint32 dek_id, int32 seq, PgeBytes wrapped);
extern void pge_write_supersede_all(uint32 dek_id);

/* Rights are added to what the same role (name and oid) has. */
extern void pge_write_grant(const char *key_id, const char *role, uint32 rights);
extern void pge_write_revoke(const char *key_id, const char *role, uint32 rights);

/* What CALL envelope_rewrap did with one DEK. */
extern void pge_write_rewrap_result(const uint8 run[PGE_UUID_LEN],
									const char *old_kek, const char *new_kek,
									uint32 dek_id, const char *outcome,
									const char *detail);

#endif							/* PGE_KEYRING_WRITES_H */
