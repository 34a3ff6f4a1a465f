/*
 * offers: a mitra sees which sessions are offered, and takes one, or does not.
 */
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

static rows_fn offer_accepted;
static rows_fn offer_declined;
static step_fn refusal_published;

/* GET /api/mitra/requests: the open ones, oldest first. */
outcome
offers_list(struct request *r)
{
	return db_call(r, SQL_REQUEST_LIST, ARGS(r->caller.id), reply_answer);
}

/*
 * POST /api/mitra/requests/{session}/accept: first wins.  The function locks the session, then the mitra,
 * decides, closes the others' offers and returns what each of them is told.
 */
outcome
offers_accept(struct request *r)
{
	return db_call(r, SQL_REQUEST_ACCEPT, ARGS(r->caller.id, r->ids[0], request_session(r)),
	    offer_accepted);
}

static outcome
offer_accepted(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return transition_publish(r, "setCapacity", rows, reply_kept);
}

/* POST /api/mitra/requests/{session}/decline */
outcome
offers_decline(struct request *r)
{
	return db_call(r, SQL_REQUEST_DECLINE, ARGS(r->caller.id, r->ids[0], request_session(r)),
	    offer_declined);
}

static outcome
offer_declined(struct request *r, const struct rows *rows)
{
	return transition_publish(r, "setCapacity", rows, refusal_published);
}

static outcome
refusal_published(struct request *r)
{
	return reply_empty(r, 204);
}
