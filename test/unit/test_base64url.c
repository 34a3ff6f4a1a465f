/* What base64url.h promises. */
#include "test/unit/unit.h"

#include <string.h>

#include "common/base64url.h"

TEST("bytes become the text of RFC 4648, without padding, and come back")
{
	static const struct {
		const char *bytes, *text;
	} rows[] = {
		{ "", "" },
		{ "f", "Zg" },
		{ "fo", "Zm8" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg" },
		{ "fooba", "Zm9vYmE" },
		{ "foobar", "Zm9vYmFy" },
		{ "\xfb\xff\xbf", "-_-_" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t length = strlen(rows[i].bytes), count;
		unsigned char bytes[8];
		char text[16];

		unit_about("%s", rows[i].text);
		base64url_encode((const unsigned char *)rows[i].bytes, length, text);
		CHECK_TEXT(text, rows[i].text);
		CHECK(strlen(text) < BASE64URL_SIZE(length));
		if (CHECK(base64url_decode(text, strlen(text), bytes, &count)) &&
		    CHECK_NUMBER((int64_t)count, (int64_t)length))
			CHECK(memcmp(bytes, rows[i].bytes, count) == 0);
	}
}

TEST("what encoding never writes is refused")
{
	static const char *const refused[] = { "A", "AAAAA", "Zg==", "Zm8=", "Zh", "Zm9", "Zm+v",
		"Zm/v", "Zm v", "Zm\nv", ".", "\xc3\xa4" };

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		unsigned char bytes[16];
		size_t count;

		unit_about("%s", refused[i]);
		CHECK(!base64url_decode(refused[i], strlen(refused[i]), bytes, &count));
	}
}

TEST("every byte survives")
{
	unsigned char bytes[256], back[256];
	char text[BASE64URL_SIZE(256)];
	size_t count;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)i;
	base64url_encode(bytes, sizeof(bytes), text);
	CHECK_NUMBER((int64_t)strlen(text) + 1, (int64_t)sizeof(text));
	CHECK(base64url_decode(text, strlen(text), back, &count));
	CHECK(count == sizeof(bytes) && memcmp(bytes, back, count) == 0);
}
