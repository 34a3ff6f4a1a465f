/* What utf8.h promises. */
#include "test/unit/unit.h"

#include <string.h>

#include "common/utf8.h"

TEST("the first and last character of each length is valid")
{
	CHECK(utf8_valid("", 0));
	CHECK(utf8_valid("\0", 1));
	CHECK(utf8_valid("\x7f", 1));
	CHECK(utf8_valid("\xc2\x80\xdf\xbf", 4));
	CHECK(utf8_valid("\xe0\xa0\x80\xef\xbf\xbf", 6));
	CHECK(utf8_valid("\xed\x9f\xbf\xee\x80\x80", 6));
	CHECK(utf8_valid("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8));
}

TEST("overlong forms, surrogates, what lies above U+10FFFF, and cut characters are not")
{
	static const char *const invalid[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xe0\x9f\xbf",
		"\xf0\x8f\xbf\xbf",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xff",
		"\xc2",
		"\xe1\x80",
		"\xf1\x80\x80",
		"\xc2g",
		"\xe1\x80g",
		"ok\xc3\xa9\xff",
	};

	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
		unit_about("row %zu", i);
		CHECK(!utf8_valid(invalid[i], strlen(invalid[i])));
	}
}

TEST("exactly the 1,112,064 Unicode scalar values are characters")
{
	long characters = 0;

	for (uint32_t bytes = 0; bytes < 0x80; bytes++)
		characters += utf8_character((char[]){ (char)bytes }, 1) == 1;
	for (unsigned first = 0x80; first < 0x100; first++)
		for (unsigned second = 0; second < 0x100; second++) {
			char text[4] = { (char)first, (char)second, (char)0x80, (char)0x80 };
			size_t length = utf8_character(text, 4);

			characters += length == 2   ? 1
				      : length == 3 ? 64
				      : length == 4 ? 64 * 64
						    : 0;
		}
	CHECK_NUMBER(characters, 1112064);
}

TEST("what is wrong is found wherever it stands in a long text")
{
	char text[40];

	for (size_t at = 0; at < sizeof(text); at++) {
		memset(text, 'a', sizeof(text));
		CHECK(utf8_valid(text, sizeof(text)));
		text[at] = '\xff';
		CHECK(!utf8_valid(text, sizeof(text)));
		CHECK(utf8_valid(text, at));
	}
}
