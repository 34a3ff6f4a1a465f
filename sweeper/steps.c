/* steps: what passes are made of. Each waits for its answer, and leaves in s->error why there is none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define LEASE_RENEWAL_MS 1000

bool
sweeper_query(struct sweeper *s, enum sweeper_statement statement, int arguments,
    const char *const *values, struct rows **rows)
{
	return sweeper_answer(s, pg_ask(s->pg, statement, arguments, values), rows);
}

bool
sweeper_answer(struct sweeper *s, struct pg_question *question, struct rows **rows)
{
	enum pg_status status = pg_answer(question, rows);

	if (status == PG_OK)
		return true;
	if (status == PG_FAILED)
		snprintf(s->error, sizeof(s->error), "PostgreSQL: %s %s", rows_sqlstate(*rows),
		    rows_error(*rows));
	else
		snprintf(s->error, sizeof(s->error), "PostgreSQL: %s: %s", pg_status_text(status),
		    pg_last_error(s->pg));
	rows_free(*rows);
	*rows = NULL;
	return false;
}

bool
sweeper_change(struct sweeper *s, enum sweeper_statement statement, int arguments,
    const char *const *values, struct rows **rows)
{
	uint64_t lost = counters.pg_disconnects;
	bool good = sweeper_query(s, statement, arguments, values, rows);

	if (!good && counters.pg_disconnects != lost)
		mirror_suspect(s->mirror, s->config->database_timeout_ms);
	return good;
}

struct valkey_replies *
sweeper_ask(struct sweeper *s, struct valkey_batch *batch)
{
	const char *error;
	struct valkey_replies *replies = valkey_wait(batch, &error);

	if (!replies) {
		snprintf(s->error, sizeof(s->error), "%s", error);
		return NULL;
	}
	for (size_t i = 0; i < replies->count; i++)
		if (replies->reply[i]->type == REDIS_REPLY_ERROR) {
			snprintf(s->error, sizeof(s->error), "%s", replies->reply[i]->str);
			valkey_replies_free(replies);
			return NULL;
		}
	return replies;
}

struct valkey_batch *
sweeper_read(struct sweeper *s)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);

	valkey_add(batch, "GET", "mirror:generation", NULL);
	return batch;
}

struct valkey_replies *
sweeper_ask_mirror(struct sweeper *s, struct valkey_batch *batch)
{
	struct valkey_replies *replies = sweeper_ask(s, batch);

	if (!replies || replies->reply[0]->type == REDIS_REPLY_STRING)
		return replies;
	snprintf(s->error, sizeof(s->error), "%s", MIRROR_EMPTY);
	valkey_replies_free(replies);
	return NULL;
}

struct application {
	struct sweeper *sweeper;
	struct arena *arena;
	struct mirror_applied *applied;
	bool over, failed;
};

static void
application_over(void *argument, const char *error, const struct mirror_applied *applied)
{
	struct application *application = argument;
	struct mirror_skip *skips;

	application->over = true;
	application->failed = error;
	if (error)
		snprintf(
		    application->sweeper->error, sizeof(application->sweeper->error), "%s", error);
	if (error || !application->applied)
		return;
	*application->applied = *applied;
	skips = arena_alloc(application->arena, sizeof(*skips) * (applied->skipped + 1));
	for (size_t i = 0; i < applied->skipped; i++)
		skips[i] = (struct mirror_skip){
			.id = arena_strdup(application->arena, applied->skips[i].id),
			.version = arena_strdup(application->arena, applied->skips[i].version),
		};
	application->applied->skips = skips;
}

bool
sweeper_apply(struct sweeper *s, struct arena *arena, const struct mirror_state *states,
    size_t count, struct mirror_how how, struct mirror_applied *applied)
{
	struct application application = { .sweeper = s, .arena = arena, .applied = applied };

	mirror_apply_as(s->mirror, states, count, how, application_over, &application);
	while (!application.over)
		if (event_base_loop(s->base, EVLOOP_ONCE) < 0)
			fatal("the event loop failed");
	return !application.failed;
}

bool
sweeper_goes_on(struct sweeper *s)
{
	if (s->holds_lease && clock_monotonic_ms() - s->lease_renewed_ms >= LEASE_RENEWAL_MS)
		watch_renew_lease(s);
	return !s->stopping;
}

bool
sweeper_scan(struct sweeper *s, struct arena *arena, struct sweeper_scan *scan)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	const char *cursor = *scan->cursor ? scan->cursor : "0";
	struct valkey_replies *replies;
	const redisReply *page;

	if (scan->set)
		valkey_add(batch, "SSCAN", scan->set, cursor, "COUNT", scan->count, NULL);
	else
		valkey_add(
		    batch, "SCAN", cursor, "MATCH", scan->pattern, "COUNT", scan->count, NULL);
	replies = sweeper_ask(s, batch);
	if (!replies)
		return false;
	page = replies->reply[0];
	snprintf(scan->cursor, sizeof(scan->cursor), "%s", page->element[0]->str);
	scan->done = strcmp(scan->cursor, "0") == 0;
	scan->count_found = page->element[1]->elements;
	scan->found = arena_alloc(arena, sizeof(*scan->found) * (scan->count_found + 1));
	for (size_t i = 0; i < scan->count_found; i++)
		scan->found[i] = arena_strdup(arena, page->element[1]->element[i]->str);
	valkey_replies_free(replies);
	return true;
}

bool
sweeper_is_uuid(const char *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	/* As PostgreSQL writes them: others are not the same member of a set. */
	for (size_t i = 0; i < sizeof(shape); i++) {
		bool digit = (text[i] >= '0' && text[i] <= '9') ||
			     (text[i] >= 'a' && text[i] <= 'f');

		if (shape[i] == 'x' ? !digit : text[i] != shape[i])
			return false;
	}
	return true;
}

const char *
sweeper_array(struct arena *arena, const char *const *texts, size_t count)
{
	size_t bytes = 3;
	char *array, *end;

	for (size_t i = 0; i < count; i++)
		bytes += strlen(texts[i]) + 1;
	array = arena_alloc(arena, bytes);
	end = stpcpy(array, "{");
	for (size_t i = 0; i < count; i++)
		end = stpcpy(stpcpy(end, i ? "," : ""), texts[i]);
	stpcpy(end, "}");
	return array;
}

void
sweeper_add_many(struct valkey_batch *batch, struct arena *arena, const char *command,
    const char *first, const char *prefix, const char *const *ids, size_t count)
{
	const char **values = arena_alloc(arena, sizeof(*values) * (count + 2));
	size_t *lengths = arena_alloc(arena, sizeof(*lengths) * (count + 2));
	size_t used = 0;

	values[used++] = command;
	if (first)
		values[used++] = first;
	for (size_t i = 0; i < count; i++)
		values[used++] = *prefix ? arena_printf(arena, "%s%s", prefix, ids[i]) : ids[i];
	for (size_t i = 0; i < used; i++)
		lengths[i] = strlen(values[i]);
	valkey_add_argv(batch, (int)used, values, lengths);
}
