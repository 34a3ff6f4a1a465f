/*
 * heartbeats: PostgreSQL learns when each online mitra was last heard of.
 *
 * Heartbeats go to Valkey only; what the truth knows of them is for the time in which Valkey is away or was
 * emptied.  A page is one statement, and never moves a time back.
 */
#include <stdlib.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

static bool
valkey_failed(const struct sweeper *s)
{
	log_warning("[heartbeat-mirror] valkey unavailable, skipping: %s", s->error);
	return false;
}

static bool
store(struct sweeper *s, struct arena *arena, const char *const *ids, const char *const *times,
    size_t count)
{
	struct rows *rows;

	if (!sweeper_query(s, SQL_HEARTBEATS_STORE, 2,
		(const char *[]){
		    sweeper_array(arena, ids, count), sweeper_array(arena, times, count) },
		&rows)) {
		log_warning("[heartbeat-mirror] failed: %s", s->error);
		return false;
	}
	counters.heartbeats_stored += (uint64_t)rows_integer(rows, "stored");
	rows_free(rows);
	return true;
}

static bool
store_page(struct sweeper *s, struct arena *arena, const char **found, size_t found_count)
{
	struct valkey_batch *batch = sweeper_read(s);
	struct valkey_replies *replies;
	const char **ids = arena_alloc(arena, sizeof(*ids) * (found_count + 1));
	const char **times = arena_alloc(arena, sizeof(*times) * (found_count + 1));
	size_t count = 0;

	if (found_count)
		sweeper_add_many(
		    batch, arena, "MGET", NULL, "mitra:heartbeat:", found, found_count);
	replies = sweeper_ask_mirror(s, batch);
	if (!replies)
		return valkey_failed(s);
	for (size_t i = 0; i < found_count; i++) {
		const redisReply *heartbeat = replies->reply[1]->element[i];
		int64_t heard_ms; /* 0: online, but never heard of, see mirror.lua */

		if (!sweeper_is_uuid(found[i]) || heartbeat->type != REDIS_REPLY_STRING ||
		    !clock_parse_iso(heartbeat->str, &heard_ms) || heard_ms <= 0)
			continue;
		ids[count] = found[i];
		times[count++] = arena_strdup(arena, heartbeat->str);
	}
	valkey_replies_free(replies);
	return count == 0 || store(s, arena, ids, times, count);
}

bool
heartbeats(struct sweeper *s)
{
	struct sweeper_scan scan = { .set = "mitras:online", .count = "10000" };
	bool good = true;

	while (good && !scan.done && sweeper_goes_on(s)) {
		struct arena arena = { 0 };

		good = sweeper_scan(s, &arena, &scan)
			   ? store_page(s, &arena, scan.found, scan.count_found)
			   : valkey_failed(s);
		arena_free(&arena);
	}
	return good;
}
