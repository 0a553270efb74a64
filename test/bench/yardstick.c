/*-------------------------------------------------------------------------
 *
 * yardstick.c
 *	  What sealing costs at the least: a function of the server with a constant
 *	  key and a ready context, same cipher, no lookup, no rights, no cache.
 *
 * Written on EVP alone and not on src/crypto, so that a slow spot there shows
 * up as a difference.  XAES derives a key for every value; the GCM functions
 * keep one, which is what XAES costs at best when a salt serves many values.
 * For measuring only: the key is constant and the nonces are a counter.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "fmgr.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(yardstick_noop);
PG_FUNCTION_INFO_V1(yardstick_seal_xaes);
PG_FUNCTION_INFO_V1(yardstick_open_xaes);
PG_FUNCTION_INFO_V1(yardstick_seal_gcm);
PG_FUNCTION_INFO_V1(yardstick_open_gcm);

#define HEADER	5
#define SALT	12
#define IV		12
#define TAG		16

static const uint8 key[32] = {1, 2, 3, 4};
static EVP_CIPHER *gcm;
static EVP_CIPHER_CTX *sealer,
		   *opener,
		   *ecb;
static uint8 k1[16];
static uint64 counter;

#define NEED(call) do { if ((call) != 1) elog(ERROR, "yardstick: OpenSSL refused"); } while (0)

static void
make_ready(void)
{
	uint8		zero[16] = {0};
	int			n;

	if (gcm != NULL)
		return;
	gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	sealer = EVP_CIPHER_CTX_new();
	opener = EVP_CIPHER_CTX_new();
	ecb = EVP_CIPHER_CTX_new();
	if (gcm == NULL || sealer == NULL || opener == NULL || ecb == NULL)
		elog(ERROR, "yardstick: OpenSSL refused");
	NEED(EVP_EncryptInit_ex2(sealer, gcm, key, NULL, NULL));
	NEED(EVP_DecryptInit_ex2(opener, gcm, key, NULL, NULL));
	NEED(EVP_EncryptInit_ex2(ecb, EVP_aes_256_ecb(), key, NULL, NULL));
	NEED(EVP_CIPHER_CTX_set_padding(ecb, 0));
	NEED(EVP_EncryptUpdate(ecb, k1, &n, zero, 16));
	/* CMAC's subkey K1: the encrypted zero block, doubled in GF(2^128) */
	uint8		carry = k1[0] >> 7;

	for (int i = 0; i < 15; i++)
		k1[i] = (uint8) ((k1[i] << 1) | (k1[i + 1] >> 7));
	k1[15] = (uint8) ((k1[15] << 1) ^ (carry ? 0x87 : 0));
}

/* C2SP XAES-256-GCM: two blocks 00 i 58 00 salt, each under CMAC. */
static void
derive(const uint8 *salt, uint8 derived[32])
{
	uint8		blocks[32] = {0, 1, 'X', 0};
	int			n;

	memcpy(blocks + 4, salt, SALT);
	memcpy(blocks + 16, blocks, 16);
	blocks[17] = 2;
	for (int i = 0; i < 32; i++)
		blocks[i] ^= k1[i % 16];
	NEED(EVP_EncryptUpdate(ecb, derived, &n, blocks, 32));
}

static Datum
seal(text *value, bool xaes)
{
	int			len = VARSIZE_ANY_EXHDR(value);
	int			salt = xaes ? SALT : 0;
	bytea	   *out = (bytea *) palloc(VARHDRSZ + HEADER + salt + IV + len + TAG);
	uint8	   *p = (uint8 *) VARDATA(out);
	uint8		derived[32];
	int			n;

	make_ready();
	SET_VARSIZE(out, VARHDRSZ + HEADER + salt + IV + len + TAG);
	memset(p, 1, HEADER + salt + IV);
	counter++;
	memcpy(p + HEADER + salt, &counter, sizeof(counter));
	if (xaes)
	{
		derive(p + HEADER, derived);
		NEED(EVP_EncryptInit_ex2(sealer, NULL, derived, p + HEADER + salt, NULL));
	}
	else
		NEED(EVP_EncryptInit_ex2(sealer, NULL, NULL, p + HEADER, NULL));
	NEED(EVP_EncryptUpdate(sealer, p + HEADER + salt + IV, &n, (uint8 *) VARDATA_ANY(value), len));
	NEED(EVP_EncryptFinal_ex(sealer, p + HEADER + salt + IV + len, &n));
	NEED(EVP_CIPHER_CTX_ctrl(sealer, EVP_CTRL_AEAD_GET_TAG, TAG, p + HEADER + salt + IV + len));
	PG_RETURN_BYTEA_P(out);
}

static Datum
open_value(bytea *sealed, bool xaes)
{
	int			salt = xaes ? SALT : 0;
	int			len = VARSIZE_ANY_EXHDR(sealed) - HEADER - salt - IV - TAG;
	uint8	   *p = (uint8 *) VARDATA_ANY(sealed);
	text	   *out;
	uint8		derived[32];
	int			n;

	if (len < 0)
		elog(ERROR, "yardstick: too short");
	out = (text *) palloc(VARHDRSZ + len);
	make_ready();
	SET_VARSIZE(out, VARHDRSZ + len);
	if (xaes)
	{
		derive(p + HEADER, derived);
		NEED(EVP_DecryptInit_ex2(opener, NULL, derived, p + HEADER + salt, NULL));
	}
	else
		NEED(EVP_DecryptInit_ex2(opener, NULL, NULL, p + HEADER, NULL));
	NEED(EVP_DecryptUpdate(opener, (uint8 *) VARDATA(out), &n, p + HEADER + salt + IV, len));
	NEED(EVP_CIPHER_CTX_ctrl(opener, EVP_CTRL_AEAD_SET_TAG, TAG, p + HEADER + salt + IV + len));
	NEED(EVP_DecryptFinal_ex(opener, (uint8 *) VARDATA(out) + len, &n));
	PG_RETURN_TEXT_P(out);
}

Datum
yardstick_noop(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

Datum
yardstick_seal_xaes(PG_FUNCTION_ARGS)
{
	return seal(PG_GETARG_TEXT_PP(0), true);
}

Datum
yardstick_open_xaes(PG_FUNCTION_ARGS)
{
	return open_value(PG_GETARG_BYTEA_PP(0), true);
}

Datum
yardstick_seal_gcm(PG_FUNCTION_ARGS)
{
	return seal(PG_GETARG_TEXT_PP(0), false);
}

Datum
yardstick_open_gcm(PG_FUNCTION_ARGS)
{
	return open_value(PG_GETARG_BYTEA_PP(0), false);
}
