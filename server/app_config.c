/*
 * app_config: one statement at a time; a reload that is asked for while one is under way is done after
 * it, as that one may have read what was there before the change.
 */
#include "server/app_config.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/arena.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mirror.h"
#include "common/pg.h"
#include "server/sign_in/rate_limit.h"
#include "server/step.h"
#include "server/worker.h"

#define RETRY_MS 1000

struct app_config {
	struct worker *worker;
	struct event *retry;
	struct mirror_limits values;
	size_t blast_wave;
	bool under_way, again;
};

static pg_done_fn app_config_read;

static void
retry_due(evutil_socket_t fd, short what, void *argument)
{
	app_config_reload(argument);
}

struct app_config *
app_config_new(struct worker *worker)
{
	struct app_config *app_config = calloc(1, sizeof(*app_config));

	if (app_config == NULL)
		fatal("out of memory");
	app_config->worker = worker;
	app_config->values = (struct mirror_limits){ .stale_after_ms = 90000, .max_sessions = 3 };
	app_config->retry = evtimer_new(worker->base, retry_due, app_config);
	mirror_set_limits(worker->mirror, app_config->values);
	app_config_reload(app_config);
	return app_config;
}

void
app_config_free(struct app_config *app_config)
{
	event_free(app_config->retry);
	free(app_config);
}

size_t
app_config_blast_wave(const struct app_config *app_config)
{
	return app_config->blast_wave;
}

void
app_config_reload(struct app_config *app_config)
{
	if (app_config->under_way) {
		app_config->again = true;
		return;
	}
	app_config->under_way = true;
	app_config->again = false;
	evtimer_del(app_config->retry);
	pg_submit(app_config->worker->pg, SQL_CONFIG_GET, 0, NULL, app_config_read, app_config);
}

static int64_t
integer_of(const struct json *config, const char *key, int64_t otherwise)
{
	const struct json *value = config == NULL ? NULL : json_member(config, key);

	return value == NULL || value->type != JSON_INTEGER ? otherwise : value->integer;
}

/* New limits change who is available, so a snapshot that was computed with the old ones must not be served. */
static void
app_config_take(struct app_config *app_config, const struct json *config)
{
	struct mirror_limits values = {
		.stale_after_ms = integer_of(config, "stale_after_seconds", 90) * 1000,
		.max_sessions = (int)integer_of(config, "max_customers_per_mitra", 3),
	};

	app_config->blast_wave = (size_t)integer_of(config, "blast_wave_size", 0);
	rate_limiter_configure(app_config->worker->rate_limiter, config);
	if (values.stale_after_ms == app_config->values.stale_after_ms &&
	    values.max_sessions == app_config->values.max_sessions)
		return;
	app_config->values = values;
	mirror_set_limits(app_config->worker->mirror, values);
	mirror_snapshot_bust(app_config->worker->mirror);
}

static void
app_config_read(void *argument, enum pg_status status, const struct rows *rows)
{
	struct app_config *app_config = argument;
	struct timeval retry = clock_timeval(RETRY_MS);
	struct arena arena = { 0 };
	const char *text, *error = "";

	app_config->under_way = false;
	if (status != PG_OK || rows_count(rows) == 0 ||
	    (text = rows_text(rows, "answer")) == NULL) {
		evtimer_add(app_config->retry, &retry);
		return;
	}
	app_config_take(app_config, json_parse(&arena, text, strlen(text), &error));
	arena_free(&arena);
	if (app_config->again)
		app_config_reload(app_config);
}
