/*
 * aead.h -- seal and open one value with XAES-256-GCM or AES-256-GCM.
 *
 * Pure: no palloc, no ereport.  The nonce is chosen here, not by the caller,
 * because a repeated nonce under one key breaks the cipher.
 *
 * A PgeAead is a ready context for one DEK: it holds the key schedule in
 * OpenSSL's heap, so it is key material; pge_aead_free wipes it.  It belongs to
 * one process and one thread.  pge_aead_new(...) -> seal/open any number of
 * times -> pge_aead_free.
 *
 * The body these functions write and read is what follows the 5-byte header of
 * a sealed value (format/sealed_value.h):
 *	XAES_256_GCM: salt 12, IV 12, ciphertext, tag 16	(C2SP XAES-256-GCM)
 *	AES256_GCM:   IV 12, ciphertext, tag 16				(NIST SP 800-38D)
 *
 * On PGE_NOT_AUTHENTIC the output has been wiped.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CRYPTO_AEAD_H
#define PGE_CRYPTO_AEAD_H

#include "base/bytes.h"
#include "base/secret.h"
#include "base/status.h"

/* As stored in envelope.dek and in the binding: never renumbered. */
typedef enum PgeAlgorithm
{
	PGE_XAES_256_GCM = 1,
	PGE_AES_256_GCM = 2
} PgeAlgorithm;

#define PGE_AEAD_TAG_LEN		16
#define PGE_AEAD_IV_LEN			12
#define PGE_XAES_SALT_LEN		12
#define PGE_AEAD_BODY_MAX		((size_t) 0x7fffffff)	/* EVP lengths are int */

typedef struct PgeAead PgeAead;

extern PgeStatus pge_aead_new(PgeAlgorithm algorithm, const PgeSecret *dek,
							  PgeAead **aead);
extern void pge_aead_free(PgeAead *aead);

/* Bytes that sealing adds, header not counted: 40 or 28; 0 for an unknown algorithm. */
static inline size_t
pge_aead_overhead(PgeAlgorithm algorithm)
{
	if (algorithm == PGE_XAES_256_GCM)
		return PGE_XAES_SALT_LEN + PGE_AEAD_IV_LEN + PGE_AEAD_TAG_LEN;
	if (algorithm == PGE_AES_256_GCM)
		return PGE_AEAD_IV_LEN + PGE_AEAD_TAG_LEN;
	return 0;
}

/*
 * The body's capacity is at least plain.len + overhead; body->len is set.
 * plain and body may not overlap.
 */
extern PgeStatus pge_aead_seal(PgeAead *aead, PgeBytes associated,
							   PgeBytes plain, PgeBuffer *body);

/*
 * The plain buffer's capacity is at least body.len - overhead; a shorter body
 * is PGE_MALFORMED.
 */
extern PgeStatus pge_aead_open(PgeAead *aead, PgeBytes associated,
							   PgeBytes body, PgeBuffer *plain);

/*
 * Ends the bulk refinement of XAES (one random salt and its derived key serve
 * up to 2^20 values of one transaction): call it at transaction end if the
 * context lives on.
 */
extern void pge_aead_new_salt(PgeAead *aead);

#ifdef PGE_TEST_BUILD
/* Tags that this process has checked: how far did damaged values come? */
extern uint64_t pge_aead_tag_checks;
#endif

#endif							/* PGE_CRYPTO_AEAD_H */
