/*
 * json_plain: the simplest objects, in one pass.
 *
 * What a token claims is nearly always strings of plain ASCII and whole numbers, without blanks or nesting.
 * yajl takes four times as long for that, with a callback and an allocation for each of its tokens.
 */
#ifndef COMMON_JSON_PLAIN_H
#define COMMON_JSON_PLAIN_H

#include <stddef.h>

#include "common/arena.h"

struct json;

/*
 * The object, in the arena, just as json_parse() would have it; NULL if it is not of this kind, which says
 * nothing about whether it is JSON.
 */
const struct json *json_plain(struct arena *, const char *text, size_t length);

#endif
