/*
 * event_waits: who waits, by channel; see the header for why it works.
 *
 * A request that waits is either resting in event_wait() or busy reading what woke it.  Its wait is UNASKED (its channel is
 * being subscribed to, or Valkey is away: the truth must be asked), ASKING (that statement is under way), QUIET (nothing yet,
 * and a message would be heard) or WOKEN (a message came while it was busy).
 */
#include "server/event_waits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "server/request.h"
#include "server/worker.h"

#define BUCKETS       4096
#define ASK_MOST      1000 /* waits in one statement */
#define PER_USER_MOST 8
#define CHANNEL_SIZE  sizeof("user:customer:00000000-0000-0000-0000-000000000000")

struct event_wait {
	TAILQ_ENTRY(event_wait) entry;   /* of its channel, the oldest first */
	TAILQ_ENTRY(event_wait) unasked; /* while UNASKED */
	struct event_channel *channel;
	struct request *request;
	struct event *timer;
	int64_t after;
	enum {
		UNASKED,
		ASKING,
		QUIET,
		WOKEN,
	} state;
	size_t asked_as; /* its place among those who are ASKING */
	bool resting;    /* in event_wait() */
	bool over;       /* the time is up */
};

TAILQ_HEAD(event_wait_list, event_wait);

struct event_channel {
	LIST_ENTRY(event_channel) entry;
	struct event_waits *owner;
	struct event_wait_list waits;
	size_t count;
	bool confirmed; /* what is published from now on comes here */
	char name[CHANNEL_SIZE];
};

struct event_waits {
	struct worker *worker;
	LIST_HEAD(, event_channel) buckets[BUCKETS];
	size_t count;
	struct event_wait_list unasked;
	struct event *turn; /* asks, when this turn of the event loop has gathered all it brings */
	struct event_wait *asking[ASK_MOST]; /* NULL: it has left */
	size_t asking_count;
	unsigned seconds;
	bool draining;
};

static void ask(evutil_socket_t, short, void *);
static pg_done_fn asked;
static void time_is_up(evutil_socket_t, short, void *);

struct event_waits *
event_waits_new(struct worker *worker)
{
	struct event_waits *waits = calloc(1, sizeof(*waits));

	if (waits == NULL)
		fatal("out of memory");
	waits->worker = worker;
	TAILQ_INIT(&waits->unasked);
	waits->turn = evtimer_new(worker->base, ask, waits);
	if (waits->turn == NULL)
		fatal("out of memory");
	return waits;
}

void
event_waits_free(struct event_waits *waits)
{
	event_free(waits->turn);
	free(waits);
}

/*
 * Channels.
 */

static size_t
bucket_of(const char *name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash % BUCKETS;
}

static struct event_channel *
channel_find(struct event_waits *waits, const char *name)
{
	struct event_channel *channel;

	LIST_FOREACH(channel, &waits->buckets[bucket_of(name)], entry)
		if (strcmp(channel->name, name) == 0)
			return channel;
	return NULL;
}

static const char *
user_type_name(enum user_type type)
{
	return type == USER_MITRA ? "mitra" : "customer";
}

/* The subscriber, if something can be said to it now. */
static struct valkey_subscriber *
listening(const struct event_waits *waits)
{
	struct valkey_subscriber *subscriber = waits->worker->subscriber;

	return subscriber != NULL && valkey_subscriber_listens(subscriber) ? subscriber : NULL;
}

static struct event_channel *
channel_of(struct event_waits *waits, const struct caller *caller)
{
	char name[CHANNEL_SIZE];
	struct event_channel *channel;

	snprintf(name, sizeof(name), "user:%s:%s", user_type_name(caller->type), caller->id);
	channel = channel_find(waits, name);
	if (channel != NULL)
		return channel;
	channel = calloc(1, sizeof(*channel));
	if (channel == NULL)
		fatal("out of memory");
	channel->owner = waits;
	memcpy(channel->name, name, sizeof(name));
	TAILQ_INIT(&channel->waits);
	LIST_INSERT_HEAD(&waits->buckets[bucket_of(name)], channel, entry);
	if (listening(waits) != NULL)
		valkey_subscriber_add(listening(waits), name);
	return channel;
}

static void
channel_free(struct event_channel *channel)
{
	struct valkey_subscriber *subscriber = listening(channel->owner);

	LIST_REMOVE(channel, entry);
	if (subscriber != NULL)
		valkey_subscriber_remove(subscriber, channel->name);
	free(channel);
}

/*
 * Asking the truth.
 */

static void
to_be_asked(struct event_wait *wait)
{
	struct event_waits *waits = wait->channel->owner;
	struct timeval now = { 0 };

	if (wait->state == UNASKED)
		return;
	wait->state = UNASKED;
	TAILQ_INSERT_TAIL(&waits->unasked, wait, unasked);
	evtimer_add(waits->turn, &now);
}

/* {customer,mitra} and the like, of those who are ASKING. */
static const char *
array_of(const struct event_waits *waits, struct arena *arena, int column)
{
	size_t room = waits->asking_count * UUID_SIZE + 3, length = 0;
	char *text = arena_alloc(arena, room);

	text[length++] = '{';
	for (size_t i = 0; i < waits->asking_count; i++) {
		const struct event_wait *wait = waits->asking[i];
		const struct caller *caller = &wait->request->caller;

		if (i > 0)
			text[length++] = ',';
		if (column == 2)
			length += (size_t)snprintf(
			    text + length, room - length, "%lld", (long long)wait->after);
		else
			length += (size_t)snprintf(text + length, room - length, "%s",
			    column == 0 ? user_type_name(caller->type) : caller->id);
	}
	text[length] = '}';
	return text;
}

/* Those whose channel is still being subscribed to would have to be asked once more when it is, so they are left out. */
static void
gather(struct event_waits *waits)
{
	bool listens = listening(waits) != NULL;
	struct event_wait *wait, *next;

	for (wait = TAILQ_FIRST(&waits->unasked); wait != NULL && waits->asking_count < ASK_MOST;
	     wait = next) {
		next = TAILQ_NEXT(wait, unasked);
		if (listens && !wait->channel->confirmed)
			continue;
		TAILQ_REMOVE(&waits->unasked, wait, unasked);
		wait->state = ASKING;
		wait->asked_as = waits->asking_count;
		waits->asking[waits->asking_count++] = wait;
	}
}

static void
ask(evutil_socket_t fd, short what, void *argument)
{
	struct event_waits *waits = argument;
	struct arena arena = { 0 };

	if (waits->asking_count > 0)
		return; /* asked() comes back to them */
	gather(waits);
	if (waits->asking_count == 0)
		return;
	counters.event_wait_checks++;
	pg_submit(waits->worker->pg, SQL_EVENTS_NEWS, 3,
	    (const char *[]){ array_of(waits, &arena, 0), array_of(waits, &arena, 1),
		array_of(waits, &arena, 2) },
	    asked, waits);
	arena_free(&arena);
}

/* It is to read what is new, now or when it has read the rest. */
static void
wake(struct event_wait *wait)
{
	struct event_waits *waits = wait->channel->owner;
	struct request *r = wait->request;

	if (wait->state == UNASKED)
		TAILQ_REMOVE(&waits->unasked, wait, unasked);
	if (wait->state == ASKING)
		waits->asking[wait->asked_as] = NULL;
	wait->state = wait->resting ? QUIET : WOKEN;
	if (!wait->resting)
		return;
	wait->resting = false;
	(void)r->next.step(r);
}

/* Who could not be asked waits for the next round of event_waits_tick(). */
static void
asked(void *argument, enum pg_status status, const struct rows *rows)
{
	struct event_waits *waits = argument;
	size_t count = waits->asking_count;

	if (status == PG_FAILED)
		log_error("EVENTS_NEWS failed: %s", rows_error(rows));
	for (int row = 0; status == PG_OK && row < rows_count(rows); row++) {
		size_t place = (size_t)rows_integer_at(rows, row, "place");

		if (place >= 1 && place <= count && waits->asking[place - 1] != NULL)
			wake(waits->asking[place - 1]);
	}
	waits->asking_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct event_wait *wait = waits->asking[i];

		if (wait == NULL)
			continue;
		wait->state = QUIET;
		if (status != PG_OK) {
			wait->state = UNASKED;
			TAILQ_INSERT_TAIL(&waits->unasked, wait, unasked);
		}
	}
	if (status == PG_OK)
		ask(-1, 0, waits);
}

/* Every other second, while nobody would tell us. */
void
event_waits_tick(struct event_waits *waits)
{
	struct event_channel *channel;
	struct event_wait *wait;

	if (waits->count == 0 || ++waits->seconds % 2 == 0)
		return;
	if (listening(waits) == NULL)
		for (size_t i = 0; i < BUCKETS; i++)
			LIST_FOREACH(channel, &waits->buckets[i], entry)
				TAILQ_FOREACH(wait, &channel->waits, entry)
					if (wait->state == QUIET)
						to_be_asked(wait);
	ask(-1, 0, waits);
}

/*
 * What the subscriber tells.
 */

/* What was published while it was away may have been missed. */
void
event_waits_subscribed(struct event_waits *waits)
{
	struct event_channel *channel;

	for (size_t i = 0; i < BUCKETS; i++)
		LIST_FOREACH(channel, &waits->buckets[i], entry) {
			channel->confirmed = false;
			valkey_subscriber_add(waits->worker->subscriber, channel->name);
		}
}

void
event_waits_confirmed(struct event_waits *waits, const char *name)
{
	struct event_channel *channel = channel_find(waits, name);
	struct event_wait *wait;

	if (channel == NULL)
		return;
	channel->confirmed = true;
	TAILQ_FOREACH(wait, &channel->waits, entry)
		if (wait->state == QUIET)
			to_be_asked(wait);
	ask(-1, 0, waits);
}

void
event_waits_message(struct event_waits *waits, const char *name)
{
	struct event_channel *channel = channel_find(waits, name);
	struct event_wait *wait, *next;

	/* The last of them may take the channel along. */
	for (wait = channel == NULL ? NULL : TAILQ_FIRST(&channel->waits); wait != NULL;
	     wait = next) {
		next = TAILQ_NEXT(wait, entry);
		wake(wait);
	}
}

/*
 * A request's side.
 */

static void
let_go(struct event_wait *wait)
{
	struct request *r = wait->request;

	wait->over = true;
	if (!wait->resting)
		return;
	wait->resting = false;
	/* Whoever could not find out reads once more himself, and learns what is wrong. */
	if (wait->state == QUIET || wait->channel->owner->draining)
		(void)r->fallback.step(r);
	else
		(void)r->next.step(r);
}

static void
time_is_up(evutil_socket_t fd, short what, void *argument)
{
	let_go(argument);
}

void
event_waits_drain(struct event_waits *waits)
{
	struct event_channel *channel, *next_channel;
	struct event_wait *wait, *next;

	waits->draining = true;
	for (size_t i = 0; i < BUCKETS; i++)
		for (channel = LIST_FIRST(&waits->buckets[i]); channel != NULL;
		     channel = next_channel) {
			next_channel = LIST_NEXT(channel, entry);
			for (wait = TAILQ_FIRST(&channel->waits); wait != NULL; wait = next) {
				next = TAILQ_NEXT(wait, entry);
				let_go(wait);
			}
		}
}

size_t
event_waits_count(const struct event_waits *waits)
{
	return waits->count;
}

bool
event_wait_begin(struct request *r, int64_t after, int64_t wait_ms)
{
	struct event_waits *waits = r->worker->event_waits;
	struct event_wait *wait;
	struct timeval span = clock_timeval(waits->draining ? 0 : wait_ms);

	if (waits->count >= (size_t)r->worker->config->event_waits_per_worker)
		return false;
	wait = arena_alloc(&r->arena, sizeof(*wait));
	wait->request = r;
	wait->after = after;
	wait->over = waits->draining;
	wait->channel = channel_of(waits, &r->caller);
	wait->timer = evtimer_new(r->worker->base, time_is_up, wait);
	if (wait->timer == NULL || evtimer_add(wait->timer, &span) != 0)
		fatal("out of memory");
	r->event_wait = wait;
	waits->count++;
	wait->state = QUIET;
	TAILQ_INSERT_TAIL(&wait->channel->waits, wait, entry);
	to_be_asked(wait);
	if (++wait->channel->count > PER_USER_MOST)
		let_go(TAILQ_FIRST(&wait->channel->waits));
	return true;
}

outcome
event_wait(struct request *r, step_fn *woken, step_fn *over)
{
	struct event_wait *wait = r->event_wait;

	if (wait->over)
		return over(r);
	if (wait->state == WOKEN) {
		wait->state = QUIET;
		return woken(r);
	}
	r->next.step = woken;
	r->fallback.step = over;
	wait->resting = true;
	return step_waiting_();
}

void
event_wait_end(struct event_wait *wait)
{
	struct event_channel *channel = wait->channel;
	struct event_waits *waits = channel->owner;

	event_free(wait->timer);
	if (wait->state == UNASKED)
		TAILQ_REMOVE(&waits->unasked, wait, unasked);
	if (wait->state == ASKING)
		waits->asking[wait->asked_as] = NULL;
	TAILQ_REMOVE(&channel->waits, wait, entry);
	waits->count--;
	if (--channel->count == 0)
		channel_free(channel);
}
