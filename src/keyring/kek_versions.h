/*
 * kek_versions.h -- which version of a KEK the tables have seen last.
 *
 * For the local keyring only, whose versions are numbers that count up.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_KEK_VERSIONS_H
#define PGE_KEYRING_KEK_VERSIONS_H

#include "postgres.h"

/* 0: that is no version. */
extern uint32 pge_kek_version_number(const char *text);

/*
 * The highest version by which the KEK of this URI, under any of its names, ever
 * wrapped a DEK; superseded wrappings count, because backups need theirs.
 * 0: it never did.
 */
extern uint32 pge_keyring_last_kek_version(const char *uri);

#endif							/* PGE_KEYRING_KEK_VERSIONS_H */
