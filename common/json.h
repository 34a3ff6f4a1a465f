/*
 * json: reads bodies strictly, writes answers.
 *
 * Reading is yajl's callback parser into a tree in the caller's arena.  yajl 2.1.0 by itself lets through
 * what we refuse: deep nesting, duplicate keys, NUL in strings (it would cut a C string), lone surrogates,
 * numbers out of range. Writing is yajl's generator.
 */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"

#define JSON_DEPTH_MAX   16
#define JSON_MEMBERS_MAX 256 /* of one object; its names are compared one by one */

enum json_type {
	JSON_NULL,
	JSON_BOOLEAN,
	JSON_INTEGER,
	JSON_DOUBLE,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

struct json {
	enum json_type type;
	const char *key;    /* its name, if it is a member of an object */
	struct json *next;  /* the following member or element */
	struct json *first; /* of an array or object */
	const char *text;   /* of a string: valid UTF-8, no NUL inside */
	size_t length;      /* of text, bytes */
	int64_t integer;
	double number; /* of a double, and of an integer too */
	bool boolean;
};

/* The root, in the arena; NULL if the text is not strict JSON, and then *error says why, for a person. */
const struct json *json_parse(struct arena *, const char *text, size_t length, const char **error);

/* The same for an object in base64url, as header and claims of a JWT are (RFC 7515); NULL if it is none. */
const struct json *json_of_part(struct arena *, const char *part, size_t length);

/* The member of an object by that name; NULL if there is none. */
const struct json *json_member(const struct json *object, const char *key);

/* A writer of one value, growing in the arena. json_close() closes objects and arrays, innermost first. */
struct json_writer;
struct json_writer *json_writer_new(struct arena *);
void json_object(struct json_writer *);
void json_array(struct json_writer *);
void json_close(struct json_writer *);
void json_key(struct json_writer *, const char *key);
void json_string(struct json_writer *, const char *text); /* NULL writes null */
void json_integer(struct json_writer *, int64_t);
void json_boolean(struct json_writer *, bool);
void json_null(struct json_writer *);
/* A value that is JSON already, such as one from SQL. */
void json_raw(struct json_writer *, const char *json);
void json_value(struct json_writer *, const struct json *); /* what was read, or made to look so */
/* The finished text, in the arena, with a NUL behind. `length` may be NULL. */
const char *json_text(struct json_writer *, size_t *length);

/* json_key() and the value in one. */
void json_put_string(struct json_writer *, const char *key, const char *text);
void json_put_integer(struct json_writer *, const char *key, int64_t);
void json_put_boolean(struct json_writer *, const char *key, bool);

#endif
