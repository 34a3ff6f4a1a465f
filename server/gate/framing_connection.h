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

#include "server/gate/framing_parse.h"

struct bufferevent;

enum connection_state {
	CONNECTION_IDLE,      /* no byte of a request is here */
	CONNECTION_RECEIVING, /* a part of one is */
	CONNECTION_SERVING,   /* evhttp has it; over when the last byte of the reply is written */
	CONNECTION_REFUSING,  /* our own last answer is being written */
	CONNECTION_LINGERING, /* evhttp has let go, our side is shut down; the client may still read */
};

/*
 * What evhttp reads from and writes to is `inner`, and its life is evhttp's: it frees `inner`, of which the
 * connection is told by connection_let_go() some time later in the same turn of the event loop.  The
 * descriptor is ours, so that it can outlive it.
 */
struct connection {
	TAILQ_ENTRY(connection) entry;
	TAILQ_ENTRY(connection) written_entry; /* while `written` */
	struct framing *framing;
	struct bufferevent *inner; /* NULL while lingering */
	struct event io;       /* the descriptor can be read from; or written to, while `stuck` */
	struct event deadline; /* of what it means the state tells */
	struct framing_parse parse;
	char *rest; /* owned; what came behind the request that is being served; NULL if nothing */
	uint32_t rest_length;
	uint32_t lingered; /* bytes dropped while lingering */
	int fd;            /* -1 until evhttp has set it */
	uint8_t state;     /* enum connection_state */
	bool written : 1;  /* evhttp, or we, have written to `inner` what is not yet sent */
	bool stuck : 1;    /* the kernel takes no more of it for now */
	bool deaf : 1;     /* not read from until the reply: what has come waits in the kernel */
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
	struct bufferevent *passage; /* underlies all `inner`; see framing_connection.c */
	struct connection *serving;  /* evhttp is taking its request, or NULL */
	struct connection *arriving; /* evhttp is accepting it, or just has; or NULL */
	struct connection_list connections;
	struct connection_list written;
	struct event *flush; /* active while `written` is not empty, or somebody is arriving */
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
/* Takes the descriptor of who is arriving, and begins to read from it. */
void connection_arrived(struct framing *);
/* Sends what has been written to it, for the flush event. */
void connection_flush(struct connection *);
/* Draining has begun. */
void connection_drain(struct connection *);
/* Ends it whatever it is doing. */
void connection_close(struct connection *);

/* evhttp has let go of it, and it has an answer that the client may not have read yet: closes when it has. */
void connection_linger(struct connection *);
/* Closes and frees it. */
void connection_release(struct connection *);

/* Called when a connection is gone for good. */
void framing_connection_gone(struct framing *);

#endif
