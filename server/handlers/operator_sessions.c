/*
 * operator_sessions: the control center looks at sessions, and steps in.
 */
#include <string.h>

#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

#define PAGE_DEFAULT "50"
#define PAGE_MOST    200

static rows_fn session_changed;

/* A query parameter that must be an id, in lower case; NULL if it is not there. */
static const char *
query_id(struct request *r, const char *name)
{
	const char *text = request_query(r, name, UUID_SIZE);
	char id[UUID_SIZE];

	if (text == NULL)
		return NULL;
	if (uuid_parse(text, strlen(text), id))
		return request_keep(r, id);
	request_fault(r, name, "must be a UUID");
	return NULL;
}

/* GET /internal/sessions?status=&mitra_id=&customer_id=&cursor=&limit= */
outcome
operator_sessions_list(struct request *r)
{
	const char *status = request_query(r, "status", 20);
	const char *mitra_id = query_id(r, "mitra_id");
	const char *customer_id = query_id(r, "customer_id");
	const char *cursor = request_query(r, "cursor", 200);
	const char *limit = request_query_limit(r, PAGE_DEFAULT, PAGE_MOST);

	if (request_faults(r) != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return db_call(
	    r, SQL_SESSION_LIST, ARGS(customer_id, mitra_id, status, cursor, limit), reply_answer);
}

/* GET /internal/sessions/{} */
outcome
operator_sessions_get(struct request *r)
{
	return db_call(r, SQL_SESSION_GET, ARGS(r->ids[0], "operator", r->caller.id), reply_answer);
}

/*
 * POST /internal/sessions/{}/reroute {mitra_id}: to this mitra, by the rules of an accept.  Both mitras' loads
 * change in one transaction and in one script.
 */
outcome
operator_sessions_reroute(struct request *r)
{
	return db_call(r, SQL_SESSION_REROUTE,
	    ARGS(r->ids[0], body_text(r, "mitra_id"), BY_OPERATOR(r)), session_changed);
}

/* POST /internal/sessions/{}/end: whatever state it is in. */
outcome
operator_sessions_end(struct request *r)
{
	return db_call(
	    r, SQL_SESSION_END_BY_OPERATOR, ARGS(r->ids[0], BY_OPERATOR(r)), session_changed);
}

/* POST /internal/payments/{}/confirm: the money has been seen; repeating it changes nothing. */
outcome
operator_sessions_payment_confirm(struct request *r)
{
	return db_call(r, SQL_PAYMENT_CONFIRM, ARGS(r->ids[0], BY_OPERATOR(r)), session_changed);
}

static outcome
session_changed(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return transition_publish(r, "setCapacity", rows, reply_kept);
}
