/* valkey_dial: from a host's name to an open connection, TCP or TLS. */
#ifndef COMMON_VALKEY_DIAL_H
#define COMMON_VALKEY_DIAL_H

struct bufferevent;
struct event_base;
struct evdns_base;
struct valkey_dial;
struct valkey_url;

/*
 * The end of an attempt: a connected bufferevent, which is then the callee's, without callbacks and
 * not yet reading; or NULL, and the fault says why (borrowed).  May run before valkey_dial_start()
 * returns.
 */
typedef void valkey_dialed_fn(void *argument, struct bufferevent *, const char *fault);

/* The URL must outlive it; evdns_base NULL: names are looked up blocking. */
struct valkey_dial *
valkey_dial_new(struct event_base *, struct evdns_base *, const struct valkey_url *);
void valkey_dial_free(struct valkey_dial *);

/*
 * One attempt: looks the name up and tries each of its addresses until one answers, beginning
 * `skip` addresses further on.  It has no deadline: valkey_dial_cancel() it, and then there is no
 * callback.
 */
void valkey_dial_start(struct valkey_dial *, unsigned skip, valkey_dialed_fn *, void *argument);
void valkey_dial_cancel(struct valkey_dial *);

/*
 * What an event that ended a connection means, for a person. Call it first thing in the event's
 * callback, for errno's sake.
 */
const char *valkey_dial_failure(struct bufferevent *, short what);

#endif
