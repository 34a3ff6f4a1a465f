/*
 * status: a mitra goes online and offline, beats, and asks where he stands.
 */
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

/*
 * POST /api/mitra/status/online and /offline.
 *
 * PostgreSQL first: the function flips the flag, logs it once and returns the answer with the mirror
 * state and its version. Then Valkey, best effort: it refuses a version older than its own, so workers
 * may race here.
 */
static rows_fn online_committed;
static rows_fn offline_committed;

outcome
status_online(struct request *r)
{
	return db_call(
	    r, SQL_MITRA_GO_ONLINE, ARGS(r->caller.id, request_session(r)), online_committed);
}

static outcome
online_committed(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return mirror_write(r, "setOnline", rows, reply_kept);
}

outcome
status_offline(struct request *r)
{
	return db_call(
	    r, SQL_MITRA_GO_OFFLINE, ARGS(r->caller.id, request_session(r)), offline_committed);
}

static outcome
offline_committed(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return mirror_write(r, "setOffline", rows, reply_kept);
}

/*
 * POST /api/mitra/status/heartbeat: "I am still here", twice a minute from every app.  No SQL as long
 * as the mirror knows him.
 */
static flag_fn heartbeat_heard;

outcome
status_heartbeat(struct request *r)
{
	return mitra_beat(r, heartbeat_heard);
}

static outcome
heartbeat_heard(struct request *r, bool online)
{
	return reply_json(r, 200, online ? "{\"online\":true}" : "{\"online\":false}");
}

/*
 * GET /api/mitra/status.  The truth learns of heartbeats in batches only, so the last one is asked of
 * the mirror first.
 */
static text_fn heartbeat_known;

outcome
status_get(struct request *r)
{
	return mirror_read_heartbeat(r, r->caller.id, heartbeat_known);
}

static outcome
heartbeat_known(struct request *r, const char *heartbeat)
{
	return db_call(
	    r, SQL_MITRA_STATUS, ARGS(r->caller.id, request_keep(r, heartbeat)), reply_answer);
}
