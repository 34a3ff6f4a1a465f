/* retention: events older than event_retention_days are forgotten, in pages, so that no lock lasts long. */
#include "common/log.h"
#include "common/pg.h"
#include "sweeper/sweeper.h"

bool
retention(struct sweeper *s)
{
	int64_t pruned = 1;

	while (pruned > 0 && sweeper_goes_on(s)) {
		struct rows *rows;

		if (!sweeper_query(s, SQL_EVENTS_PRUNE, 0, NULL, &rows)) {
			log_warning("[retention] failed: %s", s->error);
			return false;
		}
		pruned = rows_integer(rows, "pruned");
		rows_free(rows);
	}
	return true;
}
