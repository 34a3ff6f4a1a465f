/*
 * framing: the gate of one evhttp: its listeners, its limits, and the end of it.
 *
 * A connection begins when evhttp, having accepted, asks for a bufferevent; see
 * framing_connection.c for all that follows.
 */
#include "server/gate/framing.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <event2/util.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/gate/framing_connection.h"

#define ACCEPT_PAUSE_MS 100

struct framing_listener {
	LIST_ENTRY(framing_listener) entry;
	struct evhttp_bound_socket *bound; /* evhttp's; owns the listener and the descriptor */
	struct evconnlistener *listener;
	struct event *resume; /* pending while the listener pauses */
};

/*
 * All gates of the process, since an evconnlistener of evhttp's tells its error callback nothing
 * but which evhttp that is.
 */
static LIST_HEAD(, framing) framings = LIST_HEAD_INITIALIZER(framings);

static struct bufferevent *accepted(struct event_base *, void *);
static void accept_failed(struct evconnlistener *, void *);
static void resume_due(evutil_socket_t, short, void *);
static void flush_due(evutil_socket_t, short, void *);

static const struct timeval *
deadline_new(struct event_base *base, int ms)
{
	struct timeval duration = clock_timeval(ms);
	const struct timeval *common = event_base_init_common_timeout(base, &duration);

	if (common == NULL)
		fatal("too many different deadlines");
	return common;
}

/*
 * evhttp's own limits count requests in normal form, which may be a little longer; they must never
 * be what answers.
 */
static void
evhttp_prepare(struct framing *framing)
{
	evhttp_set_max_headers_size(framing->http, (ev_ssize_t)framing->limits.head_bytes * 2);
	evhttp_set_max_body_size(framing->http, (ev_ssize_t)framing->limits.body_bytes * 2);
	evhttp_set_allowed_methods(
	    framing->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
			       EVHTTP_REQ_PATCH | EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS);
	evhttp_set_bevcb(framing->http, accepted, framing);
}

struct framing *
framing_new(struct event_base *base, struct evhttp *http, const struct framing_limits *limits)
{
	struct framing *framing = calloc(1, sizeof(*framing));

	if (framing == NULL)
		fatal("out of memory");
	framing->base = base;
	framing->http = http;
	framing->limits = *limits;
	framing->deadlines = (struct framing_deadlines){
		.head = deadline_new(base, limits->head_ms),
		.body = deadline_new(base, limits->body_ms),
		.idle = deadline_new(base, limits->idle_ms),
		.reply = deadline_new(base, limits->reply_ms),
		.linger = deadline_new(base, limits->linger_ms),
		.drain = deadline_new(base, limits->drain_ms),
	};
	TAILQ_INIT(&framing->connections);
	TAILQ_INIT(&framing->written);
	framing->passage = bufferevent_socket_new(base, -1, 0);
	framing->flush = event_new(base, -1, 0, flush_due, framing);
	if (framing->passage == NULL || framing->flush == NULL)
		fatal("out of memory");
	LIST_INSERT_HEAD(&framings, framing, entry);
	evhttp_prepare(framing);
	return framing;
}

/*
 * Accepting.
 */

void
framing_listen(struct framing *framing, int fd)
{
	struct framing_listener *listener = calloc(1, sizeof(*listener));
	int on = 1;

	if (listener == NULL)
		fatal("out of memory");
	/* Accepted sockets inherit it.  A reply is one write, so there is nothing to gather. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	evutil_make_socket_nonblocking(fd);
	listener->listener = evconnlistener_new(
	    framing->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	listener->resume = evtimer_new(framing->base, resume_due, listener->listener);
	if (listener->listener == NULL || listener->resume == NULL)
		fatal("out of memory");
	listener->bound = evhttp_bind_listener(framing->http, listener->listener);
	if (listener->bound == NULL)
		fatal("out of memory");
	evconnlistener_set_error_cb(listener->listener, accept_failed);
	LIST_INSERT_HEAD(&framing->listeners, listener, entry);
}

static struct bufferevent *
accepted(struct event_base *base, void *argument)
{
	struct framing *framing = argument;

	framing->exhausted = false;
	return connection_new(framing);
}

static struct framing_listener *
listener_find(struct evconnlistener *evlistener, struct evhttp *http, struct framing **owner)
{
	struct framing_listener *listener;

	LIST_FOREACH(*owner, &framings, entry) {
		if ((*owner)->http != http)
			continue;
		LIST_FOREACH(listener, &(*owner)->listeners, entry)
			if (listener->listener == evlistener)
				return listener;
	}
	return NULL;
}

/*
 * The connection stays in the queue of the socket, which stays readable: without the pause this
 * would burn a core.
 */
static void
accept_failed(struct evconnlistener *evlistener, void *http)
{
	int error = errno;
	struct timeval pause = clock_timeval(ACCEPT_PAUSE_MS);
	struct framing *framing;
	struct framing_listener *listener = listener_find(evlistener, http, &framing);

	if (listener == NULL)
		return;
	if (!framing->exhausted)
		log_error("no connections can be accepted for now: %s", strerror(error));
	framing->exhausted = true;
	evconnlistener_disable(evlistener);
	evtimer_add(listener->resume, &pause);
}

static void
resume_due(evutil_socket_t fd, short what, void *argument)
{
	evconnlistener_enable(argument);
}

/*
 * Accepts all who have connected.  The kernel resets everybody who is in the queue of a socket that is closed, so nothing else
 * may run between this and the close: it takes an event base of its own.
 */
static void
accept_last(struct framing *framing, evutil_socket_t fd)
{
	struct event_base *base = event_base_new();
	struct evconnlistener *listener;
	struct evhttp_bound_socket *bound;

	if (base == NULL) /* out of descriptors */
		return;
	listener = evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	bound = listener != NULL ? evhttp_bind_listener(framing->http, listener) : NULL;
	if (bound == NULL)
		fatal("out of memory");
	evconnlistener_set_error_cb(listener, accept_failed);
	event_base_loop(base, EVLOOP_NONBLOCK);
	evhttp_del_accept_socket(framing->http, bound);
	event_base_free(base);
}

static void
stop_listening(struct framing *framing)
{
	struct framing_listener *listener;

	while ((listener = LIST_FIRST(&framing->listeners)) != NULL) {
		LIST_REMOVE(listener, entry);
		event_free(listener->resume);
		accept_last(framing, evconnlistener_get_fd(listener->listener));
		evhttp_del_accept_socket(framing->http, listener->bound);
		free(listener);
	}
}

/*
 * Serving.
 */

static void
flush_due(evutil_socket_t fd, short what, void *argument)
{
	struct framing *framing = argument;
	struct connection *c;

	connection_arrived(framing);
	while ((c = TAILQ_FIRST(&framing->written)) != NULL) {
		TAILQ_REMOVE(&framing->written, c, written_entry);
		connection_flush(c);
	}
}

size_t
framing_connections(const struct framing *framing)
{
	return framing->open - framing->lingering;
}

size_t
framing_busy(const struct framing *framing)
{
	return framing->busy;
}

/* The gate before evhttp's connection; NULL if that is gone. */
static struct framing *
framing_of(struct evhttp_connection *connection)
{
	struct bufferevent *passage;
	struct framing *framing;

	if (connection == NULL)
		return NULL;
	passage = bufferevent_get_underlying(evhttp_connection_get_bufferevent(connection));
	LIST_FOREACH(framing, &framings, entry)
		if (framing->passage == passage)
			return framing;
	return NULL;
}

const char *
framing_fields(struct evhttp_request *request, size_t *length)
{
	struct framing *framing = framing_of(evhttp_request_get_connection(request));
	const struct framing_parse *p;

	assert(framing != NULL && framing->serving != NULL);
	p = &framing->serving->parse;
	*length = p->head - p->request_line;
	return p->text + p->request_line;
}

bool
framing_should_close(struct evhttp_request *request)
{
	struct framing *framing = framing_of(evhttp_request_get_connection(request));

	return framing == NULL || framing->draining;
}

/* A search, since evhttp tells us nothing of ours; but who asks does so once in a connection's life. */
static struct connection *
connection_of(struct evhttp_request *request)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(request);
	struct framing *framing = framing_of(connection);
	struct connection *c;

	if (framing == NULL)
		return NULL;
	TAILQ_FOREACH(c, &framing->connections, entry)
		if (c->inner == evhttp_connection_get_bufferevent(connection))
			return c;
	return NULL;
}

void
framing_hang_up(struct evhttp_request *request)
{
	struct connection *c = connection_of(request);

	if (c != NULL)
		connection_close(c);
}

void
framing_set_send_buffer(struct evhttp_request *request, int bytes)
{
	struct connection *c = connection_of(request);

	if (c != NULL)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/*
 * The end.
 */

void
framing_drain(struct framing *framing)
{
	struct connection *c;

	if (framing->draining)
		return;
	framing->draining = true;
	stop_listening(framing);
	TAILQ_FOREACH(c, &framing->connections, entry)
		connection_drain(c);
}

/*
 * evhttp tells of the end of a connection in a later turn of the event loop, so the last one may
 * outlive this call.
 */
void
framing_free(struct framing *framing)
{
	struct connection *c, *next;

	framing_drain(framing);
	LIST_REMOVE(framing, entry);
	framing->open++; /* ours, so that the gate stays until the end of the loop */
	for (c = TAILQ_FIRST(&framing->connections); c != NULL; c = next) {
		next = TAILQ_NEXT(c, entry);
		connection_close(c);
	}
	framing->freed = true;
	framing->open--;
	framing_connection_gone(framing);
}

void
framing_connection_gone(struct framing *framing)
{
	if (!framing->freed || framing->open > 0)
		return;
	event_free(framing->flush);
	bufferevent_free(framing->passage);
	free(framing);
}
