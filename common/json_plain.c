/*
 * json_plain: {"name":"text","other":123} and nothing more.
 *
 * The text is copied once, and strings are ended in the copy, where their second quote stood.  Behind the
 * copy is a NUL, which is neither plain nor a digit, so nothing reads on beyond it.
 */
#include "common/json_plain.h"

#include "common/json.h"

#define MEMBERS_MOST 16 /* names are compared one by one */
#define DIGITS_MOST  18 /* so that any number fits */

/* Printable ASCII but for what ends or escapes. */
static const bool plain_bytes[256] = {
	[' ' ... '!'] = true,
	['#' ... '['] = true,
	[']' ... '~'] = true,
};

/* The string that begins at *at, which moves behind it. */
static const char *
string_take(char **at, size_t *length)
{
	char *start = *at + 1, *end = start;

	if (**at != '"')
		return NULL;
	while (plain_bytes[(unsigned char)*end])
		end++;
	if (*end != '"')
		return NULL;
	*end = '\0';
	*length = (size_t)(end - start);
	*at = end + 1;
	return start;
}

/* Digits that begin at *at, without a needless zero before them. */
static bool
number_take(char **at, int64_t *number)
{
	const char *start = *at;

	*number = 0;
	for (; **at >= '0' && **at <= '9'; (*at)++) {
		if (*at - start == DIGITS_MOST)
			return false;
		*number = *number * 10 + (**at - '0');
	}
	return *at > start && (*start != '0' || *at == start + 1);
}

static struct json *
member_take(struct arena *arena, char **at)
{
	struct json *member = arena_alloc(arena, sizeof(*member));
	size_t length;

	member->key = string_take(at, &length);
	if (!member->key || *(*at)++ != ':')
		return NULL;
	member->type = JSON_STRING;
	member->text = string_take(at, &member->length);
	if (member->text)
		return member;
	member->type = JSON_INTEGER;
	if (!number_take(at, &member->integer))
		return NULL;
	member->number = (double)member->integer;
	return member;
}

const struct json *
json_plain(struct arena *arena, const char *text, size_t length)
{
	struct json *object, *member, **end;
	char *copy, *at;
	int members = 0;

	if (length == 0 || *text != '{')
		return NULL;
	object = arena_alloc(arena, sizeof(*object));
	object->type = JSON_OBJECT;
	end = &object->first;
	at = copy = arena_strndup(arena, text, length);
	do {
		at++;
		member = member_take(arena, &at);
		if (!member || json_member(object, member->key) || ++members > MEMBERS_MOST)
			return NULL;
		*end = member;
		end = &member->next;
	} while (*at == ',');
	return *at == '}' && at + 1 == copy + length ? object : NULL;
}
