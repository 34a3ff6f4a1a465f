/* display_name: see the header. */
#include "server/display_name.h"

#include <stdbool.h>

#include "common/arena.h"
#include "common/utf8.h"

#define CHARACTERS_MAX 80

/* C0, DEL, and C1. */
static bool
has_control_characters(const char *text)
{
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++)
		if (*at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0))
			return true;
	return false;
}

const char *
display_name_read(struct arena *arena, const char *text, size_t length, const char **fault)
{
	const char *name;

	while (length > 0 && text[0] == ' ')
		text++, length--;
	while (length > 0 && text[length - 1] == ' ')
		length--;
	name = arena_strndup(arena, text, length);
	*fault = NULL;
	if (has_control_characters(name))
		*fault = "must not have control characters";
	else if (length == 0 || utf8_characters(name) > CHARACTERS_MAX)
		*fault = "must have 1 to 80 characters";
	return *fault == NULL ? name : NULL;
}
