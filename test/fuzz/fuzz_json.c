/*
 * fuzz_json: any bytes to json_parse().
 *
 * What it accepts must keep its promises (strings are UTF-8 without NUL, the depth is bounded), and what the
 * writer makes of it must be read back as the same tree.  And yajl, to which a text goes that begins with a blank, must read
 * the same as json_plain().
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void check(const struct json *, int depth);
static void read_by_yajl(struct arena *, const uint8_t *data, size_t size, const struct json *);
static void write_again(struct json_writer *, const struct json *);
static void compare(const struct json *, const struct json *);

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = { 0 };
	const char *error = NULL, *text;
	const struct json *json = json_parse(&arena, (const char *)data, size, &error), *again;
	struct json_writer *writer;
	size_t length;

	MUST(!json == !!error);
	read_by_yajl(&arena, data, size, json);
	if (json) {
		check(json, 0);
		writer = json_writer_new(&arena);
		write_again(writer, json);
		text = json_text(writer, &length);
		again = json_parse(&arena, text, length, &error);
		MUST(again);
		compare(json, again);
	}
	arena_free(&arena);
	return 0;
}

static void
read_by_yajl(struct arena *arena, const uint8_t *data, size_t size, const struct json *json)
{
	char *text = arena_alloc(arena, size + 1);
	const struct json *read;
	const char *error;

	text[0] = ' ';
	if (size > 0)
		memcpy(text + 1, data, size);
	read = json_parse(arena, text, size + 1, &error);
	MUST(!read == !json);
	if (json)
		compare(json, read);
}

static void
check(const struct json *json, int depth)
{
	bool is_container = json->type == JSON_ARRAY || json->type == JSON_OBJECT;

	MUST(depth + is_container <= JSON_DEPTH_MAX);
	if (json->type == JSON_STRING) {
		MUST(strlen(json->text) == json->length);
		MUST(utf8_valid(json->text, json->length));
	}
	for (const struct json *member = json->first; member; member = member->next) {
		MUST(is_container);
		MUST(!member->key == (json->type == JSON_ARRAY));
		if (member->key)
			MUST(json_member(json, member->key) == member);
		check(member, depth + 1);
	}
}

static void
write_again(struct json_writer *writer, const struct json *json)
{
	switch (json->type) {
	case JSON_NULL:
		json_null(writer);
		return;
	case JSON_BOOLEAN:
		json_boolean(writer, json->boolean);
		return;
	case JSON_INTEGER:
		json_integer(writer, json->integer);
		return;
	case JSON_DOUBLE: /* the writer has none: we never answer with one */
		json_null(writer);
		return;
	case JSON_STRING:
		json_string(writer, json->text);
		return;
	case JSON_ARRAY:
		json_array(writer);
		break;
	case JSON_OBJECT:
		json_object(writer);
		break;
	}
	for (const struct json *member = json->first; member; member = member->next) {
		if (member->key)
			json_key(writer, member->key);
		write_again(writer, member);
	}
	json_close(writer);
}

static void
compare(const struct json *a, const struct json *b)
{
	if (a->type == JSON_DOUBLE)
		return;
	MUST(a->type == b->type);
	MUST(a->integer == b->integer && a->boolean == b->boolean && a->length == b->length);
	MUST(a->type != JSON_STRING || strcmp(a->text, b->text) == 0);
	a = a->first;
	b = b->first;
	for (; a && b; a = a->next, b = b->next) {
		MUST(!a->key || strcmp(a->key, b->key) == 0);
		compare(a, b);
	}
	MUST(!a && !b);
}
