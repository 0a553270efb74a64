/*-------------------------------------------------------------------------
 *
 * encoding.c
 *	  Base64, in a time that depends on lengths only.
 *
 * Four letters are three bytes.  Comparisons are made by sign: a negative int
 * shifted right by its width is a mask of ones.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/encoding.h"
#include "base/secret.h"

static uint8_t letter_of(Base64Alphabet alphabet, int value);
static int	value_of(Base64Alphabet alphabet, int letter);
static int	mask_if_negative(int x);
static int	mask_if_between(int x, int low, int high);
static bool count_letters(Base64Alphabet alphabet, PgeBytes text, size_t *letters);

PgeStatus
pge_base64_encode(Base64Alphabet alphabet, PgeBytes bytes, PgeBuffer *out)
{
	uint32_t	bits = 0;
	int			nbits = 0;

	out->len = 0;
	if (bytes.len > SIZE_MAX / 2 || out->capacity < BASE64_LEN(bytes.len))
		return PGE_TOO_LARGE;
	for (size_t i = 0; i < bytes.len; i++)
	{
		bits = bits << 8 | bytes.data[i];
		for (nbits += 8; nbits >= 6; nbits -= 6)
			out->data[out->len++] = letter_of(alphabet, (int) (bits >> (nbits - 6) & 63));
	}
	if (nbits > 0)
		out->data[out->len++] = letter_of(alphabet, (int) (bits << (6 - nbits) & 63));
	while (alphabet == BASE64_STANDARD && out->len % 4 != 0)
		out->data[out->len++] = '=';
	return PGE_OK;
}

PgeStatus
pge_base64_decode(Base64Alphabet alphabet, PgeBytes text, PgeBuffer *out)
{
	uint32_t	bits = 0;
	int			nbits = 0;
	int			wrong = 0;		/* negative once something was */
	size_t		letters;

	out->len = 0;
	if (!count_letters(alphabet, text, &letters))
		return PGE_MALFORMED;
	if (letters / 4 * 3 + letters % 4 * 3 / 4 > out->capacity)
		return PGE_TOO_LARGE;
	for (size_t i = 0; i < letters; i++)
	{
		int			value = value_of(alphabet, text.data[i]);

		wrong |= value;
		bits = bits << 6 | ((uint32_t) value & 63);
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			out->data[out->len++] = (uint8_t) (bits >> nbits);
		}
	}
	/* one spelling only: what is left over is zeros */
	wrong |= -(int) (bits & ((1U << nbits) - 1));
	if (wrong >= 0)
		return PGE_OK;
	pge_secret_wipe(out->data, out->len);
	out->len = 0;
	return PGE_MALFORMED;
}

/* Those before the padding.  Where that is, is no secret. */
static bool
count_letters(Base64Alphabet alphabet, PgeBytes text, size_t *letters)
{
	*letters = text.len;
	if (alphabet == BASE64_URL)
		return text.len % 4 != 1;
	if (text.len % 4 != 0)
		return false;
	for (int i = 0; i < 2 && *letters > 0 && text.data[*letters - 1] == '='; i++)
		(*letters)--;
	return true;
}

static uint8_t
letter_of(Base64Alphabet alphabet, int value)
{
	bool		url = alphabet == BASE64_URL;
	int			letter = 'A' + value;

	letter += mask_if_negative(25 - value) & ('a' - ('Z' + 1));
	letter += mask_if_negative(51 - value) & ('0' - ('z' + 1));
	letter += mask_if_negative(61 - value) & ((url ? '-' : '+') - ('9' + 1));
	letter += mask_if_negative(62 - value) & (url ? '_' - ('-' + 1) : '/' - ('+' + 1));
	return (uint8_t) letter;
}

/* -1: not of the alphabet. */
static int
value_of(Base64Alphabet alphabet, int letter)
{
	bool		url = alphabet == BASE64_URL;
	int			value = -1;

	value += mask_if_between(letter, 'A', 'Z') & (letter - 'A' + 1);
	value += mask_if_between(letter, 'a', 'z') & (letter - 'a' + 26 + 1);
	value += mask_if_between(letter, '0', '9') & (letter - '0' + 52 + 1);
	value += mask_if_between(letter, url ? '-' : '+', url ? '-' : '+') & (62 + 1);
	value += mask_if_between(letter, url ? '_' : '/', url ? '_' : '/') & (63 + 1);
	return value;
}

static int
mask_if_negative(int x)
{
	return -(int) ((unsigned) x >> (8 * sizeof(int) - 1));
}

static int
mask_if_between(int x, int low, int high)
{
	return mask_if_negative((low - 1 - x) & (x - high - 1));
}
