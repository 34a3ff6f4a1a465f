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

static int
value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool
base64url_decode(const char *text, size_t length, unsigned char *bytes, size_t *count)
{
	uint32_t bits = 0;
	int pending = 0;

	*count = 0;
	for (size_t i = 0; i < length; i++) {
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
