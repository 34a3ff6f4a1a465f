/*
 * framing_connection: raw bytes in, whole requests to evhttp, replies out.
 *
 *     client ──► parser ──► inner ──► evhttp ──► worker
 *     client ◄───────────── inner ◄──────────────┘
 *
 * `inner` is a filter bufferevent, the only kind that tells us when evhttp has freed it.  None of its own
 * ways of moving bytes is used: we read from the descriptor into one buffer for all, put whole requests into
 * inner's input, send what is in inner's output when evhttp has written all of it, and tell evhttp when that
 * is in the kernel.  (Left to itself, a filter of libevent 2.1.12 says "written" when the bytes have merely
 * reached the next buffer, so that evhttp closes before a last reply is sent; and it forgets bytes that were
 * added before writing was enabled, as evhttp does it.)
 *
 * A filter must stand on another bufferevent.  That is the gate's `passage`, one for all connections, which
 * is never enabled: a bufferevent of its own would cost each connection almost a KiB.  What it
 * serves for is that evhttp, having accepted, sets the descriptor in it, from where connection_arrived()
 * takes it.
 */
#include "server/gate/framing_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "common/counters.h"
#include "common/log.h"
#include "server/gate/framing_problem.h"

static void readable(evutil_socket_t, short, void *);
static void writable(evutil_socket_t, short, void *);
static void reply_added(struct evbuffer *, const struct evbuffer_cb_info *, void *);
static void deadline_passed(evutil_socket_t, short, void *);
static void connection_let_go(void *);

static void take(struct connection *, const char *bytes, size_t count);
static void serve(struct connection *);
static void served(struct connection *);
static void refuse(struct connection *, enum framing_refusal);
static void hang_up(struct connection *);

static enum bufferevent_filter_result
filter_nothing(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit,
    enum bufferevent_flush_mode mode, void *argument)
{
	return BEV_NEED_MORE;
}

/*
 * The filter does not close the descriptor, but says that it will, or else evhttp does.  For that it takes a
 * reference of the passage along when it goes, which it is given here.
 */
static struct bufferevent *
inner_new(struct connection *c)
{
	struct bufferevent *passage = c->framing->passage;
	struct bufferevent *inner = bufferevent_filter_new(
	    passage, filter_nothing, filter_nothing, BEV_OPT_CLOSE_ON_FREE, connection_let_go, c);

	if (inner == NULL || evbuffer_add_cb(bufferevent_get_output(inner), reply_added, c) == NULL)
		fatal("out of memory");
	bufferevent_incref(passage);
	bufferevent_setcb(passage, NULL, NULL, NULL, NULL);
	bufferevent_disable(passage, EV_READ | EV_WRITE);
	return inner;
}

struct bufferevent *
connection_new(struct framing *framing)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (c == NULL)
		fatal("out of memory");
	connection_arrived(framing);
	c->framing = framing;
	c->fd = -1;
	c->inner = inner_new(c);
	event_assign(&c->io, framing->base, -1, EV_READ, readable, c);
	event_assign(&c->deadline, framing->base, -1, 0, deadline_passed, c);
	event_add(
	    &c->deadline, framing->draining ? framing->deadlines.drain : framing->deadlines.idle);
	TAILQ_INSERT_TAIL(&framing->connections, c, entry);
	framing->arriving = c;
	event_active(framing->flush, EV_WRITE, 0);
	if (++framing->open > framing->limits.connections)
		refuse(c, REFUSAL_CONNECTIONS);
	return c->inner;
}

static void
watch(struct connection *c, short what, event_callback_fn callback)
{
	event_del(&c->io);
	event_assign(&c->io, c->framing->base, c->fd, what | EV_PERSIST, callback, c);
	if (event_add(&c->io, NULL) != 0)
		fatal("out of memory");
}

void
connection_arrived(struct framing *framing)
{
	struct connection *c = framing->arriving;

	if (c == NULL)
		return;
	framing->arriving = NULL;
	c->fd = bufferevent_getfd(framing->passage);
	bufferevent_setfd(framing->passage, -1);
	if (c->state == CONNECTION_IDLE)
		watch(c, EV_READ, readable);
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

/*
 * From the client to evhttp.
 */

/* The client has shut down its side, or is gone altogether; these look the same until we write. */
static void
client_ended(struct connection *c)
{
	c->ended = true;
	/* What it has asked for before is answered first. */
	if (c->state != CONNECTION_SERVING)
		hang_up(c);
}

static void
client_lost(struct connection *c)
{
	c->lost = true;
	hang_up(c);
}

static bool
is_passing(int error)
{
	return error == EAGAIN || error == EINTR;
}

static void
receive(struct connection *c)
{
	static char bytes[16 * 1024]; /* for whoever is read from */
	ssize_t count = recv(c->fd, bytes, sizeof(bytes), 0);

	if (count > 0)
		take(c, bytes, (size_t)count);
	else if (count == 0)
		client_ended(c);
	else if (!is_passing(errno))
		client_lost(c);
}

/*
 * While a request is being served, nothing is read.  But it would cost two system calls a request to say so to the
 * kernel, so that is done when bytes, or the end, do come, which is rare.
 */
static void
look(struct connection *c)
{
	char byte;
	ssize_t count = recv(c->fd, &byte, 1, MSG_PEEK);

	if (count < 0) {
		if (!is_passing(errno))
			client_lost(c);
		return;
	}
	event_del(&c->io);
	c->deaf = true;
	if (count == 0)
		client_ended(c);
}

static void
readable(evutil_socket_t fd, short what, void *argument)
{
	struct connection *c = argument;

	if (is_abandoned(c))
		return;
	if (c->state == CONNECTION_IDLE || c->state == CONNECTION_RECEIVING)
		receive(c);
	else
		look(c);
}

/* `bytes` may be a part of what is kept already. */
static void
keep(struct connection *c, const char *bytes, size_t count)
{
	char *rest = NULL;

	if (count > 0) {
		rest = malloc(count);
		if (rest == NULL)
			fatal("out of memory");
		memcpy(rest, bytes, count);
	}
	free(c->rest);
	c->rest = rest;
	c->rest_length = (uint32_t)count;
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
take(struct connection *c, const char *bytes, size_t count)
{
	size_t taken;
	enum framing_verdict verdict = framing_parse(
	    &c->parse, &c->framing->limits, bytes, count, &taken);

	if (c->rest != NULL || taken < count)
		keep(c, bytes + taken, count - taken);
	if (verdict == FRAMING_COMPLETE)
		serve(c);
	else if (verdict == FRAMING_REFUSED)
		refuse(c, c->parse.refusal);
	else
		receive_more(c);
}

/* All that evhttp needs to know: the fields that are not about the connection are framing_fields(). */
static void
request_write(const struct connection *c, struct evbuffer *to)
{
	const struct framing_parse *p = &c->parse;
	size_t body = p->length - p->head;

	evbuffer_add(to, p->text, p->request_line);
	if (p->close || c->framing->draining)
		evbuffer_add_printf(to, "Connection:close\r\n");
	else if (p->version_1_0)
		evbuffer_add_printf(to, "Connection:keep-alive\r\n");
	if (body > 0)
		evbuffer_add_printf(to, "Content-Length:%zu\r\n", body);
	evbuffer_add(to, "\r\n", 2);
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
	c->framing->serving = c;
	bufferevent_trigger(c->inner, EV_READ, BEV_TRIG_IGNORE_WATERMARKS);
	c->framing->serving = NULL;
	framing_parse_reset(&c->parse);
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
	if (!c->stuck)
		watch(c, EV_WRITE, writable);
	c->stuck = true;
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
	if (evbuffer_get_length(output) > 0 && evbuffer_write(output, c->fd) < 0 &&
	    !is_passing(errno)) {
		client_lost(c);
		return;
	}
	if (evbuffer_get_length(output) > 0) {
		wait_until_writable(c);
		return;
	}
	if (c->stuck && !c->ended)
		watch(c, EV_READ, readable);
	c->stuck = false;
	all_sent(c);
}

static void
writable(evutil_socket_t fd, short what, void *argument)
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
	if (c->deaf && !c->ended)
		event_add(&c->io, NULL);
	c->deaf = false;
	if (c->rest != NULL)
		take(c, c->rest, c->rest_length);
	else if (c->ended)
		hang_up(c);
}

/*
 * Endings.
 */

/* Nothing of the request has reached evhttp, and nothing will. */
static void
refuse(struct connection *c, enum framing_refusal refusal)
{
	counters.http_rejected++;
	c->state = CONNECTION_REFUSING;
	event_del(&c->io);
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

	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void
deadline_passed(evutil_socket_t fd, short what, void *argument)
{
	struct connection *c = argument;

	if (c->state == CONNECTION_LINGERING) {
		connection_release(c);
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
	client_lost(c);
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
		connection_release(c);
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
	struct framing *framing = c->framing;
	bool answered = c->state == CONNECTION_SERVING || c->state == CONNECTION_REFUSING;

	if (framing->arriving == c)
		connection_arrived(framing);
	c->inner = NULL;
	/*
	 * Before the descriptor can be closed, and its number be used again, no event may refer to
	 * it.
	 */
	event_del(&c->io);
	if (c->written)
		TAILQ_REMOVE(&framing->written, c, written_entry);
	if (c->state == CONNECTION_SERVING)
		framing->busy--;
	c->state = CONNECTION_LINGERING;
	framing->lingering++;
	if (answered && !c->ended && !c->lost)
		connection_linger(c);
	else
		connection_release(c);
}
