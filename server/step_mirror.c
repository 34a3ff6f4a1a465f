/*
 * step_mirror: the mirror calls of a chain.  A write that fails is logged and forgotten here (the
 * mirror is rebuilt from the truth later); a read that fails goes on with the chain's fallback.
 */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "server/fallback.h"
#include "server/app_config.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/step.h"

static void
write_done(void *argument, const char *error)
{
	struct request *r = argument;

	for (size_t i = 0; error != NULL && i < r->written_count; i++)
		log_event(SEVERITY_ERROR, LOG_FIELDS(LOG_TEXT("request_id", r->id)),
		    "[valkey-mirror] %s %s failed: %s", r->call.what, r->written[i].id, error);
	(void)r->next.step(r);
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
	return step_waiting_();
}

/* The chain's fallback, if Valkey could not answer. */
static bool
fell_back(struct request *r, const char *error)
{
	if (error == NULL)
		return false;
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
