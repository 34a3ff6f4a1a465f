/* request_id: what ties an answer, its log line and the caller's own records together. Every answer bears one as X-Request-Id. */
#ifndef SERVER_REQUEST_ID_H
#define SERVER_REQUEST_ID_H

#include <stdbool.h>

#define REQUEST_ID_SIZE 129 /* the longest sane one and its NUL */

/* A fresh random UUID (version 4), 36 characters and a NUL. */
void request_id_new(char id[REQUEST_ID_SIZE]);
/* May a caller's own id be repeated in a header and a log line: 1 to 128 characters of A-Z a-z 0-9 . _ ~ : + / = @ -. */
bool request_id_sane(const char *id);

#endif
