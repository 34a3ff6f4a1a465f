/*
 * pg: the pool, its deadlines and its callbacks.
 *
 * pg_submit() only queues; what follows is in pg_queue.c.
 *
 * A submission that ends without an answer (timed out, refused, lost with its connection) goes to
 * `ended` and is called back by `settle`, a timer of zero: in the next turn of the loop, so that a
 * callback which submits again at once cannot starve the sockets.
 */
#include "common/pg.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "common/pg_private.h"
#include "common/series.h"

static void settle(evutil_socket_t, short, void *);
static void deadline_passed(evutil_socket_t, short, void *);

struct pg *
pg_new(struct event_base *base, struct evdns_base *dns, const struct config *config,
    int connections, const struct pg_statement *statements, size_t count)
{
	struct pg *pool = calloc(1, sizeof(*pool) + connections * sizeof(pool->connections[0]));

	if (pool == NULL)
		fatal("out of memory");
	pool->base = base;
	pool->dns = dns;
	pool->config = config;
	pool->statements = statements;
	pool->statement_count = count;
	pool->usual_ms = calloc(count, sizeof(pool->usual_ms[0]));
	if (pool->usual_ms == NULL)
		fatal("out of memory");
	pool->schema = "";
	pool->host = pg_address_host(config->database_url);
	STAILQ_INIT(&pool->queue);
	STAILQ_INIT(&pool->ended);
	evtimer_assign(&pool->turn, base, pg_queue_turn, pool);
	event_priority_set(&pool->turn, PG_PRIORITY);
	evtimer_assign(&pool->settle, base, settle, pool);
	evtimer_assign(&pool->deadline, base, deadline_passed, pool);
	pool->connection_count = connections;
	for (int i = 0; i < connections; i++)
		pg_connection_init(&pool->connections[i], pool);
	return pool;
}

void
pg_require_schema(struct pg *pool, const char *stamp)
{
	pool->schema = stamp;
}

bool
pg_is_outdated(const struct pg *pool)
{
	return pool->outdated;
}

static void
queue_end(struct pg *pool)
{
	while (!STAILQ_EMPTY(&pool->queue))
		pg_end(pool, pg_queue_take(pool), PG_UNAVAILABLE);
}

void
pg_close(struct pg *pool)
{
	pool->closing = true;
	pool->ready = 0;
	for (int i = 0; i < pool->connection_count; i++)
		pg_connection_free(&pool->connections[i]);
	queue_end(pool);
}

void
pg_free(struct pg *pool)
{
	if (pool == NULL)
		return;
	if (!pool->closing)
		pg_close(pool);
	while (!STAILQ_EMPTY(&pool->ended))
		settle(-1, 0, pool);
	event_del(&pool->turn);
	event_del(&pool->settle);
	event_del(&pool->deadline);
	free(pool->host);
	free(pool->usual_ms);
	free(pool);
}

/*
 * Down: every connection has tried and failed since it last worked.  Before that, submissions wait for
 * the first attempt.
 */
static bool
is_down(const struct pg *pool)
{
	return pool->failed == pool->connection_count;
}

/* With its arguments' bytes behind it: one allocation. */
static struct pg_submission *
submission_new(int arguments, const char *const *values)
{
	size_t head_bytes = sizeof(struct pg_submission) + arguments * sizeof(values[0]);
	size_t bytes = head_bytes;
	struct pg_submission *submission;
	char *end;

	for (int i = 0; i < arguments; i++)
		bytes += values[i] != NULL ? strlen(values[i]) + 1 : 0;
	submission = malloc(bytes);
	if (submission == NULL)
		fatal("out of memory");
	end = (char *)submission + head_bytes;
	for (int i = 0; i < arguments; i++) {
		submission->values[i] = values[i] != NULL ? end : NULL;
		if (values[i] != NULL)
			end = stpcpy(end, values[i]) + 1;
	}
	submission->arguments = arguments;
	submission->bytes = bytes;
	return submission;
}

void
pg_submit(struct pg *pool, int statement, int arguments, const char *const *values,
    pg_done_fn *done, void *argument)
{
	struct pg_submission *submission;

	if (statement < 0 || (size_t)statement >= pool->statement_count)
		fatal("[postgres] there is no statement %d", statement);
	if (arguments != pool->statements[statement].parameters)
		fatal("[postgres] %s takes %d arguments, not %d", pool->statements[statement].name,
		    pool->statements[statement].parameters, arguments);
	submission = submission_new(arguments, values);
	submission->statement = statement;
	submission->done = done;
	submission->argument = argument;
	submission->submitted_us = clock_monotonic_us();
	submission->deadline_ms = submission->submitted_us / 1000 +
				  pool->config->database_timeout_ms;
	pool->pending++;
	if (pool->closing || is_down(pool)) {
		pg_end(pool, submission, PG_UNAVAILABLE);
		return;
	}
	if (!pg_queue_add(pool, submission)) {
		pg_end(pool, submission, PG_OVERLOADED);
		return;
	}
	pg_dispatch_soon(pool);
	if (!evtimer_pending(&pool->deadline, NULL)) {
		struct timeval span = clock_timeval(pool->config->database_timeout_ms);

		evtimer_add(&pool->deadline, &span);
	}
}

void
pg_end(struct pg *pool, struct pg_submission *submission, enum pg_status status)
{
	submission->status = status;
	if (STAILQ_EMPTY(&pool->ended))
		evtimer_add(&pool->settle, &(struct timeval){ 0 });
	STAILQ_INSERT_TAIL(&pool->ended, submission, link);
}

/* Those that a callback adds wait for the next turn. */
static void
settle(evutil_socket_t socket, short what, void *argument)
{
	struct pg *pool = argument;
	struct pg_list ended = STAILQ_HEAD_INITIALIZER(ended);
	struct pg_submission *submission;

	STAILQ_CONCAT(&ended, &pool->ended);
	while ((submission = STAILQ_FIRST(&ended)) != NULL) {
		STAILQ_REMOVE_HEAD(&ended, link);
		pg_complete(pool, submission, submission->status, NULL);
	}
}

void
pg_complete(struct pg *pool, struct pg_submission *submission, enum pg_status status,
    const struct rows *rows)
{
	pool->pending--;
	histogram_observe(&series.postgres, clock_monotonic_us() - submission->submitted_us);
	submission->done(submission->argument, status, rows);
	free(submission);
}

/* Fail fast: with no connection and no hope in sight, what is queued need not wait for its deadline. */
void
pg_connections_changed(struct pg *pool)
{
	if (is_down(pool))
		queue_end(pool);
	pg_dispatch_soon(pool);
}

/* The deadline of the first in the list; that of `earliest_ms` if the list is empty or later. */
static int64_t
earlier_deadline(const struct pg_list *list, int64_t earliest_ms)
{
	const struct pg_submission *first = STAILQ_FIRST(list);

	return first != NULL && first->deadline_ms < earliest_ms ? first->deadline_ms : earliest_ms;
}

static void
deadline_passed(evutil_socket_t socket, short what, void *argument)
{
	struct pg *pool = argument;
	int64_t now_ms = clock_monotonic_ms(), next_ms = INT64_MAX;
	struct pg_submission *submission;

	for (int i = 0; i < pool->connection_count; i++) {
		struct pg_connection *connection = &pool->connections[i];

		if (earlier_deadline(&connection->flight, INT64_MAX) <= now_ms)
			pg_connection_lost(connection, "no answer within DATABASE_TIMEOUT_MS");
		next_ms = earlier_deadline(&connection->flight, next_ms);
	}
	while (
	    (submission = STAILQ_FIRST(&pool->queue)) != NULL && submission->deadline_ms <= now_ms)
		pg_end(pool, pg_queue_take(pool), PG_TIMEOUT);
	next_ms = earlier_deadline(&pool->queue, next_ms);
	if (next_ms != INT64_MAX) {
		struct timeval span = clock_timeval(next_ms - now_ms);

		evtimer_add(&pool->deadline, &span);
	}
}

bool
pg_is_up(const struct pg *pool)
{
	return pool->ready > 0;
}

const char *
pg_last_error(const struct pg *pool)
{
	return pool->last_error;
}

size_t
pg_pending(const struct pg *pool)
{
	return pool->pending;
}

const char *
pg_status_text(enum pg_status status)
{
	switch (status) {
	case PG_OK:
		return "ok";
	case PG_FAILED:
		return "failed";
	case PG_UNAVAILABLE:
		return "unavailable";
	case PG_TIMEOUT:
		return "timed out";
	case PG_OVERLOADED:
		return "overloaded";
	}
	return "unknown";
}

struct pg_question {
	struct pg *pool;
	bool answered;
	enum pg_status status;
	struct rows *rows;
};

/* The rows become the asker's: the result moves, and what the callback was lent is left empty. */
static void
question_answered(void *argument, enum pg_status status, const struct rows *lent)
{
	struct pg_question *question = argument;

	question->answered = true;
	question->status = status;
	if (lent == NULL)
		return;
	question->rows = malloc(sizeof(*question->rows));
	if (question->rows == NULL)
		fatal("out of memory");
	*question->rows = *lent;
	((struct rows *)lent)->result = NULL;
}

struct pg_question *
pg_ask(struct pg *pool, int statement, int arguments, const char *const *values)
{
	struct pg_question *question = calloc(1, sizeof(*question));

	if (question == NULL)
		fatal("out of memory");
	question->pool = pool;
	pg_submit(pool, statement, arguments, values, question_answered, question);
	return question;
}

enum pg_status
pg_answer(struct pg_question *question, struct rows **rows)
{
	enum pg_status status;

	while (!question->answered)
		if (event_base_loop(question->pool->base, EVLOOP_ONCE) != 0)
			fatal("[postgres] the event loop fails");
	*rows = question->rows;
	status = question->status;
	free(question);
	return status;
}

enum pg_status
pg_wait(
    struct pg *pool, int statement, int arguments, const char *const *values, struct rows **rows)
{
	return pg_answer(pg_ask(pool, statement, arguments, values), rows);
}
