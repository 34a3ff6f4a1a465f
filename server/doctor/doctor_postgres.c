/*
 * doctor_postgres: is this a server, and a database, that mitrad can work with?  What the server is, what it allows, and which
 * schema the database has.
 */
#include "server/doctor/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/clock.h"
#include "common/config.h"
#include "schema/migrate.h"
#include "server/master/listeners.h"

#define VERSION_LEAST 130000

static void check_tls(struct doctor *, PGconn *);
static bool check_version(struct doctor *, const PGconn *);
static void check_writable(struct doctor *, PGconn *);
static void check_pooler(struct doctor *, PGconn *);
static void check_limits(struct doctor *, PGconn *);
static void check_clock(struct doctor *, PGconn *);
static void check_schema(struct doctor *, PGconn *);
static bool check_rights(struct doctor *, PGconn *);
static void check_payments(struct doctor *, PGconn *);
static PGresult *ask(struct doctor *, PGconn *, const char *subject, const char *sql);
static int number(const PGresult *, int column);

void
doctor_postgres(struct doctor *doctor)
{
	PGconn *conn = doctor_connect(doctor);

	if (!conn)
		return;
	check_tls(doctor, conn);
	if (check_version(doctor, conn)) {
		check_writable(doctor, conn);
		check_pooler(doctor, conn);
		check_limits(doctor, conn);
		check_clock(doctor, conn);
		check_schema(doctor, conn);
	}
	PQfinish(conn);
}

static void
check_tls(struct doctor *doctor, PGconn *conn)
{
	PQconninfoOption *options = PQconninfo(conn);
	const char *mode = "";

	for (PQconninfoOption *option = options; option && option->keyword; option++)
		if (strcmp(option->keyword, "sslmode") == 0 && option->val)
			mode = option->val;
	if (doctor_is_local(PQhost(conn)))
		doctor_ok(doctor, "postgres TLS", "not needed on this machine");
	else if (!PQsslInUse(conn))
		doctor_warn(doctor, "postgres TLS",
		    "the connection is not encrypted. Add sslmode=verify-full to DATABASE_URL.");
	else if (strcmp(mode, "verify-full") != 0 && strcmp(mode, "verify-ca") != 0)
		doctor_warn(doctor, "postgres TLS",
		    "%s, but the server's certificate is not checked (sslmode=%s). "
		    "sslmode=verify-full with sslrootcert does.",
		    PQsslAttribute(conn, "protocol"), mode);
	else
		doctor_ok(doctor, "postgres TLS", "%s, sslmode=%s",
		    PQsslAttribute(conn, "protocol"), mode);
	PQconninfoFree(options);
}

/* ---------------------------------------------------------------- the server */

static bool
check_version(struct doctor *doctor, const PGconn *conn)
{
	const char *version = PQparameterStatus(conn, "server_version");

	if (PQserverVersion(conn) >= VERSION_LEAST) {
		doctor_ok(doctor, "postgres version", "%s", version);
		return true;
	}
	doctor_fail(doctor, "postgres version", "%s is too old. PostgreSQL %d or newer is needed.",
	    version, VERSION_LEAST / 10000);
	return false;
}

static void
check_writable(struct doctor *doctor, PGconn *conn)
{
	PGresult *result = ask(doctor, conn, "postgres writes",
	    "select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'");

	if (!result)
		return;
	if (*PQgetvalue(result, 0, 0) == 't')
		doctor_fail(doctor, "postgres writes",
		    "this server is a standby, which takes no writes. Name the primary in "
		    "DATABASE_URL, or all hosts with target_session_attrs=read-write.");
	else if (*PQgetvalue(result, 0, 1) == 't')
		doctor_fail(doctor, "postgres writes",
		    "transactions are read-only. Reset default_transaction_read_only for this role "
		    "and database.");
	else
		doctor_ok(doctor, "postgres writes", "the primary");
	PQclear(result);
}

/* A pooler gives the client a number of its own for the server's process. */
static void
check_pooler(struct doctor *doctor, PGconn *conn)
{
	PGresult *result = ask(doctor, conn, "postgres pooler", "select pg_backend_pid()");

	if (!result)
		return;
	if (number(result, 0) != PQbackendPID(conn))
		doctor_warn(doctor, "postgres pooler",
		    "a connection pooler stands in between. It must pool by session: prepared "
		    "statements and pipelines are used. mitrad keeps few connections and needs "
		    "none.");
	PQclear(result);
}

/*
 * What this instance needs (twice that while a reload lets the old workers finish) against what the server, the database and
 * the role allow; -1 there means no limit.
 */
static void
check_limits(struct doctor *doctor, PGconn *conn)
{
	const struct config *config = doctor->config;
	int needed = listeners_workers(config) * config->database_connections_per_worker +
		     doctor_sweepers(config);
	PGresult *result = ask(doctor, conn, "postgres connections",
	    "select least(current_setting('max_connections')::int"
	    "  - current_setting('superuser_reserved_connections')::int"
	    "  - coalesce(current_setting('reserved_connections', true), '0')::int,"
	    "  nullif(rolconnlimit, -1), nullif(datconnlimit, -1)),"
	    " (select count(*) from pg_stat_activity a"
	    "  where a.datid is not null and a.usename is distinct from current_user)"
	    " from pg_roles, pg_database"
	    " where rolname = current_user and datname = current_database()");
	int allowed, others;

	if (!result)
		return;
	allowed = number(result, 0);
	others = number(result, 1);
	PQclear(result);

	if (needed > allowed)
		doctor_fail(doctor, "postgres connections",
		    "this instance needs %d, the server allows %d. Raise max_connections (or the "
		    "role's or database's CONNECTION LIMIT), or lower WORKERS or "
		    "DATABASE_CONNECTIONS_PER_WORKER.",
		    needed, allowed);
	else if (2 * needed + others > allowed)
		doctor_warn(doctor, "postgres connections",
		    "this instance needs %d, and twice that during a reload; others have %d; the "
		    "server allows %d. Raise max_connections, or lower WORKERS or "
		    "DATABASE_CONNECTIONS_PER_WORKER.",
		    needed, others, allowed);
	else
		doctor_ok(doctor, "postgres connections",
		    "each instance like this needs %d, and twice that during a reload; the server "
		    "allows %d, others have %d",
		    needed, allowed, others);
}

static void
check_clock(struct doctor *doctor, PGconn *conn)
{
	int64_t before_ms = clock_wall_ms();
	PGresult *result = ask(doctor, conn, "postgres clock",
	    "select (extract(epoch from clock_timestamp()) * 1000)::bigint");

	if (!result)
		return;
	doctor_clock(
	    doctor, "postgres clock", atoll(PQgetvalue(result, 0, 0)), before_ms, clock_wall_ms());
	PQclear(result);
}

/* ---------------------------------------------------------------- the database */

static void
check_schema(struct doctor *doctor, PGconn *conn)
{
	PGresult *result = ask(doctor, conn, "postgres schema", SCHEMA_STAMP_SQL);
	const char *stamp;
	int version;

	if (!result)
		return;
	stamp = PQgetvalue(result, 0, 0);
	version = schema_stamp_version(stamp);
	if (strcmp(stamp, schema_stamp()) == 0) {
		doctor_ok(doctor, "postgres schema", "version %d", version);
		if (check_rights(doctor, conn))
			check_payments(doctor, conn);
	} else if (version == 0) {
		doctor_fail(
		    doctor, "postgres schema", "this database has none. Run mitrad migrate.");
	} else if (version > schema_version()) {
		doctor_fail(doctor, "postgres schema",
		    "version %d is newer than this program's %d. Install the newer program.",
		    version, schema_version());
	} else if (version < schema_version()) {
		doctor_fail(doctor, "postgres schema",
		    "version %d is older than this program's %d. Run mitrad migrate.", version,
		    schema_version());
	} else {
		doctor_fail(doctor, "postgres schema",
		    "version %d, but its functions are another release's. Run mitrad migrate.",
		    version);
	}
	PQclear(result);
}

/* Another role than the one that migrated needs to be let in. */
static bool
check_rights(struct doctor *doctor, PGconn *conn)
{
	PGresult *result = ask(doctor, conn, "postgres rights",
	    "select string_agg(relname, ', ' order by relname) from pg_class"
	    " where relnamespace = 'public'::regnamespace and relkind = 'r'"
	    " and relname in ('app_config', 'chat_sessions', 'mitra_online_status', 'mitras')"
	    " and not (has_schema_privilege('mitrad', 'usage')"
	    "  and has_table_privilege(oid, 'select') and has_table_privilege(oid, 'update'))");
	bool complete;

	if (!result)
		return false;
	complete = PQgetisnull(result, 0, 0);
	if (complete)
		doctor_ok(doctor, "postgres rights", "%s may use the tables", PQuser(conn));
	else
		doctor_fail(doctor, "postgres rights",
		    "%s may not use %s. Connect as the role that ran mitrad migrate, or GRANT to "
		    "it "
		    "the tables, and USAGE on the schema mitrad.",
		    PQuser(conn), PQgetvalue(result, 0, 0));
	PQclear(result);
	return complete;
}

/* app_config says who collects, the settings how he is reached. */
static void
check_payments(struct doctor *doctor, PGconn *conn)
{
	const struct config *config = doctor->config;
	PGresult *result = ask(doctor, conn, "payments",
	    "select coalesce((select value #>> '{}' from public.app_config"
	    " where key = 'payment_provider'), 'manual')");
	const char *provider;

	if (!result)
		return;
	provider = PQgetvalue(result, 0, 0);
	if (strcmp(provider, "xendit") != 0)
		doctor_ok(doctor, "payments", "payment_provider is %s", provider);
	else if (config->xendit_secret_key[0] == '\0')
		doctor_fail(doctor, "payments",
		    "payment_provider is xendit, but XENDIT_SECRET_KEY is not set, so nobody gets "
		    "an invoice. Set it, or another payment_provider.");
	else if (config->xendit_callback_token[0] == '\0')
		doctor_warn(doctor, "payments",
		    "XENDIT_CALLBACK_TOKEN is not set, so that Xendit's webhooks are refused and "
		    "what was paid is found out minutes later, by asking.");
	else
		doctor_ok(doctor, "payments", "xendit, with its key and its token");
	PQclear(result);
}

/* ---------------------------------------------------------------- asking */

/* The one row of an answer, to be cleared by the caller; NULL if it failed, which is then a finding. */
static PGresult *
ask(struct doctor *doctor, PGconn *conn, const char *subject, const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
		return result;
	doctor_fail(doctor, subject, "%s", PQerrorMessage(conn));
	PQclear(result);
	return NULL;
}

static int
number(const PGresult *result, int column)
{
	return atoi(PQgetvalue(result, 0, column));
}
