/*
 * mac.h -- HMAC-SHA-256 (RFC 2104, FIPS 198-1) and SHA-256 (FIPS 180-4).
 *
 * Pure.  "parts" are hashed one after the other as if they were one string.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CRYPTO_MAC_H
#define PGE_CRYPTO_MAC_H

#include "base/bytes.h"
#include "base/status.h"

#define PGE_MAC_LEN		32

extern PgeStatus pge_hmac_sha256(PgeBytes key, const PgeBytes *parts,
								 int nparts, uint8_t mac[PGE_MAC_LEN]);
extern PgeStatus pge_sha256(const PgeBytes *parts, int nparts,
							uint8_t digest[PGE_MAC_LEN]);

#endif							/* PGE_CRYPTO_MAC_H */
