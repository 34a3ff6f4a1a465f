/*
 * valkey_link: a connection to Valkey that is made again whenever it breaks.
 *
 * Its life is a ring: RESTING (until the back-off has passed), DIALING (name, TCP, TLS), GREETING
 * (AUTH, SELECT, CLIENT SETNAME and, before commands, a small write that proves that this server
 * takes writes), READY; and from each of these back to RESTING by valkey_link_drop(), the only way
 * out.  Who owns the link only hears of ready, replies, and down.
 */
#include "common/valkey_link.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "common/arena.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "common/valkey_dial.h"
#include "common/valkey_resp.h"
#include "common/valkey_url.h"

#define REST_LEAST_MS     50
#define REST_MOST_MS      500
#define STEADY_MS         5000 /* a connection that held so long starts the back-off afresh */
#define PATIENCE_LEAST_MS 1000

enum state {
	RESTING,
	DIALING,
	GREETING,
	READY,
};

enum greeting {
	GREET_AUTH,
	GREET_SELECT,
	GREET_PROBE,
	GREET_NAME,
	GREETINGS,
};

struct valkey_link {
	struct event_base *base;
	enum valkey_link_purpose purpose;
	const struct valkey_link_events *events;
	void *argument;
	struct valkey_url url;
	struct arena memory; /* the URL's parts */
	struct valkey_dial *dial;
	int64_t patience_ms;

	enum state state;
	struct event *timer; /* RESTING: the next attempt; DIALING, GREETING: its deadline */
	int64_t rest_ms;
	int64_t attempt_began_ms;
	int64_t ready_since_ms;
	unsigned failed_attempts; /* ever; so each begins with another of the host's addresses */

	/* GREETING and READY only. */
	struct bufferevent *bev;
	struct valkey_resp_reader *reader;
	enum greeting greetings[GREETINGS]; /* those sent, in order */
	int greetings_sent;
	int greetings_answered;

	char reason[256]; /* of the last drop */
};

static void timer_fired(evutil_socket_t, short what, void *);
static void attempt(struct valkey_link *);
static void dialed(void *, struct bufferevent *, const char *fault);
static void greet(struct valkey_link *);
static void greeting_answered(struct valkey_link *, redisReply *);
static void bytes_arrived(struct bufferevent *, void *);
static void take_replies(struct valkey_link *);
static void greeted(struct valkey_link *);
static void connection_ended(struct bufferevent *, short what, void *);
static void rest(struct valkey_link *, enum state before);
static void arm(struct valkey_link *, int64_t ms);

struct valkey_link *
valkey_link_new(struct event_base *base, struct evdns_base *dns, const struct config *config,
    enum valkey_link_purpose purpose, const struct valkey_link_events *events, void *argument)
{
	struct valkey_link *link = calloc(1, sizeof(*link));
	const char *fault;

	if (link == NULL)
		fatal("out of memory");
	fault = valkey_url_parse(&link->memory, config->valkey_url, &link->url);
	if (fault != NULL)
		fatal_configuration("VALKEY_URL %s", fault);
	link->base = base;
	link->purpose = purpose;
	link->events = events;
	link->argument = argument;
	link->patience_ms = config->valkey_timeout_ms > PATIENCE_LEAST_MS
				? config->valkey_timeout_ms
				: PATIENCE_LEAST_MS;
	link->dial = valkey_dial_new(base, dns, &link->url);
	link->rest_ms = REST_LEAST_MS;
	link->timer = evtimer_new(base, timer_fired, link);
	if (link->timer == NULL)
		fatal("out of memory");
	arm(link, 0);
	return link;
}

static void
hang_up(struct valkey_link *link)
{
	valkey_dial_cancel(link->dial);
	if (link->bev != NULL)
		bufferevent_free(link->bev);
	valkey_resp_reader_free(link->reader);
	link->bev = NULL;
	link->reader = NULL;
}

void
valkey_link_free(struct valkey_link *link)
{
	if (link == NULL)
		return;
	hang_up(link);
	event_free(link->timer);
	valkey_dial_free(link->dial);
	arena_free(&link->memory);
	free(link);
}

int64_t
valkey_link_patience_ms(const struct valkey_link *link)
{
	return link->patience_ms;
}

void
valkey_link_write(struct valkey_link *link, struct evbuffer *bytes)
{
	if (bufferevent_write_buffer(link->bev, bytes) != 0)
		fatal("out of memory");
}

static void
timer_fired(evutil_socket_t fd, short what, void *argument)
{
	struct valkey_link *link = argument;
	const char *missing = "no answer from";

	if (link->state == RESTING) {
		attempt(link);
		return;
	}
	if (link->state == DIALING)
		missing = link->url.tls ? "no TLS connection to" : "no connection to";
	valkey_link_drop(link, "%s %s:%d within %lld ms", missing, link->url.host, link->url.port,
	    (long long)link->patience_ms);
}

static void
attempt(struct valkey_link *link)
{
	link->state = DIALING;
	link->attempt_began_ms = clock_monotonic_ms();
	arm(link, link->patience_ms);
	valkey_dial_start(link->dial, link->failed_attempts, dialed, link);
}

static void
dialed(void *argument, struct bufferevent *bev, const char *fault)
{
	struct valkey_link *link = argument;

	if (bev == NULL) {
		valkey_link_drop(link, "%s", fault);
		return;
	}
	link->state = GREETING;
	link->bev = bev;
	link->reader = valkey_resp_reader_new();
	bufferevent_setcb(bev, bytes_arrived, NULL, connection_ended, link);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	greet(link);
}

/* All in one write; the replies tell in order what went wrong first. */
static void
greet(struct valkey_link *link)
{
	const struct valkey_url *url = &link->url;
	struct evbuffer *bytes = bufferevent_get_output(link->bev);
	char database[16];

	link->greetings_sent = 0;
	link->greetings_answered = 0;
	if (*url->user != '\0')
		valkey_resp_command(bytes, "AUTH", url->user, url->password, NULL);
	else if (*url->password != '\0')
		valkey_resp_command(bytes, "AUTH", url->password, NULL);
	if (*url->user != '\0' || *url->password != '\0')
		link->greetings[link->greetings_sent++] = GREET_AUTH;
	if (url->database != 0) {
		snprintf(database, sizeof(database), "%d", url->database);
		valkey_resp_command(bytes, "SELECT", database, NULL);
		link->greetings[link->greetings_sent++] = GREET_SELECT;
	}
	if (link->purpose == LINK_COMMANDS) {
		valkey_resp_command(bytes, "SET", "mirror:probe", "1", "EX", "10", NULL);
		link->greetings[link->greetings_sent++] = GREET_PROBE;
	}
	valkey_resp_command(bytes, "CLIENT", "SETNAME", "mitrad", NULL);
	link->greetings[link->greetings_sent++] = GREET_NAME;
}

/* NULL if the greeting went well. */
static const char *
greeting_fault(enum greeting greeting, const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_STATUS)
		return NULL;
	if (reply->type != REDIS_REPLY_ERROR)
		return "not a Valkey server";
	/*
	 * Only a name: a proxy that does not know the command, or a user who may not give it, does
	 * no harm.
	 */
	if (greeting == GREET_NAME &&
	    (strncmp(reply->str, "NOPERM", 6) == 0 || strncmp(reply->str, "ERR unknown", 11) == 0))
		return NULL;
	/*
	 * A server that does not know the command repeats its arguments; the password is not to be
	 * logged.
	 */
	if (greeting == GREET_AUTH && strncmp(reply->str, "ERR unknown", 11) == 0)
		return "ERR unknown command AUTH";
	return reply->str;
}

static void
greeting_answered(struct valkey_link *link, redisReply *reply)
{
	const char *fault = "a reply that nobody asked for";

	if (link->greetings_answered < link->greetings_sent)
		fault = greeting_fault(link->greetings[link->greetings_answered++], reply);
	if (fault != NULL)
		valkey_link_drop(link, "%s", fault);
	freeReplyObject(reply);
}

static void
bytes_arrived(struct bufferevent *bev, void *argument)
{
	struct valkey_link *link = argument;
	struct evbuffer *input = bufferevent_get_input(bev);
	struct evbuffer_iovec piece;

	/* Piece by piece, because hiredis moves what is left over at every reply. */
	while (link->bev == bev && evbuffer_get_length(input) > 0) {
		evbuffer_peek(input, -1, NULL, &piece, 1);
		valkey_resp_feed(link->reader, piece.iov_base, piece.iov_len);
		evbuffer_drain(input, piece.iov_len);
		take_replies(link);
	}
	/* Only now: a reply too many would be taken for the answer to the first command. */
	if (link->state == GREETING && link->greetings_answered == link->greetings_sent)
		greeted(link);
}

/* Each reply may make its receiver drop the link; there is no reader then. */
static void
take_replies(struct valkey_link *link)
{
	redisReply *reply;
	const char *fault;

	while (link->reader != NULL && (reply = valkey_resp_next(link->reader)) != NULL) {
		if (link->state == GREETING)
			greeting_answered(link, reply);
		else
			link->events->reply(link->argument, reply);
	}
	if (link->reader != NULL && (fault = valkey_resp_fault(link->reader)) != NULL)
		valkey_link_drop(link, "not Valkey's protocol: %s", fault);
}

static void
greeted(struct valkey_link *link)
{
	link->state = READY;
	link->ready_since_ms = clock_monotonic_ms();
	event_del(link->timer);
	link->events->ready(link->argument);
}

static void
connection_ended(struct bufferevent *bev, short what, void *argument)
{
	valkey_link_drop(argument, "%s", valkey_dial_failure(bev, what));
}

void
valkey_link_drop(struct valkey_link *link, const char *reason, ...)
{
	enum state before = link->state;
	va_list arguments;

	if (before == RESTING)
		return;
	va_start(arguments, reason);
	vsnprintf(link->reason, sizeof(link->reason), reason, arguments);
	va_end(arguments);
	hang_up(link);
	link->state = RESTING;
	rest(link, before);
	link->events->down(link->argument, link->reason);
}

/*
 * The back-off counts from the beginning of the last attempt.  One into a black hole takes its
 * whole patience, and a full rest on top of that would make the way back longer than the 2 s that
 * are promised.
 */
static void
rest(struct valkey_link *link, enum state before)
{
	int64_t now_ms = clock_monotonic_ms();
	int64_t spent_ms = 0, wait_ms;

	if (before != READY) {
		link->failed_attempts++;
		spent_ms = now_ms - link->attempt_began_ms;
	} else if (now_ms - link->ready_since_ms >= STEADY_MS) {
		link->rest_ms = REST_LEAST_MS;
	}
	/* From half of it to the whole, so that many processes do not come back at one instant. */
	wait_ms = link->rest_ms / 2 + arc4random_uniform((uint32_t)link->rest_ms / 2 + 1) -
		  spent_ms;
	arm(link, wait_ms > REST_LEAST_MS / 2 ? wait_ms : REST_LEAST_MS / 2);
	link->rest_ms = link->rest_ms * 2 < REST_MOST_MS ? link->rest_ms * 2 : REST_MOST_MS;
}

static void
arm(struct valkey_link *link, int64_t ms)
{
	const struct timeval tv = clock_timeval(ms);

	if (evtimer_add(link->timer, &tv) != 0)
		fatal("out of memory");
}
