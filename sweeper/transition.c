/* transition: a SQL function that moves sessions on, and everything that follows from what it returns. */
#include "common/counters.h"
#include "common/events.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

void
transition_tell(struct sweeper *s, const struct rows *rows)
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

/* What people must hear of: only payments have such. */
static void
log_problems(const struct rows *rows)
{
	for (int row = 0; row < rows_count(rows); row++) {
		const char *problem = rows_text_at(rows, row, "problem");

		if (problem == NULL)
			continue;
		counters.payment_warnings++;
		log_event(SEVERITY_WARNING,
		    LOG_FIELDS(LOG_TEXT("payment_id", rows_text_at(rows, row, "answer"))),
		    "[payments] %s", problem);
	}
}

enum transition_progress
transition(
    struct sweeper *s, enum sweeper_statement statement, int arguments, const char *const *values)
{
	struct arena arena = { 0 };
	struct mirror_state *states;
	struct rows *rows;
	bool made;
	size_t count;

	if (!sweeper_change(s, statement, arguments, values, &rows)) {
		log_warning("[deadlines] failed: %s", s->error);
		return TRANSITION_FAILED;
	}
	made = rows_count(rows) > 0;
	count = mirror_states_of(&arena, rows, &states);
	if (count > 0 && !sweeper_apply(s, &arena, states, count, (struct mirror_how){ 0 }, NULL))
		not_shown(s, states, count);
	if (made) {
		counters.sessions_settled++;
		log_problems(rows);
		transition_tell(s, rows);
	}
	rows_free(rows);
	arena_free(&arena);
	return made ? TRANSITION_MADE : TRANSITION_NONE;
}
