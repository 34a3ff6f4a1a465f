/*
 * mitras: the control center's list of mitras, and what operators change about them.
 */
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

#define PAGE_DEFAULT "50"
#define PAGE_MOST    200

static rows_fn mitra_created;
static rows_fn mitra_changed;

/* GET /internal/mitras?q=&online=&active=&cursor=&limit= */
outcome
mitras_list(struct request *r)
{
	const char *q = request_query(r, "q", 100);
	const char *online = request_query_flag(r, "online");
	const char *active = request_query_flag(r, "active");
	const char *cursor = request_query(r, "cursor", 200);
	const char *limit = request_query_limit(r, PAGE_DEFAULT, PAGE_MOST);

	if (request_faults(r) != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return db_call(r, SQL_MITRA_LIST, ARGS(q, online, active, cursor, limit), reply_answer);
}

/* GET /internal/mitras/{} */
outcome
mitras_get(struct request *r)
{
	return db_call(r, SQL_MITRA_GET, ARGS(r->ids[0]), reply_answer);
}

/* GET /internal/mitras/{}/online-logs?cursor=&limit= */
outcome
mitras_online_logs(struct request *r)
{
	const char *cursor = request_query(r, "cursor", 200);
	const char *limit = request_query_limit(r, PAGE_DEFAULT, PAGE_MOST);

	if (request_faults(r) != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return db_call(r, SQL_MITRA_ONLINE_LOGS, ARGS(r->ids[0], cursor, limit), reply_answer);
}

/* POST /internal/mitras */
outcome
mitras_create(struct request *r)
{
	return db_call(r, SQL_MITRA_CREATE,
	    ARGS(body_text(r, "phone"), body_text(r, "display_name"), BY_OPERATOR(r)),
	    mitra_created);
}

static outcome
mitra_created(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return mirror_write(r, "setActive", rows, reply_created);
}

/*
 * PATCH /internal/mitras/{} {display_name?, is_active?}.
 *
 * Deactivation is one transaction (offline, logged, every auth session revoked); the mirror then makes
 * the next heartbeat 403 without asking PostgreSQL.
 */
outcome
mitras_update(struct request *r)
{
	return db_call(
	    r, SQL_MITRA_UPDATE, ARGS(r->ids[0], body_json(r), BY_OPERATOR(r)), mitra_changed);
}

/* POST /internal/_test/seed-mitra: the mitra with that phone, made if need be. */
outcome
mitras_seed(struct request *r)
{
	return db_call(r, SQL_MITRA_SEED, ARGS(body_text(r, "phone"), body_text(r, "display_name")),
	    mitra_changed);
}

static outcome
mitra_changed(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return transition_publish(r, "setActive", rows, reply_kept);
}
