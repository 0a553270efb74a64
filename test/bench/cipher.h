/*
 * cipher.h -- the cipher as fast as OpenSSL's EVP gives it: one constant key,
 * contexts that are ready, nothing looked up.
 *
 * What the yardstick functions and the bare loop have in common.  Written on
 * EVP alone and not on src/crypto, so that a slow spot there shows up as a
 * difference.  For measuring only: the key stands below, and half of the
 * variants take their nonces from a counter.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BENCH_CIPHER_H
#define PGE_BENCH_CIPHER_H

#include "postgres.h"

/* XAES_256_GCM with a key derived for every value; the same with one salt, whose
 * derived key is kept while the salt stays; AES256_GCM. */
typedef enum CipherKind
{
	CIPHER_XAES,
	CIPHER_SALT,
	CIPHER_GCM
}			CipherKind;

typedef enum CipherNonce
{
	NONCE_COUNTER,				/* costs nothing */
	NONCE_POOL					/* getrandom, 4 KiB at a time, as the
								 * product's */
}			CipherNonce;

/* Bytes that sealing adds, the 5 of the header included. */
extern int	cipher_overhead(CipherKind kind);

/* Writes len + overhead bytes. */
extern void cipher_seal(CipherKind kind, CipherNonce nonce,
						const uint8 *plain, int len, uint8 *out);

/* Writes sealed_len - overhead bytes. */
extern void cipher_open(CipherKind kind, const uint8 *sealed, int sealed_len,
						uint8 *out);

#endif							/* PGE_BENCH_CIPHER_H */
