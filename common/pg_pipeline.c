/*
 * pg_pipeline: what happens on the wire of a connection that is made.
 *
 * Every statement is followed by its own sync, which ends its transaction, so the server answers each
 * with a result (or an error), the NULL that separates results, and PGRES_PIPELINE_SYNC. Only the sync
 * says that the commit succeeded: a result is kept until then, and an error that comes after it, as
 * from a deferred constraint, replaces it.
 *
 * Deadlines: the server is told a statement_timeout slightly below DATABASE_TIMEOUT_MS, and a
 * lock_timeout below that, so that a statement which is slow by itself is ended by the server and the
 * connection lives on.  Our own deadline closes the connection; it is for the server that is silent,
 * and for statements stuck behind slow ones.
 */
#include "common/pg_private.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/log.h"

static const char settings_sql[] = "SELECT set_config('statement_timeout', $1, false),"
				   " set_config('lock_timeout', $2, false),"
				   " set_config('timezone', 'UTC', false),"
				   " set_config('datestyle', 'ISO', false),"
				   " set_config('client_min_messages', 'warning', false),"
				   " obj_description(to_regnamespace('mitrad'), 'pg_namespace')";
#define STAMP_COLUMN 5

static void readable(evutil_socket_t, short, void *);
static void writable(evutil_socket_t, short, void *);
static bool prepare_take(struct pg_connection *, PGresult *);
static bool flight_take(struct pg_connection *, PGresult *);

/*
 * One sync, flushed by the turn that follows where libpq can (17); libpq 15 and 16 flush in
 * PQpipelineSync() itself.
 */
static int
send_sync(PGconn *wire)
{
#ifdef LIBPQ_HAS_SEND_PIPELINE_SYNC
	return PQsendPipelineSync(wire);
#else
	return PQpipelineSync(wire);
#endif
}

static bool
send_settings(struct pg_connection *connection)
{
	int timeout_ms = connection->pool->config->database_timeout_ms;
	int margin_ms = timeout_ms < 2500 ? timeout_ms / 10 : 250;
	char statement_ms[16], lock_ms[16];
	const char *const values[] = { statement_ms, lock_ms };

	/* 0 would be no limit; DATABASE_TIMEOUT_MS is at least 1, and twice a tenth of it below itself. */
	snprintf(statement_ms, sizeof(statement_ms), "%d", timeout_ms - margin_ms);
	snprintf(lock_ms, sizeof(lock_ms), "%d", timeout_ms - 2 * margin_ms);
	return PQsendQueryParams(connection->wire, settings_sql, 2, NULL, values, NULL, NULL, 0) ==
	       1;
}

/* The settings and the whole table in one pipeline with one sync: a round trip, however many statements. */
static bool
send_preparation(struct pg_connection *connection)
{
	const struct pg *pool = connection->pool;

	if (PQsetnonblocking(connection->wire, 1) != 0 ||
	    PQenterPipelineMode(connection->wire) != 1)
		return false;
	if (!send_settings(connection))
		return false;
	for (size_t i = 0; i < pool->statement_count; i++) {
		const struct pg_statement *statement = &pool->statements[i];

		if (PQsendPrepare(connection->wire, statement->name, statement->sql, 0, NULL) != 1)
			return false;
	}
	return send_sync(connection->wire) == 1;
}

void
pg_pipeline_begin(struct pg_connection *connection)
{
	struct event_base *base = connection->pool->base;

	connection->prepared = 0;
	connection->separators = 0;
	event_assign(&connection->readable, base, PQsocket(connection->wire), EV_READ | EV_PERSIST,
	    readable, connection);
	event_assign(&connection->writable, base, PQsocket(connection->wire), EV_WRITE, writable,
	    connection);
	event_priority_set(&connection->readable, PG_PRIORITY);
	event_priority_set(&connection->writable, PG_PRIORITY);
	event_add(&connection->readable, NULL);
	if (!send_preparation(connection)) {
		pg_connection_lost(connection, PQerrorMessage(connection->wire));
		return;
	}
	connection->unflushed = true;
	pg_pipeline_flush(connection);
}

void
pg_pipeline_send(struct pg_connection *connection, struct pg_submission *submission)
{
	const struct pg_statement *statement = &connection->pool->statements[submission->statement];

	if (connection->in_flight == 0)
		connection->progress_ms = clock_monotonic_ms();
	STAILQ_INSERT_TAIL(&connection->flight, submission, link);
	connection->in_flight++;
	connection->slow_in_flight += submission->slow;
	connection->unflushed = true;
	counters.pg_statements++;
	if (PQsendQueryPrepared(connection->wire, statement->name, submission->arguments,
		submission->values, NULL, NULL, 0) != 1 ||
	    send_sync(connection->wire) != 1)
		pg_connection_lost(connection, PQerrorMessage(connection->wire));
}

void
pg_pipeline_flush(struct pg_connection *connection)
{
	int unsent;

	if (!connection->unflushed)
		return;
	unsent = PQflush(connection->wire);
	if (unsent < 0) {
		pg_connection_lost(connection, PQerrorMessage(connection->wire));
		return;
	}
	connection->unflushed = unsent > 0;
	if (connection->unflushed)
		event_add(&connection->writable, NULL);
}

static void
writable(evutil_socket_t socket, short what, void *argument)
{
	pg_pipeline_flush(argument);
}

/* The NULLs between results are nothing; more than a few in a row, and libpq and we are out of step. */
static bool
separator_take(struct pg_connection *connection)
{
	if (PQstatus(connection->wire) == CONNECTION_OK && ++connection->separators < 4)
		return true;
	pg_connection_lost(connection, PQerrorMessage(connection->wire));
	return false;
}

static bool
result_take(struct pg_connection *connection, PGresult *result)
{
	if (result == NULL)
		return separator_take(connection);
	connection->separators = 0;
	return connection->state == LINK_READY ? flight_take(connection, result)
					       : prepare_take(connection, result);
}

static void
readable(evutil_socket_t socket, short what, void *argument)
{
	struct pg_connection *connection = argument;
	bool alive = PQconsumeInput(connection->wire) == 1;

	/* What has come whole is taken even so; libpq adds complaints of its own to the reason meanwhile. */
	if (!alive && connection->farewell[0] == '\0')
		snprintf(connection->farewell, sizeof(connection->farewell), "%s",
		    PQerrorMessage(connection->wire));
	if (connection->state == LINK_PREPARING)
		pg_connection_progress(connection);
	/* PQisBusy() first, and always: it parses what an idle connection is told. */
	while (!PQisBusy(connection->wire) &&
	       (connection->state == LINK_PREPARING || connection->in_flight > 0))
		if (!result_take(connection, PQgetResult(connection->wire)))
			return;
	if (!alive) {
		pg_connection_lost(connection, PQerrorMessage(connection->wire));
		return;
	}
	pg_pipeline_flush(connection);
	pg_dispatch_soon(connection->pool);
}

/* What helps if the server knows less than our statements ask for: no schema, no such function, table or column. */
static const char *
hint_of(const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (sqlstate != NULL &&
	    (strncmp(sqlstate, "3F", 2) == 0 || strncmp(sqlstate, "42", 2) == 0) &&
	    strcmp(sqlstate, "42501") != 0)
		return "; has `mitrad migrate` been run?";
	return "";
}

/* 0 if there is none. */
static int
version_of(const char *stamp)
{
	int version = 0;

	return sscanf(stamp, "version %d,", &version) == 1 ? version : 0;
}

/*
 * False, and the connection has been lost, if the schema is older than we need.  Of functions alone nobody can tell which
 * are the newer ones; but those that lack what we ask for cannot be prepared.
 */
static bool
schema_suffices(struct pg_connection *connection, const char *stamp)
{
	struct pg *pool = connection->pool;
	int version = version_of(stamp), least = version_of(pool->schema);
	char text[160];

	pool->outdated = version < least;
	if (pool->outdated) {
		if (version == 0)
			snprintf(text, sizeof(text),
			    "this database has no schema of mitrad: run `mitrad migrate`");
		else
			snprintf(text, sizeof(text),
			    "the schema is version %d, older than this program's %d: run `mitrad "
			    "migrate`",
			    version, least);
		pg_connection_lost(connection, text);
		return false;
	}
	if (version > 0 && version == least && strcmp(stamp, pool->schema) != 0 &&
	    !pool->told_of_functions)
		log_warning("[postgres] the schema's functions are another release's: run `mitrad "
			    "migrate` with the newer program");
	pool->told_of_functions = true;
	return true;
}

/* Takes one result of the preparation; false if the connection has been lost by it. */
static bool
prepare_take(struct pg_connection *connection, PGresult *result)
{
	const struct pg *pool = connection->pool;
	ExecStatusType status = PQresultStatus(result);
	const char *name = "the session's settings", *reason;
	char text[512];

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
		bool suffices = status != PGRES_TUPLES_OK ||
				schema_suffices(connection, PQgetvalue(result, 0, STAMP_COLUMN));

		PQclear(result);
		connection->prepared++;
		return suffices;
	}
	if (status == PGRES_PIPELINE_SYNC && connection->prepared == pool->statement_count + 1) {
		PQclear(result);
		pg_connection_ready(connection);
		return true;
	}
	if (connection->prepared > 0 && connection->prepared <= pool->statement_count)
		name = pool->statements[connection->prepared - 1].name;
	reason = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	snprintf(text, sizeof(text), "cannot prepare %s: %s%s", name,
	    reason != NULL ? reason : PQresultErrorMessage(result), hint_of(result));
	PQclear(result);
	pg_connection_lost(connection, text);
	return false;
}

static bool
field_is(const PGresult *result, int field, const char *value)
{
	const char *text = PQresultErrorField(result, field);

	return text != NULL && strcmp(text, value) == 0;
}

/* Does this error say that the server, or this session on it, cannot serve any statement? */
static bool
is_unfit(const PGresult *result)
{
	static const char *const states[] = { "25006" /* a standby */,
		"26000" /* our statements are gone */, "53100", "53200", "53300", "57P01", "57P02",
		"57P03", "57P04", "57P05" };
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (sqlstate == NULL) /* libpq's own error: the connection broke */
		return true;
	if (field_is(result, PG_DIAG_SEVERITY_NONLOCALIZED, "FATAL") ||
	    field_is(result, PG_DIAG_SEVERITY_NONLOCALIZED, "PANIC") ||
	    strncmp(sqlstate, "08", 2) == 0)
		return true;
	/*
	 * "cached plan must not change result type", after a migration: it would stay so for the session's
	 * life.
	 */
	if (strcmp(sqlstate, "0A000") == 0 &&
	    field_is(result, PG_DIAG_SOURCE_FUNCTION, "RevalidateCachedQuery"))
		return true;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(sqlstate, states[i]) == 0)
			return true;
	return false;
}

static enum pg_status
status_of(const PGresult *result)
{
	if (PQresultStatus(result) != PGRES_FATAL_ERROR)
		return PG_OK;
	/* Ended by statement_timeout or lock_timeout. */
	if (field_is(result, PG_DIAG_SQLSTATE, "57014") ||
	    field_is(result, PG_DIAG_SQLSTATE, "55P03"))
		return PG_TIMEOUT;
	return PG_FAILED;
}

/* The head of `flight` is committed, or failed for good. */
static void
flight_settled(struct pg_connection *connection)
{
	struct pg_submission *submission = STAILQ_FIRST(&connection->flight);
	struct rows rows = { .result = connection->result };
	enum pg_status status = status_of(rows.result);
	int64_t now_ms = clock_monotonic_ms();

	connection->result = NULL;
	STAILQ_REMOVE_HEAD(&connection->flight, link);
	connection->in_flight--;
	connection->slow_in_flight -= submission->slow;
	pg_queue_learn(connection->pool, submission->statement, now_ms - connection->progress_ms);
	connection->progress_ms = now_ms;
	pg_complete(connection->pool, submission, status, status == PG_TIMEOUT ? NULL : &rows);
	PQclear(rows.result);
}

/* Takes one result of the flight; false if the connection has been lost by it. */
static bool
flight_take(struct pg_connection *connection, PGresult *result)
{
	switch (PQresultStatus(result)) {
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
	case PGRES_EMPTY_QUERY:
		PQclear(connection->result);
		connection->result = result;
		return true;
	case PGRES_FATAL_ERROR:
		PQclear(connection->result);
		connection->result = result;
		if (!is_unfit(result))
			return true;
		pg_connection_lost(connection, PQresultErrorMessage(result));
		return false;
	case PGRES_PIPELINE_SYNC:
		PQclear(result);
		if (connection->result == NULL)
			break;
		flight_settled(connection);
		return true;
	default:
		PQclear(result);
	}
	pg_connection_lost(connection, "an answer that does not belong to any statement");
	return false;
}
