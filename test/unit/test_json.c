/* What json.h promises of the reader and the writer. */
#include "test/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

static const struct json *
parse(struct arena *, const char *text, size_t length, const char **error);
static void check_refused(const char *text, size_t length, const char *reason);

/* From memory that ends with the text, so that a sanitizer sees a step too far. */
static const struct json *
parse(struct arena *arena, const char *text, size_t length, const char **error)
{
	char *copy = malloc(length);
	const struct json *json;

	memcpy(copy, text, length);
	json = json_parse(arena, copy, length, error);
	free(copy);
	return json;
}

TEST("each type of value arrives, in the order of the text")
{
	static const char text[] = " {\"n\":null,\"t\":true,\"f\":false,\"i\":-12,\"d\":1.5e1,"
				   "\"s\":\"x\\u00e9\\n\",\"a\":[1,[],{}],\"o\":{\"k\":0}} ";
	struct arena arena = { 0 };
	const char *error;
	const struct json *root = parse(&arena, text, strlen(text), &error), *json;

	if (!CHECK(root != NULL) || !CHECK(root->type == JSON_OBJECT))
		return;
	CHECK(json_member(root, "n")->type == JSON_NULL);
	CHECK(json_member(root, "t")->type == JSON_BOOLEAN && json_member(root, "t")->boolean);
	CHECK(json_member(root, "f")->type == JSON_BOOLEAN && !json_member(root, "f")->boolean);
	json = json_member(root, "i");
	CHECK(json->type == JSON_INTEGER && json->integer == -12 && json->number == -12.0);
	json = json_member(root, "d");
	CHECK(json->type == JSON_DOUBLE && json->number == 15.0);
	json = json_member(root, "s");
	CHECK(json->type == JSON_STRING && json->length == 4);
	CHECK_TEXT(json->text, "x\xc3\xa9\n");
	json = json_member(root, "a")->first;
	CHECK(json->type == JSON_INTEGER && json->key == NULL);
	CHECK(json->next->type == JSON_ARRAY && json->next->first == NULL);
	CHECK(json->next->next->type == JSON_OBJECT && json->next->next->next == NULL);
	CHECK(json_member(json_member(root, "o"), "k")->integer == 0);
	CHECK(json_member(root, "x") == NULL);
	CHECK(json_member(json, "x") == NULL);
	arena_free(&arena);
}

TEST("what is JSON is read")
{
	static const char *const accepted[] = {
		"0",
		"-0",
		"1e5",
		"1E+5",
		"1e-999",
		"9223372036854775807",
		"-9223372036854775808",
		"1.7976931348623157e308",
		"true",
		"null",
		"\"\"",
		"[]",
		"{}",
		"\r\n\t [ ] ",
		"\"\\\" \\\\ \\/ \\b \\f \\n \\r \\t\"",
		"\"\\ud83d\\ude00\"",
		"\"\\uD83D\\uDE00\"",
		"\"\\\\ud83d\"",
		"\"\\\\u0000\"",
		"\"\x7f\"",
		"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
		"{\"a\":1,\"A\":2,\"\":3}",
		"[{\"a\":1},{\"a\":1}]",
		"{\"a\":{\"a\":1}}",
	};

	for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
		struct arena arena = { 0 };
		const char *error = "";

		unit_about("%s", accepted[i]);
		if (!parse(&arena, accepted[i], strlen(accepted[i]), &error))
			CHECK_TEXT(error, "");
		arena_free(&arena);
	}
}

static void
check_refused(const char *text, size_t length, const char *reason)
{
	struct arena arena = { 0 };
	const char *error = NULL;

	unit_about("%.*s", (int)length, text);
	if (CHECK(parse(&arena, text, length, &error) == NULL)) {
		CHECK(error != NULL && strstr(error, reason) != NULL);
		if (error && !strstr(error, reason))
			CHECK_TEXT(error, reason);
	}
	arena_free(&arena);
}

TEST("what is no strict JSON is refused with the reason")
{
	static const struct {
		const char *text, *reason;
	} rows[] = {
		{ "", "empty" },
		{ " ", "premature EOF" },
		{ "{", "premature EOF" },
		{ "\"abc", "premature EOF" },
		{ "{\"a\":1", "premature EOF" },
		{ "{\"a\":1} x", "trailing garbage" },
		{ "{}{}", "trailing garbage" },
		{ "1 2", "trailing garbage" },
		{ "01", "trailing garbage" },
		{ "0x10", "trailing garbage" },
		{ "[1,]", "token" },
		{ "[,1]", "token" },
		{ "{\"a\":1,}", "parse error" },
		{ "{\"a\" 1}", "colon" },
		{ "{1:2}", "parse error" },
		{ "{a:1}", "invalid char" },
		{ "[1}", "array element" },
		{ "[1 2]", "array element" },
		{ "/* */1", "comment" },
		{ "// one\n1", "comment" },
		{ "'a'", "invalid char" },
		{ "+1", "invalid char" },
		{ ".5", "invalid char" },
		{ "1.", "decimal point" },
		{ "1e", "exponent" },
		{ "-", "minus sign" },
		{ "NaN", "invalid char" },
		{ "Infinity", "invalid char" },
		{ "True", "invalid char" },
		{ "nul", "invalid string" },
		{ "\"\\x41\"", "inside a string" },
		{ "\"\\u00g0\"", "non-hex" },
		{ "\"\\u00\"", "non-hex" },
		{ "\"a\nb\"", "invalid character inside string" },
		{ "\"\t\"", "invalid character inside string" },
		{ "\\", "invalid char" },
		{ "\xef\xbb\xbf{}", "invalid char" },
		{ "1e999", "too large" },
		{ "-1e999", "too large" },
		{ "1.8e308", "too large" },
		{ "9223372036854775808", "64 bits" },
		{ "-9223372036854775809", "64 bits" },
		{ "0.00000000000000000000000000000000000000000000000000000000000000001",
		    "too many digits" },
		{ "\"\\u0000\"", "NUL" },
		{ "{\"a\\u0000b\":1}", "NUL" },
		{ "\"\\ud83d\"", "surrogate" },
		{ "\"\\ud83dx\"", "surrogate" },
		{ "\"\\ude00\"", "surrogate" },
		{ "\"\\ude00\\ud83d\"", "surrogate" },
		{ "\"\\ud83d\\u0041\"", "surrogate" },
		{ "\"\\ud83d\\ud83d\\ude00\"", "surrogate" },
		{ "{\"\\udfff\":1}", "surrogate" },
		{ "\"\\ud83d\\", "surrogate" },
		{ "\"\\ud83d\\ude0", "surrogate" },
		{ "\"\xc0\x80\"", "UTF-8" },
		{ "\"\xed\xa0\x80\"", "UTF-8" },
		{ "\"\xf4\x90\x80\x80\"", "UTF-8" },
		{ "\"\xc3\"", "UTF-8" },
		{ "{\"a\":1,\"a\":1}", "\"a\" stands twice" },
		{ "{\"a\":1,\"b\":{},\"\\u0061\":1}", "\"a\" stands twice" },
		{ "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", "too deeply" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_refused(rows[i].text, strlen(rows[i].text), rows[i].reason);
	check_refused("1\0", 2, "trailing garbage");
	check_refused("\"a\0b\"", 5, "invalid character inside string");
}

TEST("64 KiB of open brackets, of names or of digits are refused, quickly")
{
	enum { BYTES = 65536 };
	char *text = malloc(BYTES + 32);
	size_t length = 0;

	memset(text, '[', BYTES);
	check_refused(text, BYTES, "too deeply");
	memset(text, '9', BYTES);
	check_refused(text, BYTES, "too many digits");
	text[length++] = '{';
	for (int i = 0; length < BYTES; i++)
		length += (size_t)sprintf(text + length, "%s\"%d\":0", i == 0 ? "" : ",", i);
	text[length++] = '}';
	check_refused(text, length, "too many members");
	free(text);
}

TEST("what is written is read back, whatever was in the strings")
{
	struct arena arena = { 0 };
	struct json_writer *writer = json_writer_new(&arena);
	const char *odd = "\"\\/\b\f\n\r\t\x01\x7f \xc3\xa9 \xf0\x9f\x98\x80";
	const char *text, *error;
	const struct json *json;
	size_t length;

	json_object(writer);
	json_put_string(writer, odd, odd);
	json_put_string(writer, "none", NULL);
	json_put_integer(writer, "least", INT64_MIN);
	json_put_boolean(writer, "yes", true);
	json_key(writer, "raw");
	json_raw(writer, "{\"z\":[1, 2]}");
	json_key(writer, "list");
	json_array(writer);
	json_integer(writer, 1);
	json_raw(writer, "[]");
	json_null(writer);
	json_close(writer);
	json_close(writer);
	text = json_text(writer, &length);

	CHECK(strlen(text) == length);
	CHECK(strstr(text,
	    "\"none\":null,\"least\":-9223372036854775808,\"yes\":true,\"raw\":{\"z\":[1, 2]},"
	    "\"list\":[1,[],null]}"));
	json = parse(&arena, text, length, &error);
	if (CHECK(json != NULL) && CHECK(json_member(json, odd) != NULL))
		CHECK_TEXT(json_member(json, odd)->text, odd);
	arena_free(&arena);
}

TEST("bytes that are not UTF-8 are written as U+FFFD")
{
	struct arena arena = { 0 };
	struct json_writer *writer = json_writer_new(&arena);

	json_string(writer, "a\xff\xc3z\xed\xa0\x80");
	CHECK_TEXT(json_text(writer, NULL),
	    "\"a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	arena_free(&arena);
}

TEST("a large answer is written whole")
{
	struct arena arena = { 0 };
	struct json_writer *writer = json_writer_new(&arena);
	const struct json *json;
	const char *text, *error;
	size_t length;
	int64_t expected = 0;

	json_array(writer);
	for (int i = 0; i < 50000; i++)
		json_integer(writer, i);
	json_close(writer);
	text = json_text(writer, &length);
	json = parse(&arena, text, length, &error);
	for (json = json->first; json; json = json->next)
		if (json->integer != expected++)
			break;
	CHECK_NUMBER(expected, 50000);
	arena_free(&arena);
}
