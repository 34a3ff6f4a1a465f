/*
 * mirror_search: who is available, among all.
 *
 * The set of those online is scanned page by page; with each page's heartbeats, loads and deactivations goes
 * the question for the next page.  So no command is long and no reply large, however many are online, and
 * neither Valkey's other clients nor VALKEY_TIMEOUT_MS feel the search.
 *
 * For the same reason there is one search at a time: who asks while one is under way shares the next, so that
 * what he is told was read after he asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/mirror_private.h"
#include "common/valkey.h"

#define PAGE "1000"

struct search_waiter {
	struct search_waiter *next;
	mirror_available_fn *done;
	void *argument;
};

struct search {
	struct mirror *mirror;
	struct search_waiter *waiters;
	struct arena arena; /* holds all of this but the waiters, `page` and `found` */

	struct arena page; /* holds the ids */
	const char **ids;
	size_t count;
	char cursor[24]; /* of the next page; "0": there is none */

	struct mirror_available *found;
	size_t found_count, found_room;
	struct mirror_totals totals;
};

static void search_begin(struct mirror *);
static valkey_done_fn search_begun, search_measured;
static void take_page(struct search *, const redisReply *);
static void measure_page(struct search *);
static void search_end(struct search *, const char *error);

void
mirror_available(struct mirror *mirror, mirror_available_fn *done, void *argument)
{
	struct search_waiter *waiter = calloc(1, sizeof(*waiter));

	if (!waiter)
		fatal("mirror: out of memory");
	*waiter = (struct search_waiter){ mirror->search_waiters, done, argument };
	mirror->search_waiters = waiter;
	if (!mirror->searching)
		search_begin(mirror);
}

static void
search_begin(struct mirror *mirror)
{
	struct arena arena = { 0 };
	struct search *search = arena_alloc(&arena, sizeof(*search));
	struct valkey_batch *batch = mirror_read_begin(mirror);

	*search = (struct search){
		.mirror = mirror, .waiters = mirror->search_waiters, .arena = arena
	};
	mirror->search_waiters = NULL;
	mirror->searching = true;
	counters.mirror_searches++;
	valkey_add(batch, "SCARD", "mitras:online", NULL);
	valkey_add(batch, "SCARD", "mitras:deactivated", NULL);
	valkey_add(batch, "SSCAN", "mitras:online", "0", "COUNT", PAGE, NULL);
	valkey_send(batch, search_begun, search);
}

static void
search_begun(void *argument, const char *error, redisReply *const *replies)
{
	struct search *search = argument;

	if (!error)
		error = mirror_fault(search->mirror, replies, 4);
	if (error) {
		search_end(search, error);
		return;
	}
	search->totals.online = search->mirror->online = replies[1]->integer;
	search->totals.deactivated = replies[2]->integer;
	take_page(search, replies[3]);
	measure_page(search);
}

static void
take_page(struct search *search, const redisReply *reply)
{
	const redisReply *ids = reply->element[1];

	arena_free(&search->page);
	snprintf(search->cursor, sizeof(search->cursor), "%s", reply->element[0]->str);
	search->count = ids->elements;
	search->ids = arena_alloc(&search->page, sizeof(*search->ids) * (search->count + 1));
	for (size_t i = 0; i < search->count; i++)
		search->ids[i] = arena_strdup(&search->page, ids->element[i]->str);
}

static bool
is_last_page(const struct search *search)
{
	return strcmp(search->cursor, "0") == 0;
}

/* A command about all of the page: "MGET", NULL, "mitra:heartbeat:" or "SMISMEMBER", "mitras:deactivated", "". */
static void
add_about_page(struct search *search, struct valkey_batch *batch, const char *command,
    const char *first, const char *prefix)
{
	const char **arguments = arena_alloc(
	    &search->page, sizeof(*arguments) * (search->count + 2));
	size_t used = 0;

	arguments[used++] = command;
	if (first)
		arguments[used++] = first;
	for (size_t i = 0; i < search->count; i++)
		arguments[used++] = arena_printf(&search->page, "%s%s", prefix, search->ids[i]);
	mirror_add(batch, used, arguments);
}

/* An empty page need not be the last. */
static void
measure_page(struct search *search)
{
	struct valkey_batch *batch;

	if (search->count == 0 && is_last_page(search)) {
		search_end(search, NULL);
		return;
	}
	batch = mirror_read_begin(search->mirror);
	if (search->count) {
		add_about_page(search, batch, "MGET", NULL, "mitra:heartbeat:");
		add_about_page(search, batch, "MGET", NULL, "mitra:capacity:");
		add_about_page(search, batch, "SMISMEMBER", "mitras:deactivated", "");
	}
	if (!is_last_page(search))
		valkey_add(batch, "SSCAN", "mitras:online", search->cursor, "COUNT", PAGE, NULL);
	valkey_send(batch, search_measured, search);
}

static void
note_found(struct search *search, const char *id, int sessions, const char *heartbeat)
{
	if (search->found_count == search->found_room) {
		search->found_room = search->found_room ? 2 * search->found_room : 64;
		search->found = realloc(search->found, search->found_room * sizeof(*search->found));
		if (!search->found)
			fatal("mirror: out of memory");
	}
	search->found[search->found_count++] = (struct mirror_available){
		.id = arena_strdup(&search->arena, id),
		.sessions = sessions,
		.heartbeat = arena_strdup(&search->arena, heartbeat),
	};
}

static void
note_available(struct search *search, const redisReply *heartbeats, const redisReply *loads,
    const redisReply *deactivated)
{
	int64_t now_ms = clock_wall_ms();

	for (size_t i = 0; i < search->count; i++) {
		const char *heartbeat = mirror_reply_text(heartbeats->element[i]);
		const char *sessions = mirror_reply_text(loads->element[i]);
		int load = sessions ? atoi(sessions) : 0;

		if (!deactivated->element[i]->integer &&
		    mirror_is_fresh(search->mirror, heartbeat, now_ms) &&
		    load < search->mirror->limits.max_sessions)
			note_found(search, search->ids[i], load, heartbeat);
	}
}

static void
search_measured(void *argument, const char *error, redisReply *const *replies)
{
	struct search *search = argument;
	size_t about_page = search->count ? 3 : 0, next_page = 1 + about_page;
	bool last = is_last_page(search);

	if (!error)
		error = mirror_fault(search->mirror, replies, last ? next_page : next_page + 1);
	if (!error && about_page)
		note_available(search, replies[1], replies[2], replies[3]);
	if (error || last) {
		search_end(search, error);
		return;
	}
	take_page(search, replies[next_page]);
	measure_page(search);
}

static int
by_id(const void *left, const void *right)
{
	const struct mirror_available *a = left, *b = right;

	return strcmp(a->id, b->id);
}

static int
by_load(const void *left, const void *right)
{
	const struct mirror_available *a = left, *b = right;

	return a->sessions != b->sessions ? (a->sessions < b->sessions ? -1 : 1) : by_id(a, b);
}

/* A set that changes under a scan may show a member twice. */
static void
sort_found(struct search *search)
{
	struct mirror_available *found = search->found;
	size_t kept = 0;

	qsort(found, search->found_count, sizeof(*found), by_id);
	for (size_t i = 0; i < search->found_count; i++)
		if (kept == 0 || strcmp(found[kept - 1].id, found[i].id) != 0)
			found[kept++] = found[i];
	qsort(found, kept, sizeof(*found), by_load);
	search->found_count = kept;
	search->totals.available = (int64_t)kept;
}

/* A waiter may ask again: that is the next search. */
static void
search_end(struct search *search, const char *error)
{
	struct mirror *mirror = search->mirror;
	struct search_waiter *waiter = search->waiters, *next;
	struct arena arena = search->arena;

	if (!error && search->found)
		sort_found(search);
	for (; waiter; waiter = next) {
		next = waiter->next;
		if (error)
			waiter->done(waiter->argument, error, NULL, 0, NULL);
		else
			waiter->done(waiter->argument, NULL, search->found, search->found_count,
			    &search->totals);
		free(waiter);
	}
	free(search->found);
	arena_free(&search->page);
	arena_free(&arena);
	mirror->searching = false;
	if (mirror->search_waiters)
		search_begin(mirror);
}
