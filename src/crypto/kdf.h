/*
 * kdf.h -- keys from keys (HKDF-SHA-256, RFC 5869) and from passphrases
 * (scrypt, RFC 7914).
 *
 * Pure.  The output is wiped when the status is not PGE_OK.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CRYPTO_KDF_H
#define PGE_CRYPTO_KDF_H

#include "base/bytes.h"
#include "base/secret.h"
#include "base/status.h"

/* HKDF with an empty salt; out_len <= 255 * 32. */
extern PgeStatus pge_hkdf_sha256(PgeBytes key, PgeBytes info,
								 uint8_t *out, size_t out_len);

/* scrypt with N = 2^log2_n; memory 128 * r * N bytes, at most 256 MiB. */
extern PgeStatus pge_scrypt(PgeBytes passphrase, PgeBytes salt,
							unsigned log2_n, unsigned r, unsigned p,
							PgeSecret *key);

#endif							/* PGE_CRYPTO_KDF_H */
