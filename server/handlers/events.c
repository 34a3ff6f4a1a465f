/*
 * events: GET /api/client/events and /api/mitra/events: what has happened to the caller behind the number `after`.
 *
 * With `wait`, a caller for whom there is nothing yet waits for it so many seconds (event_waits.h), and is answered with an
 * empty list if nothing came.  All the numbers he gets are without a gap, so a client that remembers the last of them has
 * missed nothing.
 */
#include <stdlib.h>

#include "server/event_waits.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

#define LIMIT_MOST        500
#define WAIT_MOST_SECONDS 25 /* below what proxies and mobile networks let a connection be silent */

static step_fn events_read;
static rows_fn events_listed;
static step_fn events_over;

/* Read again by each step that needs them. */
struct wanted {
	const char *after;
	const char *limit;
	int wait_seconds;
};

static struct wanted
wanted_of(struct request *r)
{
	return (struct wanted){
		.after = request_query_number(r, "after", "0", INT64_MAX),
		.limit = request_query_limit(r, "100", LIMIT_MOST),
		.wait_seconds = atoi(request_query_number(r, "wait", "0", WAIT_MOST_SECONDS)),
	};
}

outcome
events_get(struct request *r)
{
	struct wanted wanted = wanted_of(r);
	const char *faults = request_faults(r);

	if (faults != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, faults);
	if (wanted.wait_seconds == 0)
		return events_read(r);
	if (!event_wait_begin(
		r, strtoll(wanted.after, NULL, 10), wanted.wait_seconds * INT64_C(1000)))
		return reply_problem(r, PROBLEM_OVERLOADED, NULL);
	return event_wait(r, events_read, events_over);
}

static outcome
events_read(struct request *r)
{
	struct wanted wanted = wanted_of(r);

	return db_call(r, SQL_EVENTS_LIST,
	    ARGS(r->caller.type == USER_MITRA ? "mitra" : "customer", r->caller.id, wanted.after,
		wanted.limit),
	    events_listed);
}

/* Numbers that are not those the caller knows are told at once, though there is no event to go with it. */
static outcome
events_listed(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	if (r->event_wait == NULL || rows_integer(rows, "found") > 0 || rows_flag(rows, "missed"))
		return reply_json(r, 200, r->answer);
	return event_wait(r, events_read, events_over);
}

static outcome
events_over(struct request *r)
{
	struct json_writer *writer = json_writer_new(&r->arena);

	if (r->answer != NULL)
		return reply_json(r, 200, r->answer);
	json_object(writer);
	json_key(writer, "events");
	json_array(writer);
	json_close(writer);
	json_key(writer, "next_after");
	json_raw(writer, wanted_of(r).after);
	json_put_boolean(writer, "missed", false);
	json_close(writer);
	return reply_json(r, 200, json_text(writer, NULL));
}
