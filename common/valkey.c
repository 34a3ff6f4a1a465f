/*
 * valkey: a Valkey client on an event loop, and the breaker before it.
 *
 * A batch goes through at most two queues: in_flight, from valkey_send() until all its replies are
 * there or it has failed, and finished, until its callback has run.  Callbacks run from one place
 * only, the `deliver` event: so never within valkey_send(), never within a bufferevent's callback,
 * and what a callback sends in its turn cannot recurse.
 *
 * valkey_link makes and remakes the connection; here is decided when it is no good: a deadline
 * passed, a reply that nobody asked for, or one that says that the server cannot do its work.
 */
#include "common/valkey.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/series.h"
#include "common/valkey_link.h"
#include "common/valkey_resp.h"

/*
 * A deadline noticed later than this was missed by us, who were busy or stopped; the reply may well
 * be there.
 */
#define NOTICED_LATE_MS 10
#define EXCUSE_MS       20

enum state {
	CONNECTING, /* the first attempt since valkey_new(): batches wait for how it ends */
	UP,
	DOWN,
};

struct valkey_batch {
	STAILQ_ENTRY(valkey_batch) entry;
	struct valkey *client;
	struct evbuffer *commands; /* empty once they are with the link */
	size_t count;              /* of commands */
	redisReply **replies;      /* room for `count`, from valkey_send() on */
	size_t replied;
	int64_t sent_us; /* monotonic */
	int64_t deadline_ms;
	bool excused; /* its deadline was noticed late, once */
	bool failed;
	valkey_done_fn *done;
	void *argument;
};

STAILQ_HEAD(batches, valkey_batch);

struct valkey {
	struct event_base *base;
	struct valkey_link *link;
	int timeout_ms;
	enum state state;
	int64_t down_since_ms;
	int64_t returned_ms; /* 0: has not been down yet */
	char last_error[256];

	struct batches in_flight; /* oldest first, so also by deadline */
	struct batches finished;  /* oldest first */
	size_t pending;           /* in both */
	struct event *deadline;   /* pending whenever something is in flight; may fire early */
	struct event *deliver;
	bool delivering;
	char wait_error[256];

	valkey_state_fn *on_state;
	void *on_state_argument;
};

static void link_ready(void *);
static void link_replied(void *, redisReply *);
static void link_down(void *, const char *reason);
static void deadline_fired(evutil_socket_t, short what, void *);
static void deliver_fired(evutil_socket_t, short what, void *);
static void go_down(struct valkey *, const char *reason);
static void fail_all(struct valkey *);
static void finish(struct valkey *, struct valkey_batch *);
static void batch_free(struct valkey_batch *);
static void arm(struct event *, int64_t ms);

struct valkey *
valkey_new(struct event_base *base, struct evdns_base *dns, const struct config *config)
{
	static const struct valkey_link_events events = { link_ready, link_replied, link_down };
	struct valkey *v = calloc(1, sizeof(*v));

	if (v == NULL)
		fatal("out of memory");
	v->base = base;
	v->timeout_ms = config->valkey_timeout_ms;
	STAILQ_INIT(&v->in_flight);
	STAILQ_INIT(&v->finished);
	v->deadline = evtimer_new(base, deadline_fired, v);
	v->deliver = evtimer_new(base, deliver_fired, v);
	if (v->deadline == NULL || v->deliver == NULL)
		fatal("out of memory");
	v->down_since_ms = clock_monotonic_ms();
	v->link = valkey_link_new(base, dns, config, LINK_COMMANDS, &events, v);
	return v;
}

void
valkey_close(struct valkey *v)
{
	valkey_link_free(v->link);
	v->link = NULL;
	v->state = DOWN;
	snprintf(v->last_error, sizeof(v->last_error), "the client is closed");
	fail_all(v);
}

void
valkey_free(struct valkey *v)
{
	if (v == NULL)
		return;
	assert(!v->delivering);
	valkey_close(v);
	while (!STAILQ_EMPTY(&v->finished))
		deliver_fired(-1, EV_TIMEOUT, v);
	event_free(v->deadline);
	event_free(v->deliver);
	free(v);
}

bool
valkey_is_up(const struct valkey *v)
{
	return v->state == UP;
}

int64_t
valkey_returned_ms(const struct valkey *v)
{
	return v->returned_ms;
}

const char *
valkey_last_error(const struct valkey *v)
{
	return v->last_error;
}

size_t
valkey_pending(const struct valkey *v)
{
	return v->pending;
}

void
valkey_on_state(struct valkey *v, valkey_state_fn *on_state, void *argument)
{
	v->on_state = on_state;
	v->on_state_argument = argument;
}

struct valkey_batch *
valkey_batch_new(struct valkey *v)
{
	struct valkey_batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL || (batch->commands = evbuffer_new()) == NULL)
		fatal("out of memory");
	batch->client = v;
	return batch;
}

static void
batch_free(struct valkey_batch *batch)
{
	if (batch->replies != NULL)
		for (size_t i = 0; i < batch->replied; i++)
			freeReplyObject(batch->replies[i]);
	free(batch->replies);
	evbuffer_free(batch->commands);
	free(batch);
}

void
valkey_add(struct valkey_batch *batch, const char *command, ...)
{
	va_list arguments;

	va_start(arguments, command);
	valkey_resp_commandv(batch->commands, command, arguments);
	va_end(arguments);
	batch->count++;
}

void
valkey_add_argv(
    struct valkey_batch *batch, int arguments, const char *const *values, const size_t *lengths)
{
	valkey_resp_begin(batch->commands, arguments);
	for (int i = 0; i < arguments; i++)
		valkey_resp_argument(batch->commands, values[i], lengths[i]);
	batch->count++;
}

void
valkey_send(struct valkey_batch *batch, valkey_done_fn *done, void *argument)
{
	struct valkey *v = batch->client;

	batch->done = done;
	batch->argument = argument;
	batch->sent_us = clock_monotonic_us();
	batch->deadline_ms = batch->sent_us / 1000 + v->timeout_ms;
	v->pending++;
	if (batch->count == 0 || v->state == DOWN) {
		batch->failed = v->state == DOWN;
		finish(v, batch);
		return;
	}
	batch->replies = calloc(batch->count, sizeof(*batch->replies));
	if (batch->replies == NULL)
		fatal("out of memory");
	STAILQ_INSERT_TAIL(&v->in_flight, batch, entry);
	if (v->state == UP)
		valkey_link_write(v->link, batch->commands);
	if (!evtimer_pending(v->deadline, NULL))
		arm(v->deadline, v->timeout_ms);
}

static void
came_back(struct valkey *v)
{
	v->returned_ms = clock_monotonic_ms();
	log_info(
	    "[valkey] up again after %.1f s", (double)(v->returned_ms - v->down_since_ms) / 1000);
}

static void
link_ready(void *argument)
{
	struct valkey *v = argument;
	struct valkey_batch *batch;

	if (v->state == CONNECTING)
		log_debug("[valkey] connected");
	else
		came_back(v);
	v->state = UP;
	STAILQ_FOREACH(batch, &v->in_flight, entry)
		valkey_link_write(v->link, batch->commands);
	if (v->on_state != NULL)
		v->on_state(v->on_state_argument, true);
}

/* Does this error speak of the server's state, not of the command? */
static bool
tells_of_trouble(const char *error)
{
	static const char *const codes[] = {
		"LOADING",
		"READONLY",
		"MASTERDOWN",
		"CLUSTERDOWN",
		"MISCONF",
		"OOM",
		"NOAUTH",
		"NOREPLICAS",
		"BUSY",
	};
	size_t length = strcspn(error, " ");

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		if (strlen(codes[i]) == length && memcmp(error, codes[i], length) == 0)
			return true;
	return false;
}

static void
link_replied(void *argument, redisReply *reply)
{
	struct valkey *v = argument;
	struct valkey_batch *oldest = STAILQ_FIRST(&v->in_flight);

	if (oldest == NULL) {
		freeReplyObject(reply);
		valkey_link_drop(v->link, "a reply that nobody asked for");
		return;
	}
	oldest->replies[oldest->replied++] = reply;
	if (reply->type == REDIS_REPLY_ERROR && tells_of_trouble(reply->str)) {
		valkey_link_drop(v->link, "%s", reply->str);
		return;
	}
	if (oldest->replied == oldest->count) {
		STAILQ_REMOVE_HEAD(&v->in_flight, entry);
		histogram_observe(&series.valkey, clock_monotonic_us() - oldest->sent_us);
		finish(v, oldest);
	}
}

static void
link_down(void *argument, const char *reason)
{
	go_down(argument, reason);
}

/*
 * The timer is not moved at every send and reply, but looks at the oldest batch when it fires, and
 * goes on from there.
 */
static void
deadline_fired(evutil_socket_t fd, short what, void *argument)
{
	struct valkey *v = argument;
	struct valkey_batch *oldest = STAILQ_FIRST(&v->in_flight);
	char reason[64];
	int64_t late_ms;

	if (oldest == NULL)
		return;
	late_ms = clock_monotonic_ms() - oldest->deadline_ms;
	if (late_ms < 0) {
		arm(v->deadline, -late_ms);
		return;
	}
	if (late_ms > NOTICED_LATE_MS && !oldest->excused) {
		oldest->excused = true;
		arm(v->deadline, EXCUSE_MS);
		return;
	}
	if (v->state == UP) {
		valkey_link_drop(v->link, "no answer within %d ms", v->timeout_ms);
		return;
	}
	snprintf(reason, sizeof(reason), "not connected within %d ms", v->timeout_ms);
	go_down(v, reason);
}

/* Also called while it is down: why, may change. */
static void
go_down(struct valkey *v, const char *reason)
{
	enum state before = v->state;

	v->state = DOWN;
	snprintf(v->last_error, sizeof(v->last_error), "%s", reason);
	fail_all(v);
	if (before == DOWN)
		return;
	log_warning("[valkey] down: %s", reason);
	if (before == CONNECTING)
		return;
	counters.valkey_disconnects++;
	v->down_since_ms = clock_monotonic_ms();
	if (v->on_state != NULL)
		v->on_state(v->on_state_argument, false);
}

static void
fail_all(struct valkey *v)
{
	struct valkey_batch *batch;

	while ((batch = STAILQ_FIRST(&v->in_flight)) != NULL) {
		STAILQ_REMOVE_HEAD(&v->in_flight, entry);
		batch->failed = true;
		finish(v, batch);
	}
}

/* What a callback itself made finish waits for the next turn of the loop: see deliver_fired(). */
static void
finish(struct valkey *v, struct valkey_batch *batch)
{
	STAILQ_INSERT_TAIL(&v->finished, batch, entry);
	if (!v->delivering)
		event_active(v->deliver, EV_TIMEOUT, 0);
}

/*
 * Only what had finished when it began: while the client is down, a callback that sends anew
 * finishes at once, and would keep the loop from everything else.  A timer of 0 ms lets it turn;
 * event_active() would not.
 */
static void
deliver_fired(evutil_socket_t fd, short what, void *argument)
{
	struct valkey *v = argument;
	struct batches finished = STAILQ_HEAD_INITIALIZER(finished);
	struct valkey_batch *batch;

	STAILQ_CONCAT(&finished, &v->finished);
	v->delivering = true;
	while ((batch = STAILQ_FIRST(&finished)) != NULL) {
		STAILQ_REMOVE_HEAD(&finished, entry);
		v->pending--;
		if (batch->failed)
			batch->done(batch->argument, v->last_error, NULL);
		else
			batch->done(batch->argument, NULL, batch->replies);
		batch_free(batch);
	}
	v->delivering = false;
	if (!STAILQ_EMPTY(&v->finished))
		arm(v->deliver, 0);
}

struct wait {
	struct valkey_batch *batch;
	struct valkey_replies *replies; /* NULL: it failed */
	bool over;
};

static void
wait_over(void *argument, const char *error, redisReply *const *borrowed)
{
	struct wait *wait = argument;
	struct valkey_batch *batch = wait->batch;

	wait->over = true;
	if (error != NULL) {
		snprintf(batch->client->wait_error, sizeof(batch->client->wait_error), "%s", error);
		return;
	}
	wait->replies = malloc(sizeof(*wait->replies));
	if (wait->replies == NULL)
		fatal("out of memory");
	*wait->replies = (struct valkey_replies){ .count = batch->count, .reply = batch->replies };
	batch->replies = NULL; /* they are the waiter's now */
}

struct valkey_replies *
valkey_wait(struct valkey_batch *batch, const char **error)
{
	struct valkey *v = batch->client;
	struct wait wait = { .batch = batch };

	assert(!v->delivering);
	valkey_send(batch, wait_over, &wait);
	while (!wait.over)
		if (event_base_loop(v->base, EVLOOP_ONCE) < 0)
			fatal("the event loop failed");
	*error = wait.replies == NULL ? v->wait_error : NULL;
	return wait.replies;
}

void
valkey_replies_free(struct valkey_replies *replies)
{
	if (replies == NULL)
		return;
	for (size_t i = 0; i < replies->count; i++)
		freeReplyObject(replies->reply[i]);
	free(replies->reply);
	free(replies);
}

static void
arm(struct event *timer, int64_t ms)
{
	const struct timeval tv = clock_timeval(ms);

	if (evtimer_add(timer, &tv) != 0)
		fatal("out of memory");
}
