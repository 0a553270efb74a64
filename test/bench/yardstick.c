/*-------------------------------------------------------------------------
 *
 * yardstick.c
 *	  What sealing costs at the least as a function of the server: constant
 *	  key, ready context, the same cipher; no lookup, no rights, no cache.
 *
 * A name says the cipher (cipher.h) and, to seal, where the nonce is from:
 * "counter" is free, "pool" is what the product does.  yardstick_noop is what
 * the call itself costs.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cipher.h"
#include "fmgr.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_MODULE_MAGIC;

static Datum
seal(FunctionCallInfo fcinfo, CipherKind kind, CipherNonce nonce)
{
	text	   *value = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(value);
	int			size = VARHDRSZ + cipher_overhead(kind) + len;
	bytea	   *out = (bytea *) palloc(size);

	SET_VARSIZE(out, size);
	cipher_seal(kind, nonce, (uint8 *) VARDATA_ANY(value), len, (uint8 *) VARDATA(out));
	PG_RETURN_BYTEA_P(out);
}

static Datum
open_value(FunctionCallInfo fcinfo, CipherKind kind)
{
	bytea	   *sealed = PG_GETARG_BYTEA_PP(0);
	int			len = VARSIZE_ANY_EXHDR(sealed);
	int			size = VARHDRSZ + Max(len - cipher_overhead(kind), 0);
	text	   *out = (text *) palloc(size);

	SET_VARSIZE(out, size);
	cipher_open(kind, (uint8 *) VARDATA_ANY(sealed), len, (uint8 *) VARDATA(out));
	PG_RETURN_TEXT_P(out);
}

#define FUNCTION(name, call) \
PG_FUNCTION_INFO_V1(name); \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	return call; \
} \
extern int	no_such_variable	/* takes the semicolon */

FUNCTION(yardstick_noop, PG_GETARG_DATUM(0));
FUNCTION(yardstick_seal_xaes_counter, seal(fcinfo, CIPHER_XAES, NONCE_COUNTER));
FUNCTION(yardstick_seal_xaes_pool, seal(fcinfo, CIPHER_XAES, NONCE_POOL));
FUNCTION(yardstick_seal_salt_counter, seal(fcinfo, CIPHER_SALT, NONCE_COUNTER));
FUNCTION(yardstick_seal_salt_pool, seal(fcinfo, CIPHER_SALT, NONCE_POOL));
FUNCTION(yardstick_seal_gcm_counter, seal(fcinfo, CIPHER_GCM, NONCE_COUNTER));
FUNCTION(yardstick_seal_gcm_pool, seal(fcinfo, CIPHER_GCM, NONCE_POOL));
FUNCTION(yardstick_open_xaes, open_value(fcinfo, CIPHER_XAES));
FUNCTION(yardstick_open_salt, open_value(fcinfo, CIPHER_SALT));
FUNCTION(yardstick_open_gcm, open_value(fcinfo, CIPHER_GCM));
