/*
 * framing_connection: raw bytes in, whole requests to evhttp, replies out.
 *
 *     client ──► socket ──► parser ──► inner ──► evhttp ──► worker
 *     client ◄────────── written by us ◄── inner ◄──────────┘
 *
 * `inner` is a filter bufferevent, as nothing else that evhttp takes lets us in between: it hands
 * on the descriptor that evhttp sets, and its enabling and disabling of reads.  But its own way of
 * moving bytes is not used, because in libevent 2.1.12 it says "written" when they have merely
 * reached the buffer of the socket, so that evhttp closes before a last reply is sent; and it
 * forgets bytes that were added before writing was enabled, as evhttp does it.  So the callbacks of
 * `socket` are ours, requests are put into inner's input by hand, and inner's output is written to
 * the descriptor by hand; when all of it is in the kernel, evhttp is told.
 */
#include "server/framing_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "common/counters.h"
#include "common/log.h"
#include "server/framing_problem.h"

#define LINGER_BYTES_MAX ((uint32_t)1024 * 1024)

static void socket_readable(struct bufferevent *, void *);
static void socket_ended(struct bufferevent *, short, void *);
static void socket_writable(evutil_socket_t, short, void *);
static void reply_added(struct evbuffer *, const struct evbuffer_cb_info *, void *);
static void deadline_passed(evutil_socket_t, short, void *);
static void lingering_readable(evutil_socket_t, short, void *);
static void connection_let_go(void *);

static void receive(struct connection *);
static void serve(struct connection *);
static void served(struct connection *);
static void refuse(struct connection *, enum framing_refusal);
static void hang_up(struct connection *);
static void linger(struct connection *);
static void release(struct connection *);

static enum bufferevent_filter_result
filter_nothing(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit,
    enum bufferevent_flush_mode mode, void *argument)
{
	return BEV_NEED_MORE;
}

struct bufferevent *
connection_new(struct framing *framing)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (c == NULL)
		fatal("out of memory");
	/*
	 * The socket does not close the descriptor, and evhttp leaves it to inner, which passes it
	 * on to the socket.
	 */
	c->socket = bufferevent_socket_new(framing->base, -1, 0);
	if (c->socket == NULL)
		fatal("out of memory");
	c->inner = bufferevent_filter_new(
	    c->socket, filter_nothing, filter_nothing, BEV_OPT_CLOSE_ON_FREE, connection_let_go, c);
	if (c->inner == NULL ||
	    evbuffer_add_cb(bufferevent_get_output(c->inner), reply_added, c) == NULL)
		fatal("out of memory");
	bufferevent_setcb(c->socket, socket_readable, NULL, socket_ended, c);
	bufferevent_disable(c->socket, EV_WRITE);
	c->framing = framing;
	c->fd = -1;
	event_assign(&c->deadline, framing->base, -1, 0, deadline_passed, c);
	event_add(&c->deadline, framing->deadlines.idle);
	TAILQ_INSERT_TAIL(&framing->connections, c, entry);
	if (++framing->open > framing->limits.connections)
		refuse(c, REFUSAL_CONNECTIONS);
	return c->inner;
}

struct connection *
connection_of(struct bufferevent *inner)
{
	void *argument;

	bufferevent_getcb(bufferevent_get_underlying(inner), NULL, NULL, NULL, &argument);
	return argument;
}

/* evhttp has freed its connection; connection_let_go() is yet to come. */
static bool
is_abandoned(const struct connection *c)
{
	bufferevent_event_cb event_callback;

	if (c->inner == NULL)
		return true;
	bufferevent_getcb(c->inner, NULL, NULL, &event_callback, NULL);
	return event_callback == NULL;
}

/* evhttp 2.1.12 wants to read and not to write only while it waits for the next request. */
static bool
evhttp_is_waiting(const struct connection *c)
{
	return bufferevent_get_enabled(c->inner) == EV_READ;
}

/* It has written a reply, or a part of one, and wants to know when all of it is sent. */
static bool
evhttp_is_writing(const struct connection *c)
{
	return (bufferevent_get_enabled(c->inner) & EV_WRITE) != 0;
}

static int
descriptor(struct connection *c)
{
	if (c->fd == -1)
		c->fd = bufferevent_getfd(c->socket);
	return c->fd;
}

/*
 * From the client to evhttp.
 */

static void
socket_readable(struct bufferevent *socket, void *argument)
{
	struct connection *c = argument;

	if (c->state == CONNECTION_IDLE || c->state == CONNECTION_RECEIVING)
		receive(c);
	else
		bufferevent_disable(
		    socket, EV_READ); /* what is here waits for its turn, the rest in the kernel */
}

/*
 * The client has shut down its side, or is gone altogether; these look the same until we write.  So
 * what it has asked for before is answered first.
 */
static void
socket_ended(struct bufferevent *socket, short what, void *argument)
{
	struct connection *c = argument;

	c->ended = true;
	if (what & BEV_EVENT_ERROR)
		c->lost = true;
	if (c->lost || c->state == CONNECTION_IDLE || c->state == CONNECTION_RECEIVING)
		hang_up(c);
}

static enum framing_verdict
parse_some(struct connection *c)
{
	struct evbuffer *input = bufferevent_get_input(c->socket);
	enum framing_verdict verdict;
	struct evbuffer_iovec piece;
	size_t taken;

	if (evbuffer_peek(input, -1, NULL, &piece, 1) < 1)
		return FRAMING_MORE;
	verdict = framing_parse(
	    &c->parse, &c->framing->limits, piece.iov_base, piece.iov_len, &taken);
	evbuffer_drain(input, taken);
	return verdict;
}

/*
 * All has been taken that is there, and it is not a whole request: set the deadline for the next
 * part of it.
 */
static void
receive_more(struct connection *c)
{
	if (c->ended) {
		hang_up(c);
		return;
	}
	if (c->state == CONNECTION_IDLE && framing_parse_started(&c->parse)) {
		c->state = CONNECTION_RECEIVING;
		event_add(&c->deadline, c->framing->deadlines.head);
	}
	if (c->in_body || !framing_parse_in_body(&c->parse))
		return;
	c->in_body = true;
	event_add(&c->deadline, c->framing->deadlines.body);
	/*
	 * evhttp would do this itself, but through a filter it then takes "100 Continue" for the
	 * end of the reply before.
	 */
	if (c->parse.expects_continue && c->parse.length == c->parse.head)
		evbuffer_add_printf(
		    bufferevent_get_output(c->inner), "HTTP/1.1 100 Continue\r\n\r\n");
}

static void
receive(struct connection *c)
{
	struct evbuffer *input = bufferevent_get_input(c->socket);
	enum framing_verdict verdict = FRAMING_MORE;

	while (verdict == FRAMING_MORE && evbuffer_get_length(input) > 0)
		verdict = parse_some(c);
	if (verdict == FRAMING_COMPLETE)
		serve(c);
	else if (verdict == FRAMING_REFUSED)
		refuse(c, c->parse.refusal);
	else
		receive_more(c);
}

static void
request_write(const struct connection *c, struct evbuffer *to)
{
	const struct framing_parse *p = &c->parse;
	size_t body = p->length - p->head;

	evbuffer_add(to, p->text, p->head);
	if (p->close || c->framing->draining)
		evbuffer_add_printf(to, "Connection:close\r\n");
	else if (p->version_1_0)
		evbuffer_add_printf(to, "Connection:keep-alive\r\n");
	if (body > 0)
		evbuffer_add_printf(to, "Content-Length:%zu\r\n", body);
	evbuffer_add_printf(to, "\r\n");
	evbuffer_add(to, p->text + p->head, body);
}

static void
serve(struct connection *c)
{
	struct evbuffer *input = bufferevent_get_input(c->inner);

	evtimer_del(&c->deadline); /* until the reply the deadlines are the handler's */
	c->state = CONNECTION_SERVING;
	c->in_body = false;
	c->framing->busy++;
	request_write(c, input);
	framing_parse_reset(&c->parse);
	bufferevent_trigger(c->inner, EV_READ, BEV_TRIG_IGNORE_WATERMARKS);
	if (is_abandoned(c))
		return;
	if (evbuffer_get_length(input) > 0 || evhttp_is_waiting(c)) {
		log_error("evhttp and the framing gate disagree about where a request ends");
		c->lost = true;
		hang_up(c);
	}
}

/*
 * From evhttp to the client.
 */

/*
 * In the midst of evhttp's writing, so it is sent later in this turn of the event loop, in one
 * piece.
 */
static void
reply_added(struct evbuffer *output, const struct evbuffer_cb_info *info, void *argument)
{
	struct connection *c = argument;

	if (info->n_added == 0 || c->written)
		return;
	c->written = true;
	TAILQ_INSERT_TAIL(&c->framing->written, c, written_entry);
	event_active(c->framing->flush, EV_WRITE, 0);
}

static void
wait_until_writable(struct connection *c)
{
	if (c->io == NULL)
		c->io = event_new(c->framing->base, descriptor(c), EV_WRITE, socket_writable, c);
	if (c->io == NULL || event_add(c->io, NULL) != 0)
		fatal("out of memory");
	if (c->state == CONNECTION_SERVING && !evtimer_pending(&c->deadline, NULL))
		event_add(&c->deadline, c->framing->deadlines.reply);
}

/* Everything written so far is in the kernel's hands. */
static void
all_sent(struct connection *c)
{
	if (c->state == CONNECTION_REFUSING) {
		hang_up(c);
		return;
	}
	/* If not, that was "100 Continue"; to tell evhttp would end the request it is working on. */
	if (c->state != CONNECTION_SERVING || !evhttp_is_writing(c))
		return;
	evtimer_del(&c->deadline);
	bufferevent_trigger(c->inner, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS);
	/* If not, evhttp has closed, or this was one chunk and there will be more. */
	if (!is_abandoned(c) && evhttp_is_waiting(c))
		served(c);
}

void
connection_flush(struct connection *c)
{
	struct evbuffer *output;

	c->written = false;
	if (is_abandoned(c))
		return;
	output = bufferevent_get_output(c->inner);
	if (evbuffer_get_length(output) > 0 && evbuffer_write(output, descriptor(c)) < 0 &&
	    errno != EAGAIN && errno != EINTR) {
		c->lost = true;
		hang_up(c);
	} else if (evbuffer_get_length(output) > 0) {
		wait_until_writable(c);
	} else {
		all_sent(c);
	}
}

static void
socket_writable(evutil_socket_t fd, short what, void *argument)
{
	struct connection *c = argument;

	if (!c->written)
		connection_flush(c);
}

/* The next request, if it is here already. */
static void
served(struct connection *c)
{
	const struct framing_deadlines *deadlines = &c->framing->deadlines;

	c->framing->busy--;
	c->state = CONNECTION_IDLE;
	event_add(&c->deadline, c->framing->draining ? deadlines->drain : deadlines->idle);
	if (!c->ended)
		bufferevent_enable(c->socket, EV_READ);
	receive(c);
}

/*
 * Endings.
 */

/* Nothing of the request has reached evhttp, and nothing will. */
static void
refuse(struct connection *c, enum framing_refusal refusal)
{
	struct evbuffer *input = bufferevent_get_input(c->socket);

	counters.http_rejected++;
	c->state = CONNECTION_REFUSING;
	bufferevent_disable(c->socket, EV_READ);
	evbuffer_drain(input, evbuffer_get_length(input));
	framing_problem(
	    bufferevent_get_output(c->inner), refusal, framing_parse_is_head(&c->parse));
	framing_parse_reset(&c->parse);
	event_add(&c->deadline, c->framing->deadlines.reply);
}

/*
 * evhttp shuts down our side and lets go of the connection; a request it has without a reply stays
 * valid, without connection.
 */
static void
hang_up(struct connection *c)
{
	bufferevent_trigger_event(c->inner, BEV_EVENT_READING | BEV_EVENT_EOF, 0);
}

/* Since this turn of the event loop began: to hang up now would lose a request. */
static bool
bytes_have_come(struct connection *c)
{
	char byte;

	return recv(descriptor(c), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void
deadline_passed(evutil_socket_t fd, short what, void *argument)
{
	struct connection *c = argument;

	if (c->state == CONNECTION_LINGERING) {
		release(c);
		return;
	}
	if (is_abandoned(c))
		return;
	if (c->state == CONNECTION_RECEIVING) {
		refuse(c, c->in_body ? REFUSAL_BODY_LATE : REFUSAL_HEAD_LATE);
		return;
	}
	if (c->state == CONNECTION_IDLE && bytes_have_come(c)) {
		event_add(&c->deadline, c->framing->deadlines.head);
		return;
	}
	c->lost = true;
	hang_up(c);
}

void
connection_drain(struct connection *c)
{
	if (c->state == CONNECTION_IDLE && !is_abandoned(c))
		event_add(&c->deadline, c->framing->deadlines.drain);
}

void
connection_close(struct connection *c)
{
	c->lost = true;
	if (c->state == CONNECTION_LINGERING)
		release(c);
	else if (!is_abandoned(c))
		hang_up(c);
}

/*
 * The context of `inner` is freed: evhttp is through with this connection, and we are its only
 * owner.
 */
static void
connection_let_go(void *argument)
{
	struct connection *c = argument;
	bool answered = c->state == CONNECTION_SERVING || c->state == CONNECTION_REFUSING;

	descriptor(c);
	/*
	 * Before the descriptor can be closed, and its number be used again, no event may refer to
	 * it.
	 */
	bufferevent_disable(c->socket, EV_READ | EV_WRITE);
	c->socket = c->inner = NULL;
	if (c->io != NULL)
		event_free(c->io);
	c->io = NULL;
	if (c->written)
		TAILQ_REMOVE(&c->framing->written, c, written_entry);
	if (c->state == CONNECTION_SERVING)
		c->framing->busy--;
	c->state = CONNECTION_LINGERING;
	c->framing->lingering++;
	if (answered && !c->ended && !c->lost)
		linger(c);
	else
		release(c);
}

/*
 * To close while the client still sends would make the kernel answer with a reset, upon which the
 * client's kernel throws away our last answer, read or not (RFC 9112 section 9.6).  So wait for the
 * client to close, but not for long.
 */
static void
linger(struct connection *c)
{
	c->io = event_new(c->framing->base, c->fd, EV_READ | EV_PERSIST, lingering_readable, c);
	if (c->io == NULL || event_add(c->io, NULL) != 0)
		fatal("out of memory");
	event_add(&c->deadline, c->framing->deadlines.linger);
}

static void
lingering_readable(evutil_socket_t fd, short what, void *argument)
{
	struct connection *c = argument;
	/* On TCP this drops the bytes without copying them anywhere (tcp(7), MSG_TRUNC). */
	ssize_t dropped = recv(fd, NULL, LINGER_BYTES_MAX, MSG_TRUNC | MSG_DONTWAIT);

	if (dropped < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (dropped > 0)
		c->lingered += (uint32_t)dropped;
	if (dropped <= 0 || c->lingered > LINGER_BYTES_MAX)
		release(c);
}

static void
release(struct connection *c)
{
	struct framing *framing = c->framing;

	evtimer_del(&c->deadline);
	if (c->io != NULL)
		event_free(c->io);
	if (c->fd != -1)
		close(c->fd);
	framing_parse_reset(&c->parse);
	TAILQ_REMOVE(&framing->connections, c, entry);
	framing->lingering--;
	framing->open--;
	free(c);
	framing_connection_gone(framing);
}
