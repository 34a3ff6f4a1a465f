/*
 * migrate: `mitrad migrate`, from an empty or older database to the schema of this program.
 *
 * First the migrations, forward only: each in a transaction of its own, together with its row in
 * schema_migrations.  A file that was changed after it was applied, or a database that knows more than this
 * program, is refused before anything is touched.  Then the functions: they hold no data, so whenever any
 * of their files differs from what the stamp says, the whole SQL schema `mitrad`, triggers included, is
 * dropped and made anew in one transaction.  Last the first operator.
 *
 * It may run while the server serves.  To replace functions it must have the tables to itself for a moment,
 * and while it waits for that every request waits behind it; so it waits briefly, lets them pass, and tries
 * again.
 */
#include "schema/migrate.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "common/password.h"
#include "common/password_rule.h"
#include "schema/files.h"
#include "schema/runner.h"

static bool migrations_apply(PGconn *);
static bool functions_replace(PGconn *);
static bool operator_create(PGconn *, const struct config *);

int
schema_version(void)
{
	return schema_migrations_count;
}

const char *
schema_stamp(void)
{
	return schema_stamp_text;
}

int
schema_stamp_version(const char *stamp)
{
	int version = 0;

	return sscanf(stamp, "version %d,", &version) == 1 ? version : 0;
}

int
migrate_command(const struct config *config)
{
	PGconn *conn;
	bool done;

	log_set_process("migrate");
	conn = runner_connect(config);
	done = conn != NULL && migrations_apply(conn) && functions_replace(conn) &&
	       operator_create(conn, config);
	if (done)
		log_info("the schema is up to date: version %d", schema_version());
	PQfinish(conn);
	log_flush();
	return done ? 0 : 1;
}

/* ---------------------------------------------------------------- migrations */

/* Is what the database remembers of its migrations a beginning of ours?  Row i is the i-th applied one. */
static bool
history_agrees(const PGresult *applied)
{
	for (int i = 0; i < PQntuples(applied); i++) {
		int version = atoi(PQgetvalue(applied, i, 0));
		const char *name = PQgetvalue(applied, i, 1);
		const char *sha256 = PQgetvalue(applied, i, 2);

		if (version > schema_version()) {
			log_error("the database is at version %d (%s), newer than this program's "
				  "%d: use the newer program",
			    version, name, schema_version());
			return false;
		}
		if (version != i + 1) {
			log_error("schema_migrations lacks version %d", i + 1);
			return false;
		}
		if (strcmp(sha256, schema_migrations[i].sha256) != 0) {
			log_error("%s was changed after it was applied (as %s): put it back and "
				  "write a new migration",
			    schema_migrations[i].name, name);
			return false;
		}
	}
	return true;
}

static bool
migration_run(PGconn *conn, const void *argument, char sqlstate[RUNNER_SQLSTATE_SIZE])
{
	int version = *(const int *)argument;
	const struct schema_file *file = &schema_migrations[version - 1];
	char number[16];
	PGresult *result;

	if (!runner_run(conn, file->name, file->sql, sqlstate))
		return false;
	snprintf(number, sizeof(number), "%d", version);
	result = runner_ask(conn, file->name,
	    "insert into public.schema_migrations (version, name, sha256) values ($1, $2, $3)", 3,
	    (const char *const[]){ number, file->name, file->sha256 });
	PQclear(result);
	return result != NULL;
}

static bool
migrations_apply(PGconn *conn)
{
	PGresult *applied;
	int version;
	bool agrees;

	if (!runner_run(conn, "schema_migrations",
		"create table if not exists public.schema_migrations ("
		"version integer primary key, name text not null, sha256 text not null, "
		"applied_at timestamptz not null default now())",
		NULL))
		return false;
	applied = runner_ask(conn, "schema_migrations",
	    "select version, name, sha256 from public.schema_migrations order by version", 0, NULL);
	if (applied == NULL)
		return false;
	agrees = history_agrees(applied);
	version = PQntuples(applied);
	PQclear(applied);
	if (!agrees)
		return false;

	while (++version <= schema_version()) {
		if (!runner_in_transaction(conn, migration_run, &version))
			return false;
		log_info("applied %s", schema_migrations[version - 1].name);
	}
	return true;
}

/* ---------------------------------------------------------------- functions */

/*
 * The locks come first, those of the tables whose triggers are dropped: behind them nobody is in the midst of anything.
 * The transactions under way take them in many orders, toggles that of the mitras first, and toggles are what there
 * is most of.  Whoever has one and waits for the next lets the runner's time run out, and it tries again.
 */
static bool
functions_run(PGconn *conn, const void *argument, char sqlstate[RUNNER_SQLSTATE_SIZE])
{
	char sql[256];

	if (!runner_run(conn, "functions",
		"lock table public.mitras, public.mitra_online_status, public.mitra_online_logs, "
		"public.chat_sessions, public.payments, public.app_config, "
		"public.app_config_definitions "
		"in access exclusive mode;"
		"drop schema if exists mitrad cascade; create schema mitrad",
		sqlstate))
		return false;
	for (int i = 0; i < schema_functions_count; i++)
		if (!runner_run(conn, schema_functions[i].name, schema_functions[i].sql, sqlstate))
			return false;
	snprintf(sql, sizeof(sql), "comment on schema mitrad is '%s'", schema_stamp());
	return runner_run(conn, "functions", sql, sqlstate);
}

static bool
functions_replace(PGconn *conn)
{
	PGresult *result = runner_ask(conn, "functions", SCHEMA_STAMP_SQL, 0, NULL);
	bool current;

	if (result == NULL)
		return false;
	current = strcmp(PQgetvalue(result, 0, 0), schema_stamp()) == 0;
	PQclear(result);
	if (current)
		return true;
	if (!runner_in_transaction(conn, functions_run, NULL))
		return false;
	log_info("replaced the functions");
	return true;
}

/* ---------------------------------------------------------------- the first operator */

/* It is the administrator's own business, so it is taken as it is; but he shall know. */
static void
warn_of_password(const struct config *config)
{
	const char *fault = password_rule_fault(config->admin_password, config->admin_email);

	if (fault != NULL)
		log_warning("ADMIN_PASSWORD %s: taken all the same, change it soon", fault);
}

static bool
operator_insert(PGconn *conn, const struct config *config)
{
	char hash[PASSWORD_HASH_SIZE];
	PGresult *result;

	if (!password_hash(config->admin_password, hash)) {
		log_error("ADMIN_PASSWORD: cannot be hashed, not enough memory");
		return false;
	}
	result = runner_ask(conn, "the first operator",
	    "insert into public.control_center_users (email, password_hash, role)"
	    " values (lower($1), $2, 'admin') on conflict do nothing",
	    2, (const char *const[]){ config->admin_email, hash });
	if (result == NULL)
		return false;
	PQclear(result);
	log_info("created the operator %s, role admin", config->admin_email);
	warn_of_password(config);
	return true;
}

/* An operator who exists keeps the password: by now it may be another than the settings'. */
static bool
operator_create(PGconn *conn, const struct config *config)
{
	PGresult *result;
	bool exists;

	if (*config->admin_email == '\0' && *config->admin_password == '\0')
		return true;
	if (*config->admin_email == '\0' || *config->admin_password == '\0') {
		log_warning(
		    "no operator was created: it takes both ADMIN_EMAIL and ADMIN_PASSWORD");
		return true;
	}
	result = runner_ask(conn, "the first operator",
	    "select from public.control_center_users where lower(email) = lower($1)", 1,
	    (const char *const[]){ config->admin_email });
	if (result == NULL)
		return false;
	exists = PQntuples(result) > 0;
	PQclear(result);
	return exists || operator_insert(conn, config);
}
