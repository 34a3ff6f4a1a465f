/* uuid: ids as text, as they come in paths, bodies and tokens. */
#ifndef SERVER_UUID_H
#define SERVER_UUID_H

#include <stdbool.h>
#include <stddef.h>

#define UUID_SIZE 37 /* 36 characters in lower case and a NUL */

/* Is that a UUID; then it is written to `id` in lower case. */
bool uuid_parse(const char *text, size_t length, char id[UUID_SIZE]);

#endif
