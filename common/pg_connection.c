/*
 * pg_connection: one connection's life.
 *
 *   WAITING -> RESOLVING -> CONNECTING -> PREPARING -> READY
 *      ^___________|____________|____________|___________|   whatever goes wrong
 *
 * libpq's poll-style connect ignores connect_timeout (libpq 15), so an attempt has its own limits:
 * SILENCE_MS without a sign of the server, ATTEMPT_MS in all.  The wait between attempts counts from
 * the beginning of the last one, so that a server that swallows everything is tried again as soon as
 * the attempt is given up, and one that is back is found within 2 s.
 */
#include "common/pg_private.h"

#include <stdio.h>
#include <string.h>

#include <event2/util.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/log.h"

#define SILENCE_MS       1500
#define ATTEMPT_MS       10000
#define BACKOFF_LEAST_MS 50
#define BACKOFF_MOST_MS  1000
#define STEADY_MS \
	2000 /* a connection that lived this long was a good one: the back-off starts anew */

static void timer_fired(evutil_socket_t, short, void *);
static void attempt(struct pg_connection *);
static void connect_start(struct pg_connection *, const char *hosts, const char *addresses);
static void connect_poll(evutil_socket_t, short, void *);
static void connect_wait(struct pg_connection *, short what);
static void notice(void *, const PGresult *);
static void failure_note(struct pg *, const char *what, const char *error);
static void flight_end(struct pg_connection *);
static void wire_close(struct pg_connection *);
static void wait_and_retry(struct pg_connection *);

void
pg_connection_init(struct pg_connection *connection, struct pg *pool)
{
	connection->pool = pool;
	connection->state = LINK_WAITING;
	connection->backoff_ms = BACKOFF_LEAST_MS;
	STAILQ_INIT(&connection->flight);
	event_assign(&connection->readable, pool->base, -1, 0, connect_poll, connection);
	event_assign(&connection->writable, pool->base, -1, 0, connect_poll, connection);
	evtimer_assign(&connection->timer, pool->base, timer_fired, connection);
	evtimer_add(&connection->timer, &(struct timeval){ 0 });
}

void
pg_connection_free(struct pg_connection *connection)
{
	wire_close(connection);
	flight_end(connection);
	event_del(&connection->timer);
}

static void
timer_fired(evutil_socket_t socket, short what, void *argument)
{
	struct pg_connection *connection = argument;

	if (connection->state == LINK_WAITING) {
		attempt(connection);
		return;
	}
	connection->first_address++;
	pg_connection_lost(connection, connection->state == LINK_RESOLVING
					   ? "the resolver does not answer"
					   : "the server does not answer");
}

static void
attempt(struct pg_connection *connection)
{
	connection->attempt_began_ms = clock_monotonic_ms();
	connection->farewell[0] = '\0';
	connection->state = LINK_RESOLVING;
	pg_connection_progress(connection);
	if (connection->pool->host != NULL && connection->pool->dns != NULL)
		pg_address_resolve(connection);
	else
		connect_start(connection, NULL, NULL);
}

void
pg_connection_progress(struct pg_connection *connection)
{
	int64_t left_ms = connection->attempt_began_ms + ATTEMPT_MS - clock_monotonic_ms();
	struct timeval span;

	if (left_ms > SILENCE_MS)
		left_ms = SILENCE_MS;
	span = clock_timeval(left_ms > 0 ? left_ms : 0);
	evtimer_add(&connection->timer, &span);
}

void
pg_connection_resolved(
    struct pg_connection *connection, const char *hosts, const char *addresses, const char *error)
{
	char text[256];

	if (error == NULL) {
		connect_start(connection, hosts, addresses);
		return;
	}
	snprintf(text, sizeof(text), "cannot resolve \"%s\": %s", connection->pool->host, error);
	pg_connection_lost(connection, text);
}

/*
 * What stands before `dbname` is a default, which the conninfo (expanded in its place) overrides; what
 * stands after it, and is not NULL, overrides the conninfo.
 */
static void
connect_start(struct pg_connection *connection, const char *hosts, const char *addresses)
{
	const struct config *config = connection->pool->config;
	char user_timeout_ms[16];
	const char *const keywords[] = { "fallback_application_name", "keepalives_idle",
		"keepalives_interval", "keepalives_count", "tcp_user_timeout", "dbname",
		"client_encoding", "host", "hostaddr", NULL };
	const char *const values[] = { "mitrad", "5", "2", "3", user_timeout_ms,
		config->database_url, "UTF8", hosts, addresses, NULL };

	snprintf(user_timeout_ms, sizeof(user_timeout_ms), "%d", config->database_timeout_ms);
	connection->state = LINK_CONNECTING;
	connection->wire = PQconnectStartParams(keywords, values, 1);
	if (connection->wire == NULL)
		fatal("out of memory");
	if (PQstatus(connection->wire) == CONNECTION_BAD) {
		pg_connection_lost(connection, PQerrorMessage(connection->wire));
		return;
	}
	PQsetNoticeReceiver(connection->wire, notice, connection);
	connect_wait(connection, EV_WRITE);
}

static void
connect_poll(evutil_socket_t socket, short what, void *argument)
{
	struct pg_connection *connection = argument;

	pg_connection_progress(connection);
	switch (PQconnectPoll(connection->wire)) {
	case PGRES_POLLING_READING:
		connect_wait(connection, EV_READ);
		return;
	case PGRES_POLLING_WRITING:
		connect_wait(connection, EV_WRITE);
		return;
	case PGRES_POLLING_OK:
		connection->state = LINK_PREPARING;
		pg_pipeline_begin(connection);
		return;
	default:
		pg_connection_lost(connection, PQerrorMessage(connection->wire));
	}
}

/*
 * A poll may close the socket and open another under the same number (the next address, or a retry
 * without TLS), so every wait is a fresh event, and none is registered while libpq runs.
 */
static void
connect_wait(struct pg_connection *connection, short what)
{
	event_assign(&connection->readable, connection->pool->base, PQsocket(connection->wire),
	    what, connect_poll, connection);
	event_add(&connection->readable, NULL);
}

/*
 * The server's notices; a FATAL among them, said to an idle connection, is the reason for the hang-up
 * that follows.
 */
static void
notice(void *argument, const PGresult *result)
{
	struct pg_connection *connection = argument;
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (message == NULL)
		message = PQresultErrorMessage(result);
	log_debug("[postgres] %s: %s", severity != NULL ? severity : "NOTICE", message);
	if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
		snprintf(connection->farewell, sizeof(connection->farewell), "%s", message);
}

void
pg_connection_ready(struct pg_connection *connection)
{
	struct pg *pool = connection->pool;

	evtimer_del(&connection->timer);
	connection->state = LINK_READY;
	connection->ready_since_ms = clock_monotonic_ms();
	if (connection->failed) {
		connection->failed = false;
		pool->failed--;
	}
	if (pool->ready++ == 0)
		log_info("[postgres] connected");
	pool->last_error[0] = '\0';
	pg_dispatch_soon(pool);
}

void
pg_connection_lost(struct pg_connection *connection, const char *error)
{
	struct pg *pool = connection->pool;

	if (connection->farewell[0] != '\0')
		error = connection->farewell;
	if (connection->state == LINK_READY) {
		pool->ready--;
		counters.pg_disconnects++;
		if (clock_monotonic_ms() - connection->ready_since_ms >= STEADY_MS) {
			connection->backoff_ms = BACKOFF_LEAST_MS;
			pool->logged[0] = '\0';
		}
		failure_note(pool, "connection lost", error);
	} else {
		if (!connection->failed)
			pool->failed++;
		connection->failed = true;
		failure_note(pool, "cannot connect", error);
	}
	wire_close(connection);
	flight_end(connection);
	wait_and_retry(connection);
	pg_connections_changed(pool);
}

/* As one line: libpq's messages have several, the last ending in a newline. */
static void
line_of(char *line, size_t size, const char *text)
{
	size_t end = 0;

	for (; *text != '\0' && end + 1 < size; text++) {
		bool blank = *text == '\n' || *text == '\t' || *text == ' ';

		if (!blank)
			line[end++] = *text;
		else if (end > 0 && line[end - 1] != ' ')
			line[end++] = ' ';
	}
	if (end > 0 && line[end - 1] == ' ')
		end--;
	line[end] = '\0';
}

/* Every connection retries again and again, so a text is logged only when it is not the one before. */
static void
failure_note(struct pg *pool, const char *what, const char *error)
{
	char line[sizeof(pool->last_error)];
	char logged[sizeof(pool->logged)];

	line_of(line, sizeof(line), error);
	memcpy(pool->last_error, line, sizeof(line));
	snprintf(logged, sizeof(logged), "%s: %.480s", what, line);
	if (strcmp(logged, pool->logged) == 0) {
		log_debug("[postgres] %s", logged);
		return;
	}
	log_error("[postgres] %s", logged);
	memcpy(pool->logged, logged, sizeof(logged));
}

static void
flight_end(struct pg_connection *connection)
{
	int64_t now_ms = clock_monotonic_ms();
	struct pg_submission *submission;

	while ((submission = STAILQ_FIRST(&connection->flight)) != NULL) {
		STAILQ_REMOVE_HEAD(&connection->flight, link);
		pg_end(connection->pool, submission,
		    submission->deadline_ms <= now_ms ? PG_TIMEOUT : PG_UNAVAILABLE);
	}
	connection->in_flight = 0;
	connection->slow_in_flight = 0;
}

static void
wire_close(struct pg_connection *connection)
{
	pg_address_cancel(connection);
	event_del(&connection->readable);
	event_del(&connection->writable);
	PQclear(connection->result);
	connection->result = NULL;
	PQfinish(connection->wire);
	connection->wire = NULL;
	connection->unflushed = false;
}

static void
wait_and_retry(struct pg_connection *connection)
{
	int64_t elapsed_ms = clock_monotonic_ms() - connection->attempt_began_ms;
	int64_t wait_ms;
	unsigned random;
	struct timeval span;

	evutil_secure_rng_get_bytes(&random, sizeof(random));
	wait_ms = connection->backoff_ms / 2 + random % (connection->backoff_ms / 2) - elapsed_ms;
	if (wait_ms < BACKOFF_LEAST_MS / 2)
		wait_ms = BACKOFF_LEAST_MS / 2 + random % (BACKOFF_LEAST_MS / 2);
	connection->backoff_ms *= 2;
	if (connection->backoff_ms > BACKOFF_MOST_MS)
		connection->backoff_ms = BACKOFF_MOST_MS;
	connection->state = LINK_WAITING;
	span = clock_timeval(wait_ms);
	evtimer_add(&connection->timer, &span);
}
