/*
 * deadlines: sessions whose time has run out end, whether or not anybody asks about them.
 *
 * This pass needs no Valkey; what it could not write to the mirror is reseeded.
 */
#include "common/log.h"
#include "common/pg.h"
#include "sweeper/sweeper.h"

#define ROUNDS_MAX 100 /* of at most 1,000 sessions each; what is left waits for the next time */

/* One line for each mitra, as operators look for them by id. */
static void
not_shown(const struct sweeper *s, const struct mirror_state *states, size_t count)
{
	for (size_t i = 0; i < count; i++)
		log_warning("[valkey-mirror] setCapacity %s failed: %s", states[i].id, s->error);
}

static bool
settle_some(struct sweeper *s, struct arena *arena, size_t *count)
{
	struct mirror_state *states;
	struct rows *rows;

	if (!sweeper_query(s, SQL_SESSIONS_SETTLE, 0, NULL, &rows)) {
		log_warning("[deadlines] failed: %s", s->error);
		return false;
	}
	*count = mirror_states_of(arena, rows, &states);
	rows_free(rows);
	if (*count && !sweeper_apply(s, arena, states, *count, (struct mirror_how){ 0 }, NULL))
		not_shown(s, states, *count);
	return true;
}

bool
deadlines(struct sweeper *s)
{
	bool good = true;
	size_t count = 1;

	for (int round = 0; good && count && round < ROUNDS_MAX && sweeper_goes_on(s); round++) {
		struct arena arena = { 0 };

		good = settle_some(s, &arena, &count);
		arena_free(&arena);
	}
	return good;
}
