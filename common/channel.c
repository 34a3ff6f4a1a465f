/*
 * channel: the packets, and the child's side of the line on libevent. See channel.h for the conversation.
 *
 * Metrics are asked for once at a time: who asks while an answer is on its way waits for that same answer.
 */
#include "common/channel.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"

#define TICK_MS           1000
#define METRICS_ANSWER_MS 1000

struct waiter {
	struct waiter *next;
	channel_metrics_fn *done;
	void *argument;
};

struct channel {
	int fd;
	struct event *readable;
	struct event *tick;
	struct event *unanswered; /* pending exactly while there are waiters */
	struct waiter *waiters;
	char status[CHANNEL_STATUS_SIZE];
	channel_fn *on_tick;
	void *on_tick_argument;
	channel_fn *on_catch_up;
	void *on_catch_up_argument;
};

static void packet_arrived(evutil_socket_t, short, void *);
static void second_passed(evutil_socket_t, short, void *);
static void answer_overdue(evutil_socket_t, short, void *);
static void send_tick(struct channel *);
static void answer_waiters(struct channel *, const struct channel_metrics *);
static void *x_new(size_t bytes);
static bool has_right_size(const struct channel_packet *, size_t bytes);
static size_t packet_bytes(uint32_t kind);

struct channel *
channel_new(struct event_base *base, int fd)
{
	struct channel *channel = x_new(sizeof(*channel));
	struct timeval every_tick = clock_timeval(TICK_MS);

	channel->fd = fd;
	channel->readable = event_new(base, fd, EV_READ | EV_PERSIST, packet_arrived, channel);
	channel->tick = event_new(base, -1, EV_PERSIST, second_passed, channel);
	channel->unanswered = evtimer_new(base, answer_overdue, channel);
	if (!channel->readable || !channel->tick || !channel->unanswered ||
	    event_add(channel->readable, NULL) != 0 || event_add(channel->tick, &every_tick) != 0)
		fatal("channel: no event can be made");
	return channel;
}

void
channel_free(struct channel *channel)
{
	answer_waiters(channel, NULL);
	send_tick(channel);
	event_free(channel->readable);
	event_free(channel->tick);
	event_free(channel->unanswered);
	close(channel->fd);
	free(channel);
}

void
channel_ready(struct channel *channel)
{
	struct channel_packet packet;

	send_tick(channel);
	channel_write(channel->fd, CHANNEL_READY, &packet);
}

void
channel_status(struct channel *channel, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(channel->status, sizeof(channel->status), format, arguments);
	va_end(arguments);
}

void
channel_on_tick(struct channel *channel, channel_fn *on_tick, void *argument)
{
	channel->on_tick = on_tick;
	channel->on_tick_argument = argument;
}

void
channel_on_catch_up(struct channel *channel, channel_fn *on_catch_up, void *argument)
{
	channel->on_catch_up = on_catch_up;
	channel->on_catch_up_argument = argument;
}

static void
second_passed(evutil_socket_t fd, short what, void *argument)
{
	send_tick(argument);
}

static void
send_tick(struct channel *channel)
{
	struct channel_packet packet = { 0 };

	if (channel->on_tick)
		channel->on_tick(channel->on_tick_argument);
	packet.tick.counters = counters;
	packet.tick.gauges = gauges;
	packet.tick.series = series;
	memcpy(packet.tick.status, channel->status, sizeof(packet.tick.status));
	channel_write(channel->fd, CHANNEL_TICK, &packet);
}

/* A tick goes first, so that what this process has just counted is in the sum. */
void
channel_ask_metrics(struct channel *channel, channel_metrics_fn *done, void *argument)
{
	struct waiter *waiter = x_new(sizeof(*waiter));
	struct timeval patience = clock_timeval(METRICS_ANSWER_MS);
	bool already_asked = channel->waiters != NULL;
	struct channel_packet packet;

	*waiter = (struct waiter){ channel->waiters, done, argument };
	channel->waiters = waiter;
	if (already_asked)
		return;
	evtimer_add(channel->unanswered, &patience);
	send_tick(channel);
	channel_write(channel->fd, CHANNEL_METRICS_ASK, &packet);
}

static void
packet_arrived(evutil_socket_t fd, short what, void *argument)
{
	struct channel *channel = argument;
	struct channel_packet packet;
	enum channel_read got = channel_read(fd, &packet);

	/* Our work has no supervisor any more, and whoever starts next must find the ports free. */
	if (got == CHANNEL_ENDED)
		_exit(1);
	if (got == CHANNEL_EMPTY)
		return;
	if (packet.kind == CHANNEL_CATCH_UP && channel->on_catch_up)
		channel->on_catch_up(channel->on_catch_up_argument);
	if (packet.kind == CHANNEL_METRICS)
		answer_waiters(channel, packet.layout == channel_layout() ? &packet.metrics : NULL);
}

static void
answer_overdue(evutil_socket_t fd, short what, void *argument)
{
	answer_waiters(argument, NULL);
}

/* The list is taken off first: a callback may ask again. */
static void
answer_waiters(struct channel *channel, const struct channel_metrics *metrics)
{
	struct waiter *waiter = channel->waiters;

	channel->waiters = NULL;
	evtimer_del(channel->unanswered);
	while (waiter) {
		struct waiter *next = waiter->next;

		waiter->done(waiter->argument, metrics);
		free(waiter);
		waiter = next;
	}
}

static void *
x_new(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (!memory)
		fatal("out of memory");
	return memory;
}

enum channel_read
channel_read(int fd, struct channel_packet *packet)
{
	for (;;) {
		ssize_t got = recv(fd, packet, sizeof(*packet), MSG_DONTWAIT | MSG_TRUNC);

		if (got > 0 && has_right_size(packet, (size_t)got))
			return CHANNEL_GOT;
		if (got > 0 || (got < 0 && errno == EINTR))
			continue;
		if (got < 0 && errno == EAGAIN)
			return CHANNEL_EMPTY;
		return CHANNEL_ENDED;
	}
}

/* With MSG_TRUNC recv() tells the packet's real size, even if there was not room for all of it. */
static bool
has_right_size(const struct channel_packet *packet, size_t bytes)
{
	if (bytes < CHANNEL_HEADER_BYTES || packet->bytes != bytes)
		return false;
	if (packet->layout != channel_layout())
		return true;
	return bytes == packet_bytes(packet->kind);
}

void
channel_write(int fd, enum channel_kind kind, struct channel_packet *packet)
{
	packet->kind = kind;
	packet->bytes = (uint32_t)packet_bytes(kind);
	packet->layout = channel_layout();
	(void)!send(fd, packet, packet->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* 0 for no known kind, which no packet has. */
static size_t
packet_bytes(uint32_t kind)
{
	switch ((enum channel_kind)kind) {
	case CHANNEL_TICK:
		return CHANNEL_HEADER_BYTES + sizeof(struct channel_tick);
	case CHANNEL_METRICS:
		return CHANNEL_HEADER_BYTES + sizeof(struct channel_metrics);
	case CHANNEL_READY:
	case CHANNEL_METRICS_ASK:
	case CHANNEL_CATCH_UP:
		return CHANNEL_HEADER_BYTES;
	}
	return 0;
}

/* The names in their order and the sizes, hashed (FNV-1a): equal exactly if the structs mean the same. */
uint64_t
channel_layout(void)
{
	static const char names[] =
#define COUNTER(name, help) #name ","
#include "common/counters.def"
#undef COUNTER
	    ";"
#define GAUGE(kind, name, help) #name ","
#include "common/gauges.def"
#undef GAUGE
	    ;
	static uint64_t layout;

	if (layout != 0)
		return layout;
	layout = UINT64_C(14695981039346656037) ^ sizeof(struct channel_packet) ^
		 sizeof(struct channel_metrics) << 16;
	for (const char *byte = names; *byte; byte++)
		layout = (layout ^ (unsigned char)*byte) * UINT64_C(1099511628211);
	for (const char *byte = series_names; *byte; byte++)
		layout = (layout ^ (unsigned char)*byte) * UINT64_C(1099511628211);
	return layout;
}
