/*
 * mitra_sessions: a mitra's own sessions, their end, and whether they may last longer.
 */
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

#define PAGE_DEFAULT "50"
#define PAGE_MOST    200

static rows_fn session_changed;

/* GET /api/mitra/sessions?status=&cursor=&limit= */
outcome
mitra_sessions_list(struct request *r)
{
	const char *status = request_query(r, "status", 20);
	const char *cursor = request_query(r, "cursor", 200);
	const char *limit = request_query_limit(r, PAGE_DEFAULT, PAGE_MOST);

	if (request_faults(r) != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return db_call(
	    r, SQL_SESSION_LIST, ARGS(NULL, r->caller.id, status, cursor, limit), reply_answer);
}

/* GET /api/mitra/sessions/{} */
outcome
mitra_sessions_get(struct request *r)
{
	return db_call(r, SQL_SESSION_GET, ARGS(r->ids[0], "mitra", r->caller.id), reply_answer);
}

/* POST /api/mitra/sessions/{}/end */
outcome
mitra_sessions_end(struct request *r)
{
	return db_call(r, SQL_SESSION_END,
	    ARGS(r->ids[0], "mitra", r->caller.id, request_session(r)), session_changed);
}

static outcome
answer_extension(struct request *r, const char *accepted)
{
	return db_call(r, SQL_EXTENSION_ANSWER,
	    ARGS(r->caller.id, r->ids[0], r->ids[1], request_session(r), accepted),
	    session_changed);
}

/* POST /api/mitra/sessions/{}/extensions/{}/accept: the session's end moves, or waits for the payment. */
outcome
mitra_sessions_extension_accept(struct request *r)
{
	return answer_extension(r, "true");
}

/* POST /api/mitra/sessions/{}/extensions/{}/decline */
outcome
mitra_sessions_extension_decline(struct request *r)
{
	return answer_extension(r, "false");
}

static outcome
session_changed(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return transition_publish(r, "setCapacity", rows, reply_kept);
}
