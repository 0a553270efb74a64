/*-------------------------------------------------------------------------
 *
 * encoding_test.c
 *	  Base64: RFC 4648's own examples, every letter, and one spelling only.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/encoding.h"
#include "check.h"

static const struct
{
	const char *bytes;
	const char *standard;
	const char *url;
}			examples[] = {
	{"", "", ""},
	{"f", "Zg==", "Zg"},
	{"fo", "Zm8=", "Zm8"},
	{"foo", "Zm9v", "Zm9v"},
	{"foob", "Zm9vYg==", "Zm9vYg"},
	{"fooba", "Zm9vYmE=", "Zm9vYmE"},
	{"foobar", "Zm9vYmFy", "Zm9vYmFy"},
	{"\xfb\xff\xbf", "+/+/", "-_-_"},
	{"\xff\xff\xff", "////", "____"},
};

static const char *const wrong_standard[] = {
	"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=", "==", "===", "====", "Zg==Zg==", "Z=g=", "Zm8=\n",
	" Zm8=", "Zm 9v", "Zm9v=", "Zm9v====", "Zm9-", "Zm9_", "Zm9.", "Zm9\x80", "Zm9@", "Zm9[", "Zm9`", "Zm9{",
	"Zm9:", "Zm9,", "Zm9*", "Zm=v", "=m9v", "Zm9vYh==", "Zm9vYmF=",
};

static const char *const wrong_url[] = {
	"Z", "Zg==", "Zm8=", "Zh", "Zm9", "+/+/", "Zm9vY", "Zm9vYh", "Zm 9v", "Zm9v\n", "Zm9^",
};

static PgeStatus
decode(Base64Alphabet alphabet, PgeBytes text, PgeBuffer *out)
{
	PgeBuffer	in = new_buffer(text.len);
	PgeStatus	status;

	memcpy(in.data, text.data, text.len);
	status = pge_base64_decode(alphabet, pge_bytes(in.data, text.len), out);
	free(in.data);
	return status;
}

static void
check_example(Base64Alphabet alphabet, const char *bytes, const char *text)
{
	PgeBuffer	encoded = new_buffer(BASE64_LEN(strlen(bytes)));
	PgeBuffer	decoded = new_buffer(strlen(bytes));

	check(pge_base64_encode(alphabet, text_bytes(bytes), &encoded) == PGE_OK &&
		  same_bytes(pge_buffer_bytes(&encoded), text_bytes(text)), "a known text is written: \"%s\"", text);
	check(decode(alphabet, text_bytes(text), &decoded) == PGE_OK &&
		  same_bytes(pge_buffer_bytes(&decoded), text_bytes(bytes)), "and read in just enough room");
	free(encoded.data);
	free(decoded.data);
}

static void
check_wrong(Base64Alphabet alphabet, const char *text)
{
	PgeBuffer	out = new_buffer(64);
	bool		kept;

	memset(out.data, 0, out.capacity);
	check_status(decode(alphabet, text_bytes(text), &out), PGE_MALFORMED, "\"%s\" is no %s text", text,
				 alphabet == BASE64_URL ? "url-safe" : "standard");
	kept = out.len != 0 || !all_zero(out.data, out.capacity);
	check(!kept, "nothing of it is left");
	free(out.data);
}

/* All bytes in all places of a group, and the letters that may stand for them. */
static void
test_every_byte(Base64Alphabet alphabet)
{
	PgeBuffer	encoded = new_buffer(BASE64_LEN(3));
	PgeBuffer	decoded = new_buffer(3);
	int			differ = 0;

	for (int place = 0; place < 3; place++)
		for (int byte = 0; byte < 256; byte++)
		{
			uint8_t		bytes[3] = {0x5a, 0xa5, 0x3c};

			bytes[place] = (uint8_t) byte;
			for (size_t len = (size_t) place + 1; len <= 3; len++)
				if (pge_base64_encode(alphabet, pge_bytes(bytes, len), &encoded) != PGE_OK ||
					pge_base64_decode(alphabet, pge_buffer_bytes(&encoded), &decoded) != PGE_OK ||
					!same_bytes(pge_buffer_bytes(&decoded), pge_bytes(bytes, len)))
					differ++;
		}
	check(differ == 0, "every byte in every place comes back (%d did not)", differ);
	free(encoded.data);
	free(decoded.data);
}

static void
test_alphabet(Base64Alphabet alphabet, const char *letters)
{
	uint8_t		room[3];
	PgeBuffer	out = {room, 0, sizeof(room)};
	int			wrong = 0;

	for (int c = 0; c < 256; c++)
	{
		uint8_t		text[4] = {'A', 'A', 'A', (uint8_t) c};
		const char *at = c == 0 ? NULL : strchr(letters, c);
		PgeStatus	status = pge_base64_decode(alphabet, pge_bytes(text, 4), &out);

		/* '=' there is the padding of two bytes */
		if (c == '=' && alphabet == BASE64_STANDARD)
			wrong += status != PGE_OK || out.len != 2;
		else if (at == NULL)
			wrong += status != PGE_MALFORMED;
		else
			wrong += status != PGE_OK || out.len != 3 || room[2] != at - letters;
	}
	check(wrong == 0, "each of 256 letters has its value or none (%d do not)", wrong);
}

static void
test_room(void)
{
	PgeBuffer	out = new_buffer(3);

	check_status(pge_base64_encode(BASE64_STANDARD, text_bytes("f"), &out), PGE_TOO_LARGE, "no room to write");
	check(out.len == 0, "nothing is written");
	free(out.data);
	out = new_buffer(1);
	check_status(decode(BASE64_STANDARD, text_bytes("Zm8="), &out), PGE_TOO_LARGE, "no room to read");
	check_status(decode(BASE64_URL, text_bytes("Zm8"), &out), PGE_TOO_LARGE, "nor without padding");
	check(out.len == 0 && out.data[0] == 0xaa, "nothing is read");
	free(out.data);
}

int
main(void)
{
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++)
	{
		check_example(BASE64_STANDARD, examples[i].bytes, examples[i].standard);
		check_example(BASE64_URL, examples[i].bytes, examples[i].url);
	}
	for (size_t i = 0; i < sizeof(wrong_standard) / sizeof(wrong_standard[0]); i++)
		check_wrong(BASE64_STANDARD, wrong_standard[i]);
	for (size_t i = 0; i < sizeof(wrong_url) / sizeof(wrong_url[0]); i++)
		check_wrong(BASE64_URL, wrong_url[i]);
	test_every_byte(BASE64_STANDARD);
	test_every_byte(BASE64_URL);
	test_alphabet(BASE64_STANDARD, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
	test_alphabet(BASE64_URL, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
	test_room();
	return check_done();
}
