/*
 * limits.h -- sizes that more than one room relies on, with their sources.
 *
 * Pure: usable by the agent, unit tests and fuzzers.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_LIMITS_H
#define PGE_BASE_LIMITS_H

#define PGE_VERSION				"0.1.0"

#define PGE_DEK_LEN				32	/* AES-256 */
#define PGE_CHECK_VALUE_LEN		32	/* HMAC-SHA-256 */
#define PGE_UUID_LEN			16
#define PGE_KEY_ID_MAX			255 /* bytes of UTF-8; one length byte less
									 * than the binding's u16 */
#define PGE_KEK_NAME_MAX		63	/* bytes, as an SQL identifier */
#define PGE_KEK_URI_MAX			1024
#define PGE_DATABASE_MAX		63	/* bytes, as an SQL identifier */
#define PGE_KEK_VERSION_MAX		128 /* what a service reports as its key's
									 * version */
#define PGE_WRAPPED_MAX			8192	/* AWS: CiphertextBlob <= 6144, plus
										 * our 3 bytes */
#define PGE_WRAPPINGS_MAX		8	/* live wrappings of one DEK */
#define PGE_BINDING_MAX			(1 + PGE_UUID_LEN + 4 + 4 + 1 + 1 + 2 + PGE_KEY_ID_MAX)
#define PGE_SOCKET_SECRET_LEN	32
#define PGE_REQUESTS_MAX		512 /* of one backend under way in the agent,
									 * which reads no more of it until then */

/* The backend and the agent both find the socket here, relative to PGDATA. */
#define PGE_SOCKET_PATH			"pg_stat_tmp/pg_envelope.sock"

#endif							/* PGE_BASE_LIMITS_H */
