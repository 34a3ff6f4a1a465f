/*
 * deadlines: what must happen to sessions without anybody's asking: they begin to search again, are offered to more
 * mitras, are warned, and end.
 *
 * Asked what is due, PostgreSQL also tells when there will be more.  The loop looks again then, or as soon as a
 * transition elsewhere wakes it, and at least once a second, as a message may get lost.  Every sweeper does this;
 * each deadline acts once, for it is taken under the session's lock and who comes second skips it.
 *
 * This pass needs no Valkey; what it could not write to the mirror is reseeded, and events can be fetched.
 */
#include "common/clock.h"
#include "common/counters.h"
#include "common/events.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define ROUNDS_MAX     100 /* of at most 1,000 sessions each; what is left waits for the next time */
#define LOOK_MS        1000 /* at least so often */
#define TRY_AGAIN_MS   100  /* what is due is locked by somebody */
#define OTHERS_TURN_MS 500  /* the holder of the lease comes first, the others help out */

enum progress {
	FAILED,
	NOTHING,
	MOVED_ON,
};

void
deadlines_look_within(struct sweeper *s, int64_t ms)
{
	int64_t at_ms = clock_monotonic_ms() + ms;

	if (at_ms < s->deadlines_look_ms)
		s->deadlines_look_ms = at_ms;
}

static void
publish(struct sweeper *s, const struct rows *rows)
{
	struct valkey_batch *batch;

	if (events_count(rows) == 0)
		return;
	batch = valkey_batch_new(s->valkey);
	events_add(batch, rows);
	valkey_replies_free(sweeper_ask(s, batch));
}

/* One line for each mitra, as operators look for them by id. */
static void
not_shown(const struct sweeper *s, const struct mirror_state *states, size_t count)
{
	for (size_t i = 0; i < count; i++)
		log_warning("[valkey-mirror] setCapacity %s failed: %s", states[i].id, s->error);
}

static enum progress
act(struct sweeper *s, enum sweeper_statement statement)
{
	struct arena arena = { 0 };
	struct mirror_state *states;
	struct rows *rows;
	bool moved;
	size_t count;

	if (!sweeper_query(s, statement, 0, NULL, &rows)) {
		log_warning("[deadlines] failed: %s", s->error);
		return FAILED;
	}
	moved = rows_count(rows) > 0;
	count = mirror_states_of(&arena, rows, &states);
	if (count > 0 && !sweeper_apply(s, &arena, states, count, (struct mirror_how){ 0 }, NULL))
		not_shown(s, states, count);
	if (moved) {
		counters.sessions_settled++;
		publish(s, rows);
	}
	rows_free(rows);
	arena_free(&arena);
	return moved ? MOVED_ON : NOTHING;
}

/* Those of the three that are due. */
static enum progress
act_on(struct sweeper *s, const struct rows *due)
{
	static const struct {
		const char *column;
		enum sweeper_statement statement;
	} actions[] = {
		{ "lost", SQL_SESSIONS_LOST },
		{ "settle", SQL_SESSIONS_SETTLE },
		{ "match", SQL_SESSIONS_MATCH },
	};
	enum progress progress = NOTHING;

	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++) {
		enum progress one = NOTHING;

		if (rows_flag(due, actions[i].column))
			one = act(s, actions[i].statement);
		if (one == FAILED)
			return FAILED;
		if (one == MOVED_ON)
			progress = MOVED_ON;
	}
	return progress;
}

/* One look; what is due is done. */
static enum progress
look(struct sweeper *s)
{
	enum progress progress;
	struct rows *due;

	s->deadlines_look_ms = clock_monotonic_ms() + LOOK_MS;
	if (!sweeper_query(s, SQL_SESSIONS_DUE, 0, NULL, &due)) {
		log_warning("[deadlines] failed: %s", s->error);
		return FAILED;
	}
	progress = act_on(s, due);
	if (progress == NOTHING && rows_text(due, "next_ms") != NULL) {
		int64_t next_ms = rows_integer(due, "next_ms");

		deadlines_look_within(s,
		    (next_ms > 0 ? next_ms : TRY_AGAIN_MS) + (s->holds_lease ? 0 : OTHERS_TURN_MS));
	}
	rows_free(due);
	return progress;
}

bool
deadlines(struct sweeper *s)
{
	enum progress progress = MOVED_ON;

	for (int round = 0; progress == MOVED_ON && round < ROUNDS_MAX && sweeper_goes_on(s);
	     round++)
		progress = look(s);
	return progress != FAILED;
}
