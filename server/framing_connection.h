/*
 * framing_connection: the gate as one connection sees it, and what it shares with framing.c.
 * Nobody else includes this.
 */
#ifndef SERVER_FRAMING_CONNECTION_H
#define SERVER_FRAMING_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "server/framing_parse.h"

struct bufferevent;

enum connection_state {
	CONNECTION_IDLE,      /* no byte of a request is here */
	CONNECTION_RECEIVING, /* a part of one is */
	CONNECTION_SERVING,   /* evhttp has it; over when the last byte of the reply is written */
	CONNECTION_REFUSING,  /* our own last answer is being written */
	CONNECTION_LINGERING, /* evhttp has let go, our side is shut down; the client may still read */
};

/*
 * Two bufferevents: `socket` reads the raw bytes, `inner` is what evhttp reads from and writes to.
 * Their life is evhttp's: it frees `inner`, and `socket` with it; the connection is told by
 * connection_let_go() some time later in the same turn of the event loop.  The descriptor is ours,
 * so that it can outlive both.
 */
struct connection {
	TAILQ_ENTRY(connection) entry;
	TAILQ_ENTRY(connection) written_entry; /* while `written` */
	struct framing *framing;
	struct bufferevent *socket; /* both NULL while lingering */
	struct bufferevent *inner;
	struct event *
	    io; /* the client can be written to again; while lingering: read from.  NULL if never needed */
	struct event deadline; /* of what it means the state tells */
	struct framing_parse parse;
	uint32_t lingered; /* bytes dropped while lingering */
	int fd;            /* -1 until evhttp has set it */
	uint8_t state;     /* enum connection_state */
	bool written : 1;  /* evhttp, or we, have written to `inner` what is not yet sent */
	bool ended : 1;    /* the client has shut down its side; it may still read */
	bool lost : 1;     /* no use in lingering */
	bool in_body : 1;  /* the deadline is that of the body */
};

TAILQ_HEAD(connection_list, connection);

/* The common timeouts of the event base, which make a deadline cheap to set and to put off. */
struct framing_deadlines {
	const struct timeval *head, *body, *idle, *reply, *linger, *drain;
};

struct framing {
	LIST_ENTRY(framing) entry;
	LIST_HEAD(, framing_listener) listeners;
	struct event_base *base;
	struct evhttp *http;
	struct framing_limits limits;
	struct framing_deadlines deadlines;
	struct connection_list connections;
	struct connection_list written;
	struct event *flush; /* active while `written` is not empty */
	size_t open;         /* length of `connections` */
	size_t lingering;    /* of these, lingering */
	size_t busy;         /* of these, serving */
	bool draining;
	bool freed; /* framing_free() has been called; the last connection takes the rest along */
	bool
	    exhausted; /* accept() has failed for want of descriptors or memory, and that was logged */
};

/* What evhttp will use as its bufferevent for the connection it has just accepted. */
struct bufferevent *connection_new(struct framing *);
/* Sends what has been written to it, for the flush event. */
void connection_flush(struct connection *);
/* Draining has begun. */
void connection_drain(struct connection *);
/* Ends it whatever it is doing. */
void connection_close(struct connection *);

/* The connection to which a bufferevent of evhttp belongs. */
struct connection *connection_of(struct bufferevent *inner);

/* Called when a connection is gone for good. */
void framing_connection_gone(struct framing *);

#endif
