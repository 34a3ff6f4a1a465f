/*
 * valkey_subscriber: listens on channels, on a connection of its own, and resubscribes by itself.
 *
 * Each time the link is ready: SUBSCRIBE to all, wait for as many confirmations, tell the owner
 * (who may have missed what was published in between), then messages.  Silence is the normal state
 * here, so a PING every 5 s tells it from a connection into nowhere; whatever arrives in time after
 * it counts as the answer.
 *
 * Channels that come and go later are the owner's to remember.  Their SUBSCRIBE and UNSUBSCRIBE expect an answer as a
 * PING does, and are counted until it is there, so that a confirmation which nobody asked for still shows a broken stream.
 */
#include "common/valkey.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "common/arena.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "common/valkey_link.h"
#include "common/valkey_resp.h"

#define PING_EVERY_MS 5000

enum state {
	UNCONNECTED,
	SUBSCRIBING, /* the timer is the deadline of the confirmations */
	LISTENING,   /* the timer is the next PING */
	PINGED,      /* the timer is the deadline of whatever arrives after a command */
};

struct valkey_subscriber {
	struct valkey_link *link;
	struct event *timer;
	enum state state;
	size_t confirmed; /* channels that it was made with */
	size_t changes;   /* channels added or removed, and not yet confirmed */
	bool lost_logged; /* since it last listened */

	char **channels;
	size_t count;
	char *names;        /* the channels for the log, "a, b" */
	struct arena arena; /* holds the three */

	valkey_message_fn *message;
	valkey_subscribed_fn *subscribed;
	valkey_confirmed_fn *channel_confirmed; /* may be NULL */
	void *argument;
};

static void link_ready(void *);
static void link_replied(void *, redisReply *);
static void link_down(void *, const char *reason);
static void take_reply(struct valkey_subscriber *, const redisReply *);
static void confirm(struct valkey_subscriber *);
static void timer_fired(evutil_socket_t, short what, void *);
static void ping(struct valkey_subscriber *);
static void take_change(struct valkey_subscriber *, const redisReply *);
static void copy_channels(struct valkey_subscriber *, const char *const *channels, size_t count);
static void arm(struct valkey_subscriber *, int64_t ms);

struct valkey_subscriber *
valkey_subscriber_new(struct event_base *base, struct evdns_base *dns, const struct config *config,
    const char *const *channels, size_t count, valkey_message_fn *message,
    valkey_subscribed_fn *subscribed, void *argument)
{
	static const struct valkey_link_events events = { link_ready, link_replied, link_down };
	struct valkey_subscriber *s = calloc(1, sizeof(*s));

	if (s == NULL || (s->timer = evtimer_new(base, timer_fired, s)) == NULL)
		fatal("out of memory");
	copy_channels(s, channels, count);
	s->message = message;
	s->subscribed = subscribed;
	s->argument = argument;
	s->link = valkey_link_new(base, dns, config, LINK_SUBSCRIPTION, &events, s);
	return s;
}

void
valkey_subscriber_free(struct valkey_subscriber *s)
{
	if (s == NULL)
		return;
	valkey_link_free(s->link);
	event_free(s->timer);
	arena_free(&s->arena);
	free(s);
}

static void
copy_channels(struct valkey_subscriber *s, const char *const *channels, size_t count)
{
	s->channels = arena_alloc(&s->arena, count * sizeof(*s->channels));
	s->count = count;
	s->names = arena_strdup(&s->arena, "");
	for (size_t i = 0; i < count; i++) {
		s->channels[i] = arena_strdup(&s->arena, channels[i]);
		s->names = arena_printf(
		    &s->arena, "%s%s%s", s->names, i > 0 ? ", " : "", channels[i]);
	}
}

static void
link_ready(void *argument)
{
	struct valkey_subscriber *s = argument;
	struct evbuffer *command = evbuffer_new();

	if (command == NULL)
		fatal("out of memory");
	valkey_resp_begin(command, (int)s->count + 1);
	valkey_resp_argument(command, "SUBSCRIBE", strlen("SUBSCRIBE"));
	for (size_t i = 0; i < s->count; i++)
		valkey_resp_argument(command, s->channels[i], strlen(s->channels[i]));
	valkey_link_write(s->link, command);
	evbuffer_free(command);
	s->state = SUBSCRIBING;
	s->confirmed = s->changes = 0;
	arm(s, valkey_link_patience_ms(s->link));
}

static void
link_replied(void *argument, redisReply *reply)
{
	struct valkey_subscriber *s = argument;

	if (s->state == PINGED) {
		s->state = LISTENING;
		arm(s, PING_EVERY_MS);
	}
	take_reply(s, reply);
	freeReplyObject(reply);
}

/*
 * Is it an array of this kind, of so many elements? While subscribed, RESP2 wraps everything into
 * one.
 */
static bool
is_kind(const redisReply *reply, const char *kind, size_t elements)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements == elements &&
	       reply->element[0]->type == REDIS_REPLY_STRING &&
	       strcmp(reply->element[0]->str, kind) == 0;
}

/* Of a channel that was added or removed later. */
static bool
is_change(const struct valkey_subscriber *s, const redisReply *reply)
{
	return s->changes > 0 &&
	       (is_kind(reply, "subscribe", 3) || is_kind(reply, "unsubscribe", 3)) &&
	       reply->element[1]->type == REDIS_REPLY_STRING;
}

static void
take_reply(struct valkey_subscriber *s, const redisReply *reply)
{
	if (is_kind(reply, "message", 3) && reply->element[1]->type == REDIS_REPLY_STRING &&
	    reply->element[2]->type == REDIS_REPLY_STRING)
		s->message(s->argument, reply->element[1]->str, reply->element[2]->str,
		    reply->element[2]->len);
	else if (is_kind(reply, "subscribe", 3) && s->state == SUBSCRIBING)
		confirm(s);
	else if (is_change(s, reply))
		take_change(s, reply);
	else if (is_kind(reply, "pong", 2))
		return;
	else if (reply->type == REDIS_REPLY_ERROR)
		valkey_link_drop(s->link, "%s", reply->str);
	else
		valkey_link_drop(s->link, "a reply that nobody asked for");
}

static void
confirm(struct valkey_subscriber *s)
{
	s->confirmed++;
	if (s->confirmed < s->count)
		return;
	s->state = LISTENING;
	s->lost_logged = false;
	arm(s, PING_EVERY_MS);
	log_info("[valkey] subscribed to %s", s->names);
	s->subscribed(s->argument);
}

static void
take_change(struct valkey_subscriber *s, const redisReply *reply)
{
	s->changes--;
	if (s->channel_confirmed != NULL && is_kind(reply, "subscribe", 3))
		s->channel_confirmed(s->argument, reply->element[1]->str);
}

static void
timer_fired(evutil_socket_t fd, short what, void *argument)
{
	struct valkey_subscriber *s = argument;

	if (s->state == LISTENING)
		ping(s);
	else
		valkey_link_drop(s->link, "no answer to %s within %lld ms",
		    s->state == PINGED && s->changes == 0 ? "PING" : "SUBSCRIBE",
		    (long long)valkey_link_patience_ms(s->link));
}

/* One command, and the deadline by which something must have come back. */
static void
say(struct valkey_subscriber *s, const char *command, const char *channel)
{
	struct evbuffer *buffer = evbuffer_new();

	if (buffer == NULL)
		fatal("out of memory");
	valkey_resp_command(buffer, command, channel, NULL);
	valkey_link_write(s->link, buffer);
	evbuffer_free(buffer);
	if (s->state == LISTENING) {
		s->state = PINGED;
		arm(s, valkey_link_patience_ms(s->link));
	}
}

static void
ping(struct valkey_subscriber *s)
{
	say(s, "PING", NULL);
}

void
valkey_subscriber_on_confirmed(struct valkey_subscriber *s, valkey_confirmed_fn *confirmed)
{
	s->channel_confirmed = confirmed;
}

bool
valkey_subscriber_listens(const struct valkey_subscriber *s)
{
	return s->state == LISTENING || s->state == PINGED;
}

void
valkey_subscriber_add(struct valkey_subscriber *s, const char *channel)
{
	assert(valkey_subscriber_listens(s));
	s->changes++;
	say(s, "SUBSCRIBE", channel);
}

void
valkey_subscriber_remove(struct valkey_subscriber *s, const char *channel)
{
	assert(valkey_subscriber_listens(s));
	s->changes++;
	say(s, "UNSUBSCRIBE", channel);
}

static void
link_down(void *argument, const char *reason)
{
	struct valkey_subscriber *s = argument;

	event_del(s->timer);
	s->state = UNCONNECTED;
	if (!s->lost_logged)
		log_warning("[valkey] not subscribed to %s: %s", s->names, reason);
	s->lost_logged = true;
}

static void
arm(struct valkey_subscriber *s, int64_t ms)
{
	const struct timeval tv = clock_timeval(ms);

	if (evtimer_add(s->timer, &tv) != 0)
		fatal("out of memory");
}
