/*
 * sessions: a customer looks for a mitra, and what becomes of it.
 *
 * Every change is one SQL function (schema/functions/86_session_life.sql, 88_extensions.sql) that returns
 * the answer, the mirror states of the mitras whose load it changed, and the events to publish.
 */
#include <string.h>

#include "server/app_config.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

/* More than a wave, as some of them have seen too many offers, and the truth knows better who is idle. */
#define CANDIDATES_PER_PLACE 4
#define CANDIDATES_LEAST     100

#define PAGE_DEFAULT "50"
#define PAGE_MOST    200

static rows_fn session_changed;
static rows_fn session_made;

/*
 * POST /api/client/sessions {duration_minutes}.
 *
 * Whom to ask is read from the mirror, which has the latest heartbeats; the rest of "available" the function
 * looks up again.  Without the mirror it asks the truth for all of it.
 */
static available_fn candidates_known;
static step_fn candidates_from_truth;

outcome
sessions_create(struct request *r)
{
	static const char what[] =
	    "[findAvailableMitras] valkey unavailable, falling back to Postgres";
	size_t wave = app_config_blast_wave(r->worker->app_config);

	if (wave == 0)
		return mirror_read_available(r, what, candidates_known, candidates_from_truth);
	return mirror_read_best(r, what, wave * CANDIDATES_PER_PLACE + CANDIDATES_LEAST,
	    candidates_known, candidates_from_truth);
}

static outcome
create(struct request *r, const char *candidates)
{
	return db_call(r, SQL_SESSION_CREATE,
	    ARGS(r->caller.id, request_session(r), body_text(r, "duration_minutes"), candidates),
	    session_made);
}

/* As a PostgreSQL array. */
static outcome
candidates_known(struct request *r, const struct mirror_available *list, size_t count,
    const struct mirror_totals *totals)
{
	char *array = arena_alloc(&r->arena, count * UUID_SIZE + 3);
	char *end = stpcpy(array, "{");

	for (size_t i = 0; i < count; i++)
		end = stpcpy(stpcpy(end, i > 0 ? "," : ""), list[i].id);
	stpcpy(end, "}");
	return create(r, array);
}

static outcome
candidates_from_truth(struct request *r)
{
	return create(r, NULL);
}

/* GET /api/client/sessions?status=&cursor=&limit= */
outcome
sessions_list(struct request *r)
{
	const char *status = request_query(r, "status", 20);
	const char *cursor = request_query(r, "cursor", 200);
	const char *limit = request_query_limit(r, PAGE_DEFAULT, PAGE_MOST);

	if (request_faults(r) != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return db_call(
	    r, SQL_SESSION_LIST, ARGS(r->caller.id, NULL, status, cursor, limit), reply_answer);
}

/* GET /api/client/sessions/{} */
outcome
sessions_get(struct request *r)
{
	return db_call(r, SQL_SESSION_GET, ARGS(r->ids[0], "customer", r->caller.id), reply_answer);
}

/* POST /api/client/sessions/{}/cancel: before the chat has begun. */
outcome
sessions_cancel(struct request *r)
{
	return db_call(r, SQL_SESSION_CANCEL, ARGS(r->ids[0], r->caller.id, request_session(r)),
	    session_changed);
}

/* POST /api/client/sessions/{}/end: the chat under way. */
outcome
sessions_end(struct request *r)
{
	return db_call(r, SQL_SESSION_END,
	    ARGS(r->ids[0], "customer", r->caller.id, request_session(r)), session_changed);
}

static outcome
session_changed(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return transition_publish(r, "setCapacity", rows, reply_kept);
}

static outcome
session_made(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return transition_publish(r, "setCapacity", rows, reply_created);
}

/*
 * POST /api/client/sessions/{}/extensions {minutes}: asks the mitra for more time, if he can be reached, which
 * the mirror knows best.
 */
static rows_fn extension_mitra_known;
static flag_fn extension_reachable;
static step_fn extension_from_truth;

outcome
sessions_extend(struct request *r)
{
	return db_call(
	    r, SQL_EXTENSION_MITRA, ARGS(r->ids[0], r->caller.id), extension_mitra_known);
}

static outcome
extension_mitra_known(struct request *r, const struct rows *rows)
{
	return mirror_read_reachable(r, "[isMitraReachable] valkey unavailable, falling back to DB",
	    request_keep(r, rows_text(rows, "mitra_id")), extension_reachable,
	    extension_from_truth);
}

static outcome
extend(struct request *r, const char *reachable)
{
	return db_call(r, SQL_EXTENSION_REQUEST,
	    ARGS(r->ids[0], r->caller.id, request_session(r), body_text(r, "minutes"), reachable),
	    session_made);
}

static outcome
extension_reachable(struct request *r, bool reachable)
{
	return extend(r, reachable ? "true" : "false");
}

static outcome
extension_from_truth(struct request *r)
{
	return extend(r, NULL);
}
