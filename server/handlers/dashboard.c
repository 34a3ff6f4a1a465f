/*
 * dashboard: GET /internal/dashboard, the numbers of the moment for the control center.
 *
 * The mitras' numbers come from the mirror.  Sessions are not mirrored; theirs are one count over a
 * partial index that holds the open sessions alone, shared by all who look at the same time.
 */
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

static available_fn mitras_known;
static rows_fn sessions_counted;
static step_fn dashboard_from_truth;
static rows_fn dashboard_read;

outcome
dashboard_get(struct request *r)
{
	return mirror_read_available(r, "[dashboard] valkey unavailable, falling back to Postgres",
	    mitras_known, dashboard_from_truth);
}

static outcome
mitras_known(struct request *r, const struct mirror_available *list, size_t count,
    const struct mirror_totals *totals)
{
	r->totals = *totals;
	return db_share(r, FLIGHT_SESSION_COUNTS, sessions_counted);
}

/* The totals from wherever they come; the session counts are columns of both statements. */
static outcome
dashboard_reply(struct request *r, const char *source, const struct mirror_totals *totals,
    const struct rows *sessions)
{
	struct json_writer *writer = json_writer_new(&r->arena);

	json_object(writer);
	json_put_string(writer, "source", source);
	json_put_integer(writer, "online_mitras", totals->online);
	json_put_integer(writer, "available_mitras", totals->available);
	json_put_integer(writer, "deactivated_mitras", totals->deactivated);
	json_put_integer(writer, "active_sessions", rows_integer(sessions, "active_sessions"));
	json_put_integer(
	    writer, "searching_sessions", rows_integer(sessions, "searching_sessions"));
	json_put_integer(
	    writer, "pending_payment_sessions", rows_integer(sessions, "pending_payment_sessions"));
	json_close(writer);
	return reply_json(r, 200, json_text(writer, NULL));
}

static outcome
sessions_counted(struct request *r, const struct rows *rows)
{
	return dashboard_reply(r, "valkey", &r->totals, rows);
}

static outcome
dashboard_from_truth(struct request *r)
{
	return db_share(r, FLIGHT_DASHBOARD, dashboard_read);
}

static outcome
dashboard_read(struct request *r, const struct rows *rows)
{
	struct mirror_totals totals = {
		.online = rows_integer(rows, "online_mitras"),
		.available = rows_integer(rows, "available_mitras"),
		.deactivated = rows_integer(rows, "deactivated_mitras"),
	};

	return dashboard_reply(r, "postgres", &totals, rows);
}
