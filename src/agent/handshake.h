/*
 * handshake.h -- how a connection begins: both ends prove that they know the
 * secret, or, where the kernel vouches for them, greet.
 *
 * The conversation is in format/frame.h.  This is the agent's part of it,
 * without the socket.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_HANDSHAKE_H
#define PGE_AGENT_HANDSHAKE_H

#include "base/secret.h"
#include "base/status.h"
#include "format/frame.h"

/* Longer frames are refused before the peer has proved itself. */
#define HANDSHAKE_FRAME_MAX		(PGE_FRAME_HEADER_LEN + 2 * (4 + 32))

typedef struct Handshake
{
	uint8_t		client_nonce[PGE_FRAME_NONCE_LEN];
	uint8_t		agent_nonce[PGE_FRAME_NONCE_LEN];
	uint8_t		proof[PGE_FRAME_PROOF_LEN]; /* of ours; no secret */
} Handshake;

/* Takes HELLO, makes CHALLENGE, whose spans point into "handshake". */
extern PgeStatus pge_handshake_challenge(Handshake *handshake,
										 const PgeSecret *secret,
										 const PgeFrame *hello,
										 PgeFrame *challenge);

/* PGE_OK: the PROOF is right.  PGE_UNAUTHENTICATED: it is not. */
extern PgeStatus pge_handshake_verify(const Handshake *handshake,
									  const PgeSecret *secret,
									  const PgeFrame *proof);

/* Takes GREETING, makes WELCOME: the agent is a service, and the peer's uid the right one. */
extern PgeStatus pge_handshake_welcome(const PgeFrame *greeting, PgeFrame *welcome);

#endif							/* PGE_AGENT_HANDSHAKE_H */
