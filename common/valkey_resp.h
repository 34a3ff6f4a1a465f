/* valkey_resp: Valkey's protocol (RESP2), both ways: commands out, replies in. */
#ifndef COMMON_VALKEY_RESP_H
#define COMMON_VALKEY_RESP_H

#include <stdarg.h>
#include <stddef.h>

#include <hiredis/hiredis.h>

struct evbuffer;
struct valkey_resp_reader;

/* A command of so many arguments, its name included; then each of them. */
void valkey_resp_begin(struct evbuffer *, int arguments);
void valkey_resp_argument(struct evbuffer *, const char *value, size_t length);
/* A whole command from C strings, the last argument being NULL. */
void valkey_resp_command(struct evbuffer *, const char *name, ...) __attribute__((sentinel));
void valkey_resp_commandv(struct evbuffer *, const char *name, va_list arguments);

struct valkey_resp_reader *valkey_resp_reader_new(void);
void valkey_resp_reader_free(struct valkey_resp_reader *);
void valkey_resp_feed(struct valkey_resp_reader *, const char *bytes, size_t length);
/*
 * The next whole reply, freeReplyObject() it; NULL if there is none (yet), or never again: see
 * valkey_resp_fault().
 */
redisReply *valkey_resp_next(struct valkey_resp_reader *) __attribute__((warn_unused_result));
/* NULL, or why what was fed is not a stream of replies; the connection is then to be dropped. */
const char *valkey_resp_fault(const struct valkey_resp_reader *);

#endif
