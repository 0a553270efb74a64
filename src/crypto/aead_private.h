/*
 * aead_private.h -- what only the crypto room and its tests may do.
 *
 * Sealing under a nonce of the caller's choice breaks the cipher the second
 * time: it is for known answers and for nothing else.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CRYPTO_AEAD_PRIVATE_H
#define PGE_CRYPTO_AEAD_PRIVATE_H

#include "crypto/aead.h"

/*
 * One random salt of XAES serves so many values at most (aead.h).  Settable, so
 * that test/bench can measure what a salt for every value costs.
 */
#ifndef PGE_XAES_SALT_USES
#define PGE_XAES_SALT_USES		((uint32_t) 1 << 20)
#endif

/* nonce.len is 24 (salt, IV) or 12 (IV), as the algorithm has it. */
extern PgeStatus pge_aead_seal_with_nonce(PgeAead *aead, PgeBytes nonce,
										  PgeBytes associated, PgeBytes plain,
										  PgeBuffer *body);

/* For the test of the bound: as if the current salt had served so many. */
extern void pge_aead_set_salt_uses(PgeAead *aead, uint32_t uses);

/* Forgets the fetched ciphers of this process: it is about to fork. */
extern void pge_aead_drop_ciphers(void);

#endif							/* PGE_CRYPTO_AEAD_PRIVATE_H */
