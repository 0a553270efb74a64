/*
 * keyring.h -- reading and writing the tables of schema "envelope".
 *
 * Reads go by index under a NULL snapshot, so they see what was committed after
 * an old snapshot, work in parallel workers and take no row lock.  Writes go
 * through SPI as the tables' owner (keyring/writes.h), so constraints and
 * our row triggers hold; rights are decided before, by the caller.
 *
 * Results of the read functions are plain structs; text is copied.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEYRING_H
#define PGE_KEYRING_KEYRING_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "format/binding.h"

typedef enum KeyState
{
	PGE_KEY_ENABLED,
	PGE_KEY_STATE_DISABLED,
	PGE_KEY_STATE_DESTROYED
} KeyState;

typedef enum DekState
{
	PGE_DEK_ACTIVE,
	PGE_DEK_RETIRED,
	PGE_DEK_COMPROMISED,
	PGE_DEK_DESTROYED
} DekState;

typedef enum KekState
{
	PGE_KEK_ENABLED,
	PGE_KEK_RETIRED,
	PGE_KEK_DESTROYED
} KekState;

typedef struct KeyringKey
{
	char		key_id[PGE_KEY_ID_MAX + 1]; /* database encoding */
	char		kek[NAMEDATALEN];
	uint8		algorithm;
	bool		require_associated_data;
	KeyState	state;
	bool		own;			/* written by the current transaction */
} KeyringKey;

typedef struct KeyringDek
{
	uint32		dek_id;
	int32		version;
	uint8		purpose;
	uint8		algorithm;
	uint8		keyring[PGE_UUID_LEN];
	uint8		check_value[PGE_CHECK_VALUE_LEN];
	DekState	state;
	bool		own;			/* written by the current transaction (xmin or
								 * xmax); in a memo also if its key is */
	char		key_id[PGE_KEY_ID_MAX + 1]; /* last: a memo keeps what is used
											 * of it */
} KeyringDek;

typedef struct KeyringWrapping
{
	int32		seq;
	char		kek[NAMEDATALEN];
	char		uri[PGE_KEK_URI_MAX + 1];
	char		kek_version[PGE_KEK_VERSION_MAX + 1];
	uint8		wrapped[PGE_WRAPPED_MAX];
	size_t		wrapped_len;
} KeyringWrapping;

typedef struct KeyringKek
{
	char		name[NAMEDATALEN];
	char		uri[PGE_KEK_URI_MAX + 1];
	KekState	state;
	bool		unused;			/* noted so, and since when */
	TimestampTz unused_since;	/* then */
} KeyringKek;

extern bool pge_keyring_find_key(const char *key_id, KeyringKey *key);
extern bool pge_keyring_find_dek(uint32 dek_id, KeyringDek *dek);
extern bool pge_keyring_find_active_dek(const char *key_id, KeyringDek *dek);
extern bool pge_keyring_find_kek(const char *name, KeyringKek *kek);

/* The URI, palloc'd, of a KEK whose URI begins so and that is not destroyed; NULL: there is none. */
extern char *pge_keyring_find_uri(const char *prefix);

/* False until the first envelope_create_kek. */
extern bool pge_keyring_find_uuid(uint8 uuid[PGE_UUID_LEN]);

/* All versions of a key in their order, palloc'd; returns how many. */
extern int	pge_keyring_deks(const char *key_id, KeyringDek **deks);

/* 0 and NULL for what we do not know. */
extern uint8 pge_algorithm_number(const char *name);
extern const char *pge_algorithm_name(uint8 number);

/* The words of the tables. */
extern const char *pge_key_state_name(KeyState state);
extern const char *pge_dek_state_name(DekState state);
extern const char *pge_kek_state_name(KekState state);

/* And back; -1 for a word that is none of them. */
extern int	pge_key_state_number(const char *name);
extern int	pge_dek_state_number(const char *name);
extern int	pge_kek_state_number(const char *name);
extern int	pge_purpose_number(const char *name);

/* Live wrappings by seq, palloc'd in the current context; returns how many. */
extern int	pge_keyring_wrappings(uint32 dek_id, KeyringWrapping **wrappings);

/* The highest seq of its wrappings, superseded ones included; 0: none. */
extern int32 pge_keyring_last_seq(uint32 dek_id);

extern bool pge_keyring_kek_has_keys(const char *kek);

/* Does a key, or a wrapping that was ever made, name it? */
extern bool pge_keyring_kek_is_needed(const char *kek);

/* Adds to names (char *, palloc'd, each once) the KEKs that ever wrapped it. */
extern List *pge_keyring_keks_of(uint32 dek_id, List *names);

/* The DEK's binding, key_id as UTF-8. */
extern PgeStatus pge_keyring_binding(const KeyringDek *dek, PgeBuffer *out);

/* OID of our schema's table, looked up by the extension, cached, for the triggers. */
extern Oid	pge_keyring_relid(const char *table);

/*
 * Rights of a role on a key: superusers have all; else the grants for key_id
 * and '*' of every role whose privileges "user" has, where name and oid both
 * still match.
 */
#define PGE_RIGHT_ENCRYPT	1
#define PGE_RIGHT_DECRYPT	2
#define PGE_RIGHT_MANAGE	4
#define PGE_RIGHTS_ALL		7

extern uint32 pge_keyring_rights(Oid user, const char *key_id);

/* What the row of this key (or "*") and role says, effective or not. */
extern uint32 pge_keyring_granted(const char *key_id, const char *role);

/* One right by its name, 0 if there is none; all of a text[] (22004, 22023). */
extern uint32 pge_right_number(const char *name);
extern uint32 pge_rights_of_array(ArrayType *array);

#endif							/* PGE_KEYRING_KEYRING_H */
