/*
 * deadlines: what must happen to sessions without anybody's asking: they begin to search again, are offered to more
 * mitras, are warned, and end; what payment providers have said is taken up, and they are asked (payments.c).
 *
 * Asked what is due, PostgreSQL also tells when there will be more.  The loop looks again then, or as soon as a
 * transition elsewhere wakes it, and at least once a second, as a message may get lost.  Every sweeper does this;
 * each deadline acts once, for it is taken under the session's lock and who comes second skips it.
 *
 * This pass needs no Valkey; what it could not write to the mirror is reseeded, and events can be fetched.
 */
#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "sweeper/sweeper.h"

#define ROUNDS_MAX     100 /* of at most 1,000 sessions each; what is left waits for the next time */
#define LOOK_MS        1000 /* at least so often */
#define TRY_AGAIN_MS   100  /* what is due is locked by somebody */
#define OTHERS_TURN_MS 500  /* the holder of the lease comes first, the others help out */

void
deadlines_look_within(struct sweeper *s, int64_t ms)
{
	int64_t at_ms = clock_monotonic_ms() + ms;

	if (at_ms < s->deadlines_look_ms)
		s->deadlines_look_ms = at_ms;
}

/*
 * Those of the actions that are due; first what was paid, lest a session be given up with its money at the door.  One that
 * fails, because somebody holds what it needs, keeps no other from being done.
 */
static enum transition_progress
act_on(struct sweeper *s, const struct rows *due)
{
	static const struct {
		const char *column;
		enum sweeper_statement statement;
	} actions[] = {
		{ "webhooks", SQL_WEBHOOK_PROCESS },
		{ "lost", SQL_SESSIONS_LOST },
		{ "settle", SQL_SESSIONS_SETTLE },
		{ "match", SQL_SESSIONS_MATCH },
	};
	enum transition_progress progress = TRANSITION_NONE;
	bool failed = false;

	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions) && pg_is_up(s->pg); i++) {
		enum transition_progress one = TRANSITION_NONE;

		if (rows_flag(due, actions[i].column))
			one = transition(s, actions[i].statement, 0, NULL);
		failed |= one == TRANSITION_FAILED;
		if (one == TRANSITION_MADE)
			progress = TRANSITION_MADE;
	}
	if (failed || !pg_is_up(s->pg))
		return TRANSITION_FAILED;
	if (rows_flag(due, "collect"))
		payments_ask(s);
	return progress;
}

/* One look; what is due is done. */
static enum transition_progress
look(struct sweeper *s)
{
	enum transition_progress progress;
	struct rows *due;

	s->deadlines_look_ms = clock_monotonic_ms() + LOOK_MS;
	if (!sweeper_query(s, SQL_SESSIONS_DUE, 0, NULL, &due)) {
		log_warning("[deadlines] failed: %s", s->error);
		return TRANSITION_FAILED;
	}
	gauges.payments_to_refund = (uint64_t)rows_integer(due, "refunds");
	progress = act_on(s, due);
	if (progress == TRANSITION_NONE && rows_text(due, "next_ms") != NULL) {
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
	enum transition_progress progress = TRANSITION_MADE;

	for (int round = 0; progress == TRANSITION_MADE && round < ROUNDS_MAX && sweeper_goes_on(s);
	     round++)
		progress = look(s);
	if (progress == TRANSITION_MADE)
		deadlines_look_within(s, 0);
	return progress != TRANSITION_FAILED;
}
