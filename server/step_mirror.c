/*
 * step_mirror: the mirror calls of a chain.  A write that fails is logged and forgotten here (the
 * mirror is rebuilt from the truth later); a read that fails goes on with the chain's fallback.
 */
#include <string.h>

#include "common/clock.h"
#include "common/events.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "server/fallback.h"
#include "server/app_config.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/step.h"

static void
states_failed(struct request *r, const char *error)
{
	for (size_t i = 0; error != NULL && i < r->written_count; i++)
		log_event(SEVERITY_ERROR, LOG_FIELDS(LOG_TEXT("request_id", r->id)),
		    "[valkey-mirror] %s %s failed: %s", r->call.what, r->written[i].id, error);
}

static void
write_done(void *argument, const char *error)
{
	struct request *r = argument;

	states_failed(r, error);
	(void)r->next.step(r);
}

/* Who changed his state may have sessions waiting for him, or leave some behind. Nobody waits for this. */
static void
woken(void *argument, const char *error, redisReply *const *replies)
{
}

static void
wake_sweeper(struct worker *worker)
{
	struct valkey_batch *batch = valkey_batch_new(worker->valkey);

	events_add_wake(batch);
	valkey_send(batch, woken, NULL);
}

outcome
mirror_write(struct request *r, const char *what, const struct rows *rows, step_fn *next)
{
	r->next.step = next;
	r->call.what = what;
	r->written_count = mirror_states_of(&r->arena, rows, &r->written);
	if (r->written_count == 0)
		return next(r);
	mirror_apply(r->worker->mirror, r->written, r->written_count, write_done, r);
	wake_sweeper(r->worker);
	return step_waiting_();
}

/*
 * Two batches on one connection, so whoever acts on an event finds the mirror written.  The second callback,
 * whichever that is, goes on.
 */
static void
half_published(struct request *r)
{
	if (--r->publishing == 0)
		(void)r->next.step(r);
}

static void
states_shown(void *argument, const char *error)
{
	struct request *r = argument;

	states_failed(r, error);
	half_published(r);
}

static void
events_sent(void *argument, const char *error, redisReply *const *replies)
{
	struct request *r = argument;

	if (error != NULL)
		log_event(SEVERITY_WARNING, LOG_FIELDS(LOG_TEXT("request_id", r->id)),
		    "[events] not published, but kept to be fetched: %s", error);
	half_published(r);
}

outcome
transition_publish(struct request *r, const char *what, const struct rows *rows, step_fn *next)
{
	struct valkey_batch *batch;

	r->next.step = next;
	r->call.what = what;
	r->publishing = 1;
	r->written_count = mirror_states_of(&r->arena, rows, &r->written);
	if (r->written_count > 0) {
		r->publishing++;
		mirror_apply(r->worker->mirror, r->written, r->written_count, states_shown, r);
	}
	batch = valkey_batch_new(r->worker->valkey);
	events_add(batch, rows);
	events_add_wake(batch);
	valkey_send(batch, events_sent, r);
	return step_waiting_();
}

/* The chain's fallback, if Valkey could not answer. */
static bool
fell_back(struct request *r, const char *error)
{
	if (error == NULL)
		return false;
	if (r->call.what != NULL)
		fallback_noted(r, r->call.what, error);
	(void)r->fallback.step(r);
	return true;
}

static void
snapshot_done(void *argument, const char *error, const char *text)
{
	struct request *r = argument;

	if (!fell_back(r, error))
		(void)r->next.text(r, text);
}

outcome
mirror_read_snapshot(struct request *r, const char *what, text_fn *next, step_fn *fallback)
{
	r->call.what = what;
	r->next.text = next;
	r->fallback.step = fallback;
	mirror_snapshot(r->worker->mirror, snapshot_done, r);
	return step_waiting_();
}

static void
available_done(void *argument, const char *error, const struct mirror_available *list, size_t count,
    const struct mirror_totals *totals)
{
	struct request *r = argument;

	if (!fell_back(r, error))
		(void)r->next.available(r, list, count, totals);
}

outcome
mirror_read_available(struct request *r, const char *what, available_fn *next, step_fn *fallback)
{
	r->call.what = what;
	r->next.available = next;
	r->fallback.step = fallback;
	mirror_available(r->worker->mirror, available_done, r);
	return step_waiting_();
}

outcome
mirror_read_best(
    struct request *r, const char *what, size_t most, available_fn *next, step_fn *fallback)
{
	r->call.what = what;
	r->next.available = next;
	r->fallback.step = fallback;
	mirror_best(r->worker->mirror, most, available_done, r);
	return step_waiting_();
}

static void
reachable_done(void *argument, const char *error, bool reachable)
{
	struct request *r = argument;

	if (!fell_back(r, error))
		(void)r->next.flag(r, reachable);
}

outcome
mirror_read_reachable(
    struct request *r, const char *what, const char *id, flag_fn *next, step_fn *fallback)
{
	r->call.what = what;
	r->next.flag = next;
	r->fallback.step = fallback;
	mirror_reachable(r->worker->mirror, id, reachable_done, r);
	return step_waiting_();
}

static void
heartbeat_done(void *argument, const char *error, const char *text)
{
	struct request *r = argument;

	(void)r->next.text(r, error == NULL ? text : NULL);
}

outcome
mirror_read_heartbeat(struct request *r, const char *id, text_fn *next)
{
	r->next.text = next;
	mirror_heartbeat_of(r->worker->mirror, id, heartbeat_done, r);
	return step_waiting_();
}

static void
state_done(void *argument, const char *error, redisReply *const *replies)
{
	struct request *r = argument;

	if (error != NULL)
		(void)r->next.text(r, "unknown");
	else
		(void)r->next.text(r, replies[0]->type == REDIS_REPLY_STRING ? "ready" : "empty");
}

outcome
mirror_read_state(struct request *r, text_fn *next)
{
	struct valkey_batch *batch = valkey_batch_new(r->worker->valkey);

	r->next.text = next;
	valkey_add(batch, "GET", "mirror:generation", NULL);
	valkey_send(batch, state_done, r);
	return step_waiting_();
}
