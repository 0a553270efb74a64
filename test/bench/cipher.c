/*-------------------------------------------------------------------------
 *
 * cipher.c
 *	  XAES-256-GCM and AES-256-GCM on EVP, with a constant key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <sys/random.h>

#include "cipher.h"

#define HEADER	5
#define SALT	12
#define IV		12
#define TAG		16
#define POOL	4096

static const uint8 key[32] = {1, 2, 3, 4};
static EVP_CIPHER_CTX *ecb;
static uint8 k1[16];

/* A direction's GCM: for CIPHER_SALT keyed for the salt that it remembers. */
typedef struct Direction
{
	EVP_CIPHER_CTX *evp[CIPHER_GCM + 1];
	uint8		salt[SALT];
	bool		has_salt;
}			Direction;

static Direction sealing,
opening;

static void make_ready(void);
static void next_nonce(CipherKind kind, CipherNonce nonce, uint8 *out);
static EVP_CIPHER_CTX *start(Direction * direction, CipherKind kind, const uint8 *nonce);

static void
need(int result)
{
	if (result != 1)
		elog(ERROR, "yardstick: OpenSSL refused");
}

static int
nonce_length(CipherKind kind)
{
	return kind == CIPHER_GCM ? IV : SALT + IV;
}

int
cipher_overhead(CipherKind kind)
{
	return HEADER + nonce_length(kind) + TAG;
}

void
cipher_seal(CipherKind kind, CipherNonce nonce, const uint8 *plain, int len, uint8 *out)
{
	uint8	   *body = out + HEADER + nonce_length(kind);
	EVP_CIPHER_CTX *evp;
	int			n;

	make_ready();
	memset(out, 1, HEADER);
	next_nonce(kind, nonce, out + HEADER);
	evp = start(&sealing, kind, out + HEADER);
	need(EVP_EncryptUpdate(evp, body, &n, plain, len));
	need(EVP_EncryptFinal_ex(evp, body + len, &n));
	need(EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, TAG, body + len));
}

void
cipher_open(CipherKind kind, const uint8 *sealed, int sealed_len, uint8 *out)
{
	const uint8 *body = sealed + HEADER + nonce_length(kind);
	int			len = sealed_len - cipher_overhead(kind);
	uint8		tag[TAG];
	EVP_CIPHER_CTX *evp;
	int			n;

	if (len < 0)
		elog(ERROR, "yardstick: too short");
	make_ready();
	memcpy(tag, body + len, TAG);
	evp = start(&opening, kind, sealed + HEADER);
	need(EVP_DecryptUpdate(evp, out, &n, body, len));
	need(EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, TAG, tag));
	need(EVP_DecryptFinal_ex(evp, tag, &n));
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
	need(EVP_EncryptUpdate(ecb, derived, &n, blocks, 32));
}

/* The context of this kind, keyed, with the nonce's IV. */
static EVP_CIPHER_CTX *
start(Direction * direction, CipherKind kind, const uint8 *nonce)
{
	EVP_CIPHER_CTX *evp = direction->evp[kind];
	const uint8 *iv = nonce + nonce_length(kind) - IV;
	uint8		derived[32];

	if (kind == CIPHER_XAES ||
		(kind == CIPHER_SALT &&
		 !(direction->has_salt && memcmp(direction->salt, nonce, SALT) == 0)))
	{
		derive(nonce, derived);
		need(EVP_CipherInit_ex2(evp, NULL, derived, iv, -1, NULL));
		if (kind == CIPHER_SALT)
		{
			memcpy(direction->salt, nonce, SALT);
			direction->has_salt = true;
		}
	}
	else
		need(EVP_CipherInit_ex2(evp, NULL, NULL, iv, -1, NULL));
	return evp;
}

static void
from_counter(uint8 *out, int len)
{
	static uint64 counter;

	counter++;
	memset(out, 0, len);
	memcpy(out, &counter, sizeof(counter));
}

static void
from_pool(uint8 *out, int len)
{
	static uint8 pool[POOL];
	static int	next = POOL;

	if (next + len > POOL)
	{
		for (next = 0; next < POOL;)
		{
			ssize_t		n = getrandom(pool + next, POOL - next, 0);

			if (n <= 0)
				elog(ERROR, "yardstick: getrandom refused");
			next += (int) n;
		}
		next = 0;
	}
	memcpy(out, pool + next, len);
	memset(pool + next, 0, len);	/* each byte is given once */
	next += len;
}

static void
next_nonce(CipherKind kind, CipherNonce nonce, uint8 *out)
{
	void		(*draw) (uint8 *out, int len) = nonce == NONCE_POOL ? from_pool : from_counter;

	if (kind == CIPHER_SALT && sealing.has_salt)
	{
		memcpy(out, sealing.salt, SALT);
		draw(out + SALT, IV);
	}
	else
		draw(out, nonce_length(kind));
}

static void
keyed(Direction * direction, EVP_CIPHER *gcm, int encrypt)
{
	for (int kind = 0; kind <= CIPHER_GCM; kind++)
	{
		direction->evp[kind] = EVP_CIPHER_CTX_new();
		if (direction->evp[kind] == NULL)
			elog(ERROR, "yardstick: OpenSSL refused");
		need(EVP_CipherInit_ex2(direction->evp[kind], gcm, key, NULL, encrypt, NULL));
	}
}

static void
make_ready(void)
{
	uint8		zero[16] = {0};
	EVP_CIPHER *gcm;
	uint8		carry;
	int			n;

	if (ecb != NULL)
		return;
	gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	ecb = EVP_CIPHER_CTX_new();
	if (gcm == NULL || ecb == NULL)
		elog(ERROR, "yardstick: OpenSSL refused");
	keyed(&sealing, gcm, 1);
	keyed(&opening, gcm, 0);
	need(EVP_EncryptInit_ex2(ecb, EVP_aes_256_ecb(), key, NULL, NULL));
	need(EVP_CIPHER_CTX_set_padding(ecb, 0));
	need(EVP_EncryptUpdate(ecb, k1, &n, zero, 16));
	/* CMAC's subkey K1: the encrypted zero block, doubled in GF(2^128) */
	carry = k1[0] >> 7;
	for (int i = 0; i < 15; i++)
		k1[i] = (uint8) ((k1[i] << 1) | (k1[i + 1] >> 7));
	k1[15] = (uint8) ((k1[15] << 1) ^ (carry ? 0x87 : 0));
}
