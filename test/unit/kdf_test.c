/*-------------------------------------------------------------------------
 *
 * kdf_test.c
 *	  HKDF and scrypt against their RFCs, and their bounds.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "crypto/kdf.h"
#include "crypto/mac.h"

static bool
has_hex(const uint8_t *data, size_t len, const char *hex)
{
	char		got[512] = "";

	for (size_t i = 0; i < len && 2 * i + 2 < sizeof(got); i++)
		snprintf(got + 2 * i, 3, "%02x", data[i]);
	return strcmp(got, hex) == 0;
}

/* RFC 5869, test case 3; and expansion against its definition. */
static void
check_hkdf(void)
{
	uint8_t		key[22];
	uint8_t		out[255 * 32 + 1];
	uint8_t		prk[PGE_MAC_LEN];
	uint8_t		block[PGE_MAC_LEN];
	uint8_t		zero[PGE_MAC_LEN] = {0};
	uint8_t		one = 1;
	PgeBytes	ikm = pge_bytes(key, sizeof(key));
	PgeBytes	parts[2] = {text_bytes("info"), pge_bytes(&one, 1)};

	memset(key, 0x0b, sizeof(key));
	check_status(pge_hkdf_sha256(ikm, pge_bytes(NULL, 0), out, 42), PGE_OK, "HKDF");
	check(has_hex(out, 42, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
		  "RFC 5869, test case 3");
	if (pge_hkdf_sha256(ikm, text_bytes("info"), out, 32) != PGE_OK ||
		pge_hmac_sha256(pge_bytes(zero, 32), &ikm, 1, prk) != PGE_OK ||
		pge_hmac_sha256(pge_bytes(prk, 32), parts, 2, block) != PGE_OK)
		abort();
	check(memcmp(out, block, 32) == 0, "info is used, an absent salt is 32 zero bytes");
	check_status(pge_hkdf_sha256(ikm, pge_bytes(NULL, 0), out, 255 * 32), PGE_OK, "its longest output");
	memset(out, 0xaa, sizeof(out));
	check_status(pge_hkdf_sha256(ikm, pge_bytes(NULL, 0), out, 255 * 32 + 1), PGE_INVALID, "one more is refused");
	check(all_zero(out, sizeof(out)), "and the output wiped");
	check_status(pge_hkdf_sha256(ikm, pge_bytes(NULL, 0), out, 0), PGE_INVALID, "no output is refused");
}

/* RFC 7914, section 12; our keys are the first 32 of its 64 bytes. */
static void
check_scrypt(void)
{
	PgeSecret	key;

	check_status(pge_scrypt(pge_bytes("", 0), pge_bytes("", 0), 4, 1, 1, &key), PGE_OK, "scrypt of nothing");
	check(has_hex(key.bytes, 32, "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"),
		  "RFC 7914, first vector");
	check_status(pge_scrypt(text_bytes("password"), text_bytes("NaCl"), 10, 8, 16, &key), PGE_OK, "scrypt");
	check(has_hex(key.bytes, 32, "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"),
		  "RFC 7914, second vector");
	check_status(pge_scrypt(text_bytes("pleaseletmein"), text_bytes("SodiumChloride"), 14, 8, 1, &key), PGE_OK, "scrypt");
	check(has_hex(key.bytes, 32, "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"),
		  "RFC 7914, third vector");
}

static void
check_scrypt_bounds(void)
{
	static const unsigned bad[][3] = {
		{0, 8, 1}, {32, 8, 1}, {64, 8, 1}, {17, 0, 1}, {17, 8, 0}, {17, 8, 17},
		{19, 8, 1}, {17, 17, 1}, {17, 0x80000008u, 1}, {1, 1025, 1}
	};
	PgeSecret	key;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		memset(&key, 0xaa, sizeof(key));
		check_status(pge_scrypt(text_bytes("p"), text_bytes("s"), bad[i][0], bad[i][1], bad[i][2], &key),
					 PGE_INVALID, "scrypt refuses N = 2^%u, r = %u, p = %u", bad[i][0], bad[i][1], bad[i][2]);
		check(all_zero(key.bytes, sizeof(key.bytes)), "and wipes the key");
	}
	check_status(pge_scrypt(text_bytes("p"), text_bytes("s"), 17, 8, 1, &key), PGE_OK,
				 "the keyring's cost (128 MiB) is taken");
	check_status(pge_scrypt(text_bytes("p"), text_bytes("s"), 18, 8, 1, &key), PGE_OK,
				 "so is exactly 256 MiB");
}

static void
check_mac(void)
{
	uint8_t		mac[PGE_MAC_LEN];
	uint8_t		key[131];
	PgeBytes	parts[3] = {text_bytes("Test Using Larger Than Block-Size"), pge_bytes(NULL, 0),
	text_bytes(" Key - Hash Key First")};

	memset(key, 0xaa, sizeof(key));
	check_status(pge_hmac_sha256(pge_bytes(key, sizeof(key)), parts, 3, mac), PGE_OK, "HMAC");
	check(has_hex(mac, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"), "RFC 4231, test case 6");
	check_status(pge_hmac_sha256(pge_bytes(NULL, 0), NULL, 0, mac), PGE_OK, "HMAC of nothing under nothing");
	check(has_hex(mac, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"), "is what it is everywhere");
	check_status(pge_sha256(NULL, 0, mac), PGE_OK, "SHA-256 of nothing");
	check(has_hex(mac, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), "FIPS 180-4");
	check_status(pge_sha256(parts, 3, mac), PGE_OK, "SHA-256 of parts");
}

int
main(void)
{
	check_hkdf();
	check_scrypt();
	check_scrypt_bounds();
	check_mac();
	return check_done();
}
