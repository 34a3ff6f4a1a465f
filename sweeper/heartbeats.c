/*
 * heartbeats: PostgreSQL learns when each online mitra was last heard of.
 *
 * Heartbeats go to Valkey only; what the truth knows of them is for the time in which Valkey is away or was
 * emptied.  They are read in small portions, so that no heartbeat waits for us in Valkey, and stored in large ones, each one
 * statement, which never moves a time back.
 */
#include <event2/buffer.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define PORTION "1000" /* about so many are read at once */
#define PAGE    10000  /* and so many stored */

/* What was read and is yet to be stored: two arrays of PostgreSQL's, as far as they go. */
struct page {
	struct evbuffer *ids, *times;
	size_t count;
	struct pg_question *storing; /* the page before it; NULL: none */
};

static bool
valkey_failed(const struct sweeper *s)
{
	log_warning("[heartbeat-mirror] valkey unavailable, skipping: %s", s->error);
	return false;
}

static void
add_element(struct page *page, struct evbuffer *array, const char *element)
{
	if (evbuffer_add_printf(array, "%c%s", page->count == 0 ? '{' : ',', element) < 0)
		fatal("out of memory");
}

static const char *
array_text(struct evbuffer *array)
{
	const char *text;

	if (evbuffer_add(array, "}", sizeof("}")) != 0 ||
	    (text = (const char *)evbuffer_pullup(array, -1)) == NULL)
		fatal("out of memory");
	return text;
}

/* Waits until the page before is stored. */
static bool
settle(struct sweeper *s, struct page *page)
{
	struct rows *rows;
	bool stored;

	if (!page->storing)
		return true;
	stored = sweeper_answer(s, page->storing, &rows);
	page->storing = NULL;
	if (stored)
		counters.heartbeats_stored += (uint64_t)rows_integer(rows, "stored");
	else
		log_warning("[heartbeat-mirror] failed: %s", s->error);
	rows_free(rows);
	return stored;
}

/* While PostgreSQL stores this one, the next is read. */
static bool
store(struct sweeper *s, struct page *page)
{
	const char *const values[] = { array_text(page->ids), array_text(page->times) };

	if (!settle(s, page))
		return false;
	page->storing = pg_ask(s->pg, SQL_HEARTBEATS_STORE, 2, values);
	evbuffer_drain(page->ids, evbuffer_get_length(page->ids));
	evbuffer_drain(page->times, evbuffer_get_length(page->times));
	page->count = 0;
	return true;
}

static bool
read_portion(
    struct sweeper *s, struct page *page, struct arena *arena, const struct sweeper_scan *scan)
{
	struct valkey_batch *batch = sweeper_read(s);
	struct valkey_replies *replies;

	if (scan->count_found)
		sweeper_add_many(
		    batch, arena, "MGET", NULL, "mitra:heartbeat:", scan->found, scan->count_found);
	replies = sweeper_ask_mirror(s, batch);
	if (!replies)
		return valkey_failed(s);
	for (size_t i = 0; i < scan->count_found; i++) {
		const redisReply *heartbeat = replies->reply[1]->element[i];
		int64_t heard_ms; /* 0: online, but never heard of, see mirror.lua */

		if (!sweeper_is_uuid(scan->found[i]) || heartbeat->type != REDIS_REPLY_STRING ||
		    !clock_parse_iso(heartbeat->str, &heard_ms) || heard_ms <= 0)
			continue;
		add_element(page, page->ids, scan->found[i]);
		add_element(page, page->times, heartbeat->str);
		page->count++;
	}
	valkey_replies_free(replies);
	return true;
}

bool
heartbeats(struct sweeper *s)
{
	struct sweeper_scan scan = { .set = "mitras:online", .count = PORTION };
	struct page page = { .ids = evbuffer_new(), .times = evbuffer_new() };
	bool good = true;

	if (!page.ids || !page.times)
		fatal("out of memory");
	while (good && !scan.done && sweeper_goes_on(s)) {
		struct arena arena = { 0 };

		good = sweeper_scan(s, &arena, &scan) ? read_portion(s, &page, &arena, &scan)
						      : valkey_failed(s);
		arena_free(&arena);
		if (good && page.count >= PAGE)
			good = store(s, &page);
	}
	if (good && page.count > 0)
		good = store(s, &page);
	good = settle(s, &page) && good;
	evbuffer_free(page.ids);
	evbuffer_free(page.times);
	return good;
}
