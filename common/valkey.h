/*
 * valkey: a Valkey client on an event loop, and the breaker before it.
 *
 * hiredis is used as a codec only (its asynchronous client in 0.14 knows neither timeouts nor TLS); the connection
 * is our own bufferevent, plain or TLS.  Commands are pipelined in batches; a batch has one callback, called exactly once
 * and never from within valkey_send().
 *
 * Failing fast: when the oldest batch in flight is older than VALKEY_TIMEOUT_MS, when the connection breaks, or when the
 * server answers LOADING, READONLY, MASTERDOWN and the like, the connection is dropped, everything in flight
 * fails, and the client is down: batches fail at once while probes (connect, AUTH, SELECT, a small write) go on with
 * jittered back-off of at most half a second.  A probe that succeeds brings it up again.
 */
#ifndef COMMON_VALKEY_H
#define COMMON_VALKEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

struct event_base;
struct evdns_base;
struct config;
struct valkey;
struct valkey_batch;
struct valkey_subscriber;

/*
 * `error` is NULL if every command got a reply; replies[i] is then that of the i-th command, borrowed until the callback
 * returns, and may itself be a REDIS_REPLY_ERROR.  Otherwise `error` says why, for a log line, replies is NULL, and the
 * commands may or may not have run.
 */
typedef void valkey_done_fn(void *argument, const char *error, redisReply *const *replies);
typedef void valkey_state_fn(void *argument, bool up);

/*
 * Connects in the background; call after fork(), with SIGPIPE ignored.  The bases and the configuration must outlive it;
 * without an evdns_base names are looked up blocking.  What is sent before the first attempt to connect has ended waits for
 * that, within its deadline.
 */
struct valkey *valkey_new(struct event_base *, struct evdns_base *, const struct config *);
/* Ends the connection for good: what is in flight fails, and so does all that is sent from now on. */
void valkey_close(struct valkey *);
/* Closes; what is in flight fails first. Never call it from one of its callbacks, nor with a batch not yet sent. */
void valkey_free(struct valkey *);

bool valkey_is_up(const struct valkey *);
/* Since when it is up again after it was down, monotonic; 0 if it has not been down yet. */
int64_t valkey_returned_ms(const struct valkey *);
const char *valkey_last_error(const struct valkey *); /* why it is down; "" if it never was */
size_t valkey_pending(const struct valkey *);         /* batches sent and not yet called back */
/* Called at every change between up and down, the first connect included. One listener. */
void valkey_on_state(struct valkey *, valkey_state_fn *, void *argument);

/* A batch under construction; ended by valkey_send() or valkey_wait(), one of which must follow. */
struct valkey_batch *valkey_batch_new(struct valkey *);
/* One command from C strings, the last argument being NULL. */
void valkey_add(struct valkey_batch *, const char *command, ...) __attribute__((sentinel));
/* One command from bytes. */
void valkey_add_argv(
    struct valkey_batch *, int arguments, const char *const *values, const size_t *lengths);
void valkey_send(struct valkey_batch *, valkey_done_fn *, void *argument);

/*
 * For processes that do one thing at a time: sends, runs the event loop until the replies are there.  NULL if it failed, and
 * then *error says why (valid until the next call); else free with valkey_replies_free().  Never call it from a callback.
 */
struct valkey_replies {
	size_t count;
	redisReply **reply;
};
struct valkey_replies *
valkey_wait(struct valkey_batch *, const char **error) __attribute__((warn_unused_result));
void valkey_replies_free(struct valkey_replies *);

/*
 * A connection of its own that listens on channels and resubscribes by itself.  `subscribed` is called each time all of them
 * are subscribed (so: what was published before may have been missed); it logs "[valkey] subscribed to <channels>".
 */
typedef void
valkey_message_fn(void *argument, const char *channel, const char *payload, size_t length);
typedef void valkey_subscribed_fn(void *argument);
struct valkey_subscriber *valkey_subscriber_new(struct event_base *, struct evdns_base *,
    const struct config *, const char *const *channels, size_t count, valkey_message_fn *,
    valkey_subscribed_fn *, void *argument);
/*
 * More channels come and go while it listens; they may not be among those it was made with.  Nothing of them is remembered
 * for the next connection: whoever wants them still adds them again when `subscribed` is called.  `confirmed` is called
 * when the server has said that it will send what is published from now on.
 */
typedef void valkey_confirmed_fn(void *argument, const char *channel);
void valkey_subscriber_on_confirmed(struct valkey_subscriber *, valkey_confirmed_fn *);
bool valkey_subscriber_listens(const struct valkey_subscriber *);
/* Only while it listens; from its callbacks too. */
void valkey_subscriber_add(struct valkey_subscriber *, const char *channel);
void valkey_subscriber_remove(struct valkey_subscriber *, const char *channel);
/* Not from one of its callbacks. */
void valkey_subscriber_free(struct valkey_subscriber *);

#endif
