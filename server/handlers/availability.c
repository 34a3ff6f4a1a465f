/*
 * availability: who could take a chat now; asked by the customer's beacon, by the blast, and before an
 * extension.
 *
 * Each asks the mirror and falls back to the truth; both sides have one definition of "available"
 * (docs/architecture.md).
 */
#include <stdlib.h>

#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

/*
 * GET /public/bestie-availability: is anyone there?  Asked by everybody, so the answer is computed
 * once for the whole cluster and kept in Valkey for ten seconds, or until somebody comes or goes.
 */
static text_fn snapshot_known;
static step_fn beacon_from_truth;
static rows_fn beacon_counted;

outcome
availability_beacon(struct request *r)
{
	return mirror_read_snapshot(r, "[beacon] valkey unavailable, falling back to Postgres",
	    snapshot_known, beacon_from_truth);
}

static outcome
snapshot_known(struct request *r, const char *snapshot)
{
	return reply_json(r, 200, snapshot);
}

static outcome
beacon_from_truth(struct request *r)
{
	return db_share(r, FLIGHT_COUNT, beacon_counted);
}

static outcome
beacon_counted(struct request *r, const struct rows *rows)
{
	struct json_writer *writer = json_writer_new(&r->arena);
	int64_t count = rows_integer(rows, "count");

	json_object(writer);
	json_put_boolean(writer, "available", count > 0);
	json_put_integer(writer, "count", count);
	json_put_string(writer, "as_of", rows_text(rows, "as_of"));
	json_close(writer);
	return reply_json(r, 200, json_text(writer, NULL));
}

/*
 * GET /internal/availability?limit=: whom a blast would reach now, least busy first; or the first of them, which costs
 * the same however many there are.
 */
#define LIMIT_MOST 10000
static available_fn list_known;
static step_fn list_from_truth;
static rows_fn list_read;

static const char *
limit_asked(struct request *r)
{
	return request_query_limit(r, NULL, LIMIT_MOST);
}

outcome
availability_list(struct request *r)
{
	static const char what[] =
	    "[findAvailableMitras] valkey unavailable, falling back to Postgres";
	const char *limit = limit_asked(r);

	if (request_faults(r) != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	if (limit == NULL)
		return mirror_read_available(r, what, list_known, list_from_truth);
	return mirror_read_best(r, what, strtoul(limit, NULL, 10), list_known, list_from_truth);
}

static struct json_writer *
list_open(struct request *r, const char *source)
{
	struct json_writer *writer = json_writer_new(&r->arena);

	json_object(writer);
	json_put_string(writer, "source", source);
	json_key(writer, "mitras");
	json_array(writer);
	return writer;
}

static void
list_mitra(struct json_writer *writer, const char *id, int64_t sessions, const char *heartbeat)
{
	json_object(writer);
	json_put_string(writer, "id", id);
	json_put_integer(writer, "sessions", sessions);
	json_put_string(writer, "last_heartbeat_at", heartbeat);
	json_close(writer);
}

static outcome
list_reply(struct request *r, struct json_writer *writer)
{
	json_close(writer);
	json_close(writer);
	return reply_json(r, 200, json_text(writer, NULL));
}

static outcome
list_known(struct request *r, const struct mirror_available *list, size_t count,
    const struct mirror_totals *totals)
{
	struct json_writer *writer = list_open(r, "valkey");

	for (size_t i = 0; i < count; i++)
		list_mitra(writer, list[i].id, list[i].sessions, list[i].heartbeat);
	return list_reply(r, writer);
}

static outcome
list_from_truth(struct request *r)
{
	return db_share(r, FLIGHT_AVAILABILITY, list_read);
}

static outcome
list_read(struct request *r, const struct rows *rows)
{
	struct json_writer *writer = list_open(r, "postgres");
	const char *limit = limit_asked(r);
	int count = rows_count(rows);

	if (limit != NULL && atoi(limit) < count)
		count = atoi(limit);
	for (int row = 0; row < count; row++)
		list_mitra(writer, rows_text_at(rows, row, "id"),
		    rows_integer_at(rows, row, "sessions"), rows_text_at(rows, row, "heartbeat"));
	return list_reply(r, writer);
}

/*
 * GET /internal/mitras/{}/reachability: is this one there now?  His load does not count: a full mitra
 * can be asked to go on.
 */
static flag_fn reachable_known;
static step_fn reachable_from_truth;
static rows_fn reachable_read;

outcome
availability_reachability(struct request *r)
{
	return mirror_read_reachable(r, "[isMitraReachable] valkey unavailable, falling back to DB",
	    r->ids[0], reachable_known, reachable_from_truth);
}

static outcome
reachability_reply(struct request *r, bool reachable, const char *source)
{
	struct json_writer *writer = json_writer_new(&r->arena);

	json_object(writer);
	json_put_boolean(writer, "reachable", reachable);
	json_put_string(writer, "source", source);
	json_close(writer);
	return reply_json(r, 200, json_text(writer, NULL));
}

static outcome
reachable_known(struct request *r, bool reachable)
{
	return reachability_reply(r, reachable, "valkey");
}

static outcome
reachable_from_truth(struct request *r)
{
	return db_call(r, SQL_MITRA_REACHABLE, ARGS(r->ids[0]), reachable_read);
}

static outcome
reachable_read(struct request *r, const struct rows *rows)
{
	return reachability_reply(r, rows_flag(rows, "reachable"), "postgres");
}
