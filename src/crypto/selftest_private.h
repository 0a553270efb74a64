/*
 * selftest_private.h -- proof that the self-test can fail.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CRYPTO_SELFTEST_PRIVATE_H
#define PGE_CRYPTO_SELFTEST_PRIVATE_H

#include "crypto/selftest.h"

#define PGE_SELFTEST_COUNT	6

/*
 * The self-test with one bit of the known answer number "wrong" flipped
 * (0 .. PGE_SELFTEST_COUNT - 1; none for -1).
 */
extern PgeStatus pge_crypto_selftest_with(int wrong, const char **what);

#endif							/* PGE_CRYPTO_SELFTEST_PRIVATE_H */
