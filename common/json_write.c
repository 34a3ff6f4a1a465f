/* json_write: json.h's writer, on yajl's generator. A misuse, such as a value without a key: assert(). */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <yajl/yajl_gen.h>

#include "common/decimal.h"
#include "common/json.h"
#include "common/json_memory.h"
#include "common/utf8.h"

#define WRITE_DEPTH_MAX 32

struct json_writer {
	struct arena *arena;
	yajl_gen gen;
	bool is_object[WRITE_DEPTH_MAX]; /* of what is open, outermost first */
	size_t depth;
};

static void open_container(struct json_writer *, bool is_object);
static void must(yajl_gen_status);
static const char *repaired(struct arena *, const char *text, size_t length);

struct json_writer *
json_writer_new(struct arena *arena)
{
	struct json_writer *writer = arena_alloc(arena, sizeof(*writer));
	yajl_alloc_funcs memory = json_memory_functions(arena);

	writer->arena = arena;
	writer->gen = yajl_gen_alloc(&memory);
	return writer;
}

void
json_object(struct json_writer *writer)
{
	must(yajl_gen_map_open(writer->gen));
	open_container(writer, true);
}

void
json_array(struct json_writer *writer)
{
	must(yajl_gen_array_open(writer->gen));
	open_container(writer, false);
}

static void
open_container(struct json_writer *writer, bool is_object)
{
	assert(writer->depth < WRITE_DEPTH_MAX);
	writer->is_object[writer->depth++] = is_object;
}

void
json_close(struct json_writer *writer)
{
	assert(writer->depth > 0);
	if (writer->is_object[--writer->depth])
		must(yajl_gen_map_close(writer->gen));
	else
		must(yajl_gen_array_close(writer->gen));
}

void
json_key(struct json_writer *writer, const char *key)
{
	must(yajl_gen_string(writer->gen, (const unsigned char *)key, strlen(key)));
}

void
json_string(struct json_writer *writer, const char *text)
{
	size_t length = text ? strlen(text) : 0;

	if (!text) {
		json_null(writer);
		return;
	}
	if (!utf8_valid(text, length)) {
		text = repaired(writer->arena, text, length);
		length = strlen(text);
	}
	must(yajl_gen_string(writer->gen, (const unsigned char *)text, length));
}

/* Whatever is no UTF-8 becomes U+FFFD: what we write is JSON, whatever others have stored. */
static const char *
repaired(struct arena *arena, const char *text, size_t length)
{
	char *result = arena_alloc(arena, 3 * length + 1);
	char *out = result;
	size_t at = 0;

	while (at < length) {
		size_t bytes = utf8_character(text + at, length - at);

		memcpy(out, bytes ? text + at : "\xef\xbf\xbd", bytes ? bytes : 3);
		out += bytes ? bytes : 3;
		at += bytes ? bytes : 1;
	}
	return result;
}

void
json_integer(struct json_writer *writer, int64_t integer)
{
	char text[DECIMAL_MAX + 1], *end = text + sizeof(text), *first;

	first = decimal_before(end, integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer);
	if (integer < 0)
		*--first = '-';
	must(yajl_gen_number(writer->gen, first, (size_t)(end - first)));
}

void
json_boolean(struct json_writer *writer, bool boolean)
{
	must(yajl_gen_bool(writer->gen, boolean));
}

void
json_null(struct json_writer *writer)
{
	must(yajl_gen_null(writer->gen));
}

/* What yajl calls a number is any text that goes out as it is. */
void
json_raw(struct json_writer *writer, const char *json)
{
	must(yajl_gen_number(writer->gen, json, strlen(json)));
}

const char *
json_text(struct json_writer *writer, size_t *length)
{
	const unsigned char *text;
	size_t bytes;

	assert(writer->depth == 0);
	must(yajl_gen_get_buf(writer->gen, &text, &bytes));
	if (length)
		*length = bytes;
	return (const char *)text;
}

static void
must(yajl_gen_status status)
{
	assert(status == yajl_gen_status_ok);
	(void)status;
}

void
json_put_string(struct json_writer *writer, const char *key, const char *text)
{
	json_key(writer, key);
	json_string(writer, text);
}

void
json_put_integer(struct json_writer *writer, const char *key, int64_t integer)
{
	json_key(writer, key);
	json_integer(writer, integer);
}

void
json_put_boolean(struct json_writer *writer, const char *key, bool boolean)
{
	json_key(writer, key);
	json_boolean(writer, boolean);
}

void
json_value(struct json_writer *writer, const struct json *value)
{
	char digits[32];

	switch (value->type) {
	case JSON_NULL:
		json_null(writer);
		return;
	case JSON_BOOLEAN:
		json_boolean(writer, value->boolean);
		return;
	case JSON_INTEGER:
		json_integer(writer, value->integer);
		return;
	case JSON_DOUBLE:
		snprintf(digits, sizeof(digits), "%.17g", value->number);
		json_raw(writer, digits);
		return;
	case JSON_STRING:
		json_string(writer, value->text);
		return;
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	if (value->type == JSON_OBJECT)
		json_object(writer);
	else
		json_array(writer);
	for (const struct json *part = value->first; part != NULL; part = part->next) {
		if (value->type == JSON_OBJECT)
			json_key(writer, part->key);
		json_value(writer, part);
	}
	json_close(writer);
}
