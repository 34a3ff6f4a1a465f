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

static const char *
yes_no(bool flag)
{
	return flag ? "yes" : "no";
}

/* Notes what differs of one mitra. */
static void
compare(struct comparison *comparison, const struct mirror_state *state, const struct shown *shown,
    size_t i)
{
	bool heartbeat = shown_heartbeat(shown, i);

	if (shown_online(shown, i) != state->online)
		differ(
		    comparison, state->id, "online", yes_no(state->online), yes_no(!state->online));
	if (shown_deactivated(shown, i) == state->active)
		differ(comparison, state->id, "deactivated", yes_no(!state->active),
		    yes_no(state->active));
	if (strcmp(shown_rank(shown, i), shown_rank_of(state)) != 0)
		differ(comparison, state->id, "ranked", shown_rank_of(state), shown_rank(shown, i));
	if (strcmp(shown_sessions(shown, i), state->sessions) != 0)
		differ(
		    comparison, state->id, "sessions", state->sessions, shown_sessions(shown, i));
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

	if (!shown_read(s, arena, states, count, &shown))
		return false;
	for (size_t i = 0; i < count; i++) {
		struct comparison one = { 0 };

		known_add(&comparison->known, states[i].id);
		compare(&one, &states[i], &shown, i);
		if (one.differences)
			ids[doubtful++] = states[i].id;
	}
	shown_free(&shown);
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
	if (!shown_read(s, arena, states, count, &shown))
		return false;
	for (size_t i = 0; i < count; i++)
		compare(comparison, &states[i], &shown, i);
	shown_free(&shown);
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
