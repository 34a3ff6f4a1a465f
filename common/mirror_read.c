/*
 * mirror_read: the questions that are asked of the mirror.
 *
 * Each is one or more batches of plain commands, and each batch begins with a GET of mirror:generation: an
 * emptied Valkey, or an empty replica that took over, answers every other command as if nobody were online.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mirror_private.h"
#include "common/valkey.h"

#define CHUNK     1000 /* mitras asked about in one batch */
#define SETTLE_MS 800  /* more than the longest pause between two of the client's probes */

static struct valkey_batch *
read_begin(struct mirror *mirror)
{
	struct valkey_batch *batch = valkey_batch_new(mirror->valkey);

	valkey_add(batch, "GET", "mirror:generation", NULL);
	return batch;
}

/*
 * After an outage some process of the cluster may have a state that it could not write, and may get
 * Valkey back a little later than we did.  It then takes mirror:generation away; until it has had the
 * time to, the mirror is not believed.
 */
static bool
is_settling(const struct mirror *mirror)
{
	int64_t returned_ms = valkey_returned_ms(mirror->valkey);

	return returned_ms != 0 && clock_monotonic_ms() - returned_ms < SETTLE_MS;
}

const char *
mirror_fault(const struct mirror *mirror, redisReply *const *replies, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (replies[i]->type == REDIS_REPLY_ERROR)
			return replies[i]->str;
	if (replies[0]->type != REDIS_REPLY_STRING)
		return MIRROR_EMPTY;
	return is_settling(mirror) ? "Valkey has just come back" : NULL;
}

const char *
mirror_reply_text(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING ? reply->str : NULL;
}

/* A heartbeat from the future is of another machine's clock, and fresh. */
static bool
is_fresh(const struct mirror *mirror, const char *heartbeat, int64_t now_ms)
{
	int64_t heard_ms;

	return heartbeat && clock_parse_iso(heartbeat, &heard_ms) &&
	       now_ms - heard_ms <= mirror->limits.stale_after_ms;
}

/* What a short question waits with. */
struct question {
	struct mirror *mirror;
	union {
		mirror_beat_fn *beat;
		mirror_reachable_fn *reachable;
		mirror_text_fn *text;
	} done;
	void *argument;
};

static struct question *
question_new(struct mirror *mirror, void *argument)
{
	struct question *question = calloc(1, sizeof(*question));

	if (!question)
		fatal("mirror: out of memory");
	question->mirror = mirror;
	question->argument = argument;
	return question;
}

static void
beat_replied(void *argument, const char *error, redisReply *const *replies)
{
	struct question question = *(struct question *)argument;
	enum mirror_beat beat = BEAT_STORED;

	free(argument);
	if (!error)
		error = mirror_fault(question.mirror, replies, 3);
	if (!error && replies[1]->integer == 1)
		beat = BEAT_INACTIVE;
	else if (!error && replies[2]->type == REDIS_REPLY_NIL)
		beat = BEAT_UNKNOWN;
	question.done.beat(question.argument, error, beat);
}

void
mirror_beat(struct mirror *mirror, const char *id, mirror_beat_fn *done, void *argument)
{
	struct question *question = question_new(mirror, argument);
	struct valkey_batch *batch = read_begin(mirror);
	char key[64], now[CLOCK_ISO_SIZE];

	question->done.beat = done;
	snprintf(key, sizeof(key), "mitra:heartbeat:%s", id);
	clock_iso(clock_wall_ms(), now);
	valkey_add(batch, "SISMEMBER", "mitras:deactivated", id, NULL);
	valkey_add(batch, "SET", key, now, "XX", NULL);
	valkey_send(batch, beat_replied, question);
}

static void
reachable_replied(void *argument, const char *error, redisReply *const *replies)
{
	struct question question = *(struct question *)argument;
	bool reachable = false;

	free(argument);
	if (!error)
		error = mirror_fault(question.mirror, replies, 4);
	if (!error)
		reachable = replies[1]->integer == 1 && replies[2]->integer == 0 &&
			    is_fresh(
				question.mirror, mirror_reply_text(replies[3]), clock_wall_ms());
	question.done.reachable(question.argument, error, reachable);
}

void
mirror_reachable(struct mirror *mirror, const char *id, mirror_reachable_fn *done, void *argument)
{
	struct question *question = question_new(mirror, argument);
	struct valkey_batch *batch = read_begin(mirror);
	char key[64];

	question->done.reachable = done;
	snprintf(key, sizeof(key), "mitra:heartbeat:%s", id);
	valkey_add(batch, "SISMEMBER", "mitras:online", id, NULL);
	valkey_add(batch, "SISMEMBER", "mitras:deactivated", id, NULL);
	valkey_add(batch, "GET", key, NULL);
	valkey_send(batch, reachable_replied, question);
}

static void
heartbeat_replied(void *argument, const char *error, redisReply *const *replies)
{
	struct question question = *(struct question *)argument;
	const char *heartbeat = NULL;
	int64_t heard_ms;

	free(argument);
	if (!error)
		error = mirror_fault(question.mirror, replies, 2);
	if (!error)
		heartbeat = mirror_reply_text(replies[1]);
	if (heartbeat && !clock_parse_iso(heartbeat, &heard_ms))
		heartbeat = NULL;
	question.done.text(question.argument, error, heartbeat);
}

void
mirror_heartbeat_of(struct mirror *mirror, const char *id, mirror_text_fn *done, void *argument)
{
	struct question *question = question_new(mirror, argument);
	struct valkey_batch *batch = read_begin(mirror);
	char key[64];

	question->done.text = done;
	snprintf(key, sizeof(key), "mitra:heartbeat:%s", id);
	valkey_add(batch, "GET", key, NULL);
	valkey_send(batch, heartbeat_replied, question);
}

/*
 * Who is available: first the candidates in one SDIFF, then their heartbeats and loads, CHUNK at a time and
 * one batch after the other, so that neither Valkey nor its deadline feels a large set.
 *
 * For the same reason there is one search at a time: who asks while one is under way shares the next, so that
 * what he is told was read after he asked.
 */
struct search_waiter {
	struct search_waiter *next;
	mirror_available_fn *done;
	void *argument;
};

struct search {
	struct mirror *mirror;
	struct search_waiter *waiters;
	struct arena arena; /* holds all of this but the waiters */
	const char **ids;
	size_t count;
	size_t asked;  /* of ids; the chunk in flight ends here */
	size_t asking; /* and has this many */
	struct mirror_available *found;
	struct mirror_totals totals;
};

static valkey_done_fn search_listed, search_measured;
static void search_begin(struct mirror *);
static void search_ask(struct search *);
static void search_end(struct search *, const char *error);

void
mirror_available(struct mirror *mirror, mirror_available_fn *done, void *argument)
{
	struct search_waiter *waiter = calloc(1, sizeof(*waiter));

	if (!waiter)
		fatal("mirror: out of memory");
	*waiter = (struct search_waiter){ mirror->search_waiters, done, argument };
	mirror->search_waiters = waiter;
	if (!mirror->searching)
		search_begin(mirror);
}

static void
search_begin(struct mirror *mirror)
{
	struct arena arena = { 0 };
	struct search *search = arena_alloc(&arena, sizeof(*search));
	struct valkey_batch *batch = read_begin(mirror);

	*search = (struct search){
		.mirror = mirror, .waiters = mirror->search_waiters, .arena = arena
	};
	mirror->search_waiters = NULL;
	mirror->searching = true;
	valkey_add(batch, "SCARD", "mitras:online", NULL);
	valkey_add(batch, "SCARD", "mitras:deactivated", NULL);
	valkey_add(batch, "SDIFF", "mitras:online", "mitras:deactivated", NULL);
	valkey_send(batch, search_listed, search);
}

static void
search_listed(void *argument, const char *error, redisReply *const *replies)
{
	struct search *search = argument;

	if (!error)
		error = mirror_fault(search->mirror, replies, 4);
	if (error) {
		search_end(search, error);
		return;
	}
	search->totals.online = replies[1]->integer;
	search->totals.deactivated = replies[2]->integer;
	search->count = replies[3]->elements;
	search->ids = arena_alloc(&search->arena, sizeof(*search->ids) * (search->count + 1));
	search->found = arena_alloc(&search->arena, sizeof(*search->found) * (search->count + 1));
	for (size_t i = 0; i < search->count; i++)
		search->ids[i] = arena_strdup(&search->arena, replies[3]->element[i]->str);
	search_ask(search);
}

static void
add_mget(struct valkey_batch *batch, struct arena *arena, const char *prefix,
    const char *const *ids, size_t count)
{
	const char **arguments = arena_alloc(arena, sizeof(*arguments) * (count + 1));

	arguments[0] = "MGET";
	for (size_t i = 0; i < count; i++)
		arguments[i + 1] = arena_printf(arena, "%s%s", prefix, ids[i]);
	mirror_add(batch, count + 1, arguments);
}

static void
search_ask(struct search *search)
{
	struct arena keys = { 0 };
	struct valkey_batch *batch;
	const char *const *ids = search->ids + search->asked;

	search->asking = search->count - search->asked;
	if (search->asking == 0) {
		search_end(search, NULL);
		return;
	}
	if (search->asking > CHUNK)
		search->asking = CHUNK;
	batch = read_begin(search->mirror);
	add_mget(batch, &keys, "mitra:heartbeat:", ids, search->asking);
	add_mget(batch, &keys, "mitra:capacity:", ids, search->asking);
	search->asked += search->asking;
	valkey_send(batch, search_measured, search);
	arena_free(&keys);
}

static void
search_measured(void *argument, const char *error, redisReply *const *replies)
{
	struct search *search = argument;
	const char *const *ids = search->ids + search->asked - search->asking;
	int64_t now_ms = clock_wall_ms();

	if (!error)
		error = mirror_fault(search->mirror, replies, 3);
	if (error) {
		search_end(search, error);
		return;
	}
	for (size_t i = 0; i < search->asking; i++) {
		const char *heartbeat = mirror_reply_text(replies[1]->element[i]);
		const char *sessions = mirror_reply_text(replies[2]->element[i]);
		int load = sessions ? atoi(sessions) : 0;

		if (!is_fresh(search->mirror, heartbeat, now_ms) ||
		    load >= search->mirror->limits.max_sessions)
			continue;
		search->found[search->totals.available++] = (struct mirror_available){
			.id = ids[i],
			.sessions = load,
			.heartbeat = arena_strdup(&search->arena, heartbeat),
		};
	}
	search_ask(search);
}

static int
by_load(const void *left, const void *right)
{
	const struct mirror_available *a = left, *b = right;

	if (a->sessions != b->sessions)
		return a->sessions < b->sessions ? -1 : 1;
	return strcmp(a->id, b->id);
}

/* A waiter may ask again: that is the next search. */
static void
search_end(struct search *search, const char *error)
{
	struct mirror *mirror = search->mirror;
	struct search_waiter *waiter = search->waiters, *next;
	struct arena arena = search->arena;
	size_t available = (size_t)search->totals.available;

	if (!error)
		qsort(search->found, available, sizeof(*search->found), by_load);
	for (; waiter; waiter = next) {
		next = waiter->next;
		if (error)
			waiter->done(waiter->argument, error, NULL, 0, NULL);
		else
			waiter->done(
			    waiter->argument, NULL, search->found, available, &search->totals);
		free(waiter);
	}
	arena_free(&arena);
	mirror->searching = false;
	if (mirror->search_waiters)
		search_begin(mirror);
}
