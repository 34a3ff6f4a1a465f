/*
 * doctor_connect: from the name in DATABASE_URL to a connection, or to the reason why there is none.
 *
 * A refusal is told by its SQLSTATE, as the server's words may be in any language; what libpq itself finds wrong has no
 * SQLSTATE, and is in English because no locale is set.
 */
#include "server/doctor/doctor.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"

#define CONNECT_MS       10000
#define SQLSTATE_LETTERS "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Why a connection did not come about, and what to do. */
struct refusal {
	const char *sign; /* an SQLSTATE, or a word that only libpq's own messages have */
	const char *subject;
	const char *advice;
};

static const struct refusal refusals_by_server[] = {
	{ "28P01", "postgres password", "Check user and password in DATABASE_URL." },
	{ "28000", "postgres access",
	    "Check the role in DATABASE_URL, and whether the server's pg_hba.conf lets it in from "
	    "here "
	    "(without TLS? try sslmode=require)." },
	{ "3D000", "postgres database",
	    "Create it (CREATE DATABASE … OWNER …) or mend its name in DATABASE_URL." },
	{ "42501", "postgres access", "GRANT CONNECT ON DATABASE … to the role in DATABASE_URL." },
	{ "53300", "postgres connections",
	    "Raise max_connections (or the role's or database's CONNECTION LIMIT), or lower "
	    "WORKERS "
	    "or DATABASE_CONNECTIONS_PER_WORKER." },
	{ "57P03", "postgres connect", "The server is starting or recovering: try again." },
	{ "", "postgres connect", "See the server's log." },
};

static const struct refusal refusals_by_libpq[] = {
	{ "password", "postgres password", "Put the password into DATABASE_URL." },
	{ "SSL", "postgres TLS",
	    "Check sslmode and sslrootcert in DATABASE_URL, and the server's certificate." },
	{ "certificate", "postgres TLS",
	    "Check sslmode and sslrootcert in DATABASE_URL, and the server's certificate." },
	{ "", "postgres connect",
	    "Is the server running, and are host and port in DATABASE_URL right and reachable from "
	    "here (firewall)?" },
};

static bool check_names(struct doctor *);
static bool check_each_name(struct doctor *, const char *hosts);
static PGconn *check_connection(struct doctor *);
static PGconn *connect_verbosely(const struct config *, bool *late);
static const char *find_sqlstate(const char *message);
static void report_refusal(struct doctor *, const char *message);

struct pg_conn *
doctor_connect(struct doctor *doctor)
{
	return check_names(doctor) ? check_connection(doctor) : NULL;
}

/* ---------------------------------------------------------------- names */

static bool
check_names(struct doctor *doctor)
{
	PQconninfoOption *options = PQconninfoParse(doctor->config->database_url, NULL);
	const char *hosts = NULL, *addresses = NULL;
	bool good = true;

	if (!options) /* the configuration's check has passed, so this is memory */
		fatal("out of memory");
	for (const PQconninfoOption *option = options; option->keyword; option++) {
		if (strcmp(option->keyword, "host") == 0)
			hosts = option->val;
		if (strcmp(option->keyword, "hostaddr") == 0)
			addresses = option->val;
	}
	if (hosts && !addresses)
		good = check_each_name(doctor, hosts);
	PQconninfoFree(options);
	return good;
}

/* One of several hosts is enough. */
static bool
check_each_name(struct doctor *doctor, const char *hosts)
{
	char *copy = strdup(hosts), *rest = copy, *host;
	bool good = false;

	if (!copy)
		fatal("out of memory");
	while ((host = strsep(&rest, ",")))
		if (host[0] == '\0' || host[0] == '/' || host[0] == '@')
			good = true;
		else if (doctor_resolves(doctor, "postgres name", host, "DATABASE_URL"))
			good = true;
	free(copy);
	return good;
}

/* ---------------------------------------------------------------- connection */

static PGconn *
check_connection(struct doctor *doctor)
{
	bool late;
	PGconn *conn = connect_verbosely(doctor->config, &late);

	if (late)
		doctor_fail(doctor, "postgres connect",
		    "no answer within %d s. Does a firewall swallow it, or does the host or port "
		    "belong to something else?",
		    CONNECT_MS / 1000);
	else if (PQstatus(conn) != CONNECTION_OK)
		report_refusal(doctor, PQerrorMessage(conn));
	if (late || PQstatus(conn) != CONNECTION_OK) {
		PQfinish(conn);
		return NULL;
	}
	PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
	doctor_ok(doctor, "postgres connect", "database %s as %s on %s:%s", PQdb(conn),
	    PQuser(conn), PQhost(conn), PQport(conn));
	return conn;
}

/* PQconnectdb() with a deadline for the whole, and with the SQLSTATE in the message of a refusal. */
static PGconn *
connect_verbosely(const struct config *config, bool *late)
{
	const char *const keywords[] = { "fallback_application_name", "dbname", NULL };
	const char *const values[] = { "mitrad doctor", config->database_url, NULL };
	int64_t deadline_ms = clock_monotonic_ms() + CONNECT_MS;
	PGconn *conn = PQconnectStartParams(keywords, values, 1);
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;

	if (!conn)
		fatal("out of memory");
	*late = false;
	PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	while (PQstatus(conn) != CONNECTION_BAD && state != PGRES_POLLING_OK &&
	       state != PGRES_POLLING_FAILED) {
		struct pollfd polled = {
			.fd = PQsocket(conn),
			.events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT,
		};
		int64_t left_ms = deadline_ms - clock_monotonic_ms();

		*late = left_ms <= 0 || poll(&polled, 1, (int)left_ms) == 0;
		if (*late)
			break;
		state = PQconnectPoll(conn);
	}
	return conn;
}

/* In "…: FATAL:  28P01: password authentication…" the place of "28P01"; NULL if the server said nothing. */
static const char *
find_sqlstate(const char *message)
{
	for (const char *at = message; (at = strstr(at, ":  ")); at++)
		if (strspn(at + 3, SQLSTATE_LETTERS) == 5 && strncmp(at + 8, ": ", 2) == 0)
			return at + 3;
	return NULL;
}

/* The last of a table has no sign, and fits all. */
static void
report_refusal(struct doctor *doctor, const char *message)
{
	const char *sqlstate = find_sqlstate(message);
	const char *text = sqlstate ? sqlstate + strlen("28P01: ") : message;
	const struct refusal *refusal = refusals_by_libpq;

	if (sqlstate)
		for (refusal = refusals_by_server;
		     strncmp(sqlstate, refusal->sign, strlen(refusal->sign)) != 0; refusal++)
			;
	else
		while (!strstr(text, refusal->sign))
			refusal++;
	doctor_fail(
	    doctor, refusal->subject, "%.*s. %s", (int)strcspn(text, "\n"), text, refusal->advice);
}
