/*
 * verify: is the mirror equal to the truth?
 *
 * Page by page, the truth's states are held against what Valkey shows; then Valkey's side is looked through
 * for mitras whom the truth does not know.  Both go on changing meanwhile.  So whoever differs is looked at
 * again a moment later, and only what differs still is a difference.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define PAGE      "1000"
#define MOMENT_MS 500

struct comparison {
	FILE *out; /* NULL: only count */
	size_t differences;
	struct known known;
};

/* What Valkey shows of a page of mitras. */
struct shown {
	struct valkey_replies *replies;
	redisReply **online, **deactivated, **sessions, **heartbeat, **score;
};

static bool compare_generation(struct sweeper *, struct comparison *);
static bool compare_all(struct sweeper *, struct comparison *);
static bool
compare_page(struct sweeper *, struct comparison *, struct arena *, const struct rows *);
static bool
compare_again(struct sweeper *, struct comparison *, struct arena *, const char *const *, size_t);
static orphans_fn unknown_found;

bool
verify(struct sweeper *s, FILE *out, size_t *differences)
{
	struct comparison comparison = { .out = out };
	bool good = compare_generation(s, &comparison) && compare_all(s, &comparison) &&
		    orphans_in_sets(s, &comparison.known, unknown_found, &comparison) &&
		    orphans_in_keys(s, &comparison.known, unknown_found, &comparison);

	known_free(&comparison.known);
	*differences = comparison.differences;
	return good;
}

static void
differ(struct comparison *comparison, const char *id, const char *what, const char *truth,
    const char *mirror)
{
	comparison->differences++;
	if (comparison->out)
		fprintf(comparison->out, "%s %s: truth %s, mirror %s\n", id, what, truth, mirror);
}

static bool
compare_generation(struct sweeper *s, struct comparison *comparison)
{
	struct valkey_replies *replies = sweeper_ask(s, sweeper_read(s));

	if (!replies)
		return false;
	if (replies->reply[0]->type != REDIS_REPLY_STRING)
		differ(comparison, "mirror:generation", "exists", "yes", "no");
	valkey_replies_free(replies);
	return true;
}

static bool
compare_all(struct sweeper *s, struct comparison *comparison)
{
	char after[40] = "";

	for (;;) {
		struct arena arena = { 0 };
		struct rows *rows;
		int count;
		bool good;

		if (!sweeper_query(s, SQL_MIRROR_PAGE, 2,
			(const char *[]){ *after ? after : NULL, PAGE }, &rows))
			return false;
		count = rows_count(rows);
		if (count)
			snprintf(
			    after, sizeof(after), "%s", rows_text_at(rows, count - 1, "mitra_id"));
		good = count == 0 || compare_page(s, comparison, &arena, rows);
		rows_free(rows);
		arena_free(&arena);
		if (!good || count == 0)
			return good;
	}
}

static bool
read_shown(struct sweeper *s, struct arena *arena, const struct mirror_state *states, size_t count,
    struct shown *shown)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	const char **ids = arena_alloc(arena, sizeof(*ids) * (count + 1));
	struct valkey_replies *replies;

	for (size_t i = 0; i < count; i++)
		ids[i] = states[i].id;
	sweeper_add_many(batch, arena, "SMISMEMBER", "mitras:online", "", ids, count);
	sweeper_add_many(batch, arena, "SMISMEMBER", "mitras:deactivated", "", ids, count);
	sweeper_add_many(batch, arena, "MGET", NULL, "mitra:capacity:", ids, count);
	sweeper_add_many(batch, arena, "MGET", NULL, "mitra:heartbeat:", ids, count);
	sweeper_add_many(batch, arena, "ZMSCORE", "mirror:ranking", "", ids, count);
	replies = sweeper_ask(s, batch);
	if (!replies)
		return false;
	*shown = (struct shown){
		.replies = replies,
		.online = replies->reply[0]->element,
		.deactivated = replies->reply[1]->element,
		.sessions = replies->reply[2]->element,
		.heartbeat = replies->reply[3]->element,
		.score = replies->reply[4]->element,
	};
	return true;
}

static const char *
yes_no(bool flag)
{
	return flag ? "yes" : "no";
}

/* The load by which the index ranks a mitra; "none" if it does not. */
static const char *
ranked(const redisReply *score)
{
	static char load[16];

	if (score->type != REDIS_REPLY_STRING)
		return "none";
	snprintf(load, sizeof(load), "%d", mirror_rank_load(score->str));
	return load;
}

static const char *
ranked_rightly(const struct mirror_state *state)
{
	return !state->online ? "none" : !state->active ? MIRROR_RANK_LAST : state->sessions;
}

/* A heartbeat that is no time counts as none, here as everywhere. */
static bool
is_time(const redisReply *reply)
{
	int64_t wall_ms;

	return reply->type == REDIS_REPLY_STRING && clock_parse_iso(reply->str, &wall_ms);
}

/* Notes what differs of one mitra. */
static void
compare(struct comparison *comparison, const struct mirror_state *state, const struct shown *shown,
    size_t i)
{
	bool online = shown->online[i]->integer, deactivated = shown->deactivated[i]->integer;
	bool heartbeat = is_time(shown->heartbeat[i]);
	const char *sessions = shown->sessions[i]->type == REDIS_REPLY_STRING
				   ? shown->sessions[i]->str
				   : "none";

	if (online != state->online)
		differ(comparison, state->id, "online", yes_no(state->online), yes_no(online));
	if (deactivated == state->active)
		differ(comparison, state->id, "deactivated", yes_no(!state->active),
		    yes_no(deactivated));
	if (strcmp(ranked(shown->score[i]), ranked_rightly(state)) != 0)
		differ(comparison, state->id, "ranked", ranked_rightly(state),
		    ranked(shown->score[i]));
	if (strcmp(sessions, state->sessions) != 0)
		differ(comparison, state->id, "sessions", state->sessions, sessions);
	if (heartbeat != state->online)
		differ(
		    comparison, state->id, "heartbeat", yes_no(state->online), yes_no(heartbeat));
}

static bool
compare_page(
    struct sweeper *s, struct comparison *comparison, struct arena *arena, const struct rows *rows)
{
	struct mirror_state *states;
	size_t count = mirror_states_of(arena, rows, &states), doubtful = 0;
	const char **ids = arena_alloc(arena, sizeof(*ids) * (count + 1));
	struct shown shown;

	if (!read_shown(s, arena, states, count, &shown))
		return false;
	for (size_t i = 0; i < count; i++) {
		struct comparison one = { 0 };

		known_add(&comparison->known, states[i].id);
		compare(&one, &states[i], &shown, i);
		if (one.differences)
			ids[doubtful++] = states[i].id;
	}
	valkey_replies_free(shown.replies);
	return doubtful == 0 || compare_again(s, comparison, arena, ids, doubtful);
}

static void
wait_a_moment(struct sweeper *s)
{
	int64_t until_ms = clock_monotonic_ms() + MOMENT_MS, left_ms;

	while ((left_ms = until_ms - clock_monotonic_ms()) > 0)
		sweeper_sleep(s, left_ms);
}

static bool
compare_again(struct sweeper *s, struct comparison *comparison, struct arena *arena,
    const char *const *ids, size_t count)
{
	struct mirror_state *states;
	struct shown shown;
	struct rows *rows;

	wait_a_moment(s);
	if (!sweeper_query(s, SQL_MIRROR_STATES, 1,
		(const char *[]){ sweeper_array(arena, ids, count) }, &rows))
		return false;
	count = mirror_states_of(arena, rows, &states);
	rows_free(rows);
	if (count == 0)
		return true; /* deleted: the orphans will tell */
	if (!read_shown(s, arena, states, count, &shown))
		return false;
	for (size_t i = 0; i < count; i++)
		compare(comparison, &states[i], &shown, i);
	valkey_replies_free(shown.replies);
	return true;
}

/* A difference for each place where such a mitra is found, unless it was created since. */
static bool
unknown_found(
    struct sweeper *s, struct arena *arena, const char *const *ids, size_t count, void *argument)
{
	struct comparison *comparison = argument;
	struct known now_known = { 0 };

	if (!orphans_ask_truth(s, arena, ids, count, &now_known))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!known_has(&now_known, ids[i]))
			differ(comparison, ids[i], "exists", "no", "yes");
	known_free(&now_known);
	return true;
}
