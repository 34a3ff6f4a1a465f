/*
 * display_name: what people may be called, whether they say so themselves or somebody says it of them.
 *
 * 1 to 80 characters, without blanks around them, and without control characters: terminals and logs that show a name must
 * not be told anything by it.
 */
#ifndef SERVER_DISPLAY_NAME_H
#define SERVER_DISPLAY_NAME_H

#include <stddef.h>

struct arena;

/* The name in normal form, in the arena.  NULL if it may not be one, and *fault says why not, for a person. */
const char *display_name_read(struct arena *, const char *text, size_t length, const char **fault);

#endif
