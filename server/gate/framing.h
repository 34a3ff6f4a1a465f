/*
 * framing: the gate before evhttp, which decides where a request begins and ends.
 *
 * evhttp 2.1.12 reads leniently: it lets through duplicate Content-Length, bare LF, folded headers
 * and more, so that it and a proxy before it may disagree about where one request ends and the next
 * begins.  And its timeouts are per read.  So the bytes of every connection pass this gate first.
 * evhttp gets whole requests only, one at a time, rewritten in normal form; what is not beyond
 * doubt is answered here with a problem (docs/api.md) and the connection closed.  The fields go past
 * evhttp, which would make a list node and two strings of each: the handler asks the gate for them.
 *
 * One gate per evhttp.  The worker need not tell it about replies: it watches what evhttp writes.
 */
#ifndef SERVER_FRAMING_H
#define SERVER_FRAMING_H

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct evhttp;
struct evhttp_request;
struct framing;

struct framing_limits {
	size_t head_bytes; /* request line and fields; more: 414 or 431 */
	size_t body_bytes; /* more: 413 */
	int head_ms;       /* from the first byte of a request to the end of its head; later: 408 */
	int body_ms;       /* from there to the end of its body; later: 408 */
	int idle_ms;       /* between requests, and before the first */
	int reply_ms;      /* for the client to take what has been written to it; later: closed */
	int linger_ms;     /* for the client to read a last answer and close, after we have */
	int drain_ms;      /* what idle_ms becomes while draining */
	size_t connections; /* open at once; one more: 503 */
};

/* The limits of architecture.md; `most` connections. */
#define FRAMING_LIMITS(most)                                                              \
	{                                                                                 \
		.head_bytes = 8 * 1024, .body_bytes = 64 * 1024, .head_ms = 5000,         \
		.body_ms = 10000, .idle_ms = 75000, .reply_ms = 30000, .linger_ms = 1000, \
		.drain_ms = 500, .connections = (most)                                    \
	}

/*
 * Installs itself in the evhttp, which must outlive it, and lifts evhttp's own limits above these.
 * Its handlers reply with evhttp_send_reply(), or in chunks.  SIGPIPE must be ignored.
 */
struct framing *framing_new(struct event_base *, struct evhttp *, const struct framing_limits *);

/*
 * Accepts from a listening socket, which then belongs to the gate.  Out of descriptors, it pauses
 * for 100 ms.
 */
void framing_listen(struct framing *, int fd);

/*
 * Accepts who has connected already and nobody after him, and lets the clients go: each next answer says `Connection: close`, and who asks
 * nothing for drain_ms is hung up on.  Not at once, since a request may be on its way to us, and
 * would be lost.
 */
void framing_drain(struct framing *);

size_t framing_connections(const struct framing *); /* that may still get an answer */
size_t framing_busy(const struct framing *); /* of these: with a request not fully answered */

/*
 * Closes what is left.  Requests still without a reply stay valid until it comes, and it is then
 * dropped.
 */
void framing_free(struct framing *);

/*
 * The fields of the request with which the handler has just been called, but for those that frame the
 * message: each as "name:value" CR LF, in the order in which they came, *length bytes in all, without a
 * NUL.  They are gone when the handler returns.
 */
const char *framing_fields(struct evhttp_request *, size_t *length);

/*
 * Must the reply to this request say `Connection: close`?  (Where the client asked for it, evhttp
 * adds it itself.)
 */
bool framing_should_close(struct evhttp_request *);

/* How much the kernel may keep for the client of this request that it has not taken yet. */
void framing_set_send_buffer(struct evhttp_request *, int bytes);

/* Closes the connection of a request whose client does not take its answer. The request stays, without a connection. */
void framing_hang_up(struct evhttp_request *);

#endif
