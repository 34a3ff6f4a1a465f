/*
 * runner: how the migration runner talks to PostgreSQL.
 *
 * First it gets there: the server may still be starting, another runner may be at work.  Below are the
 * statements, which log what fails, and the transaction that gives way to a serving program's locks.
 */
#include "schema/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"

/* Any number will do, so long as every runner of every release takes the same. */
#define RUNNER_LOCK "7236171205148471"

#define RETRY_MS             200
#define CONNECT_REFUSALS_MAX 3

/*
 * Requests queue behind a lock that is waited for, and may hold what it waits for together with others.  So it gives way
 * long before anybody minds, above all before PostgreSQL looks for deadlocks (after a second) and ends one of them.
 */
#define LOCK_TIMEOUT    "'200ms'"
#define LOCK_PAUSE_MS   50
#define LOCK_PATIENCE_S 40

static PGconn *server_wait(const struct config *);
static bool session_prepare(PGconn *);
static void log_server_error(const char *what, const char *message);

PGconn *
runner_connect(const struct config *config)
{
	PGconn *conn = server_wait(config);

	if (conn == NULL || session_prepare(conn))
		return conn;
	PQfinish(conn);
	return NULL;
}

/*
 * Waits for a server that is away or still starting.  One that is there and says no (password, database
 * name) would not change its mind: a few refusals in a row, as the last may come from a server that started
 * just then, are final.
 */
static PGconn *
server_wait(const struct config *config)
{
	const char *const keywords[] = { "connect_timeout", "fallback_application_name", "dbname",
		NULL };
	const char *const values[] = { "5", "mitrad migrate", config->database_url, NULL };
	int64_t deadline_ms = clock_monotonic_ms() +
			      config->startup_timeout_seconds * INT64_C(1000);
	int refusals = 0;

	for (bool first = true;; first = false) {
		PGconn *conn = PQconnectdbParams(keywords, values, 1);
		PGPing ping;

		if (PQstatus(conn) == CONNECTION_OK)
			return conn;
		ping = PQpingParams(keywords, values, 1);
		refusals = ping == PQPING_OK || ping == PQPING_NO_ATTEMPT ? refusals + 1 : 0;
		if (refusals == CONNECT_REFUSALS_MAX || clock_monotonic_ms() >= deadline_ms) {
			log_server_error("cannot connect to PostgreSQL", PQerrorMessage(conn));
			PQfinish(conn);
			return NULL;
		}
		PQfinish(conn);
		if (first && refusals == 0)
			log_warning("waiting for PostgreSQL, at most %d s",
			    config->startup_timeout_seconds);
		usleep(RETRY_MS * 1000);
	}
}

static void
notice_log(void *argument, const char *message)
{
	log_debug("%s", message);
}

/*
 * The empty search path makes every file name the schema of what it creates, whatever the role's own path
 * is.  The advisory lock is the session's: it ends with the connection, however that ends.
 */
static bool
session_prepare(PGconn *conn)
{
	PGresult *result;
	bool alone;

	PQsetNoticeProcessor(conn, notice_log, NULL);
	if (!runner_run(conn, "session",
		"set search_path = ''; set client_min_messages = warning;"
		"set statement_timeout = 0; set lock_timeout = 0; set "
		"idle_in_transaction_session_timeout = 0",
		NULL))
		return false;

	result = runner_ask(conn, "lock", "select pg_try_advisory_lock(" RUNNER_LOCK ")", 0, NULL);
	if (result == NULL)
		return false;
	alone = *PQgetvalue(result, 0, 0) == 't';
	PQclear(result);
	if (!alone) {
		log_info("another runner is at work, waiting for it");
		if (!runner_run(conn, "lock", "select pg_advisory_lock(" RUNNER_LOCK ")", NULL))
			return false;
	}

	return runner_run(conn, "session", "set lock_timeout = " LOCK_TIMEOUT, NULL);
}

/* libpq's messages have several lines, the last of them ended too; a log line is one. */
static void
log_server_error(const char *what, const char *message)
{
	char line[1024];
	size_t length = 0;

	for (; *message != '\0' && length < sizeof(line) - 1; message++) {
		bool space = *message == '\n' || *message == '\t' || *message == ' ';

		if (!space)
			line[length++] = *message;
		else if (length > 0 && line[length - 1] != ' ')
			line[length++] = ' ';
	}
	while (length > 0 && line[length - 1] == ' ')
		length--;
	line[length] = '\0';
	log_error("%s: %s", what, line);
}

/* The line of the text in which the server found the error; 0 if it did not say. */
static int
error_line(const PGresult *result, const char *sql)
{
	const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
	int line = 1;

	if (position == NULL)
		return 0;
	/* Counted in characters, from 1. */
	for (long left = atol(position) - 1; left > 0 && *sql != '\0'; sql++) {
		line += *sql == '\n';
		left -= (sql[1] & 0xc0) != 0x80;
	}
	return line;
}

static void
log_statement_error(const char *what, const char *sql, const PGresult *result)
{
	char place[160];
	int line = error_line(result, sql);

	if (line == 0)
		snprintf(place, sizeof(place), "%s", what);
	else
		snprintf(place, sizeof(place), "%s, line %d", what, line);
	log_server_error(place, PQresultErrorMessage(result));
}

static bool
is_ok(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

PGresult *
runner_ask(
    PGconn *conn, const char *what, const char *sql, int parameters, const char *const *values)
{
	PGresult *result = PQexecParams(conn, sql, parameters, NULL, values, NULL, NULL, 0);

	if (is_ok(result))
		return result;
	log_statement_error(what, sql, result);
	PQclear(result);
	return NULL;
}

/* lock_not_available and deadlock_detected: worth another attempt. */
static bool
is_lock_trouble(const char *sqlstate)
{
	return strcmp(sqlstate, "55P03") == 0 || strcmp(sqlstate, "40P01") == 0;
}

bool
runner_run(PGconn *conn, const char *what, const char *sql, char sqlstate[RUNNER_SQLSTATE_SIZE])
{
	PGresult *result = PQexec(conn, sql);
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	bool ok = is_ok(result);

	if (sqlstate != NULL)
		snprintf(sqlstate, RUNNER_SQLSTATE_SIZE, "%s", code != NULL ? code : "");
	if (!ok && !(code != NULL && is_lock_trouble(code)))
		log_statement_error(what, sql, result);
	PQclear(result);
	return ok;
}

bool
runner_in_transaction(PGconn *conn, runner_step_fn *step, const void *argument)
{
	char sqlstate[RUNNER_SQLSTATE_SIZE] = "";
	int64_t deadline_ms = clock_monotonic_ms() + LOCK_PATIENCE_S * INT64_C(1000);

	for (bool first = true; first || clock_monotonic_ms() < deadline_ms; first = false) {
		if (!runner_run(conn, "begin", "begin", NULL))
			return false;
		if (step(conn, argument, sqlstate))
			return runner_run(conn, "commit", "commit", NULL);
		runner_run(conn, "rollback", "rollback", NULL);
		if (!is_lock_trouble(sqlstate))
			return false;
		if (first)
			log_warning("the tables are in use, trying again for at most %d s",
			    LOCK_PATIENCE_S);
		usleep(LOCK_PAUSE_MS * 1000);
	}
	log_error("gave up: the tables stayed in use");
	return false;
}
