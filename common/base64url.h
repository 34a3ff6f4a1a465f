/* base64url: bytes as text that may stand in URLs, JSON and tokens (RFC 4648 section 5), without padding. */
#ifndef COMMON_BASE64URL_H
#define COMMON_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>

/* The characters and the NUL that so many bytes become. */
#define BASE64URL_SIZE(bytes) (((bytes)*4 + 2) / 3 + 1)

void base64url_encode(const unsigned char *bytes, size_t count, char *text);

/*
 * The bytes of `length` characters; writes at most length * 3 / 4 of them.  False for what base64url_encode() does not write:
 * other characters, padding, an impossible length, bits that stand for nothing.
 */
bool base64url_decode(const char *text, size_t length, unsigned char *bytes, size_t *count);

#endif
