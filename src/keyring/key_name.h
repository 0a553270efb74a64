/*
 * key_name.h -- what a key and a KEK may be called, and a key_id as UTF-8.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEY_NAME_H
#define PGE_KEYRING_KEY_NAME_H

#include "postgres.h"

#include "base/bytes.h"
#include "base/status.h"

/*
 * ereport(ERROR, 22023) unless it is 1 to 255 bytes of UTF-8 without control or
 * invisible characters, and not "*", which stands for all keys in grants.
 */
extern void pge_key_id_check(const char *key_id);

/* The same unless it is 1 to 63 bytes, text, without such characters. */
extern void pge_kek_name_check(const char *name);

/* The same if a caller who must name a KEK passes what begins as a URI does. */
extern void pge_kek_name_refuse_uri(const char *name);

/* The same unless it is 1 to 1024 printable ASCII characters. */
extern void pge_kek_uri_check(const char *uri);
extern bool pge_kek_uri_is_plain(PgeBytes uri);

/* Never throws for bytes that are no text: PGE_INVALID.  PGE_TOO_LARGE past
 * the buffer's capacity. */
extern PgeStatus pge_key_id_utf8(const char *key_id, PgeBuffer *out);

#endif							/* PGE_KEYRING_KEY_NAME_H */
