/*
 * mirror_index: who is available, without looking at all.
 *
 * mirror_search.c is the definition; this gives the same answer from an index whose cost does not grow with
 * those online.  mirror.lua keeps mirror:ranking, where all who are online stand by load, so those with a
 * load below the limit are counted at once, and the least busy come first.  What a load does not tell is
 * whose heartbeat is too old.  For that the sweeper, which looks at all of them anyway (auto_offline.c), keeps
 *
 *   mirror:heard    everybody online who is not in mirror:silent was heard then, or later
 *   mirror:silent   the others, mostly none
 *
 * As long as mirror:heard itself is no older than a heartbeat may be, nobody outside mirror:silent can be too
 * old, and only those few are looked at one by one.
 *
 * The index is not used for few, since to search these costs hardly more, and the search sees what was edited by
 * hand at once.  And it says itself when it must not be: mirror:heard is missing or too old (no sweep lately), too many are
 * silent, or the ranking has not as many members as mitras:online (it was edited, or is being
 * rebuilt).  Then the search answers.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mirror_private.h"
#include "common/valkey.h"

#define FEW        1000 /* of these the search needs one page */
#define PAGE_LEAST 100

struct lookup {
	struct mirror *mirror;
	struct arena arena; /* holds all of this */
	mirror_available_fn *done;
	void *argument;

	struct mirror_totals totals;
	size_t most; /* mitras asked for; 0: only the totals */
	struct mirror_available *found;
	size_t found_count;

	struct mirror_available *looked_at; /* whose heartbeats are being read */
	size_t count;
	size_t ranking_read; /* of the ranking's members */
};

static valkey_done_fn begun, silent_measured, page_ranked, page_measured;
static mirror_available_fn searched;
static void ask(struct lookup *);
static bool index_is_good(const struct lookup *, redisReply *const *replies);
static void silent_measure(struct lookup *, const redisReply *ids);
static void page_rank(struct lookup *);
static void end(struct lookup *, const char *error);

/* What is below it has room for one more session. */
static const char *
score_limit(struct lookup *lookup)
{
	return arena_printf(
	    &lookup->arena, "(%" PRId64, lookup->mirror->limits.max_sessions * MIRROR_RANK);
}

void
mirror_best(struct mirror *mirror, size_t most, mirror_available_fn *done, void *argument)
{
	struct arena arena = { 0 };
	struct lookup *lookup = arena_alloc(&arena, sizeof(*lookup));

	*lookup = (struct lookup){
		.mirror = mirror, .arena = arena, .done = done, .argument = argument, .most = most
	};
	lookup->found = arena_alloc(&lookup->arena, (most + 1) * sizeof(*lookup->found));
	if (mirror->online > FEW)
		ask(lookup);
	else
		mirror_available(mirror, searched, lookup);
}

void
mirror_count(struct mirror *mirror, mirror_available_fn *done, void *argument)
{
	mirror_best(mirror, 0, done, argument);
}

static void
ask(struct lookup *lookup)
{
	struct valkey_batch *batch = mirror_read_begin(lookup->mirror);

	valkey_add(batch, "SCARD", "mitras:online", NULL);
	valkey_add(batch, "SCARD", "mitras:deactivated", NULL);
	valkey_add(batch, "ZCARD", "mirror:ranking", NULL);
	valkey_add(batch, "ZCOUNT", "mirror:ranking", "-inf", score_limit(lookup), NULL);
	valkey_add(batch, "GET", "mirror:heard", NULL);
	valkey_add(batch, "SRANDMEMBER", "mirror:silent",
	    arena_printf(&lookup->arena, "%d", MIRROR_SILENT_MOST + 1), NULL);
	valkey_send(batch, begun, lookup);
}

static void
begun(void *argument, const char *error, redisReply *const *replies)
{
	struct lookup *lookup = argument;

	if (!error)
		error = mirror_fault(lookup->mirror, replies, 3);
	if (error) {
		end(lookup, error);
		return;
	}
	if (!index_is_good(lookup, replies)) {
		mirror_available(lookup->mirror, searched, lookup);
		return;
	}
	lookup->mirror->online = replies[1]->integer;
	lookup->totals = (struct mirror_totals){
		.online = replies[1]->integer,
		.deactivated = replies[2]->integer,
		.available = replies[4]->integer,
	};
	if (replies[6]->elements > 0)
		silent_measure(lookup, replies[6]);
	else if (lookup->most > 0)
		page_rank(lookup);
	else
		end(lookup, NULL);
}

static bool
index_is_good(const struct lookup *lookup, redisReply *const *replies)
{
	return replies[1]->integer > FEW && replies[3]->type == REDIS_REPLY_INTEGER &&
	       replies[4]->type == REDIS_REPLY_INTEGER &&
	       replies[3]->integer == replies[1]->integer &&
	       mirror_is_fresh(lookup->mirror, mirror_reply_text(replies[5]), clock_wall_ms()) &&
	       replies[6]->type == REDIS_REPLY_ARRAY && replies[6]->elements <= MIRROR_SILENT_MOST;
}

/*
 * The silent: of those with a low load, who is too old does not count.
 */

/* A command about those looked at: "MGET", NULL, "mitra:heartbeat:" or "ZMSCORE", "mirror:ranking", "". */
static void
add_about(struct lookup *lookup, struct valkey_batch *batch, const char *command, const char *first,
    const char *prefix)
{
	const char **arguments = arena_alloc(
	    &lookup->arena, sizeof(*arguments) * (lookup->count + 2));
	size_t used = 0;

	arguments[used++] = command;
	if (first)
		arguments[used++] = first;
	for (size_t i = 0; i < lookup->count; i++)
		arguments[used++] = arena_printf(
		    &lookup->arena, "%s%s", prefix, lookup->looked_at[i].id);
	mirror_add(batch, used, arguments);
}

static void
look_at(struct lookup *lookup, size_t count)
{
	lookup->looked_at = arena_alloc(&lookup->arena, sizeof(*lookup->looked_at) * (count + 1));
	lookup->count = count;
}

static void
silent_measure(struct lookup *lookup, const redisReply *ids)
{
	struct valkey_batch *batch = mirror_read_begin(lookup->mirror);

	look_at(lookup, ids->elements);
	for (size_t i = 0; i < ids->elements; i++)
		lookup->looked_at[i].id = arena_strdup(&lookup->arena, ids->element[i]->str);
	add_about(lookup, batch, "ZMSCORE", "mirror:ranking", "");
	add_about(lookup, batch, "MGET", NULL, "mitra:heartbeat:");
	valkey_send(batch, silent_measured, lookup);
}

int
mirror_rank_load(const char *score)
{
	return (int)(strtod(score, NULL) / (double)MIRROR_RANK);
}

static void
silent_measured(void *argument, const char *error, redisReply *const *replies)
{
	struct lookup *lookup = argument;
	int64_t now_ms = clock_wall_ms();

	if (!error)
		error = mirror_fault(lookup->mirror, replies, 3);
	for (size_t i = 0; !error && i < lookup->count; i++) {
		const char *score = mirror_reply_text(replies[1]->element[i]);
		const char *heartbeat = mirror_reply_text(replies[2]->element[i]);

		if (score && mirror_rank_load(score) < lookup->mirror->limits.max_sessions &&
		    !mirror_is_fresh(lookup->mirror, heartbeat, now_ms) &&
		    lookup->totals.available > 0)
			lookup->totals.available--;
	}
	if (error || lookup->most == 0)
		end(lookup, error);
	else
		page_rank(lookup);
}

/*
 * The best: page by page down the ranking, until there are enough who are fresh.
 */

static size_t
page_size(const struct lookup *lookup)
{
	return lookup->most > PAGE_LEAST ? lookup->most : PAGE_LEAST;
}

static void
page_rank(struct lookup *lookup)
{
	struct valkey_batch *batch = mirror_read_begin(lookup->mirror);

	valkey_add(batch, "ZRANGEBYSCORE", "mirror:ranking", "-inf", score_limit(lookup),
	    "WITHSCORES", "LIMIT", arena_printf(&lookup->arena, "%zu", lookup->ranking_read),
	    arena_printf(&lookup->arena, "%zu", page_size(lookup)), NULL);
	valkey_send(batch, page_ranked, lookup);
}

static void
page_ranked(void *argument, const char *error, redisReply *const *replies)
{
	struct lookup *lookup = argument;
	struct valkey_batch *batch;
	size_t count;

	if (!error)
		error = mirror_fault(lookup->mirror, replies, 2);
	count = error ? 0 : replies[1]->elements / 2;
	if (count == 0) {
		end(lookup, error);
		return;
	}
	look_at(lookup, count);
	for (size_t i = 0; i < count; i++)
		lookup->looked_at[i] = (struct mirror_available){
			.id = arena_strdup(&lookup->arena, replies[1]->element[2 * i]->str),
			.sessions = mirror_rank_load(replies[1]->element[2 * i + 1]->str),
		};
	lookup->ranking_read += count;
	batch = mirror_read_begin(lookup->mirror);
	add_about(lookup, batch, "MGET", NULL, "mitra:heartbeat:");
	valkey_send(batch, page_measured, lookup);
}

/* The ranking changes between its pages, so one may show a mitra twice. */
static bool
is_found(const struct lookup *lookup, const char *id)
{
	for (size_t i = 0; i < lookup->found_count; i++)
		if (strcmp(lookup->found[i].id, id) == 0)
			return true;
	return false;
}

static void
page_measured(void *argument, const char *error, redisReply *const *replies)
{
	struct lookup *lookup = argument;
	bool first = lookup->ranking_read == lookup->count;
	bool last = lookup->count < page_size(lookup);
	int64_t now_ms = clock_wall_ms();

	if (!error)
		error = mirror_fault(lookup->mirror, replies, 2);
	for (size_t i = 0; !error && i < lookup->count && lookup->found_count < lookup->most; i++) {
		struct mirror_available *one = &lookup->looked_at[i];

		one->heartbeat = mirror_reply_text(replies[1]->element[i]);
		if (!mirror_is_fresh(lookup->mirror, one->heartbeat, now_ms) ||
		    (!first && is_found(lookup, one->id)))
			continue;
		one->heartbeat = arena_strdup(&lookup->arena, one->heartbeat);
		lookup->found[lookup->found_count++] = *one;
	}
	if (error || last || lookup->found_count == lookup->most)
		end(lookup, error);
	else
		page_rank(lookup);
}

/* The index was of no use, the search has answered. */
static void
searched(void *argument, const char *error, const struct mirror_available *list, size_t count,
    const struct mirror_totals *totals)
{
	struct lookup *lookup = argument;
	struct arena arena = lookup->arena;

	lookup->done(
	    lookup->argument, error, list, count < lookup->most ? count : lookup->most, totals);
	arena_free(&arena);
}

static void
end(struct lookup *lookup, const char *error)
{
	struct arena arena = lookup->arena;

	if (error)
		lookup->done(lookup->argument, error, NULL, 0, NULL);
	else
		lookup->done(
		    lookup->argument, NULL, lookup->found, lookup->found_count, &lookup->totals);
	arena_free(&arena);
}
