/* utf8: the well-formed byte sequences of RFC 3629 section 4, as a table. */
#include "common/utf8.h"

#include <stdint.h>
#include <string.h>

/*
 * First bytes first_least..first_most begin a character whose second byte lies in second_least..second_most.
 */
struct form {
	uint8_t first_least, first_most;
	uint8_t second_least, second_most;
	uint8_t bytes;
};

static const struct form forms[] = {
	{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
	{ 0xed, 0xed, 0x80, 0x9f, 3 }, /* 0xa0.. would be surrogates */
	{ 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
	{ 0xf4, 0xf4, 0x80, 0x8f, 4 }, /* up to U+10FFFF */
};

static bool has_form(const uint8_t *byte, size_t left, const struct form *);

size_t
utf8_character(const char *text, size_t left)
{
	const uint8_t *byte = (const uint8_t *)text;
	size_t i;

	if (left == 0)
		return 0;
	if (byte[0] < 0x80)
		return 1;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (has_form(byte, left, &forms[i]))
			return forms[i].bytes;
	return 0;
}

static bool
has_form(const uint8_t *byte, size_t left, const struct form *form)
{
	size_t i;

	if (left < form->bytes || byte[0] < form->first_least || byte[0] > form->first_most)
		return false;
	if (byte[1] < form->second_least || byte[1] > form->second_most)
		return false;
	for (i = 2; i < form->bytes; i++)
		if ((byte[i] & 0xc0) != 0x80)
			return false;
	return true;
}

/* How many of the bytes are ASCII before the first that is not, give or take seven. */
static size_t
ascii_run(const char *text, size_t length)
{
	size_t at = 0;
	uint64_t eight;

	for (; length - at >= sizeof(eight); at += sizeof(eight)) {
		memcpy(&eight, text + at, sizeof(eight));
		if (eight & UINT64_C(0x8080808080808080))
			break;
	}
	return at;
}

bool
utf8_valid(const char *text, size_t length)
{
	size_t at = ascii_run(text, length);

	while (at < length) {
		size_t bytes = utf8_character(text + at, length - at);

		if (bytes == 0)
			return false;
		at += bytes;
	}
	return true;
}

size_t
utf8_characters(const char *text)
{
	size_t count = 0;

	for (; *text != '\0'; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}
