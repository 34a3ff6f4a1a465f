/*
 * valkey_link: a connection to Valkey that is made again whenever it breaks.  What valkey.c and
 * valkey_subscriber.c share; nobody else includes this.
 */
#ifndef COMMON_VALKEY_LINK_H
#define COMMON_VALKEY_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

struct config;
struct evbuffer;
struct event_base;
struct evdns_base;
struct valkey_link;

/* None of them may free the link. */
struct valkey_link_events {
	/* Connected and greeted; valkey_link_write() works from now on. */
	void (*ready)(void *argument);
	/* A reply; it is now the callee's. Only between ready and down. */
	void (*reply)(void *argument, redisReply *);
	/*
	 * The connection broke, was dropped, or an attempt to make it failed; the next attempt is
	 * under way by itself.
	 */
	void (*down)(void *argument, const char *reason);
};

enum valkey_link_purpose {
	LINK_COMMANDS, /* is ready only when the server lets it write */
	LINK_SUBSCRIPTION,
};

/*
 * The first attempt begins with the event loop; until then nothing is called. A wrong VALKEY_URL
 * ends the process.
 */
struct valkey_link *valkey_link_new(struct event_base *, struct evdns_base *, const struct config *,
    enum valkey_link_purpose, const struct valkey_link_events *, void *argument);
void valkey_link_free(struct valkey_link *);

/* Takes all bytes out of the buffer; they leave in one write. Only while ready. */
void valkey_link_write(struct valkey_link *, struct evbuffer *);
/* Closes the connection or the attempt, for this reason; `down` is called before it returns. */
void valkey_link_drop(struct valkey_link *, const char *reason, ...)
    __attribute__((format(printf, 2, 3)));
/* How long an attempt may take, and what else deserves more patience than a command. */
int64_t valkey_link_patience_ms(const struct valkey_link *);

#endif
