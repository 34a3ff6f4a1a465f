/* utf8: what is well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The bytes of the character that begins `text`, 1 to 4; 0 if none of at most `left` bytes does. */
size_t utf8_character(const char *text, size_t left);
bool utf8_valid(const char *text, size_t length);
/* How many characters a valid text has. */
size_t utf8_characters(const char *text);

#endif
