/* events: one PUBLISH for each, all in one batch. */
#include "common/events.h"

#include <stdio.h>

#include "common/counters.h"
#include "common/pg.h"
#include "common/valkey.h"

size_t
events_count(const struct rows *rows)
{
	size_t count = 0;

	if (!rows_has_column(rows, "event"))
		return 0;
	for (int row = 0; row < rows_count(rows); row++)
		count += rows_text_at(rows, row, "event") != NULL;
	return count;
}

void
events_add(struct valkey_batch *batch, const struct rows *rows)
{
	char channel[64]; /* "user:operator:", 36 characters, and a NUL at most */

	if (!rows_has_column(rows, "event"))
		return;
	for (int row = 0; row < rows_count(rows); row++) {
		const char *event = rows_text_at(rows, row, "event");

		if (!event)
			continue;
		snprintf(channel, sizeof(channel), "user:%s:%s",
		    rows_text_at(rows, row, "event_user_type"),
		    rows_text_at(rows, row, "event_user_id"));
		valkey_add(batch, "PUBLISH", channel, event, NULL);
		counters.events_published++;
	}
}

void
events_add_wake(struct valkey_batch *batch)
{
	valkey_add(batch, "PUBLISH", EVENTS_WAKE_CHANNEL, "1", NULL);
}
