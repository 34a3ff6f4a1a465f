/*
 * step_db: the database calls of a chain.
 *
 * db_call() is one statement for one request.  db_share() is one statement for all the requests that
 * ask the same at the same time: one flight is in the air, everybody who comes meanwhile boards the
 * next.  Whoever boarded is answered by rows that were read after he came, so a client that has just
 * changed something sees it.
 */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <event2/http.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/step.h"

#define ATTEMPTS_MAX 3  /* of one statement; each waits for its deadline at most */
#define PAUSE_MS     25 /* before the second attempt; before the third it is longer */

const struct pg_statement statements[STATEMENTS] = {
#define STATEMENT(name, parameters, sql) [SQL_##name] = { #name, sql, parameters },
#include "server/statements.def"
#undef STATEMENT
};

struct flight {
	struct worker *worker;
	struct request *in_air, *boarding;
	bool under_way;
};

static const enum statement flight_statements[FLIGHTS] = {
	[FLIGHT_COUNT] = SQL_AVAILABILITY_COUNT,
	[FLIGHT_AVAILABILITY] = SQL_AVAILABILITY,
};

static pg_done_fn call_done;
static void call_again(evutil_socket_t, short, void *);
static pg_done_fn flight_done;

outcome
step_waiting_(void)
{
	return (outcome){ OUTCOME_WAITING_ };
}

outcome
step_replied_(void)
{
	return (outcome){ OUTCOME_REPLIED_ };
}

static bool
is_state(const struct rows *rows, const char *sqlstate)
{
	return strcmp(rows_sqlstate(rows), sqlstate) == 0;
}

/* Serialization failure and deadlock: somebody else went first, and nothing was changed. */
static bool
was_outrun(const struct rows *rows)
{
	return is_state(rows, "40001") || is_state(rows, "40P01");
}

/*
 * PostgreSQL has rolled it back, and it may well succeed now.  Besides the above that is what a statement is told that had
 * begun when `mitrad migrate` replaced its functions: "cache lookup failed" (XX000; there is no better code), or no such
 * function.
 */
static bool
worth_a_retry(const struct rows *rows)
{
	return was_outrun(rows) || is_state(rows, "XX000") || is_state(rows, "42883");
}

outcome
db_failed(
    struct request *r, enum statement statement, enum pg_status status, const struct rows *rows)
{
	if (status == PG_OVERLOADED)
		return reply_problem(r, PROBLEM_OVERLOADED, NULL);
	if (status != PG_FAILED)
		return reply_problem(r, PROBLEM_DATABASE_UNAVAILABLE, NULL);
	log_event(SEVERITY_ERROR,
	    LOG_FIELDS(LOG_TEXT("request_id", r->id), LOG_TEXT("sqlstate", rows_sqlstate(rows))),
	    "%s failed: %s", statements[statement].name, rows_error(rows));
	return reply_problem(
	    r, was_outrun(rows) ? PROBLEM_OVERLOADED : PROBLEM_INTERNAL_ERROR, NULL);
}

static const char *
text_if_there(const struct rows *rows, const char *column)
{
	return rows_has_column(rows, column) ? rows_text(rows, column) : NULL;
}

/* Success: on to the next step, unless the rows name a business problem. */
static outcome
rows_arrived(struct request *r, const struct rows *rows)
{
	const char *retry_after;

	if (rows_count(rows) == 0 || text_if_there(rows, "problem") == NULL)
		return r->next.rows(r, rows);
	retry_after = text_if_there(rows, "retry_after");
	return reply_problem_named(r, rows_text(rows, "problem"),
	    (struct problem_more){ .errors = text_if_there(rows, "errors"),
		.members = text_if_there(rows, "members"),
		.retry_after_seconds = retry_after == NULL ? 0 : atoi(retry_after) });
}

static void
call_submit(struct request *r)
{
	pg_submit(
	    r->worker->pg, r->call.statement, r->call.arguments, r->call.values, call_done, r);
}

outcome
db_call(struct request *r, enum statement statement, int arguments, const char *const *values,
    rows_fn *next)
{
	if (arguments != statements[statement].parameters)
		fatal("%s takes %d arguments", statements[statement].name,
		    statements[statement].parameters);
	r->next.rows = next;
	r->call.statement = (int)statement;
	r->call.arguments = arguments;
	r->call.attempts = 1;
	for (int i = 0; i < arguments; i++)
		r->call.values[i] = values[i];
	call_submit(r);
	return step_waiting_();
}

/*
 * Whoever asked for a change, and was not told how it went, may have made it: the connection broke between
 * the commit and its answer, or the server goes on with the statement until its own time is up.  So the
 * mirror is looked after.
 */
static void
outcome_unknown(const struct request *r)
{
	if (r->route->method != EVHTTP_REQ_GET)
		mirror_suspect(r->worker->mirror, r->worker->config->database_timeout_ms);
}

/*
 * Whoever won a deadlock has only been woken by its end.  A statement that came again at once would take the lock
 * before he does, and meet him in the same deadlock.
 */
static void
call_later(struct request *r)
{
	struct timeval pause = clock_timeval(
	    r->call.attempts * (PAUSE_MS + arc4random_uniform(PAUSE_MS)));

	r->call.attempts++;
	if (event_base_once(r->worker->base, -1, EV_TIMEOUT, call_again, r, &pause) != 0)
		fatal("out of memory");
}

static void
call_again(evutil_socket_t fd, short events, void *argument)
{
	call_submit(argument);
}

static void
call_done(void *argument, enum pg_status status, const struct rows *rows)
{
	struct request *r = argument;

	if (status == PG_OK) {
		(void)rows_arrived(r, rows);
	} else if (status == PG_FAILED && worth_a_retry(rows) && r->call.attempts < ATTEMPTS_MAX) {
		call_later(r);
	} else {
		if (status == PG_UNAVAILABLE || status == PG_TIMEOUT)
			outcome_unknown(r);
		(void)db_failed(r, r->call.statement, status, rows);
	}
}

struct flight *
flights_new(struct worker *worker)
{
	struct flight *flights = calloc(FLIGHTS, sizeof(*flights));

	if (flights == NULL)
		fatal("out of memory");
	for (size_t i = 0; i < FLIGHTS; i++)
		flights[i].worker = worker;
	return flights;
}

static void
flight_take_off(struct flight *flight)
{
	enum flight_kind kind = (enum flight_kind)(flight - flight->worker->flights);

	if (flight->under_way || flight->boarding == NULL)
		return;
	flight->under_way = true;
	flight->in_air = flight->boarding;
	flight->boarding = NULL;
	pg_submit(flight->worker->pg, (int)flight_statements[kind], 0, NULL, flight_done, flight);
}

outcome
db_share(struct request *r, enum flight_kind kind, rows_fn *next)
{
	struct flight *flight = &r->worker->flights[kind];

	r->next.rows = next;
	r->sharing = flight->boarding;
	flight->boarding = r;
	flight_take_off(flight);
	return step_waiting_();
}

static void
flight_done(void *argument, enum pg_status status, const struct rows *rows)
{
	struct flight *flight = argument;
	enum flight_kind kind = (enum flight_kind)(flight - flight->worker->flights);
	struct request *r = flight->in_air, *following;

	flight->in_air = NULL;
	flight->under_way = false;
	for (; r != NULL; r = following) {
		following = r->sharing;
		if (status == PG_OK)
			(void)rows_arrived(r, rows);
		else
			(void)db_failed(r, flight_statements[kind], status, rows);
	}
	flight_take_off(flight);
}
