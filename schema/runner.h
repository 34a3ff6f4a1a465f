/*
 * runner: a blocking connection to PostgreSQL for the migration runner, of which there is one at a time.
 *
 * Whatever fails is logged here, with the file's line where the server names a place; the callers only see
 * that it failed.
 */
#ifndef SCHEMA_RUNNER_H
#define SCHEMA_RUNNER_H

#include <stdbool.h>

#include <libpq-fe.h>

struct config;

#define RUNNER_SQLSTATE_SIZE 6

/* Connected and alone, or NULL. Waits up to STARTUP_TIMEOUT_SECONDS for the server, and as long as it takes for another runner. */
PGconn *runner_connect(const struct config *);

/* The result of one statement with text parameters, to be cleared by the caller; NULL if it failed. */
PGresult *runner_ask(PGconn *, const char *what, const char *sql, int parameters,
    const char *const *values) __attribute__((warn_unused_result));

/* Any number of statements. `sqlstate`, if not NULL, gets the code of a failure. */
bool runner_run(PGconn *, const char *what, const char *sql, char sqlstate[RUNNER_SQLSTATE_SIZE]);

/*
 * Runs the step in a transaction.  A step that failed because a table was in use is run again, for a good
 * while; so it must have no effects but the transaction's.
 */
typedef bool runner_step_fn(PGconn *, const void *argument, char sqlstate[RUNNER_SQLSTATE_SIZE]);
bool runner_in_transaction(PGconn *, runner_step_fn *, const void *argument)
    __attribute__((warn_unused_result));

#endif
