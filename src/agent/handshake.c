/*-------------------------------------------------------------------------
 *
 * handshake.c
 *	  How a connection begins: both ends prove that they know the secret, or, where
 *	  the kernel vouches for them, greet.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/handshake.h"
#include "crypto/mac.h"
#include "crypto/random.h"

static PgeStatus
compute_proof(const char *role, const Handshake *handshake,
			  const PgeSecret *secret, uint8_t proof[PGE_FRAME_PROOF_LEN])
{
	PgeBytes	parts[3] = {
		pge_bytes(role, strlen(role)),
		pge_bytes(handshake->client_nonce, PGE_FRAME_NONCE_LEN),
		pge_bytes(handshake->agent_nonce, PGE_FRAME_NONCE_LEN),
	};

	return pge_hmac_sha256(pge_bytes(secret->bytes, sizeof(secret->bytes)),
						   parts, 3, proof);
}

PgeStatus
pge_handshake_challenge(Handshake *handshake, const PgeSecret *secret,
						const PgeFrame *hello, PgeFrame *challenge)
{
	PgeStatus	status;

	if (hello->type != PGE_FRAME_HELLO || hello->nonce.data == NULL)
		return PGE_MALFORMED;
	memcpy(handshake->client_nonce, hello->nonce.data, PGE_FRAME_NONCE_LEN);
	status = pge_random_bytes(handshake->agent_nonce, PGE_FRAME_NONCE_LEN);
	if (status == PGE_OK)
		status = compute_proof("pge agent 1", handshake, secret,
							   handshake->proof);
	if (status != PGE_OK)
		return status;

	memset(challenge, 0, sizeof(*challenge));
	challenge->type = PGE_FRAME_CHALLENGE;
	challenge->ticket = hello->ticket;
	challenge->nonce = pge_bytes(handshake->agent_nonce, PGE_FRAME_NONCE_LEN);
	challenge->proof = pge_bytes(handshake->proof, PGE_FRAME_PROOF_LEN);
	return PGE_OK;
}

PgeStatus
pge_handshake_welcome(const PgeFrame *greeting, PgeFrame *welcome)
{
	if (greeting->type != PGE_FRAME_GREETING || greeting->nonce.data == NULL)
		return PGE_MALFORMED;
	memset(welcome, 0, sizeof(*welcome));
	welcome->type = PGE_FRAME_WELCOME;
	welcome->ticket = greeting->ticket;
	return PGE_OK;
}

PgeStatus
pge_handshake_verify(const Handshake *handshake, const PgeSecret *secret,
					 const PgeFrame *proof)
{
	uint8_t		expected[PGE_FRAME_PROOF_LEN];
	PgeStatus	status;

	if (proof->type != PGE_FRAME_PROOF || proof->proof.data == NULL)
		return PGE_MALFORMED;
	status = compute_proof("pge client 1", handshake, secret, expected);
	if (status == PGE_OK &&
		!pge_secret_equal(expected, proof->proof.data, PGE_FRAME_PROOF_LEN))
		status = PGE_UNAUTHENTICATED;
	/* Who read it could answer for this connection's client. */
	pge_secret_wipe(expected, sizeof(expected));
	return status;
}
