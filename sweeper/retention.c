/* retention: events that nobody can be interested in any more, and providers' messages, are deleted page by page. */
#include "common/log.h"
#include "common/pg.h"
#include "sweeper/sweeper.h"

#define PAGES_MAX 1000 /* what is left waits for the next time */

static bool
prune(struct sweeper *s, enum sweeper_statement statement)
{
	int64_t pruned = 1;

	for (int page = 0; pruned > 0 && page < PAGES_MAX && sweeper_goes_on(s); page++) {
		struct rows *rows;

		if (!sweeper_query(s, statement, 0, NULL, &rows)) {
			log_warning("[retention] failed: %s", s->error);
			return false;
		}
		pruned = rows_integer(rows, "pruned");
		rows_free(rows);
	}
	return true;
}

bool
retention(struct sweeper *s)
{
	return prune(s, SQL_EVENTS_PRUNE) && prune(s, SQL_WEBHOOKS_PRUNE);
}
