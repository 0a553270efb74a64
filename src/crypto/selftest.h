/*
 * selftest.h -- known answers, before the first key is touched.
 *
 * Pure.  Run by the postmaster at preload and by the agent at start; leaves no
 * OpenSSL state behind that a fork could share.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CRYPTO_SELFTEST_H
#define PGE_CRYPTO_SELFTEST_H

#include "base/status.h"

/* On failure *what names the primitive. */
extern PgeStatus pge_crypto_selftest(const char **what);

#endif							/* PGE_CRYPTO_SELFTEST_H */
