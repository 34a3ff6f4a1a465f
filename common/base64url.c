/* base64url: three bytes are four characters; what is left over, one or two bytes, are two or three. */
#include "common/base64url.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void
base64url_encode(const unsigned char *bytes, size_t count, char *text)
{
	uint32_t bits = 0;
	int pending = 0; /* of bits, how many are not yet written */

	for (size_t i = 0; i < count; i++) {
		bits = bits << 8 | bytes[i];
		for (pending += 8; pending >= 6; pending -= 6)
			*text++ = alphabet[bits >> (pending - 6) & 63];
	}
	if (pending > 0)
		*text++ = alphabet[bits << (6 - pending) & 63];
	*text = '\0';
}

/* Of each character its value plus one; 0: it is none of the alphabet. */
static const unsigned char values[256] = {
	['A'] = 1,
	2,
	3,
	4,
	5,
	6,
	7,
	8,
	9,
	10,
	11,
	12,
	13,
	14,
	15,
	16,
	17,
	18,
	19,
	20,
	21,
	22,
	23,
	24,
	25,
	26,
	['a'] = 27,
	28,
	29,
	30,
	31,
	32,
	33,
	34,
	35,
	36,
	37,
	38,
	39,
	40,
	41,
	42,
	43,
	44,
	45,
	46,
	47,
	48,
	49,
	50,
	51,
	52,
	['0'] = 53,
	54,
	55,
	56,
	57,
	58,
	59,
	60,
	61,
	62,
	['-'] = 63,
	['_'] = 64,
};

static int
value_of(char c)
{
	return values[(unsigned char)c] - 1;
}

/* Four characters that make three bytes; false if one of them is none of the alphabet. */
static bool
decode_four(const char *text, unsigned char *bytes)
{
	int first = value_of(text[0]), second = value_of(text[1]), third = value_of(text[2]),
	    fourth = value_of(text[3]);

	if ((first | second | third | fourth) < 0)
		return false;
	bytes[0] = (unsigned char)(first << 2 | second >> 4);
	bytes[1] = (unsigned char)(second << 4 | third >> 2);
	bytes[2] = (unsigned char)(third << 6 | fourth);
	return true;
}

bool
base64url_decode(const char *text, size_t length, unsigned char *bytes, size_t *count)
{
	size_t whole = length / 4 * 4;
	uint32_t bits = 0;
	int pending = 0;

	*count = 0;
	for (size_t i = 0; i < whole; i += 4, *count += 3)
		if (!decode_four(text + i, bytes + *count))
			return false;
	for (size_t i = whole; i < length; i++) {
		int value = value_of(text[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		pending += 6;
		if (pending >= 8) {
			pending -= 8;
			bytes[(*count)++] = (unsigned char)(bits >> pending);
		}
	}
	return pending < 6 && (bits & ((1U << pending) - 1)) == 0;
}
