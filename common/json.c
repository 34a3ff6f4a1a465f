/*
 * json: the strict reader.
 *
 * What is plain is read by json_plain().  Any other text is first looked at for what yajl gets wrong and
 * hides: UTF-8 that is not well-formed (it takes overlong forms), \u0000, and surrogates without their other
 * half (yajl 2.1.0 turns a lone high one into "?" and joins it with whatever \u follows).  Then yajl's
 * callbacks build the tree, and refuse what it has no rule against: depth, names that stand twice, numbers
 * that do not fit.
 */
#include "common/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>

#include "common/base64url.h"
#include "common/json_memory.h"
#include "common/json_plain.h"
#include "common/utf8.h"

#define NUMBER_BYTES_MAX ((size_t)64)

/* An array or object that is not closed yet. */
struct level {
	struct json *container;
	struct json **end; /* where its next member goes */
	size_t members;
};

struct reader {
	struct arena *arena;
	struct json *root;
	struct level levels[JSON_DEPTH_MAX];
	size_t depth;
	const char *key;   /* of the member whose value comes next */
	const char *error; /* NULL until something is refused */
};

static const char *check_text(struct arena *, const char *text, size_t length);
static const char *check_escape(const char *escape, size_t left, size_t *consumed);
static bool read_hex4(const char *escape, size_t left, unsigned *unit);
static const struct json *
yajl_read(struct arena *, const char *text, size_t length, const char **error);
static const char *yajl_error(struct arena *, yajl_handle, const char *text, size_t length);

static int null_read(void *reader);
static int boolean_read(void *reader, int value);
static int number_read(void *reader, const char *text, size_t length);
static int string_read(void *reader, const unsigned char *text, size_t length);
static int key_read(void *reader, const unsigned char *text, size_t length);
static int object_opened(void *reader);
static int array_opened(void *reader);
static int container_closed(void *reader);

static int open_container(struct reader *, enum json_type);
static struct json *add_value(struct reader *, enum json_type);
static int refuse(struct reader *, const char *reason);

static const yajl_callbacks callbacks = {
	.yajl_null = null_read,
	.yajl_boolean = boolean_read,
	.yajl_number = number_read,
	.yajl_string = string_read,
	.yajl_start_map = object_opened,
	.yajl_map_key = key_read,
	.yajl_end_map = container_closed,
	.yajl_start_array = array_opened,
	.yajl_end_array = container_closed,
};

const struct json *
json_parse(struct arena *arena, const char *text, size_t length, const char **error)
{
	const struct json *plain = json_plain(arena, text, length);

	*error = plain ? NULL : check_text(arena, text, length);
	if (plain || *error)
		return plain;
	return yajl_read(arena, text, length, error);
}

const struct json *
json_of_part(struct arena *arena, const char *part, size_t length)
{
	unsigned char *text = arena_alloc(arena, length + 1);
	const struct json *object;
	const char *error;
	size_t bytes;

	if (!base64url_decode(part, length, text, &bytes))
		return NULL;
	object = json_parse(arena, (const char *)text, bytes, &error);
	return object && object->type == JSON_OBJECT ? object : NULL;
}

static const struct json *
yajl_read(struct arena *arena, const char *text, size_t length, const char **error)
{
	struct reader reader = { .arena = arena };
	yajl_alloc_funcs memory = json_memory_functions(arena);
	yajl_handle yajl = yajl_alloc(&callbacks, &memory, &reader);
	yajl_status status = yajl_parse(yajl, (const unsigned char *)text, length);

	if (status == yajl_status_ok)
		status = yajl_complete_parse(yajl);
	if (status == yajl_status_ok && reader.root)
		return reader.root;
	*error = reader.error ? reader.error : yajl_error(arena, yajl, text, length);
	return NULL;
}

/* A backslash outside of a string is no JSON, so strings need not be told from the rest here. */
static const char *
check_text(struct arena *arena, const char *text, size_t length)
{
	size_t at = 0;

	if (length == 0)
		return "the text is empty";
	if (!utf8_valid(text, length))
		return "the text is not valid UTF-8";
	while (at < length) {
		const char *backslash = memchr(text + at, '\\', length - at);
		const char *reason;
		size_t consumed;

		if (!backslash)
			break;
		at = (size_t)(backslash - text);
		reason = check_escape(backslash, length - at, &consumed);
		if (reason)
			return arena_printf(arena, "%s at byte %zu", reason, at);
		at += consumed;
	}
	return NULL;
}

static const char *
check_escape(const char *escape, size_t left, size_t *consumed)
{
	unsigned unit, second;

	*consumed = 2;
	if (!read_hex4(escape, left, &unit))
		return NULL;
	*consumed = 6;
	if (unit == 0)
		return "a NUL character";
	if (unit < 0xd800 || unit > 0xdfff)
		return NULL;
	if (unit >= 0xdc00 || !read_hex4(escape + 6, left - 6, &second) || second < 0xdc00 ||
	    second > 0xdfff)
		return "half of a surrogate pair";
	*consumed = 12;
	return NULL;
}

/* \uXXXX; false for any other escape, and for a bad one, which yajl refuses. */
static bool
read_hex4(const char *escape, size_t left, unsigned *unit)
{
	char digits[5] = { 0 };

	if (left < 6 || escape[0] != '\\' || escape[1] != 'u')
		return false;
	memcpy(digits, escape + 2, 4);
	if (strspn(digits, "0123456789abcdefABCDEF") != 4)
		return false;
	*unit = (unsigned)strtoul(digits, NULL, 16);
	return true;
}

/* Without a position: what yajl 2.1.0 says it has consumed is often 0. */
static const char *
yajl_error(struct arena *arena, yajl_handle yajl, const char *text, size_t length)
{
	const unsigned char *message = yajl_get_error(yajl, 0, (const unsigned char *)text, length);

	return arena_strndup(arena, (const char *)message, strcspn((const char *)message, ".\n"));
}

static int
null_read(void *argument)
{
	return add_value(argument, JSON_NULL) != NULL;
}

static int
boolean_read(void *argument, int value)
{
	struct json *json = add_value(argument, JSON_BOOLEAN);

	json->boolean = value != 0;
	return 1;
}

/* yajl has checked the form. */
static int
number_read(void *argument, const char *text, size_t length)
{
	struct reader *reader = argument;
	char digits[NUMBER_BYTES_MAX + 1] = { 0 };
	bool is_double;
	struct json *json;

	if (length > NUMBER_BYTES_MAX)
		return refuse(reader, "a number with too many digits");
	memcpy(digits, text, length);
	is_double = strpbrk(digits, ".eE") != NULL;
	json = add_value(reader, is_double ? JSON_DOUBLE : JSON_INTEGER);
	if (is_double) {
		json->number = strtod(digits, NULL);
		return isinf(json->number) ? refuse(reader, "a number that is too large") : 1;
	}
	errno = 0;
	json->integer = strtoll(digits, NULL, 10);
	json->number = (double)json->integer;
	return errno == 0 ? 1 : refuse(reader, "a whole number that does not fit 64 bits");
}

static int
string_read(void *argument, const unsigned char *text, size_t length)
{
	struct reader *reader = argument;
	struct json *json = add_value(reader, JSON_STRING);

	json->text = arena_strndup(reader->arena, (const char *)text, length);
	json->length = length;
	return 1;
}

static int
key_read(void *argument, const unsigned char *text, size_t length)
{
	struct reader *reader = argument;
	struct level *level = &reader->levels[reader->depth - 1];

	if (++level->members > JSON_MEMBERS_MAX)
		return refuse(reader, "an object with too many members");
	reader->key = arena_strndup(reader->arena, (const char *)text, length);
	if (json_member(level->container, reader->key))
		return refuse(reader, arena_printf(reader->arena,
					  "\"%.60s\" stands twice in an object", reader->key));
	return 1;
}

static int
object_opened(void *argument)
{
	return open_container(argument, JSON_OBJECT);
}

static int
array_opened(void *argument)
{
	return open_container(argument, JSON_ARRAY);
}

static int
open_container(struct reader *reader, enum json_type type)
{
	struct json *json;

	if (reader->depth == JSON_DEPTH_MAX)
		return refuse(reader, "nested too deeply");
	json = add_value(reader, type);
	reader->levels[reader->depth++] = (struct level){ .container = json, .end = &json->first };
	return 1;
}

static int
container_closed(void *argument)
{
	struct reader *reader = argument;

	reader->depth--;
	return 1;
}

/* As the root, or at the end of the innermost container. */
static struct json *
add_value(struct reader *reader, enum json_type type)
{
	struct json *json = arena_alloc(reader->arena, sizeof(*json));
	struct level *level;

	json->type = type;
	if (reader->depth == 0) {
		reader->root = json;
		return json;
	}
	level = &reader->levels[reader->depth - 1];
	json->key = reader->key;
	reader->key = NULL;
	*level->end = json;
	level->end = &json->next;
	return json;
}

static int
refuse(struct reader *reader, const char *reason)
{
	reader->error = reason;
	return 0;
}

const struct json *
json_member(const struct json *object, const char *key)
{
	const struct json *member;

	if (object->type != JSON_OBJECT)
		return NULL;
	for (member = object->first; member; member = member->next)
		if (strcmp(member->key, key) == 0)
			return member;
	return NULL;
}
