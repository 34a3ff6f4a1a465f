/*
 * dashboard_stream: those who follow the dashboard, as server-sent events.
 *
 * Every second, while there are readers: the turn is asked for, who gets it computes and publishes, and what comes over the
 * channel goes to all readers.  If nothing has come for a while (whoever had the turn has died, or cannot read), we compute for
 * ourselves; if that fails too, a comment keeps the streams alive.
 *
 * A reader that does not take what it is sent is let go of: it gets everything again when it reconnects.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/valkey.h"
#include "server/dashboard.h"
#include "server/reply.h"
#include "server/request.h"

#define PERIOD_MS    1000
#define TURN_MS      "900" /* a little less, as timers are late now and then */
#define SILENCE_MS   2500
#define READERS_MOST 500
#define UNSENT_MOST  4096             /* bytes that a reader has not taken yet */
#define FOLLOW_MS    (15 * 60 * 1000) /* so nobody reads on for long after his token has expired */
#define FRESH_MS     2000             /* what is older is no first frame */

struct reader {
	TAILQ_ENTRY(reader) entry;
	struct request *request;
	int64_t until_ms; /* monotonic */
};

struct dashboard_stream {
	struct worker *worker;
	TAILQ_HEAD(, reader) readers;
	size_t count;
	struct event *tick; /* pending while there are readers */
	char *frame;        /* the last one; NULL: none yet */
	size_t frame_length;
	int64_t frame_ms; /* monotonic: when it came */
	bool our_turn;    /* what is being computed is for the whole cluster */
	bool draining;
};

static void second_passed(evutil_socket_t, short, void *);
static valkey_done_fn turn_asked;
static dashboard_done_fn computed;

struct dashboard_stream *
dashboard_stream_new(struct worker *worker)
{
	struct dashboard_stream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL)
		fatal("out of memory");
	stream->worker = worker;
	TAILQ_INIT(&stream->readers);
	stream->tick = event_new(worker->base, -1, EV_PERSIST, second_passed, stream);
	if (stream->tick == NULL)
		fatal("out of memory");
	return stream;
}

void
dashboard_stream_free(struct dashboard_stream *stream)
{
	event_free(stream->tick);
	free(stream->frame);
	free(stream);
}

size_t
dashboard_stream_readers(const struct dashboard_stream *stream)
{
	return stream->count;
}

/* NULL: nothing can be said to it, or heard from it, now. */
static struct valkey_subscriber *
listening(const struct dashboard_stream *stream)
{
	struct valkey_subscriber *subscriber = stream->worker->subscriber;

	return subscriber != NULL && valkey_subscriber_listens(subscriber) ? subscriber : NULL;
}

/*
 * Readers come and go.
 */

static void
reader_leaves(struct dashboard_stream *stream, struct reader *reader)
{
	TAILQ_REMOVE(&stream->readers, reader, entry);
	reply_stream_end(reader->request);
	if (--stream->count > 0)
		return;
	event_del(stream->tick);
	if (listening(stream) != NULL)
		valkey_subscriber_remove(listening(stream), DASHBOARD_CHANNEL);
}

static void
send_to_all(struct dashboard_stream *stream, const char *text, size_t length)
{
	struct reader *reader, *next;

	for (reader = TAILQ_FIRST(&stream->readers); reader != NULL; reader = next) {
		next = TAILQ_NEXT(reader, entry);
		if (!reply_stream_send(reader->request, text, length, UNSENT_MOST))
			reader_leaves(stream, reader);
	}
}

outcome
dashboard_follow(struct request *r)
{
	struct dashboard_stream *stream = r->worker->dashboard_stream;
	struct timeval period = clock_timeval(PERIOD_MS);
	struct reader *reader;

	if (stream->draining || stream->count >= READERS_MOST)
		return reply_problem(r, PROBLEM_OVERLOADED, NULL);
	reader = arena_alloc(&r->arena, sizeof(*reader));
	reader->request = r;
	reader->until_ms = clock_monotonic_ms() + FOLLOW_MS;
	if (!reply_stream_begin(r, "text/event-stream"))
		return step_replied_(); /* to HEAD there is no more to say */
	TAILQ_INSERT_TAIL(&stream->readers, reader, entry);
	if (stream->count++ == 0) {
		event_add(stream->tick, &period);
		if (listening(stream) != NULL)
			valkey_subscriber_add(listening(stream), DASHBOARD_CHANNEL);
	}
	if (stream->frame == NULL || clock_monotonic_ms() - stream->frame_ms >= FRESH_MS)
		dashboard_compute(r->worker->dashboard, computed, stream);
	else if (!reply_stream_send(r, stream->frame, stream->frame_length, UNSENT_MOST))
		reader_leaves(stream, reader);
	return step_waiting_();
}

void
dashboard_stream_drain(struct dashboard_stream *stream)
{
	stream->draining = true;
	while (!TAILQ_EMPTY(&stream->readers))
		reader_leaves(stream, TAILQ_FIRST(&stream->readers));
}

/*
 * A second.
 */

static void
second_passed(evutil_socket_t fd, short what, void *argument)
{
	struct dashboard_stream *stream = argument;
	int64_t now_ms = clock_monotonic_ms();
	struct valkey_batch *batch;
	struct reader *reader;

	/* They stand in the order of their ends. */
	while ((reader = TAILQ_FIRST(&stream->readers)) != NULL && now_ms >= reader->until_ms)
		reader_leaves(stream, reader);
	if (stream->count == 0)
		return;
	if (listening(stream) == NULL || now_ms - stream->frame_ms > SILENCE_MS) {
		dashboard_compute(stream->worker->dashboard, computed, stream);
		return;
	}
	batch = valkey_batch_new(stream->worker->valkey);
	valkey_add(batch, "SET", "mirror:dashboard:turn", "1", "NX", "PX", TURN_MS, NULL);
	valkey_send(batch, turn_asked, stream);
}

/* If Valkey could not be asked, the silence will tell. */
static void
turn_asked(void *argument, const char *error, redisReply *const *replies)
{
	struct dashboard_stream *stream = argument;

	if (error != NULL || replies[0]->type != REDIS_REPLY_STATUS || stream->count == 0)
		return;
	stream->our_turn = true;
	dashboard_compute(stream->worker->dashboard, computed, stream);
}

static void
published(void *argument, const char *error, redisReply *const *replies)
{
}

/* What was published comes back over the channel, to us as to everybody. */
static void
computed(void *argument, const char *json)
{
	static const char comment[] = ": the numbers cannot be had at the moment\n\n";
	struct dashboard_stream *stream = argument;
	bool our_turn = stream->our_turn && listening(stream) != NULL;
	struct valkey_batch *batch;

	stream->our_turn = false;
	if (json == NULL) {
		send_to_all(stream, comment, sizeof(comment) - 1);
	} else if (our_turn) {
		batch = valkey_batch_new(stream->worker->valkey);
		valkey_add(batch, "PUBLISH", DASHBOARD_CHANNEL, json, NULL);
		valkey_send(batch, published, NULL);
	} else {
		dashboard_stream_message(stream, json, strlen(json));
	}
}

void
dashboard_stream_message(struct dashboard_stream *stream, const char *json, size_t length)
{
	static const char head[] = "event: dashboard\ndata: ";
	size_t frame_length = sizeof(head) - 1 + length + 2;
	char *frame;

	if (memchr(json, '\n', length) != NULL)
		return; /* not of ours, and it would be read as something else */
	frame = malloc(frame_length + 1);
	if (frame == NULL)
		fatal("out of memory");
	snprintf(frame, frame_length + 1, "%s%.*s\n\n", head, (int)length, json);
	free(stream->frame);
	stream->frame = frame;
	stream->frame_length = frame_length;
	stream->frame_ms = clock_monotonic_ms();
	send_to_all(stream, frame, frame_length);
}

void
dashboard_stream_subscribed(struct dashboard_stream *stream)
{
	if (stream->count > 0)
		valkey_subscriber_add(stream->worker->subscriber, DASHBOARD_CHANNEL);
}
